import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../wire/limits.ts";
import type { Ask, Guard } from "../../../wire/postgres/machine-types.ts";
import { b, f, fields, split } from "./support/messages.ts";
import { type Answer, Scripted, forward } from "./support/scripted.ts";

const SSN = { name: "ssn", table: 5, attribute: 3 };
const NAME = { name: "name", table: 5, attribute: 2 };
const WITHHELD: Partial<Guard> = { withheldAttributes: ["5:3"] };

const errors = (session: Scripted) =>
  split(session.bytes("toClient"))
    .filter(({ type }) => type === "E")
    .map(({ body }) => fields(body));

/** Guards Execute only: what its Bind and Parse allowed does not count. */
const guardExecute =
  (guard: Partial<Guard>): Answer =>
  (ask: Ask) =>
    forward(ask.kind === "execute" ? guard : {})(ask);

describe("error meanings", () => {
  it("tell an error that our own additions raise in our words, and any other as the guard says", () => {
    const meaning = {
      code: "mask_written_back",
      message: "this is the mask of ssn",
      hint: "leave it out",
    } as const;
    const guard = { hideErrorDetail: true, errorMeanings: [{ sqlstate: "2201G", refusal: meaning }] };
    const session = new Scripted(forward(guard)).open().client(f.query("q")).forget();
    session.server(b.error({ C: "2201G", M: "4111" }), b.ready("I"));
    expect(errors(session)).toMatchObject([{ C: "42501", M: meaning.message, H: meaning.hint }]);
    session.forget().client(f.query("q"));
    session.server(b.error({ C: "23505", M: "4111" }), b.ready("I"));
    expect(errors(session)).toMatchObject([{ C: "23505", M: expect.not.stringContaining("4111") as string }]);
  });
});

describe("withheld attributes", () => {
  it("fail a simple query before a row of it, and the session goes on", () => {
    const session = new Scripted(forward(WITHHELD)).open().client(f.query("select ssn; select 1")).forget();
    session.server(
      b.rowDescription(NAME, SSN),
      b.dataRow("a", "123"),
      b.notice({ M: "123" }),
      b.complete("SELECT 1"),
      b.rowDescription(NAME),
      b.dataRow("123"),
      b.complete("SELECT 1"),
      b.ready("T"),
    );
    expect(session.sent("toClient")).toBe("EZ");
    expect(session.bytes("toClient").toString()).not.toContain("123");
    expect(errors(session)[0]).toMatchObject({ S: "ERROR", C: "42501" });
    expect(session.of("delivered")).toEqual([]);
    expect(session.of("rowDescription")).toEqual([]);
    expect(session.reports()).toEqual(["failed 1 42501", "ready T"]);
    session.forget().answer = forward();
    session.client(f.query("x")).server(b.complete("X"), b.ready("T"));
    expect(session.sent("toClient")).toBe("CZ");
  });

  it("are found among many, and only at their own table and attribute", () => {
    const withheldAttributes = [...Array.from({ length: 100 }, (_, i) => `7:${i}`), "5:3"];
    for (const [column, hit] of [
      [SSN, true],
      [{ ...SSN, table: 53, attribute: 3 }, false],
      [{ ...SSN, table: 0, attribute: 0 }, false],
      [{ ...SSN, attribute: 31 }, false],
    ] as const) {
      const session = new Scripted(forward({ withheldAttributes })).open().client(f.query("q")).forget();
      session.server(b.rowDescription(NAME, column));
      expect(session.sent("toClient")).toBe(hit ? "E" : "T");
    }
  });

  it("swallow streamed rows and later COPY of the same query too", () => {
    const session = new Scripted(forward(WITHHELD)).open().client(f.query("q")).forget();
    session.server(b.rowDescription(SSN));
    const row = b.dataRow("9".repeat(200_000));
    for (let at = 0; at < row.length; at += 50_000) session.server(row.subarray(at, at + 50_000));
    session.server(
      b.complete("SELECT 1"),
      b.copyOut,
      b.copyData("9"),
      b.copyDone,
      b.complete("COPY 1"),
      b.copyIn,
    );
    expect(session.sent("toServer")).toBe("f");
    session.server(b.error(), b.ready("E"));
    expect(session.sent("toClient")).toBe("EZ");
    expect(session.reports()).toEqual(["failed 1 42501", "ready E"]);
  });

  it("fail a Describe, and everything up to Sync with it", () => {
    for (const describe of [f.describeStatement(), f.describePortal()]) {
      const session = new Scripted(forward(WITHHELD))
        .open()
        .client(f.parse("q"), f.bind(), describe, f.execute(), f.sync)
        .forget();
      const parameters = describe.equals(f.describeStatement()) ? [b.parameterDescription] : [];
      session.server(
        b.parseComplete,
        b.bindComplete,
        ...parameters,
        b.rowDescription(SSN),
        b.dataRow("123"),
        b.complete("SELECT 1"),
        b.ready(),
      );
      expect(session.sent("toClient")).toBe(parameters.length > 0 ? "12tEZ" : "12EZ");
      expect(session.reports().at(-2)).toBe("failed 3 42501");
    }
  });

  it("make an open pipeline fail on the server too, so that the transaction rolls back", () => {
    const session = new Scripted(forward(WITHHELD))
      .open()
      .client(f.parse("q"), f.bind(), f.describePortal(), f.flush)
      .forget();
    session.server(b.parseComplete, b.bindComplete, b.rowDescription(SSN));
    expect(session.sent("toServer")).toBe("P");
    session.client(f.execute(), f.sync);
    expect(session.of("ask")).toEqual([]);
    session.server(b.error(), b.ready());
    expect(session.sent("toClient")).toBe("12EZ");
    expect(session.of("failed").map(({ id }) => id)).toEqual([2]);
  });

  it("are looked for by a Describe of our own when the client executes without one", () => {
    const session = new Scripted(guardExecute(WITHHELD))
      .open()
      .client(f.parse("q"), f.bind(), f.execute(), f.sync);
    expect(session.sent("toServer")).toBe("PBDES");
    session
      .forget()
      .server(
        b.parseComplete,
        b.bindComplete,
        b.rowDescription(SSN),
        b.dataRow("123"),
        b.complete("SELECT 1"),
        b.ready(),
      );
    expect(session.sent("toClient")).toBe("12EZ");
    expect(session.reports()).toEqual(["parsed 1", "failed 3 42501", "ready I"]);
    session.forget().client(f.parse("q"), f.bind(), f.execute(), f.sync);
    session.server(
      b.parseComplete,
      b.bindComplete,
      b.rowDescription(NAME),
      b.dataRow("bob"),
      b.complete("SELECT 1"),
      b.ready(),
    );
    expect(session.sent("toClient")).toBe("12DCZ");
    expect(session.of("rowDescription")).toMatchObject([{ id: 6 }]);
  });

  it("refuse an Execute whose columns are known already before it runs", () => {
    const session = new Scripted(guardExecute(WITHHELD))
      .open()
      .client(f.parse("q", "s"), f.describeStatement("s"), f.sync);
    session.server(b.parseComplete, b.parameterDescription, b.rowDescription(SSN), b.ready());
    session.forget().client(f.bind([], "s"), f.execute(), f.sync);
    expect(session.sent("toServer")).toBe("BPS");
    session.server(b.bindComplete, b.error(), b.ready());
    expect(session.sent("toClient")).toBe("2EZ");
    expect(session.reports().slice(-2)).toEqual(["refused 3", "ready I"]);
  });

  it("need no second Describe when the client sent one", () => {
    const session = new Scripted(guardExecute(WITHHELD))
      .open()
      .client(f.parse("q", "s"), f.describeStatement("s"), f.bind([], "s"), f.execute(), f.sync);
    expect(session.sent("toServer")).toBe("PDBES");
    session.server(
      b.parseComplete,
      b.parameterDescription,
      b.rowDescription(NAME),
      b.bindComplete,
      b.dataRow("x"),
      b.complete("SELECT 1"),
      b.ready(),
    );
    session.forget().client(f.bind([], "s"), f.execute(), f.sync);
    expect(session.sent("toServer")).toBe("BES");
  });

  it("hold the Execute's own guard against what the client's Describe told under a weaker one", () => {
    const session = new Scripted(guardExecute(WITHHELD))
      .open()
      .client(f.parse("q"), f.bind(), f.describePortal(), f.execute(), f.sync)
      .forget();
    session.server(
      b.parseComplete,
      b.bindComplete,
      b.rowDescription(SSN),
      b.dataRow("123"),
      b.complete("SELECT 1"),
      b.ready(),
    );
    expect(session.sent("toClient")).toBe("12TEZ");
    expect(session.reports()).toEqual(["parsed 1", "failed 3 42501", "ready I"]);
  });

  it("do not stop what returns no rows", () => {
    const session = new Scripted(guardExecute(WITHHELD))
      .open()
      .client(f.parse("q"), f.bind(), f.execute(), f.sync)
      .forget();
    session.server(b.parseComplete, b.bindComplete, b.noData, b.complete("INSERT 0 1"), b.ready());
    expect(session.sent("toClient")).toBe("12CZ");
  });
});

describe("hidden error details", () => {
  it("keep severity and SQLSTATE of errors and notices and nothing else", () => {
    const session = new Scripted(forward({ hideErrorDetail: true })).open().client(f.query("q")).forget();
    const secret = {
      M: "invalid input: 123-45",
      D: "Failing row contains (123-45)",
      H: "h",
      W: "w",
      P: "7",
      q: "select 123-45",
      n: "c",
      R: "f",
    };
    session.server(b.notice(secret), b.error({ C: "22P02", ...secret }), b.ready("E"));
    expect(session.bytes("toClient").toString()).not.toContain("123-45");
    expect(Object.keys(errors(session)[0] ?? {}).sort()).toEqual(["C", "M", "S", "V"]);
    expect(errors(session)[0]).toMatchObject({
      S: "ERROR",
      C: "22P02",
      M: expect.stringContaining("details are withheld"),
    });
    expect(session.of("failed")[0]?.message).not.toContain("123-45");
    session.forget().server(b.notice({ M: "free again" }));
    expect(session.bytes("toClient").toString()).toContain("free again");
  });

  it("cover errors at Sync and of a FATAL", () => {
    const session = new Scripted(forward({ hideErrorDetail: true }))
      .open()
      .client(f.parse("q"), f.bind(), f.execute(), f.sync)
      .forget();
    session.server(
      b.parseComplete,
      b.bindComplete,
      b.complete("INSERT 0 1"),
      b.error({ D: "Key (ssn)=(123)" }),
      b.ready(),
    );
    expect(session.bytes("toClient").toString()).not.toContain("123");
    session.client(f.query("q")).server(b.error({ V: "FATAL", S: "FATAL", M: "123" }));
    expect(session.bytes("toClient").toString()).not.toContain("123");
  });
});

describe("inspected rows", () => {
  const inspect: Answer = forward({ inspectRows: true });

  it("are handed over whole, in order, and not sent", () => {
    const session = new Scripted(inspect).open().client(f.query("q")).forget();
    const rows = [b.dataRow("a"), b.dataRow("b".repeat(100_000)), b.dataRow("c")];
    const answer = Buffer.concat([b.rowDescription(NAME), ...rows, b.complete("SELECT 3"), b.ready()]);
    for (let at = 0; at < answer.length; at += 30_000) session.server(answer.subarray(at, at + 30_000));
    expect(Buffer.concat(session.of("rows").map(({ bytes }) => bytes))).toEqual(Buffer.concat(rows));
    for (const part of session.of("rows")) {
      expect(() => split(part.bytes)).not.toThrow();
      expect(part).toMatchObject({ id: 1, copy: false, fields: [{ name: "name" }] });
    }
    expect(session.sent("toClient")).toBe("TCZ");
    const kinds = session.effects
      .map(({ kind }) => kind)
      .filter((kind) => kind === "rows" || kind === "toClient");
    expect(kinds[0]).toBe("toClient");
    expect(kinds.at(-1)).toBe("toClient");
  });

  it("come with the formats of the portal, which we describe ourselves if need be", () => {
    const session = new Scripted(inspect)
      .open()
      .client(f.parse("q", "s"), f.describeStatement("s"), f.bind([], "s"), f.execute(), f.sync);
    expect(session.sent("toServer")).toBe("PDBDES");
    session.server(
      b.parseComplete,
      b.parameterDescription,
      b.rowDescription(NAME),
      b.bindComplete,
      b.rowDescription({ ...NAME, format: 1 }),
      b.dataRow("x"),
      b.complete("SELECT 1"),
      b.ready(),
    );
    expect(session.of("rows")[0]?.fields?.[0]?.format).toBe(1);
  });

  it("include COPY out", () => {
    const session = new Scripted(inspect).open().client(f.query("copy")).forget();
    session.server(b.copyOut, b.copyData("1\n"), b.copyDone, b.complete("COPY 1"), b.ready());
    expect(session.of("rows")).toMatchObject([
      { id: 1, copy: true, bytes: new Uint8Array(b.copyData("1\n")) },
    ]);
    expect(session.sent("toClient")).toBe("HcCZ");
  });

  it("fail the statement when one is too long to be held, without holding it", () => {
    const session = new Scripted(inspect).open().client(f.query("q")).server(b.rowDescription(NAME)).forget();
    const row = b.dataRow("x".repeat(LIMITS.postgres.held + 1));
    for (let at = 0; at < row.length; at += 1 << 20) {
      session.server(row.subarray(at, at + (1 << 20)));
      expect(session.state.server.buffered).toBe(0);
    }
    session.server(b.dataRow("y"), b.complete("SELECT 2"), b.ready());
    expect(session.sent("toClient")).toBe("EZ");
    expect(session.reports()).toEqual(["failed 1 54000", "ready I"]);
    expect(session.of("rows")).toEqual([]);
  });
});
