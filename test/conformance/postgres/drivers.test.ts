/** Ordinary drivers over the gateway as somebody who may do all: statement by statement as if connected directly. */
import pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type OpenPort, clientOptions, openPort } from "../../support/native.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";

let stack: Stack;
let port: OpenPort;
let directUrl: string;
let gatewayUrl: string;

beforeAll(async () => {
  stack = sharedStack();
  port = await openPort(stack, "reviewer-a", "scratch-db");
  directUrl = stack.shopUrl.replace(/shop$/, "scratch");
  gatewayUrl = `postgres://${encodeURIComponent(port.user)}@${port.host}:${port.port}/${port.database}`;
});
afterAll(() => port?.close());

/** What differs between two connections to the same server, whoever is in between. */
const STABLE = (text: string): string =>
  text.replaceAll(/\bpg_temp_\d+\b/g, "pg_temp").replaceAll(/process ID \d+/g, "process ID");

function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { notAnError: String(error) };
  // Every field of ErrorResponse that node-postgres knows, the server's source lines too.
  const fields = { ...error } as Record<string, unknown>;
  delete fields["query"];
  // Length of the whole message.
  delete fields["length"];
  // What does not parse, or names what was never prepared, fails in the gateway: there the lines are not the server's.
  if (["scanner_yyerror", "FetchPreparedStatement"].includes(String(fields["routine"]))) {
    for (const name of ["file", "line", "routine"]) delete fields[name];
  }
  if (fields["hint"] === "prepare it in this session") delete fields["hint"];
  return { message: error.message, name: error.name, ...fields };
}

function describeResult(result: pg.QueryResult | pg.QueryResult[]): unknown {
  return [result].flat().map(({ command, rowCount, rows, fields }) => ({
    command,
    rowCount,
    rows: rows as unknown[],
    // The table's oid differs between two temporary tables.
    fields: fields.map(({ tableID, ...field }) => ({ ...field, ofTable: tableID !== 0 })),
  }));
}

const SCRIPT: readonly (string | pg.QueryConfig)[] = [
  "select 1 as one, 2.5::numeric, 'text', null, true, now() is not null, array[1,2,null], '{\"a\":[1]}'::jsonb",
  `select '2020-02-29'::date, '2020-02-29 12:34:56.789+02'::timestamptz at time zone 'UTC', '1 day 2 hours'::interval,
          '\\xdeadbeef'::bytea, '(1,2)'::point, '[1,5)'::int4range, 'a=>b', 'abc'::char(5), 12.5::float4, 'NaN'::float8,
          '00000000-0000-0000-0000-000000000001'::uuid, '10.0.0.0/8'::inet, B'101', 922337203685477580::int8`,
  "select 1 as a; select 'b' as b, 2 as c; ; create temp table t (id int primary key, name varchar(5) not null, check (id < 100))",
  "insert into t select g, 'n' || g from generate_series(1, 5) g returning id, name",
  { text: "select id, name from t where id > $1 and name <> $2 order by id", values: [2, "n4"] },
  { name: "named", text: "select $1::int4 + 1 as more, $2::text[] as list", values: [41, ["a", 'b"', null]] },
  { name: "named", text: "select $1::int4 + 1 as more, $2::text[] as list", values: ["7", []] },
  {
    text: "select $1::bytea as bytes, $2::jsonb as json, $3::timestamptz is null as nothing",
    values: [Buffer.from([0, 255, 7]), { deep: [1, { x: "ü" }] }, null],
  },
  { text: "select id, name, id * 1.5 as x from t order by id", rowMode: "array" } as pg.QueryConfig,
  { text: "select id, name from t order by id", binary: true } as pg.QueryConfig,
  "",
  "  ;  -- nothing\n /* at all */ ",
  "select * from nothing_here",
  "select nonsense(1)",
  "selec 1",
  "select 1/0",
  { text: "select $1::int", values: ["not a number"] },
  { text: "select * from t where id = $1", values: [] },
  "insert into t values (1, 'again')",
  "insert into t values (null, 'x')",
  "insert into t values (6, 'far too long')",
  "insert into t values (200, 'x')",
  "select '{\"a\":'::json",
  "do $$ begin raise exception 'own error' using errcode = 'ZZ123', detail = 'a detail', hint = 'a hint', table = 'tt', column = 'cc', constraint = 'kk', datatype = 'dd', schema = 'ss'; end $$",
  "do $$ declare x int; begin x := 1 / 0; end $$",
  "begin",
  "savepoint s",
  "select 1/0",
  "select 'not now'",
  "rollback to s",
  "insert into t values (7, 'seven')",
  "select count(*) from t",
  "rollback",
  "select count(*) from t",
  "set application_name = 'compared'",
  "show application_name",
  "show server_version",
  "declare c cursor for select 1",
  "begin; declare c cursor with hold for select g from generate_series(1, 10) g; commit",
  "fetch 3 from c; fetch backward 1 from c; move 2 in c; fetch all from c",
  "close c",
  "explain (costs off) select * from t where id = 3",
  "prepare p (int) as select $1 + 1; execute p(4); deallocate p",
  "execute p(4)",
  "vacuum t",
  "begin; vacuum t",
  "rollback",
  "select length(repeat('x', 5000000)), md5(repeat('y', 3000000))",
  "select repeat('z', 2000000) as big",
  "select g as id, repeat('r', g % 50) as filler from generate_series(1, 20000) g",
  "table t",
  "values (1, 'a'), (2, 'b')",
  "with recursive r(n) as (select 1 union all select n + 1 from r where n < 5) select sum(n) from r",
  "merge into t using (values (1, 'one'), (9, 'nine')) v(id, name) on t.id = v.id when matched then update set name = v.name when not matched then insert values (v.id, v.name)",
  "update t set name = upper(name) where id < 3 returning *",
  "delete from t where id = 9",
  "lock table t",
  "begin; lock table t in exclusive mode; commit",
  "discard temp",
];

async function transcript(config: pg.ClientConfig): Promise<unknown[]> {
  const client = new pg.Client(config);
  const lines: unknown[] = [];
  client.on("notice", (notice) => lines.push({ notice: describeError(notice), message: notice.message }));
  await client.connect();
  try {
    for (const query of SCRIPT) {
      const what = typeof query === "string" ? query : query.text;
      const answer = await client.query(query as string).then(
        (result) => ({ result: describeResult(result) }),
        (error: unknown) => ({ error: describeError(error) }),
      );
      lines.push({ what, ...answer });
    }
  } finally {
    await client.end();
  }
  return lines.map((line) => JSON.parse(STABLE(JSON.stringify(line))) as unknown);
}

describe("node-postgres", () => {
  it(
    "sees the same results, fields, notices and errors with all their fields",
    { timeout: 120_000 },
    async () => {
      const direct = await transcript({ connectionString: directUrl });
      const gateway = await transcript(clientOptions(port));
      expect(direct.length).toBeGreaterThan(SCRIPT.length - 1);
      for (const [index, line] of direct.entries()) expect(gateway[index]).toEqual(line);
      expect(gateway).toHaveLength(direct.length);
    },
  );

  it("hears notifications of others and of itself, and notices in order", async () => {
    const listener = new pg.Client(clientOptions(port));
    const heard: string[] = [];
    listener.on("notification", ({ channel, payload }) => heard.push(`${channel}:${payload ?? ""}`));
    listener.on("notice", ({ message, severity }) => heard.push(`${severity ?? ""}:${message}`));
    await listener.connect();
    await listener.query("listen jobs");
    const speaker = new pg.Client(clientOptions(port));
    await speaker.connect();
    for (let i = 0; i < 50; i++) await speaker.query("select pg_notify('jobs', $1)", [`from outside ${i}`]);
    await listener.query("select pg_notify('jobs', 'own')");
    await listener.query("do $$ begin raise notice 'one'; raise warning 'two'; end $$");
    await expect.poll(() => heard.length, { timeout: 10_000 }).toBe(53);
    expect(
      heard.filter((line) => line.startsWith("jobs:from")).map((line) => Number(line.split(" ").at(-1))),
    ).toEqual(Array.from({ length: 50 }, (_, i) => i));
    expect(heard).toContain("jobs:own");
    expect(heard.slice(-2)).toEqual(["NOTICE:one", "WARNING:two"]);
    await speaker.end();
    await listener.end();
  });

  it("cancels by another connection and goes on", async () => {
    const client = new pg.Client(clientOptions(port));
    await client.connect();
    // node-postgres keeps what BackendKeyData said, but does not type it.
    const { processID } = client as unknown as { processID: number };
    const sleeping = client.query("select pg_sleep(30)").catch((error: unknown) => describeError(error));
    const other = new pg.Client(clientOptions(port)) as unknown as {
      connect(): Promise<void>;
      cancel(client: unknown, query: unknown): void;
      end(): Promise<void>;
    };
    expect(processID).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const active = (client as unknown as { activeQuery?: unknown; _activeQuery?: unknown })._activeQuery;
    other.cancel(client, active ?? (client as unknown as { activeQuery: unknown }).activeQuery);
    expect(await sleeping).toMatchObject({ code: "57014" });
    expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
    await client.end();
  });
});

describe("postgres.js", () => {
  async function compare<T>(work: (sql: postgres.Sql) => Promise<T>): Promise<T> {
    const answers: T[] = [];
    for (const url of [directUrl, gatewayUrl]) {
      const sql = postgres(url, { max: 1, onnotice: () => undefined });
      try {
        answers.push(await work(sql));
      } finally {
        await sql.end({ timeout: 5 });
      }
    }
    const [direct, gateway] = answers as [T, T];
    expect(gateway).toEqual(direct);
    return gateway;
  }

  it("pipelines a thousand statements, failing ones among them", async () => {
    const answers = await compare(async (sql) =>
      Promise.all(
        Array.from({ length: 1000 }, (_, i) =>
          sql`select ${i}::int as i, 10 / (${i}::int % 7) as q`.then(
            ([row]) => ({ ...row }),
            (error: unknown) => ({ code: (error as { code: string }).code }),
          ),
        ),
      ),
    );
    expect(answers.filter((answer) => "code" in answer)).toHaveLength(143);
  });

  it("reads by cursor with row limits, to the end and not", async () => {
    const seen = await compare(async (sql) => {
      const sizes: number[] = [];
      await sql`select * from generate_series(1, 1234) g`.cursor(100, (rows) => void sizes.push(rows.length));
      let first = 0;
      await sql`select * from generate_series(1, 1000000) g`.cursor(10, () =>
        ++first === 3 ? sql.CLOSE : undefined,
      );
      const after = await sql`select 'alive' as state`;
      return { sizes, first, after: after.map((row) => ({ ...row })) };
    });
    expect(seen.sizes).toEqual([...Array.from({ length: 12 }, () => 100), 34]);
  });

  it("copies in and out, large and failing", async () => {
    const seen = await compare(async (sql) => {
      await sql`create temp table c (a int, b text)`;
      const writable = await sql`copy c from stdin`.writable();
      for (let i = 0; i < 20_000; i++) {
        if (!writable.write(`${i}\trow ${i} ${"x".repeat(200)}\n`)) {
          await new Promise((resolve) => writable.once("drain", resolve));
        }
      }
      await new Promise<void>((resolve, reject) => {
        writable.once("error", reject).once("finish", resolve);
        writable.end();
      });
      const [{ n, bytes } = {}] = await sql`select count(*)::int as n, sum(length(b))::int as bytes from c`;
      const readable = await sql`copy (select * from c order by a) to stdout`.readable();
      let out = 0;
      for await (const chunk of readable) out += (chunk as Buffer).length;
      return { n, bytes, out };
    });
    expect(seen).toMatchObject({ n: 20_000 });
  });

  it("commits, rolls back and nests transactions", async () => {
    await compare(async (sql) => {
      await sql`create temp table tx (a int)`;
      const failed = await sql
        .begin(async (transaction) => {
          await transaction`insert into tx values (1)`;
          await transaction.savepoint(async (inner) => {
            await inner`insert into tx values (2)`;
            await inner`select 1/0`;
          });
        })
        .catch((error: unknown) => (error as { code: string }).code);
      await sql.begin(async (transaction) => {
        await transaction`insert into tx values (3)`;
        await transaction.savepoint((inner) => inner`insert into tx values (4)`);
      });
      return { failed, rows: (await sql`select a from tx order by a`).map((row) => row["a"] as number) };
    });
  });

  it("passes big values both ways, in text and binary", async () => {
    await compare(async (sql) => {
      const text = "ü".repeat(1_500_000);
      const bytes = Buffer.alloc(1_000_000, 0xa5);
      const [row] =
        await sql`select length(${text}::text)::int as n, md5(${text}::text) as m, md5(${bytes}::bytea) as b, ${bytes}::bytea as back`;
      return { ...row, back: bytes.equals(row?.["back"] as Buffer) };
    });
  });
});
