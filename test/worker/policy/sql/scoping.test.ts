/** Which names are relations and which are WITH items: the analysis against a real PostgreSQL's own answer. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Postgres, generatePassword, startPostgres } from "../../../../scripts/lib/postgres.ts";
import { analyse } from "../../../../worker/policy/sql/analyse.ts";
import { loadSqlParser } from "../../../support/sql-parser.ts";

const parser = await loadSqlParser();
const tables = ["a", "b", "c", "d"];

let directory: string;
let server: Postgres;
let client: pg.Client;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-scoping-"));
  server = await startPostgres({
    dataDirectory: join(directory, "data"),
    superuserPassword: generatePassword(),
    unsafe: true,
  });
  client = new pg.Client({ connectionString: server.url("postgres") });
  await client.connect();
  for (const table of tables) await client.query(`create table ${table} (x int)`);
});

afterAll(async () => {
  await client.end();
  await server.stop();
  await rm(directory, { recursive: true, force: true });
});

function readsOf(sql: string): string[] {
  const parsed = parser.parse(sql);
  if (!parsed.ok || parsed.value[0] === undefined) throw new Error(`not parsed: ${sql}`);
  const analysed = analyse(parsed.value[0]);
  if (!analysed.ok) throw new Error(analysed.error.message);
  return [...analysed.value.reads].sort();
}

/** The relations that PostgreSQL finds in a query: what a view over it depends on. Undefined where it errs. */
async function dependenciesOf(sql: string): Promise<string[] | undefined> {
  await client.query("begin");
  try {
    await client.query(`create view probe as ${sql}`);
    const { rows } = await client.query<{ name: string }>(
      `select distinct c.relname as name from pg_rewrite r
         join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
         join pg_class c on d.refclassid = 'pg_class'::regclass and c.oid = d.refobjid and c.oid <> r.ev_class
        where r.ev_class = 'probe'::regclass order by 1`,
    );
    return rows.map((row) => row.name);
  } catch {
    return undefined;
  } finally {
    await client.query("rollback");
  }
}

/** Queries in which WITH items and tables have the same names, nested in every way that takes a query. */
const { query } = fc.letrec<{ query: string; source: string; with: string }>((tie) => {
  const name = fc.constantFrom(...tables);
  const recursiveBody = fc.tuple(tie("source"), name).map(([source, self]) => {
    return `select 1 as x from ${source} union all select 1 from ${self}`;
  });
  return {
    source: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      name,
      name,
      name.map((table) => `public.${table}`),
      fc
        .tuple(tie("query"), fc.constantFrom("", "lateral "))
        .map(([inner, lateral]) => `${lateral}(${inner}) s`),
      fc.tuple(tie("source"), name).map(([left, right]) => `${left} join ${right} j on true`),
      fc.tuple(name, name).map(([left, right]) => `(${left} l cross join ${right} r)`),
    ),
    with: fc
      .tuple(
        fc.boolean(),
        fc.uniqueArray(fc.tuple(name, fc.oneof(tie("query"), recursiveBody)), {
          minLength: 1,
          maxLength: 3,
          selector: ([item]) => item,
        }),
      )
      .map(([recursive, items]) => {
        const list = items.map(([item, body]) => `${item} as (${body})`).join(", ");
        return `with ${recursive ? "recursive " : ""}${list} `;
      }),
    query: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      tie("source").map((source) => `select 1 as x from ${source}`),
      fc.tuple(tie("with"), tie("source")).map(([items, source]) => `${items}select 1 as x from ${source}`),
      fc.tuple(tie("with"), tie("query")).map(([items, inner]) => `${items}(${inner}) union ${inner}`),
      fc.tuple(tie("query"), tie("query")).map(([left, right]) => `(${left}) union all (${right})`),
      fc.tuple(tie("source"), tie("query")).map(([source, inner]) => {
        return `select 1 as x from ${source} where exists (${inner}) order by (select count(*) from (${inner}) o)`;
      }),
      name.map((table) => `table ${table}`),
    ),
  };
});

describe("WITH items and relations", () => {
  it("are told apart as PostgreSQL tells them, in any nesting", async () => {
    let compared = 0;
    const numRuns = Number(process.env["SCOPING_RUNS"] ?? 400);
    await fc.assert(
      fc.asyncProperty(query, async (sql) => {
        const dependencies = await dependenciesOf(sql);
        if (dependencies === undefined) return;
        compared++;
        const reads = readsOf(sql).map((name) => name.replace("public.", ""));
        expect([...new Set(reads)].sort(), sql).toEqual(dependencies);
      }),
      { numRuns },
    );
    expect(compared).toBeGreaterThan(numRuns / 3);
  }, 120_000);

  it.each([
    ["with a as (select 1 as x) delete from a", 0],
    ["with a as (select 1 as x) update a set x = 5", 1],
    ["with a as (select 1 as x) insert into a values (2)", 2],
    [
      "with a as (select 9 as x) merge into a t using a s on false when not matched then insert values (s.x)",
      2,
    ],
  ])("the target is the table even where a WITH item has its name: %s", async (sql, rows) => {
    await client.query("begin");
    try {
      await client.query("insert into a values (1)");
      await client.query(sql);
      expect((await client.query("select * from a")).rowCount).toBe(rows);
    } finally {
      await client.query("rollback");
    }
    const parsed = parser.parse(sql);
    const analysed = parsed.ok && parsed.value[0] && analyse(parsed.value[0]);
    expect(analysed && analysed.ok && analysed.value.writes).toEqual(["a"]);
  });
});
