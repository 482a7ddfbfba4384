/**
 * What masking costs: rewriting a statement, cached and not, and the detectors for each KiB; and whether the
 * plan of a rewritten point query still uses its index. Starts a PostgreSQL of its own.
 *
 *   npm run bench:masks [-- --json]
 */
import { mkdtempSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import {
  CATALOGUE_AFTER,
  CATALOGUE_BEFORE,
  CATALOGUE_QUERIES,
  decodeCatalogue,
  type Catalogue,
  type CatalogueRows,
} from "../../wire/postgres/catalogue.ts";
import { DETECTOR_KINDS, detect } from "../../worker/policy/masks/detectors.ts";
import { createMasker } from "../../worker/policy/masks/masker.ts";
import { NO_SESSION_NAMES } from "../../worker/policy/masks/session-names.ts";
import { createSqlParser, type EmscriptenFactory, type Instantiate } from "../../worker/policy/sql/parser.ts";
import type { Resource } from "../../worker/policy/types.ts";
import { patchedWasm } from "../build/libpg-query.ts";
import { startPostgres } from "../lib/postgres.ts";

const STATEMENTS: Readonly<Record<string, string>> = {
  "point query": "SELECT * FROM customers WHERE id = 7",
  join: "SELECT c.name, c.ssn, o.total FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.id = 5",
  "untouched columns": "SELECT id, name FROM customers WHERE city = 'Oslo'",
  "untouched relation": "SELECT * FROM orders WHERE id = 4",
  update: "UPDATE customers SET city = 'Rome' WHERE id = 3 RETURNING *",
};

const server = await startPostgres({
  dataDirectory: join(mkdtempSync(join(tmpdir(), "bench-masks-")), "data"),
  superuserPassword: "bench",
  unsafe: true,
});
const client = new pg.Client({ connectionString: server.url("postgres") });
await client.connect();
await client.query(`
  CREATE TABLE customers (id integer PRIMARY KEY, name text, email text, card_number text, ssn text, date_of_birth date, city text);
  CREATE TABLE orders (id integer PRIMARY KEY, customer_id integer REFERENCES customers (id), total numeric);
  CREATE INDEX ON orders (customer_id);
  INSERT INTO customers SELECT n, 'name ' || n, n || '@example.com', '4111111111111111', '123-45-6789', '1980-02-03', 'Oslo' FROM generate_series(1, 20000) n;
  INSERT INTO orders SELECT n, n, n FROM generate_series(1, 20000) n;
  ANALYZE;`);

const catalogue = await readCatalogue(client);
const require = createRequire(import.meta.url);
const factory = require("../../node_modules/libpg-query/wasm/libpg-query.js") as EmscriptenFactory;
// The wasm API is in every runtime, but its types come with the DOM library only.
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    compile(bytes: Uint8Array): Promise<unknown>;
    Instance: new (module: unknown, imports: unknown) => ReturnType<Instantiate>;
  };
};
const module = await WebAssembly.compile(patchedWasm());
const parser = await createSqlParser(factory, (imports) => new WebAssembly.Instance(module, imports));

const mask = (column: string, kind: "full" | "last4" | "email" | "date_year") => ({
  schema: "public",
  relation: "customers",
  column,
  mask: kind,
});
const resource: Resource = {
  name: "bench",
  protocol: "postgres",
  connector: "bench",
  labels: {},
  masks: [
    mask("email", "email"),
    mask("card_number", "last4"),
    mask("ssn", "full"),
    mask("date_of_birth", "date_year"),
  ],
  rows: [],
  trustedFunctions: [],
  detectors: "off",
  recordResultBytes: 0,
  heldInTransaction: 0,
};
const made = createMasker({ catalogue, resource, parser, hashKey: "00".repeat(32) });
if (!made.ok) throw new Error(JSON.stringify(made.error));
const masker = made.value;
const rewrite = (text: string): string => {
  const rewritten = masker.rewrite({ text }, () => false, NO_SESSION_NAMES);
  if (!rewritten.ok) throw new Error(rewritten.error.message);
  return rewritten.value.sql ?? text;
};

const results: Record<string, number | string | boolean> = {};
for (const [name, sql] of Object.entries(STATEMENTS)) {
  let count = 0;
  // A comment makes each text new to the cache, for what a byte more costs.
  results[`${name}, uncached, µs`] = microseconds(() => rewrite(`${sql} /* ${count++} */`));
  results[`${name}, cached, µs`] = microseconds(() => rewrite(sql));
}
for (const name of ["point query", "join"]) {
  const { rows } = await client.query<{ "QUERY PLAN": string }>(`EXPLAIN ${rewrite(STATEMENTS[name] ?? "")}`);
  const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
  results[`${name} uses its index`] = plan.includes("Index");
}
const line = "2026-11-22 07:33:12 order 8812 by jane.doe@example.com, card 4111 1111 1111 1111, 17.50 EUR; ";
const text = line.repeat(Math.ceil(65_536 / line.length)).slice(0, 65_536);
const plain = "the quick brown fox jumps over the lazy dog, again and again. ".repeat(1_100).slice(0, 65_536);
results["detectors, values in every line, µs per KiB"] = round(
  microseconds(() => detect(text, DETECTOR_KINDS)) / 64,
);
results["detectors, plain text, µs per KiB"] = round(microseconds(() => detect(plain, DETECTOR_KINDS)) / 64);

await client.end();
await server.stop();
if (process.argv.includes("--json")) process.stdout.write(`${JSON.stringify(results)}\n`);
else
  for (const [name, value] of Object.entries(results)) process.stdout.write(`${name.padEnd(50)} ${value}\n`);

/** Median of five rounds, after a warm-up. */
function microseconds(work: () => unknown): number {
  const rounds: number[] = [];
  for (let round = 0; round < 6; round++) {
    const start = performance.now();
    let runs = 0;
    while (performance.now() - start < 100) {
      work();
      runs++;
    }
    rounds.push(((performance.now() - start) * 1_000) / runs);
  }
  return round(rounds.slice(1).toSorted((a, b) => a - b)[2] ?? 0);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

async function readCatalogue(connection: pg.Client): Promise<Catalogue> {
  const rows: Record<string, (string | null)[][]> = {};
  for (const sql of CATALOGUE_BEFORE) await connection.query(sql);
  for (const { name, sql } of CATALOGUE_QUERIES) {
    const answer = await connection.query<(string | null)[]>({
      text: sql,
      rowMode: "array",
      types: { getTypeParser: () => (value: string) => value },
    });
    rows[name] = answer.rows;
  }
  for (const sql of CATALOGUE_AFTER) await connection.query(sql);
  const decoded = decodeCatalogue(rows as unknown as CatalogueRows, 1);
  if (!decoded.ok) throw new Error(decoded.error.problem);
  return decoded.value;
}
