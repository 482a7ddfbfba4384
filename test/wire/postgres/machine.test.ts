import { describe, expect, it } from "vitest";
import { freeze, parkedBytes, step, thaw } from "../../../wire/postgres/machine.ts";
import { refusal } from "../../../wire/refusals.ts";
import { b, f, fields, i32, letters, message, split } from "./support/messages.ts";
import { type Answer, REFUSED, Scripted, forward, refuseWhen } from "./support/scripted.ts";

const error = (session: Scripted) => {
  const found = split(session.bytes("toClient")).filter(({ type }) => type === "E");
  return fields(found.at(-1)?.body ?? Buffer.alloc(0));
};
const PIPELINE = [f.parse("insert"), f.bind(["1"]), f.describePortal(), f.execute(), f.sync];
const ANSWERS = [b.parseComplete, b.bindComplete, b.noData, b.complete("INSERT 0 1"), b.ready()];
const park: Answer = () => "park";

describe("simple queries", () => {
  it("asks before a query goes to the server, and forwards it unchanged", () => {
    const session = new Scripted(park).open().client(f.query("select 1"));
    expect(session.effects).toEqual([{ kind: "ask", ask: { kind: "query", id: 1, sql: "select 1" } }]);
    session.forget().answer = forward();
    session.input({ kind: "verdict", verdict: forward()({ kind: "query", id: 1, sql: "" }) as never });
    expect(session.bytes("toServer")).toEqual(f.query("select 1"));
  });

  it("sends the rewritten text instead, and drops positions that count in it", () => {
    const session = new Scripted(forward({}, "select 2")).open().client(f.query("select 1"));
    expect(session.bytes("toServer")).toEqual(f.query("select 2"));
    session.forget().server(b.error({ P: "8", D: "kept" }), b.ready());
    expect(error(session)).toEqual({ S: "ERROR", V: "ERROR", C: "42601", M: "syntax error", D: "kept" });
  });

  it("passes the answer on as one piece and reports it in order", () => {
    const session = new Scripted().open().client(f.query("select 1; begin")).forget();
    const answer = [
      b.rowDescription({ name: "a", table: 5, attribute: 2 }),
      b.dataRow("1"),
      b.dataRow("2"),
      b.complete("SELECT 2"),
      b.notice(),
      b.complete("BEGIN"),
      b.ready("T"),
    ];
    session.server(...answer);
    expect(session.of("toClient")).toHaveLength(1);
    expect(session.bytes("toClient")).toEqual(Buffer.concat(answer));
    expect(session.of("delivered")).toEqual([
      {
        kind: "delivered",
        id: 1,
        bytes: new Uint8Array(Buffer.concat([b.dataRow("1"), b.dataRow("2")])),
        rows: 2,
      },
    ]);
    expect(session.of("rowDescription")[0]).toMatchObject({
      id: 1,
      fields: [{ name: "a", tableOid: 5, attribute: 2, typeOid: 25, typeModifier: -1, format: 0 }],
    });
    expect(session.reports()).toEqual(["completed 1 SELECT 2", "completed 1 BEGIN", "ready T"]);
    expect(session.effects[0]?.kind).toBe("toClient");
  });

  it("reports an empty query and an error of the server", () => {
    const session = new Scripted().open().client(f.query(""), f.query("x"));
    session.forget().server(b.empty, b.ready(), b.error({ C: "42703" }), b.ready());
    expect(session.reports()).toEqual(["completed 1 ", "ready I", "failed 2 42703", "ready I"]);
    expect(session.sent("toClient")).toBe("IZEZ");
  });

  it("parks what comes behind a held query, tells why with a notice, and goes on after the verdict", () => {
    const session = new Scripted(park).open().client(f.query("a"), f.query("b"));
    expect(session.reports()).toEqual(["ask query 1"]);
    expect(parkedBytes(session.state)).toBe(f.query("b").length);
    session.forget().input({ kind: "notice", message: "held for dba", hint: "sally approvals show 1" });
    expect(fields(split(session.bytes("toClient"))[0]?.body ?? Buffer.alloc(0))).toEqual({
      S: "NOTICE",
      V: "NOTICE",
      C: "00000",
      M: "held for dba",
      H: "sally approvals show 1",
    });
    session.forget().answer = forward();
    session.input({
      kind: "verdict",
      verdict: {
        id: 1,
        effect: "forward",
        guard: { withheldAttributes: [], hideErrorDetail: false, inspectRows: false },
      },
    });
    expect(session.sent("toServer")).toBe("QQ");
    expect(parkedBytes(session.state)).toBe(0);
  });

  it("ignores a verdict for another ask", () => {
    const session = new Scripted(park).open().client(f.query("a")).forget();
    session.input({ kind: "verdict", verdict: { id: 2, effect: "refuse", refusal: REFUSED } });
    expect(session.effects).toEqual([]);
  });
});

describe("refusals", () => {
  it("takes the place of the refused query's answer, with the server's own ReadyForQuery", () => {
    const session = new Scripted(refuseWhen("delete"))
      .open()
      .client(f.query("a"), f.query("delete"), f.query("b"));
    expect(session.sent("toServer")).toBe("QQQ");
    expect(session.bytes("toServer").toString()).not.toContain("delete");
    session
      .forget()
      .server(b.complete("A"), b.ready("T"), b.error(), b.ready("E"), b.error({ C: "25P02" }), b.ready("E"));
    expect(session.sent("toClient")).toBe("CZEZEZ");
    expect(session.reports()).toEqual([
      "completed 1 A",
      "ready T",
      "refused 2",
      "ready E",
      "failed 3 25P02",
      "ready E",
    ]);
    expect(session.bytes("toClient").toString()).toContain("delete is not allowed for you");
    expect(session.bytes("toClient").toString()).toContain("Hask a reviewer");
  });

  it.each([
    ["parse", "delete", ["ask parse 1"], "P"],
    ["bind", "bind", ["ask parse 1", "ask bind 2"], "PP"],
    ["execute", "execute", ["ask parse 1", "ask bind 2", "ask execute 3"], "PBDP"],
  ])("refuses a %s in place and asks nothing more until Sync", (_, word, asks, sent) => {
    const session = new Scripted(refuseWhen(word))
      .open()
      .client(
        f.parse("delete"),
        f.bind(),
        f.describePortal(),
        f.execute(),
        f.parse("x"),
        f.query("y"),
        f.sync,
      );
    expect(session.reports()).toEqual(asks);
    expect(session.sent("toServer")).toBe(`${sent}S`);
    const id = asks.length;
    session.forget().server(...ANSWERS.slice(0, sent.length - 1), b.error(), b.ready());
    expect(session.sent("toClient")).toBe(`${"12n".slice(0, sent.length - 1)}EZ`);
    expect(error(session)).toMatchObject({ C: "42501", M: REFUSED.message });
    expect(session.reports().slice(-2)).toEqual([`refused ${id}`, "ready I"]);
  });

  it("leaves the unnamed statement alone unless a Parse of it is what is refused", () => {
    const provoked = (word: string, ...messages: Buffer[]) =>
      new Scripted(refuseWhen(word))
        .open()
        .client(...messages)
        .bytes("toServer");
    expect(provoked("bind", f.bind()).toString("latin1", 5, 15)).toBe("sallyport\0");
    expect(provoked("delete", f.parse("delete")).toString("latin1", 5, 7)).toBe("\0s");
    expect(provoked("delete", f.parse("delete", "mine")).toString("latin1", 5, 15)).toBe("sallyport\0");
  });

  it("reports a refusal as skipped when an earlier message fails first", () => {
    const session = new Scripted(refuseWhen("bind")).open().client(f.parse("x"), f.bind(), f.sync);
    session.forget().server(b.error(), b.ready());
    expect(session.reports()).toEqual(["failed 1 42601", "skipped 2", "ready I"]);
    expect(session.bytes("toClient").toString()).not.toContain(REFUSED.message);
  });

  it("lets a FATAL of the server through unreplaced", () => {
    const session = new Scripted(refuseWhen("delete")).open().client(f.query("delete")).forget();
    session
      .server(b.error({ S: "FATAL", V: "FATAL", C: "57P01", M: "terminating connection" }))
      .input({ kind: "serverEnded" });
    expect(error(session)).toMatchObject({ S: "FATAL", C: "57P01" });
    expect(session.sent("toClient")).toBe("E");
    expect(session.reports()).toEqual(["failed 1 57P01", "end"]);
  });

  it("refuses FunctionCall without a word of it reaching the server", () => {
    const session = new Scripted().open().client(f.functionCall, f.query("x"));
    expect(session.sent("toServer")).toBe("QQ");
    session.forget().server(b.error(), b.ready(), b.complete("X"), b.ready());
    expect(error(session)["C"]).toBe("0A000");
    expect(session.reports()).toEqual(["refused 1", "ready I", "completed 2 X", "ready I"]);
  });

  it("refuses over-long SQL, over-long messages and text that is not UTF-8, and the session goes on", () => {
    const long = f.query("x".repeat(300 << 10));
    const huge = message("P", Buffer.from("\0"), Buffer.alloc(17 << 20, 0x20), Buffer.from("\0\0\0"));
    const latin = message("Q", Buffer.from([0x73, 0xe9, 0]));
    const statement = message("B", Buffer.from([0, 0xff, 0, 0, 0, 0, 0, 0, 0]));
    const session = new Scripted().open();
    session.client(long).client(huge, f.sync).client(latin).client(statement, f.sync).client(f.query("ok"));
    expect(session.sent("toServer")).toBe("QPSQPSQ");
    expect(session.bytes("toServer").length).toBeLessThan(400);
    session.forget();
    for (let i = 0; i < 4; i++) session.server(b.error(), b.ready());
    session.server(b.complete("OK"), b.ready());
    expect(
      split(session.bytes("toClient"))
        .filter(({ type }) => type === "E")
        .map(({ body }) => fields(body)["C"]),
    ).toEqual(["54000", "54000", "42601", "42601"]);
    expect(session.reports().at(-2)).toBe("completed 5 OK");
  });
});

describe("the extended protocol", () => {
  it("asks for Parse, Bind and Execute and names what they build on", () => {
    const session = new Scripted()
      .open()
      .client(
        f.parse("select $1", "s"),
        f.bind(["x", null], "s", "p"),
        f.execute(5, "p"),
        f.execute(5, "p"),
        f.bind([], "by_sql", "q"),
        f.execute(0, "by_declare"),
      );
    expect(session.of("ask").map(({ ask }) => ask)).toEqual([
      { kind: "parse", id: 1, name: "s", sql: "select $1", parameterTypes: [] },
      {
        kind: "bind",
        id: 2,
        statement: "s",
        parseId: 1,
        portal: "p",
        parameters: { formats: [], values: [new Uint8Array([0x78]), null] },
      },
      { kind: "execute", id: 3, portal: "p", bindId: 2, continued: false, maxRows: 5 },
      { kind: "execute", id: 4, portal: "p", bindId: 2, continued: true, maxRows: 5 },
      {
        kind: "bind",
        id: 5,
        statement: "by_sql",
        parseId: undefined,
        portal: "q",
        parameters: { formats: [], values: [] },
      },
      { kind: "execute", id: 6, portal: "by_declare", bindId: undefined, continued: false, maxRows: 0 },
    ]);
  });

  it("passes a pipeline of several Syncs through", () => {
    const session = new Scripted().open().client(...PIPELINE, ...PIPELINE);
    expect(session.sent("toServer")).toBe("PBDESPBDES");
    session.forget().server(...ANSWERS, ...ANSWERS);
    expect(session.sent("toClient")).toBe("12nCZ12nCZ");
    expect(session.reports()).toEqual([
      "parsed 1",
      "completed 3 INSERT 0 1",
      "ready I",
      "parsed 4",
      "completed 6 INSERT 0 1",
      "ready I",
    ]);
  });

  it("skips to Sync after an error and goes on behind it", () => {
    const session = new Scripted()
      .open()
      .client(...PIPELINE, ...PIPELINE)
      .forget();
    session.server(b.parseComplete, b.error({ C: "22P02" }), b.ready(), ...ANSWERS);
    expect(session.sent("toClient")).toBe("1EZ12nCZ");
    expect(session.reports().slice(0, 4)).toEqual(["parsed 1", "failed 2 22P02", "skipped 3", "ready I"]);
  });

  it("drops messages between a known error and Sync without asking", () => {
    const session = new Scripted().open().client(f.parse("x"), f.flush).forget();
    session
      .server(b.error())
      .forget()
      .client(f.bind(), f.query("q"), f.copyData("x"), f.functionCall, f.flush);
    expect(session.effects).toEqual([]);
    session.client(f.sync).server(b.ready());
    expect(session.sent("toServer")).toBe("S");
    expect(session.sent("toClient")).toBe("Z");
  });

  it("reports a parked ask as skipped when its pipeline failed meanwhile", () => {
    const session = new Scripted((ask) => (ask.kind === "bind" ? "park" : forward()(ask))).open();
    session.client(f.parse("x"), f.bind(), f.sync).forget().server(b.error());
    session.input({ kind: "verdict", verdict: { id: 2, effect: "refuse", refusal: REFUSED } });
    expect(session.reports()).toEqual(["failed 1 42601", "skipped 2"]);
    expect(session.sent("toServer")).toBe("S");
  });

  it("describes and closes statements and portals", () => {
    const session = new Scripted()
      .open()
      .client(
        f.parse("x", "s"),
        f.describeStatement("s"),
        f.bind([], "s", "p"),
        f.describePortal("p"),
        f.execute(1, "p"),
        f.closePortal("p"),
        f.closeStatement("s"),
        f.sync,
      )
      .forget();
    session.server(
      b.parseComplete,
      b.parameterDescription,
      b.rowDescription({ name: "a" }),
      b.bindComplete,
      b.rowDescription({ name: "a" }),
      b.dataRow("1"),
      b.suspended,
      b.closeComplete,
      b.closeComplete,
      b.ready(),
    );
    expect(session.sent("toClient")).toBe("1tT2TDs33Z");
    expect(session.reports()).toEqual(["parsed 1", "completed 3 SUSPENDED", "statementClosed s", "ready I"]);
    expect(session.of("rowDescription").map(({ id }) => id)).toEqual([1, 2]);
  });

  it("waits for the answer when a name could mean two things, and then takes the right one", () => {
    const outcome = (failed: boolean) => {
      const session = new Scripted()
        .open()
        .client(f.parse("old", "s"), f.sync)
        .server(b.parseComplete, b.ready());
      session.client(f.parse("new", "s"), f.sync, f.bind([], "s"), f.sync);
      expect(session.of("ask")).toHaveLength(2);
      expect(parkedBytes(session.state)).toBe(f.sync.length);
      session.server(failed ? b.error() : b.parseComplete);
      return session.of("ask")[2]?.ask;
    };
    expect(outcome(true)).toMatchObject({ kind: "bind", parseId: 1 });
    expect(outcome(false)).toMatchObject({ kind: "bind", parseId: 2 });
  });

  it("does the same for portals that outlive a Sync", () => {
    const session = new Scripted().open().client(f.query("begin")).server(b.complete("BEGIN"), b.ready("T"));
    session
      .client(f.parse("a"), f.bind([], "", "p"), f.sync)
      .server(b.parseComplete, b.bindComplete, b.ready("T"));
    session.client(f.bind([], "", "p"), f.sync, f.query("rollback to s"), f.execute(0, "p"), f.sync);
    expect(session.reports().filter((word) => word.startsWith("ask execute"))).toEqual([]);
    session.server(b.error({ C: "42P03" }), b.ready("E"));
    expect(session.of("ask").at(-1)?.ask).toMatchObject({ kind: "execute", bindId: 3 });
  });

  it("forgets portals when their transaction ends", () => {
    const session = new Scripted()
      .open()
      .client(...PIPELINE)
      .server(...ANSWERS);
    session.client(f.execute());
    expect(session.of("ask").at(-1)?.ask).toMatchObject({ kind: "execute", bindId: undefined });
  });

  it("takes simple and extended messages in one pipeline", () => {
    const session = new Scripted().open().client(f.parse("a"), f.query("b"), f.bind(), f.sync);
    session.forget().server(b.parseComplete, b.complete("B"), b.ready(), b.bindComplete, b.ready());
    expect(session.sent("toClient")).toBe("1CZ2Z");
    const failing = new Scripted().open().client(f.parse("a"), f.query("b"), f.bind(), f.sync);
    failing.forget().server(b.error(), b.ready());
    expect(failing.reports()).toEqual(["failed 1 42601", "skipped 2", "skipped 3", "ready I"]);
  });

  it("puts an error at Sync (a deferred constraint) down to the last statement of the pipeline", () => {
    const session = new Scripted()
      .open()
      .client(...PIPELINE)
      .forget();
    session.server(...ANSWERS.slice(0, 4), b.error({ C: "23503" }), b.ready());
    expect(session.reports()).toEqual(["parsed 1", "completed 3 INSERT 0 1", "failed 3 23503", "ready I"]);
  });
});

describe("COPY", () => {
  it("passes COPY out and COPY in, in pieces of any size", () => {
    const session = new Scripted().open().client(f.query("copy t to stdout")).forget();
    session.server(
      b.copyOut,
      b.copyData("1\n"),
      b.copyData("2\n"),
      b.copyDone,
      b.complete("COPY 2"),
      b.ready(),
    );
    expect(session.sent("toClient")).toBe("HddcCZ");
    expect(session.of("delivered")).toMatchObject([{ id: 1, rows: 2 }]);
    session.client(f.query("copy t from stdin")).server(b.copyIn).forget();
    const data = Buffer.concat([f.copyData("1\n"), f.copyData("2\n")]);
    for (const byte of data) session.client(Uint8Array.of(byte));
    session.client(f.copyDone);
    expect(session.bytes("toServer")).toEqual(Buffer.concat([data, f.copyDone]));
    expect(Buffer.concat(session.of("copiedIn").map(({ bytes }) => bytes))).toEqual(data);
    session.forget().server(b.complete("COPY 2"), b.ready());
    expect(session.reports()).toEqual(["completed 2 COPY 2", "ready I"]);
  });

  it("accepts COPY data sent ahead of CopyInResponse, and flushes so that it comes", () => {
    const session = new Scripted()
      .open()
      .client(f.parse("copy t from stdin"), f.bind(), f.execute(), f.copyData("1\n"), f.copyDone, f.sync)
      .forget();
    expect(parkedBytes(session.state)).toBeGreaterThan(0);
    session.server(b.parseComplete, b.bindComplete, b.copyIn);
    expect(session.sent("toServer")).toBe("dcS");
    session.server(b.complete("COPY 1"), b.ready());
    expect(session.sent("toClient")).toBe("12GCZ");
  });

  it("drops COPY data outside COPY, as the server does", () => {
    const session = new Scripted().open().client(f.copyData("x"), f.copyDone, f.copyFail("y"), f.query("q"));
    expect(session.sent("toServer")).toBe("Q");
    session.client(f.copyData("early")).server(b.complete("Q"), b.ready()).client(f.query("r"));
    expect(session.sent("toServer")).toBe("QHQ");
  });

  it("knows that COPY swallows a Sync sent before, unless it fails before it reads it", () => {
    const swallowed = new Scripted().open().client(f.parse("c"), f.bind(), f.execute(), f.sync).forget();
    swallowed
      .server(b.parseComplete, b.bindComplete, b.copyIn)
      .client(f.copyData("1\n"), f.sync, f.copyDone, f.sync);
    expect(swallowed.sent("toServer")).toBe("dcS");
    swallowed.server(b.complete("COPY 1"), b.ready());
    expect(swallowed.sent("toClient")).toBe("12GCZ");
    expect(freeze(swallowed.state)).toBeDefined();

    const failed = new Scripted().open().client(f.parse("c"), f.bind(), f.execute(), f.sync).forget();
    failed.server(b.parseComplete, b.bindComplete, b.copyIn, b.error(), b.ready());
    failed.client(f.query("next")).server(b.complete("NEXT"), b.ready());
    expect(failed.sent("toClient")).toBe("12GEZCZ");
    expect(failed.of("end")).toEqual([]);
  });

  it("goes on after the server failed a COPY in the middle of a message", () => {
    const session = new Scripted().open().client(f.query("copy")).server(b.copyIn).forget();
    const data = f.copyData("x".repeat(100));
    session
      .client(data.subarray(0, 50))
      .server(b.error(), b.ready())
      .client(data.subarray(50), f.copyDone, f.query("next"));
    expect(session.bytes("toServer")).toEqual(Buffer.concat([data, f.query("next")]));
    expect(session.reports()).toEqual(["failed 1 42601", "ready I", "ask query 2"]);
  });

  it("ends the connection for a query in the middle of COPY in, and for COPY both", () => {
    const session = new Scripted()
      .open()
      .client(f.query("copy"))
      .server(b.copyIn)
      .forget()
      .client(f.query("x"));
    expect(session.reports()).toEqual(["end protocol_violation"]);
    const both = new Scripted().open().client(f.query("start_replication")).forget().server(b.copyBoth);
    expect(both.reports()).toEqual(["end protocol_violation"]);
    expect(both.sent("toClient")).toBe("E");
  });
});

describe("large messages", () => {
  it("streams a large row without holding it", () => {
    const session = new Scripted()
      .open()
      .client(f.query("q"))
      .server(b.rowDescription({ name: "a" }))
      .forget();
    const row = b.dataRow("x".repeat(1 << 20));
    for (let at = 0; at < row.length; at += 65_536) {
      session.server(row.subarray(at, at + 65_536));
      expect(session.state.server.buffered).toBe(0);
    }
    expect(session.bytes("toClient")).toEqual(row);
    expect(Buffer.concat(session.of("delivered").map(({ bytes }) => bytes))).toEqual(row);
    expect(session.of("delivered").reduce((sum, { rows }) => sum + rows, 0)).toBe(1);
  });

  it("never puts a notice or a FATAL into the middle of a streamed row", () => {
    const start = () => {
      const session = new Scripted()
        .open()
        .client(f.query("q"))
        .server(b.rowDescription({ name: "a" }));
      return session.server(row.subarray(0, 1000)).forget();
    };
    const row = b.dataRow("x".repeat(100_000));
    const noticed = start().input({ kind: "notice", message: "later" });
    expect(noticed.effects).toEqual([]);
    noticed.server(row.subarray(1000), b.complete("SELECT 1"));
    expect(noticed.bytes("toClient").subarray(0, row.length - 1000)).toEqual(row.subarray(1000));
    expect(letters(noticed.bytes("toClient").subarray(row.length - 1000))).toBe("NC");
    const why = refusal("session_killed", "killed");
    const ended = start().input({ kind: "terminate", refusal: why });
    expect(ended.bytes("toClient")).toHaveLength(0);
    expect(ended.sent("toServer")).toBe("X");
    const lost = start().input({ kind: "serverEnded" });
    expect(lost.bytes("toClient")).toHaveLength(0);
    expect(lost.reports()).toEqual(["end upstream_lost"]);
  });

  it("holds a small row that is cut, so that a lost server can still be told", () => {
    const session = new Scripted()
      .open()
      .client(f.query("q"))
      .server(b.rowDescription({ name: "a" }))
      .forget();
    session.server(b.dataRow("1"), b.dataRow("2").subarray(0, 7)).input({ kind: "serverEnded" });
    expect(session.sent("toClient")).toBe("DE");
    expect(error(session)).toMatchObject({ S: "FATAL", C: "08006" });
  });

  it("does not send Terminate into the middle of COPY data", () => {
    const session = new Scripted().open().client(f.query("copy")).server(b.copyIn).forget();
    session
      .client(f.copyData("x".repeat(100)).subarray(0, 20))
      .input({ kind: "terminate", refusal: refusal("session_killed", "killed") });
    expect(session.bytes("toServer")).toHaveLength(20);
    expect(session.sent("toClient")).toBe("E");
  });

  it("passes on an error of 2 MB, and stands in for one too long to be held", () => {
    const session = new Scripted().open().client(f.query("q"), f.query("r")).forget();
    session.server(b.error({ M: "x".repeat(2 << 20) }), b.ready());
    expect(session.sent("toClient")).toBe("EZ");
    session.forget();
    const huge = b.error({ M: "x".repeat(17 << 20) });
    for (let at = 0; at < huge.length; at += 1 << 20) session.server(huge.subarray(at, at + (1 << 20)));
    session.server(b.ready());
    expect(error(session)).toMatchObject({ S: "ERROR", C: "54000" });
    expect(session.reports()).toEqual(["failed 2 54000", "ready I"]);
  });
});

describe("illegal messages", () => {
  it.each([
    ["length 0", message("Q").fill(0, 1)],
    ["length 3", Buffer.concat([Buffer.from("Q"), i32(3)])],
    ["length 2^31", Buffer.concat([Buffer.from("Q"), i32(-0x80000000)])],
    ["length 2^32-1", Buffer.concat([Buffer.from("d"), i32(-1)])],
    ["length over 1 GiB", Buffer.concat([Buffer.from("Q"), i32(0x40000000)])],
    ["long Sync", message("S", Buffer.from([0]))],
    ["long Terminate", message("X", Buffer.from([0]))],
    ["long Describe", message("D", Buffer.alloc(20_000))],
    ["PasswordMessage", message("p", Buffer.from("secret\0"))],
    ["unknown type", message("z")],
    ["zero type", Buffer.alloc(5, 0)],
    ["Query without zero", message("Q", Buffer.from("select"))],
    ["Query with trailing garbage", message("Q", Buffer.from("select\0 drop\0"))],
    ["empty Query body", message("Q")],
    ["Parse with too many types", message("P", Buffer.from("\0\0\xff\xff", "latin1"))],
    ["Parse with trailing garbage", message("P", Buffer.from("\0\0\0\0x"))],
    [
      "Bind with a long value",
      message("B", Buffer.from("\0\0\0\0\0\x01", "latin1"), i32(100), Buffer.from("\0\0")),
    ],
    [
      "Bind with a negative length",
      message("B", Buffer.from("\0\0\0\0\0\x01", "latin1"), i32(-2), Buffer.from("\0\0")),
    ],
    ["Bind with trailing garbage", message("B", Buffer.from("\0\0\0\0\0\0\0\0x"))],
    ["Bind with many parameters that are not there", message("B", Buffer.from("\0\0\0\0\xff\xff", "latin1"))],
    ["Describe of neither", message("D", Buffer.from("X\0"))],
    ["Close without a name", message("C", Buffer.from("S"))],
    ["Execute without a limit", message("E", Buffer.from("\0"))],
  ])("from the client end the connection with FATAL 08P01: %s", (_, bytes) => {
    const session = new Scripted().open().client(bytes);
    expect(session.reports()).toEqual(["end protocol_violation"]);
    expect(session.sent("toClient")).toBe("E");
    expect(error(session)).toMatchObject({ S: "FATAL", C: "08P01" });
    expect(session.sent("toServer")).toBe("X");
  });

  it.each([
    ["nothing owed", "", [b.parseComplete]],
    ["ReadyForQuery too early", "q", [b.ready()]],
    ["rows without description", "q", [b.dataRow("1")]],
    ["COPY data without COPY", "q", [b.copyData("1")]],
    ["an answer of the wrong kind", "q", [b.parseComplete]],
    ["an error that nothing caused", "", [b.error()]],
    ["a second error", "q", [b.error(), b.error()]],
    ["a malformed error", "q", [message("E", Buffer.from("Sx"))]],
    ["a malformed RowDescription", "q", [message("T", Buffer.from([0, 1]))]],
    ["a ReadyForQuery of unknown status", "q", [b.complete("X"), message("Z", Buffer.from("Q"))]],
    ["an authentication request", "q", [message("R", i32(3))]],
    ["length 3", "q", [Buffer.concat([Buffer.from("C"), i32(3)])]],
    ["a long RowDescription", "q", [Buffer.concat([Buffer.from("T"), i32(2 << 20)])]],
    [
      "an over-long DataRow",
      "q",
      [b.rowDescription({ name: "a" }), Buffer.concat([Buffer.from("D"), i32(-1)])],
    ],
    ["success for what cannot be parsed", "refuse", [b.complete("DELETE 5")]],
    ["rows for what cannot be parsed", "refuse", [b.rowDescription({ name: "a" })]],
    ["client_encoding changed", "", [b.status("client_encoding", "LATIN1")]],
    ["standard_conforming_strings off", "q", [b.status("standard_conforming_strings", "off")]],
  ])("from the server end the connection: %s", (_, query, messages) => {
    const session = new Scripted(refuseWhen("refuse")).open();
    if (query !== "") session.client(f.query(query));
    session.forget().server(...messages);
    expect(session.of("end").map(({ refusal: why }) => why?.code)).toEqual(["protocol_violation"]);
    expect(error(session)["S"]).toBe("FATAL");
    expect(session.input({ kind: "serverBytes", bytes: b.ready() }).of("end")).toHaveLength(1);
  });

  it("says nothing more after the end", () => {
    const session = new Scripted().open().client(f.terminate);
    expect(session.sent("toServer")).toBe("X");
    expect(session.reports()).toEqual(["end"]);
    session
      .forget()
      .client(f.query("x"))
      .server(b.ready())
      .input({ kind: "terminate", refusal: REFUSED })
      .input({ kind: "clientEnded" });
    expect(session.effects).toEqual([]);
  });
});

describe("ends", () => {
  it("withdraws a parked ask when the client goes", () => {
    const session = new Scripted(park).open().client(f.query("held")).forget().input({ kind: "clientEnded" });
    expect(session.reports()).toEqual(["skipped 1", "end"]);
    expect(session.sent("toServer")).toBe("X");
  });

  it("tells a terminated session why with FATAL", () => {
    const session = new Scripted()
      .open()
      .input({ kind: "terminate", refusal: refusal("principal_revoked", "your access was revoked") });
    expect(error(session)).toMatchObject({ S: "FATAL", C: "28000", M: "your access was revoked" });
    expect(session.sent("toServer")).toBe("X");
    expect(session.reports()).toEqual(["end principal_revoked"]);
  });

  it("passes notifications, notices and harmless settings at any time", () => {
    const session = new Scripted()
      .open()
      .server(b.notification("jobs", "5"), b.notice(), b.status("TimeZone", "UTC"));
    expect(session.sent("toClient")).toBe("ANS");
    session.client(f.parse("x"), f.sync).server(b.parseComplete, b.notification("jobs", "6"), b.ready());
    expect(session.sent("toClient")).toBe("ANS1AZ");
  });
});

describe("freeze and thaw", () => {
  it("takes an idle session up where it was, prepared statements included", () => {
    const guard = { withheldAttributes: ["1:2"], hideErrorDetail: true, inspectRows: false };
    const session = new Scripted(forward(guard))
      .open()
      .client(f.parse("a", "one"), f.describeStatement("one"), f.parse("b", "two"), f.sync);
    session.server(
      b.parseComplete,
      b.parameterDescription,
      b.rowDescription({ name: "x" }),
      b.parseComplete,
      b.ready(),
    );
    const text = freeze(session.state);
    expect(text).toBeDefined();
    expect(JSON.parse(text ?? "").guards).toHaveLength(1);
    const again = new Scripted(forward(guard));
    again.state = thaw(text ?? "");
    expect(freeze(again.state)).toBe(text);
    for (const taken of [session, again]) {
      taken.forget().client(f.bind([], "one"), f.execute(), f.sync);
      taken.server(b.bindComplete, b.error({ M: "secret" }), b.ready());
    }
    expect(again.effects).toEqual(session.effects);
    expect(again.of("ask")[0]?.ask).toMatchObject({ id: 3, parseId: 1 });
  });

  it("does not freeze a session that is not idle", () => {
    const idle = () => new Scripted().open();
    expect(freeze(idle().state)).toBeDefined();
    expect(freeze(new Scripted().state)).toBeUndefined();
    expect(freeze(idle().client(f.query("x")).state)).toBeUndefined();
    expect(freeze(idle().client(f.query("x").subarray(0, 3)).state)).toBeUndefined();
    expect(freeze(idle().server(b.notice().subarray(0, 3)).state)).toBeUndefined();
    expect(freeze(idle().client(f.parse("x"), f.flush).server(b.parseComplete).state)).toBeUndefined();
    expect(freeze(idle().client(f.query("x")).server(b.complete("X"), b.ready("T")).state)).toBeDefined();
    const parked = new Scripted(park).open().client(f.query("x"));
    expect(freeze(parked.state)).toBeUndefined();
    expect(step(parked.state, { kind: "clientEnded" }).at(-1)?.kind).toBe("end");
    expect(freeze(parked.state)).toBeUndefined();
  });
});
