/**
 * What names stand for, against a real PostgreSQL: the server's own rules, and then random sessions in which
 * every use that the store knows the meaning of must run exactly that.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Postgres, generatePassword, startPostgres } from "../../../../scripts/lib/postgres.ts";
import {
  type Change as NameChange,
  change,
  confirm,
  lookup,
  newNames,
  withdraw,
} from "../../../../wire/postgres/names.ts";
import { LIMITS } from "../../../../wire/limits.ts";
import { analyse } from "../../../../worker/policy/sql/analyse.ts";
import {
  type Change,
  type Resolution,
  changesOf,
  checkRoom,
  completed,
  ended,
  forwarded,
  nameKey,
  newPreparedState,
  parseForwarded,
  parsed,
  portalBound,
  resolve,
  resolveBind,
  statementClosed,
  transactionEnded,
} from "../../../../worker/policy/sql/prepared.ts";
import { loadSqlParser } from "../../../support/sql-parser.ts";
import {
  type ProtocolClient,
  commandTag,
  encode,
  errorMessage,
  firstColumn,
  openProtocolClient,
} from "./fixtures/protocol-client.ts";

const parser = await loadSqlParser();

let directory: string;
let server: Postgres;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-prepared-"));
  server = await startPostgres({
    dataDirectory: join(directory, "data"),
    superuserPassword: generatePassword(),
    hba: ["host all all 127.0.0.1/32 trust"],
    unsafe: true,
  });
});

afterAll(async () => {
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Sends messages and gives the answers up to as many ReadyForQuery as there are, as short words. */
async function run(client: ProtocolClient, ready: number, ...messages: readonly Buffer[]): Promise<string[]> {
  client.send(...messages);
  const words: string[] = [];
  for (let left = ready; left > 0;) {
    const answer = await client.next();
    if (answer.type === "Z") left--;
    else if (answer.type === "D") words.push(`row ${firstColumn(answer)}`);
    else if (answer.type === "E") words.push(`error ${errorMessage(answer)}`);
    else if (answer.type === "C") words.push(commandTag(answer));
  }
  return words;
}

async function withClient(work: (client: ProtocolClient) => Promise<void>): Promise<void> {
  const client = await openProtocolClient(server.port);
  try {
    await work(client);
  } finally {
    client.end();
  }
}

describe("PostgreSQL itself, as the store takes it to be", () => {
  it("keeps what was prepared and deallocated in a transaction that is rolled back", () =>
    withClient(async (client) => {
      await run(
        client,
        1,
        encode.query("prepare old as select 0; begin; prepare p as select 1; deallocate old; rollback"),
      );
      expect(await run(client, 1, encode.query("execute p"))).toEqual(["row 1", "SELECT 1"]);
      expect((await run(client, 1, encode.query("execute old")))[0]).toContain("does not exist");
    }));

  it("keeps what was prepared by a Query message that fails after it", () =>
    withClient(async (client) => {
      await run(client, 1, encode.query("prepare p as select 1; select 1/0"));
      expect(await run(client, 1, encode.query("execute p"))).toContain("row 1");
    }));

  it("leaves the older statement when its name is prepared again", () =>
    withClient(async (client) => {
      await run(client, 1, encode.query("prepare p as select 1"));
      expect((await run(client, 1, encode.query("prepare p as select 2")))[0]).toContain("already exists");
      expect((await run(client, 1, encode.parse("p", "select 3"), encode.sync()))[0]).toContain(
        "already exists",
      );
      expect(await run(client, 1, encode.query("execute p"))).toContain("row 1");
    }));

  it("has one namespace for SQL and protocol, exact in the protocol and folded in SQL", () =>
    withClient(async (client) => {
      await run(client, 1, encode.parse("Name", "select 1"), encode.sync());
      expect(await run(client, 1, encode.query('execute "Name"'))).toContain("row 1");
      expect((await run(client, 1, encode.query("execute Name")))[0]).toContain("does not exist");
      await run(client, 1, encode.query("prepare NAME as select 2"));
      expect(await run(client, 1, encode.bind("", "name"), encode.execute(""), encode.sync())).toContain(
        "row 2",
      );
      await run(client, 1, encode.closeStatement("name"), encode.sync());
      expect((await run(client, 1, encode.query("execute name")))[0]).toContain("does not exist");
      await run(client, 1, encode.query("deallocate all"));
      expect((await run(client, 1, encode.bind("", "Name"), encode.sync()))[0]).toContain("does not exist");
    }));

  it.each([
    ["a".repeat(70), "a".repeat(63)],
    [`${"a".repeat(61)}éé`, `${"a".repeat(61)}éx`],
    [`${"a".repeat(62)}éx`, `${"a".repeat(62)}éy`],
    [`${"a".repeat(62)}é`, `${"a".repeat(62)}ê`],
  ])("tells names apart by their first 63 bytes: %s", (first, second) =>
    withClient(async (client) => {
      await run(client, 1, encode.parse(first, "select 1"), encode.sync());
      const same = (await run(client, 1, encode.parse(second, "select 2"), encode.sync()))
        .join()
        .includes("already exists");
      expect(nameKey(first) === nameKey(second)).toBe(same);
    }),
  );

  it("drops the unnamed statement at each Query and at a Parse of it that fails", () =>
    withClient(async (client) => {
      const use = [encode.bind("", ""), encode.execute(""), encode.sync()];
      await run(client, 1, encode.parse("", "select 1"), encode.sync());
      expect(await run(client, 1, ...use)).toContain("row 1");
      await run(client, 1, encode.parse("", "selec 2"), encode.sync());
      expect((await run(client, 1, ...use))[0]).toContain("does not exist");
      await run(client, 1, encode.parse("", "select 3"), encode.sync());
      await run(client, 1, encode.query("select 1"));
      expect((await run(client, 1, ...use))[0]).toContain("does not exist");
    }));

  it("has one namespace for cursors and portals", () =>
    withClient(async (client) => {
      await run(client, 1, encode.query("begin; declare c cursor for select 1"));
      expect(await run(client, 1, encode.execute("c"), encode.sync())).toContain("row 1");
      expect(
        (await run(client, 1, encode.parse("", "select 2"), encode.bind("c", ""), encode.sync()))[0],
      ).toContain("already exists");
    }));
});

const NAMES = ["a", "a", "a", "", "A", "b"] as const;

type Op =
  | { readonly do: "parse"; readonly name: string; readonly ok: boolean }
  | { readonly do: "close" | "use"; readonly name: string }
  | { readonly do: "fail" | "sync" | "wait" }
  | { readonly do: "query"; readonly statements: readonly string[] };

const name = fc.constantFrom(...NAMES);
const sqlName = fc.constantFrom("a", "a", '"A"', "A", "b");
const sqlStatement = fc.oneof(
  { weight: 4, arbitrary: sqlName.map((target) => `prepare ${target} as select #`) },
  { weight: 2, arbitrary: sqlName.map((target) => `deallocate ${target}`) },
  { weight: 3, arbitrary: sqlName.map((target) => `execute ${target}`) },
  {
    weight: 2,
    arbitrary: fc.constantFrom("deallocate all", "discard all", "select 1/0", "begin", "rollback", "commit"),
  },
);
const op: fc.Arbitrary<Op> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("parse" as const),
      name,
      ok: fc.constantFrom(true, true, true, false),
    }),
  },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("use" as const), name }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("close" as const), name }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("fail" as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("sync" as const) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("wait" as const) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("query" as const),
      statements: fc.array(sqlStatement, { minLength: 1, maxLength: 3 }),
    }),
  },
);

type Expectation = {
  readonly kind: "parse" | "bind" | "execute" | "close" | "sync" | "query";
  readonly id: number;
  readonly name: string;
  readonly change?: NameChange<{ id: number }>;
  /** What each EXECUTE of a Query, or this Execute, has to return. */
  readonly rows: string[];
};

/** A gateway's session in small: PostgresMachine's names, the store, and a real server that is not waited for. */
class Session {
  readonly #client: ProtocolClient;
  readonly #store = newPreparedState<string>();
  readonly #names = newNames<{ id: number }>();
  #owed: Expectation[] = [];
  #id = 0;
  #segment = 1;
  #openSegment = false;
  known = 0;
  ran = 0;
  /** Each row that came: which statement the store took the name for, and which one ran. */
  readonly rows: [taken: string | undefined, ran: string][] = [];

  constructor(client: ProtocolClient) {
    this.#client = client;
  }

  async do(op: Op): Promise<void> {
    switch (op.do) {
      case "parse": {
        const id = ++this.#id;
        const next = change(this.#names, op.name, this.#segment, { id });
        parseForwarded(this.#store, id, op.name, String(id));
        return this.#send(
          { kind: "parse", id, name: op.name, change: next, rows: [] },
          encode.parse(op.name, op.ok ? `select ${id}` : "select 1/"),
        );
      }
      case "close": {
        const next = change<{ id: number }>(this.#names, op.name, this.#segment, undefined);
        return this.#send(
          { kind: "close", id: 0, name: op.name, change: next, rows: [] },
          encode.closeStatement(op.name),
        );
      }
      case "use": {
        const found = lookup(this.#names, op.name, this.#segment);
        if (!found.known) return;
        const resolution = resolveBind(this.#store, op.name, found.value?.id);
        if (resolution.state !== "known") return;
        this.known++;
        this.#send({ kind: "bind", id: ++this.#id, name: "", rows: [] }, encode.bind("", op.name));
        return this.#send(
          { kind: "execute", id: ++this.#id, name: "", rows: [resolution.value] },
          encode.execute(""),
        );
      }
      case "fail":
        return this.#send(
          { kind: "bind", id: ++this.#id, name: "", rows: [] },
          encode.bind("", "no such statement"),
        );
      case "sync":
        return this.#sync();
      case "query":
        // A Query inside an open segment is legal, but clients end the segment first.
        if (this.#openSegment) this.#sync();
        return this.#query(op.statements);
      case "wait":
        if (this.#openSegment) this.#sync();
        return this.settle();
    }
  }

  #sync(): void {
    this.#send({ kind: "sync", id: 0, name: "", rows: [] }, encode.sync());
    this.#segment++;
    this.#openSegment = false;
  }

  #send(expectation: Expectation, bytes: Buffer): void {
    this.#owed.push(expectation);
    this.#openSegment = expectation.kind !== "query";
    this.#client.send(bytes);
  }

  #query(statements: readonly string[]): void {
    const id = ++this.#id;
    const rows: string[] = [];
    const texts: string[] = [];
    let earlier: Change<string>[] = [];
    for (const [index, template] of statements.entries()) {
      const value = `${id}${index}`;
      const sql = template.replace("#", value);
      const tree = parser.parse(sql);
      const analysed = tree.ok && tree.value[0] ? analyse(tree.value[0]) : undefined;
      if (analysed?.ok !== true) throw new Error(sql);
      if (analysed.value.execute !== undefined) {
        const resolution: Resolution<string> = resolve(
          this.#store,
          "statements",
          analysed.value.execute.name,
          earlier,
        );
        // Refused: nothing of the message is sent.
        if (resolution.state !== "known") return;
        rows.push(resolution.value);
      }
      texts.push(sql);
      earlier = [...earlier, ...changesOf([analysed.value], () => value).map((made) => ({ ...made, index }))];
    }
    this.known += rows.length;
    forwarded(this.#store, id, earlier);
    this.#send({ kind: "query", id, name: "", rows }, encode.query(texts.join(";")));
  }

  /** Takes all answers that are owed, as the machine would, and checks every row that came. */
  async settle(): Promise<void> {
    const owed = this.#owed;
    this.#owed = [];
    for (let at = 0; at < owed.length; at++) {
      const expectation = owed[at];
      if (expectation === undefined) break;
      if (!(await this.#answer(expectation))) {
        // The server skips the rest of the segment.
        while (owed[at + 1] !== undefined && owed[at + 1]?.kind !== "sync") this.#dropped(owed[++at]);
      }
    }
  }

  #dropped(expectation: Expectation | undefined, failed = false): void {
    if (expectation === undefined) return;
    if (expectation.change !== undefined) withdraw(this.#names, expectation.change);
    if (expectation.id !== 0)
      ended(this.#store, expectation.id, failed && expectation.kind === "parse" && expectation.name === "");
  }

  async #answer(expectation: Expectation): Promise<boolean> {
    const rows = [...expectation.rows];
    for (;;) {
      const answer = await this.#client.next();
      switch (answer.type) {
        case "1":
        case "3":
          if (expectation.change !== undefined)
            confirm(this.#names, expectation.change, LIMITS.postgres.prepared, () => {});
          if (expectation.kind === "parse") parsed(this.#store, expectation.id);
          else statementClosed(this.#store, expectation.name);
          return true;
        case "2":
          return true;
        case "T":
        case "I":
          break;
        case "D":
          this.ran++;
          this.rows.push([rows.shift(), firstColumn(answer)]);
          break;
        case "C":
          if (expectation.kind === "execute") return true;
          completed(this.#store, expectation.id, commandTag(answer));
          break;
        case "E":
          this.#dropped(expectation, true);
          if (expectation.kind !== "query") return false;
          break;
        case "Z":
          if (expectation.kind === "query") ended(this.#store, expectation.id);
          if (answer.body.toString() === "I") transactionEnded(this.#store);
          return true;
        default:
          throw new Error(`unexpected answer ${answer.type}`);
      }
    }
  }
}

describe("the store", () => {
  it("refuses more names than it keeps, as it forgets none", () => {
    const state = newPreparedState<number>();
    for (let id = 1; id <= LIMITS.postgres.prepared; id++) {
      expect(checkRoom(state, 1).ok).toBe(true);
      parseForwarded(state, id, `p${id}`, id);
      parsed(state, id);
    }
    expect(checkRoom(state, 1)).toMatchObject({ ok: false, error: { code: "over_limit" } });
    expect(resolve(state, "statements", "p1")).toEqual({ state: "known", value: 1 });
    statementClosed(state, "p1");
    expect(checkRoom(state, 1).ok).toBe(true);
  });

  it("knows a cursor from its DECLARE to its CLOSE, or to the end of its transaction", () => {
    const state = newPreparedState<string>();
    const declare = (id: number, name: string, hold: boolean): void => {
      const made = { space: "cursors", op: "create", name, index: 0, value: name, hold } as const;
      forwarded(state, id, [made]);
      completed(state, id, "DECLARE CURSOR");
    };
    declare(1, "c", false);
    declare(2, "held", true);
    declare(3, "closed", true);
    forwarded(state, 4, [{ space: "cursors", op: "remove", name: "closed", index: 0 }]);
    expect(resolve(state, "cursors", "closed")).toEqual({ state: "unsettled" });
    completed(state, 4, "CLOSE CURSOR");
    expect(resolve(state, "cursors", "closed")).toEqual({ state: "unknown" });
    expect(resolve(state, "cursors", "c")).toEqual({ state: "known", value: "c" });
    expect(resolve(state, "statements", "c")).toEqual({ state: "unknown" });
    transactionEnded(state);
    expect(resolve(state, "cursors", "c")).toEqual({ state: "unknown" });
    expect(resolve(state, "cursors", "held")).toEqual({ state: "known", value: "held" });
    portalBound(state, "held");
    expect(resolve(state, "cursors", "held")).toEqual({ state: "unknown" });
  });

  it("takes nothing for granted when the server's tag is not the one of the statement", () => {
    const state = newPreparedState<number>();
    forwarded(state, 1, [{ space: "statements", op: "create", name: "p", index: 0, value: 1 }]);
    completed(state, 1, "SELECT 1");
    expect(resolve(state, "statements", "p")).toEqual({ state: "unknown" });
  });

  it("takes the statement prepared earlier in the same message", () => {
    const state = newPreparedState<number>();
    parseForwarded(state, 1, "p", 1);
    parsed(state, 1);
    const earlier = [
      { space: "statements", op: "remove", name: undefined, index: 0 },
      { space: "statements", op: "create", name: "p", index: 1, value: 2 },
    ] as const;
    expect(resolve(state, "statements", "p", earlier.slice(0, 1))).toEqual({ state: "unknown" });
    expect(resolve(state, "statements", "p", earlier)).toEqual({ state: "known", value: 2 });
  });

  it("never takes a name for another statement than the server does, however a session is pipelined", async () => {
    let known = 0;
    let ran = 0;
    const numRuns = Number(process.env["PREPARED_RUNS"] ?? 1_000);
    let client = await openProtocolClient(server.port);
    await fc.assert(
      fc.asyncProperty(fc.array(op, { minLength: 8, maxLength: 30, size: "max" }), async (ops) => {
        const session = new Session(client);
        try {
          for (const each of ops) await session.do(each);
          await session.do({ do: "wait" });
          expect(session.rows.map(([, ran]) => ran)).toEqual(session.rows.map(([taken]) => taken));
          await run(client, 2, encode.query("rollback"), encode.query("discard all"));
        } catch (error) {
          client.end();
          client = await openProtocolClient(server.port);
          throw error;
        }
        known += session.known;
        ran += session.ran;
      }),
      { numRuns },
    );
    client.end();
    expect(known).toBeGreaterThan(numRuns);
    expect(ran).toBeGreaterThan(numRuns / 2);
  }, 120_000);
});
