/** The machine between raw messages and real servers: refusals in their place, and no difference otherwise. */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPEN_GUARD } from "../../../wire/postgres/machine-types.ts";
import { refusal } from "../../../wire/refusals.ts";
import { type Bridge, type Decide, startBridge } from "./support/bridge.ts";
import { f } from "./support/messages.ts";
import { type PostgresServer, postgresAvailable, startPostgres } from "./support/postgres-server.ts";
import { RawClient } from "./support/raw-client.ts";

const REFUSAL = refusal("denied_by_policy", "refused", { hint: "ask" });

/** Refuses SQL with "refused" in it, Binds with a parameter "refused" and Executes that fetch 77 rows. */
const decide: Decide = (ask) => {
  const refused =
    ("sql" in ask && ask.sql.includes("refused")) ||
    (ask.kind === "bind" &&
      ask.parameters.values.some((value) => value !== null && Buffer.from(value).toString() === "refused")) ||
    (ask.kind === "execute" && ask.maxRows === 77);
  return refused
    ? { id: ask.id, effect: "refuse", refusal: REFUSAL }
    : { id: ask.id, effect: "forward", guard: OPEN_GUARD };
};

describe.each((["18", "15"] as const).filter(postgresAvailable))("PostgreSQL %s", (version) => {
  let server: PostgresServer;
  let bridge: Bridge;
  let client: RawClient;

  beforeAll(async () => {
    server = await startPostgres(version);
    bridge = await startBridge({ upstreamPort: server.port, decide });
    client = await RawClient.open(bridge.port);
    await client.run(f.query("create table t (a int primary key, b text)"));
  });

  afterAll(async () => {
    client?.close();
    await bridge?.close();
    await server?.stop();
  });

  const insert = (value: number) => [f.parse(`insert into t values (${value})`), f.bind(), f.execute()];
  const count = async () =>
    (await client.run(f.query("select count(*) from t"))).find((word) => word.startsWith("D"));

  it("a refused statement in a transaction fails it", async () => {
    expect(await client.run(f.query("begin"))).toEqual(["C BEGIN", "Z T"]);
    expect(await client.run(f.query("refused"))).toEqual(["E 42501", "Z E"]);
    expect(await client.run(f.query("select 1"))).toEqual(["E 25P02", "Z E"]);
    expect(await client.run(f.query("refused"))).toEqual(["E 42501", "Z E"]);
    expect(await client.run(f.parse("refused"), f.bind(), f.execute(), f.sync)).toEqual(["E 42501", "Z E"]);
    expect(await client.run(f.query("rollback"))).toEqual(["C ROLLBACK", "Z I"]);
    expect(await client.run(f.query("refused"))).toEqual(["E 42501", "Z I"]);
  });

  it.each([
    ["Parse", [f.parse("refused"), f.bind(), f.execute()], []],
    ["Bind", [f.parse("select $1::text"), f.bind(["refused"]), f.execute()], ["1"]],
    ["Execute", [f.parse("select 1"), f.bind(), f.execute(77)], ["1", "2"]],
    ["Query", [f.query("refused")], []],
  ])("a refused %s rolls back what its pipeline did before", async (kind, messages, before) => {
    const words = await client.run(...insert(1), ...messages, ...(kind === "Query" ? [] : [f.sync]));
    expect(words).toEqual(["1", "2", "C INSERT 0 1", ...before, "E 42501", "Z I"]);
    // A Query has its own ReadyForQuery, so the pipeline's Sync comes on top.
    await client.run(...(kind === "Query" ? [f.sync] : [f.query("")]));
    expect(await count()).toBe("D 0");
  });

  it("a refused Bind or Execute leaves prepared statements and portals of the transaction's savepoint alone", async () => {
    await client.run(f.query("begin"));
    await client.run(f.parse("select 'unnamed' || $1"), f.parse("select 'named'", "n"), f.sync);
    await client.run(f.bind([], "n", "p"), f.sync);
    await client.run(f.query("savepoint s"));
    // The simple query dropped the unnamed statement, as on a direct connection.
    await client.run(f.parse("select 'unnamed' || $1"), f.sync);
    expect(await client.run(f.bind(["refused"]), f.sync)).toEqual(["E 42501", "Z E"]);
    await client.run(f.parse("rollback to s", "r"), f.sync);
    await client.run(f.query("rollback to s"));
    expect(await client.run(f.execute(0, "p"), f.sync)).toEqual(["D named", "C SELECT 1", "Z T"]);
    await client.run(f.query("rollback"));
    await client.run(f.parse("select 'unnamed' || $1"), f.sync);
    expect(await client.run(f.bind(["refused"]), f.sync)).toEqual(["E 42501", "Z I"]);
    expect(await client.run(f.bind(["!"]), f.execute(), f.sync)).toEqual([
      "2",
      "D unnamed!",
      "C SELECT 1",
      "Z I",
    ]);
    await client.run(f.closeStatement("n"), f.sync);
  });

  it("an error from upstream puts a later refusal of the same pipeline aside", async () => {
    expect(
      await client.run(f.parse("select 1/0"), f.bind(), f.execute(), f.parse("refused"), f.sync),
    ).toEqual(["1", "E 22012", "Z I"]);
  });

  it("FunctionCall and a statement of 300 KB are refused and the session goes on", async () => {
    expect(await client.run(f.functionCall)).toEqual(["E 0A000", "Z I"]);
    expect(await client.run(f.query(`select '${"x".repeat(300_000)}'`))).toEqual(["E 54000", "Z I"]);
    expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
  });

  it("a change of standard_conforming_strings or client_encoding ends the session", async () => {
    for (const set of ["set standard_conforming_strings = off", "set client_encoding = latin1"]) {
      const victim = await RawClient.open(bridge.port);
      victim.send(f.query(set), f.query("select 1"));
      const words = await victim.words("Z", 99);
      expect(words.at(-1)).toBe("E 08P01");
      expect(words.filter((word) => word.startsWith("D"))).toEqual([]);
    }
  });

  it("withheld columns reach nobody, and an open pipeline that read them rolls back", async () => {
    await client.run(f.query("create table m (a int, secret text); insert into m values (1, 'raw')"));
    const [row] = (await client.run(f.query("select 'm'::regclass::oid"))).filter((word) =>
      word.startsWith("D"),
    );
    const guard = { ...OPEN_GUARD, withheldAttributes: [`${row?.slice(2)}:2`] };
    const guarded = await startBridge({
      upstreamPort: server.port,
      decide: ({ id }) => ({ id, effect: "forward", guard }),
    });
    const masked = await RawClient.open(guarded.port);
    const secret = [f.parse("select secret from m"), f.bind()];
    expect(await masked.run(f.query("select a from m"))).toEqual(["T", "D 1", "C SELECT 1", "Z I"]);
    expect(await masked.run(f.query("select * from m; select 1"))).toEqual(["E 42501", "Z I"]);
    expect(await masked.run(...secret, f.execute(), f.sync)).toEqual(["1", "2", "E 42501", "Z I"]);
    expect(await masked.run(...secret, f.describePortal(), f.execute(), f.sync)).toEqual([
      "1",
      "2",
      "E 42501",
      "Z I",
    ]);
    expect(await masked.run(f.parse("select a from m"), f.bind(), f.execute(), f.sync)).toEqual([
      "1",
      "2",
      "D 1",
      "C SELECT 1",
      "Z I",
    ]);
    // In an open pipeline the insert goes with it.
    masked.send(f.parse("insert into m values (2)"), f.bind(), f.execute(), ...secret, f.execute(), f.flush);
    expect(await masked.words("E")).toEqual(["1", "2", "C INSERT 0 1", "1", "2", "E 42501"]);
    expect(await masked.run(f.execute(), f.sync)).toEqual(["Z I"]);
    expect(await masked.run(f.query("select count(*) from m"))).toContain("D 1");
    // Inside a transaction the status is the server's own.
    expect(await masked.run(f.query("begin"))).toEqual(["C BEGIN", "Z T"]);
    expect(await masked.run(f.query("select secret from m"))).toEqual(["E 42501", "Z T"]);
    expect(await masked.run(f.query("copy (select a from m) to stdout"))).toEqual([
      "H",
      "d 1\n",
      "c",
      "C COPY 1",
      "Z T",
    ]);
    masked.close();
    await guarded.close();
  });

  describe("answers as if direct", () => {
    /** Both get the same bytes at once; whatever state they are in, it ends with a query that tells so. */
    const compare = async (...messages: Buffer[]) => {
      const end = [f.copyFail("end"), f.sync, f.query("rollback"), f.query("select 'the end'")];
      const answers = await Promise.all(
        [server.port, bridge.port].map(async (port) => {
          const side = await RawClient.open(port);
          side.send(...messages, ...end);
          const words: string[] = [];
          for (;;) {
            words.push(...(await side.words("Z")));
            if (!words.some((word) => word.endsWith("the end")) && words.at(-1)?.startsWith("Z")) continue;
            side.close();
            return words;
          }
        }),
      );
      return { direct: answers[0], bridged: answers[1] };
    };

    beforeAll(async () => {
      const schema = `create table child (a int references t deferrable initially deferred);
        create table trap (a int); create function trap() returns trigger language plpgsql as $$ begin raise exception 'trapped'; end $$;
        create trigger trap before insert on trap for each statement execute function trap()`;
      await client.run(f.query(schema));
    });

    const copy = (sql: string) => [f.parse(sql), f.bind(), f.execute()];
    const rows = [f.copyData("7\tx\n"), f.copyData("8\ty\n")];

    const CONVERSATIONS: Readonly<Record<string, Buffer[]>> = {
      "several statements": [f.query("select 1; select 2 where false; begin; ; commit")],
      "empty queries": [
        f.query(""),
        f.query(";"),
        f.parse(""),
        f.bind(),
        f.describePortal(),
        f.execute(),
        f.sync,
      ],
      "an error among several statements": [f.query("select 1; select 1/0; select 2")],
      "portals with row limits": [
        f.query("begin"),
        f.parse("select generate_series(1, 5)"),
        f.bind(),
        f.describePortal(),
        f.execute(2),
        f.flush,
        f.execute(2),
        f.execute(2),
        f.execute(2),
        f.sync,
      ],
      describing: [
        f.parse("select $1::int", "d"),
        f.describeStatement("d"),
        f.bind(["1"], "d"),
        f.describePortal(),
        f.closePortal(),
        f.closeStatement("d"),
        f.describeStatement("d"),
        f.sync,
      ],
      "closing what is not there": [f.closeStatement("nope"), f.closePortal("nope"), f.sync],
      "errors to Sync with a Query in between": [
        f.parse("nonsense"),
        f.bind(),
        f.query("select 1"),
        f.execute(),
        f.sync,
        f.query("select 2"),
      ],
      "simple among extended": [f.parse("select 1"), f.query("select 2"), f.bind(), f.execute(), f.sync],
      "a deferred constraint at Sync": [
        f.parse("insert into child values (99)"),
        f.bind(),
        f.execute(),
        f.sync,
      ],
      "a deferred constraint at a Query's end": [
        f.parse("insert into child values (99)"),
        f.bind(),
        f.execute(),
        f.query("select 1"),
      ],
      "COPY out": [
        f.query("copy (values (1, 'a'), (2, 'b')) to stdout; select 1"),
        ...copy("copy (select 1) to stdout"),
        f.sync,
      ],
      "COPY in": [f.query("begin; copy t from stdin"), ...rows, f.copyDone, f.query("rollback")],
      "COPY in twice in a Query": [
        f.query("begin; copy t from stdin; copy t from stdin"),
        f.copyData("7\tx\n"),
        f.copyDone,
        f.copyData("8\tx\n"),
        f.copyDone,
        f.query("rollback"),
      ],
      "COPY in, failed by the client": [
        f.query("copy t from stdin"),
        ...rows,
        f.copyFail("no"),
        f.query("select 1"),
      ],
      "COPY in, bad data": [
        f.query("copy t from stdin"),
        f.copyData("bad\n"),
        ...rows,
        f.copyDone,
        f.query("select 1"),
      ],
      "extended COPY in": [
        f.query("begin"),
        ...copy("copy t from stdin"),
        ...rows,
        f.copyDone,
        f.sync,
        f.query("rollback"),
      ],
      "extended COPY in with an early Sync": [
        f.query("begin"),
        ...copy("copy t from stdin"),
        f.sync,
        f.flush,
        ...rows,
        f.copyDone,
        f.sync,
        f.query("rollback"),
      ],
      "extended COPY in, bad data": [
        ...copy("copy t from stdin"),
        f.copyData("bad\n"),
        ...rows,
        f.copyDone,
        f.parse("x"),
        f.sync,
      ],
      "COPY that fails before it reads": [f.query("copy trap from stdin"), f.query("select 1")],
      "extended COPY that fails before it reads": [
        ...copy("copy trap from stdin"),
        f.sync,
        f.query("select 1"),
      ],
      "COPY data outside COPY": [...rows, f.copyDone, f.copyFail("x"), f.query("select 1"), ...rows],
      "COPY data for what is no COPY": [
        f.query("select 1"),
        ...rows,
        f.copyDone,
        ...copy("select 2"),
        ...rows,
        f.copyDone,
        f.sync,
      ],
      "names given twice": [
        f.query("begin"),
        f.parse("select 'old'", "n"),
        f.sync,
        f.parse("select 'new'", "n"),
        f.sync,
        f.query("rollback"),
        f.bind([], "n"),
        f.execute(),
        f.sync,
        f.closeStatement("n"),
        f.sync,
      ],
      "NUL and odd text": [f.query("select E'\\u00e9', '日本', U&'\\0041'"), f.query("select E'a\\000b'")],
      notices: [f.query("do $$ begin raise notice 'n'; raise warning 'w'; end $$; listen c; unlisten c")],
      "cursors by SQL": [
        f.query("begin; declare c cursor for select generate_series(1, 3)"),
        f.describePortal("c"),
        f.execute(2, "c"),
        f.execute(2, "c"),
        f.sync,
      ],
      "statements by SQL": [
        f.query("prepare q as select 5"),
        f.describeStatement("q"),
        f.bind([], "q"),
        f.execute(),
        f.sync,
        f.query("deallocate q"),
      ],
    };

    it.each(Object.entries(CONVERSATIONS))("%s", async (_, messages) => {
      const { direct, bridged } = await compare(...messages);
      expect(bridged).toEqual(direct);
      expect(bridged?.at(-1)).toBe("Z I");
    });

    const pool = fc.constantFrom<Buffer[]>(
      [f.query("select 1")],
      [f.query("select 1/0")],
      [f.query("begin")],
      [f.query("rollback")],
      [f.query("savepoint s")],
      [f.query("rollback to s")],
      [f.query("copy (select 1) to stdout")],
      [f.query("copy child from stdin"), f.copyData("1\n"), f.copyFail("no")],
      [...copy("copy child from stdin"), f.sync, f.copyFail("no"), f.sync],
      [f.parse("select 1")],
      [f.parse("select 2", "s")],
      [f.parse("select generate_series(1, 4)", "g")],
      [f.parse("nonsense")],
      [f.bind()],
      [f.bind([], "s")],
      [f.bind([], "g", "p")],
      [f.bind(["x"], "s")],
      [f.describePortal()],
      [f.describePortal("p")],
      [f.describeStatement("s")],
      [f.execute()],
      [f.execute(2, "p")],
      [f.closeStatement("s")],
      [f.closeStatement("g")],
      [f.closePortal("p")],
      [f.flush],
      [f.sync],
      [f.sync],
      [f.copyData("x")],
      [f.copyDone],
    );

    it("any pipeline of messages", { timeout: 60_000 }, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(pool, { minLength: 1, maxLength: 25 }), async (messages) => {
          const { direct, bridged } = await compare(...messages.flat());
          expect(bridged).toEqual(direct);
        }),
        { numRuns: 150 },
      );
    });
  });
});
