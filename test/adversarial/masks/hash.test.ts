/** `hash` masks: equal values join, and the key cannot be read by whoever uses it. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createHmac } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startPostgres, type Postgres } from "../../../scripts/lib/postgres.ts";
import { createMasker } from "../../../worker/policy/masks/masker.ts";
import type { Masker } from "../../../worker/policy/masks/types.ts";
import { loadSqlParser } from "../../support/sql-parser.ts";
import { readCatalogue } from "./read-catalogue.ts";
import { RESOURCE } from "./schema.ts";

const KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

let server: Postgres;
let client: pg.Client;
let masker: Masker;

beforeAll(async () => {
  server = await startPostgres({
    dataDirectory: join(mkdtempSync(join(tmpdir(), "hash-")), "data"),
    superuserPassword: "hash",
    unsafe: true,
  });
  const setup = new pg.Client({ connectionString: server.url("postgres") });
  await setup.connect();
  await setup.query(`
    CREATE TABLE people (id integer PRIMARY KEY, ssn text, token uuid, account bigint, raw bytea);
    CREATE TABLE claims (id integer PRIMARY KEY, holder varchar(40));
    INSERT INTO people VALUES (1, '219-09-9999', '00000000-0000-0000-0000-000000000001', 42, 'x'), (2, '078-05-1120', NULL, 42, NULL), (3, NULL, NULL, NULL, NULL);
    INSERT INTO claims VALUES (10, '219-09-9999'), (11, '219-09-9999'), (12, 'nobody');`);
  const catalogue = await readCatalogue(setup);
  await setup.end();
  const mask = (relation: string, column: string) => ({
    schema: "public",
    relation,
    column,
    mask: "hash" as const,
  });
  const masks = [
    mask("people", "ssn"),
    mask("people", "token"),
    mask("people", "account"),
    mask("people", "raw"),
    mask("claims", "holder"),
  ];
  const made = createMasker({
    catalogue,
    resource: { ...RESOURCE, masks, rows: [] },
    parser: await loadSqlParser(),
    hashKey: KEY,
  });
  if (!made.ok) throw new Error(JSON.stringify(made.error));
  masker = made.value;
  const options = Object.entries(masker.startupParameters).map(([name, value]) => `-c ${name}=${value}`);
  client = new pg.Client({ connectionString: server.url("postgres"), options: options.join(" ") });
  await client.connect();
}, 120_000);

afterAll(async () => {
  await client.end();
  await server.stop();
});

const query = async (sql: string): Promise<Record<string, unknown>[]> => {
  const rewritten = masker.rewrite({ text: sql }, () => false, { created: [] });
  if (!rewritten.ok) throw new Error(rewritten.error.message);
  const answer = await client.query<Record<string, unknown>>(rewritten.value.sql ?? sql);
  return answer.rows;
};

describe("the hash mask", () => {
  it("is HMAC-SHA256 of the value's text, cut to 128 bits", async () => {
    const rows = await query("SELECT ssn FROM people ORDER BY id");
    const expected = createHmac("sha256", Buffer.from(KEY, "hex"))
      .update("219-09-9999")
      .digest("hex")
      .slice(0, 32);
    expect(rows.map((row) => row["ssn"])).toEqual([expected, expect.stringMatching(/^[0-9a-f]{32}$/), null]);
  });

  it("joins columns of different relations and types of text", async () => {
    const rows = await query(
      "SELECT p.id, c.id AS claim FROM people p JOIN claims c ON c.holder = p.ssn ORDER BY 2",
    );
    expect(rows).toEqual([
      { id: 1, claim: 10 },
      { id: 1, claim: 11 },
    ]);
  });

  it("keeps the types uuid, bigint and bytea, and NULL", async () => {
    const rows = await query("SELECT token, account, raw FROM people ORDER BY id");
    expect(rows[0]?.["token"]).toMatch(/^[0-9a-f-]{36}$/);
    expect(rows[0]?.["account"]).toBe(rows[1]?.["account"]);
    expect(rows[0]?.["account"]).not.toBe("42");
    expect(rows[0]?.["raw"]).toHaveLength(32);
    expect(rows[2]).toEqual({ token: null, account: null, raw: null });
  });
});

describe("its key", () => {
  it("is in no text that the server keeps or shows", async () => {
    const shown = [
      await query("SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()"),
      await query("SELECT * FROM pg_settings"),
      await query("SELECT statement FROM pg_prepared_statements"),
      await query("EXPLAIN (VERBOSE, SETTINGS) SELECT ssn FROM people WHERE ssn = 'x'"),
      (await client.query("SHOW ALL")).rows,
      (await client.query("SELECT * FROM pg_db_role_setting")).rows,
    ];
    const text = JSON.stringify(shown);
    for (const value of Object.values(masker.startupParameters))
      expect(text).not.toContain(value.slice(0, 32));
    expect(text).not.toContain(KEY.slice(0, 32));
  });

  it("cannot be asked for, and survives RESET ALL and DISCARD ALL", async () => {
    for (const sql of [
      "SHOW sallyport.hash_inner",
      "SELECT current_setting('sallyport.hash_inner')",
      "SELECT pg_catalog.current_setting('sallyport.' || 'hash_inner')",
      "SELECT set_config('sallyport.hash_outer', '', false)",
      "SET sallyport.hash_outer = ''",
      "RESET sallyport.hash_outer",
    ]) {
      expect(masker.rewrite({ text: sql }, () => false, { created: [] }).ok, sql).toBe(false);
    }
    const [before] = await query("SELECT ssn FROM people WHERE id = 1");
    await query("RESET ALL");
    await query("DISCARD ALL");
    const [after] = await query("SELECT ssn FROM people WHERE id = 1");
    expect(after).toEqual(before);
  });

  it("missing on the connection makes the statement fail, not the mask", async () => {
    const bare = new pg.Client({ connectionString: server.url("postgres") });
    await bare.connect();
    const rewritten = masker.rewrite({ text: "SELECT ssn FROM people" }, () => false, { created: [] });
    await expect(bare.query(rewritten.ok ? (rewritten.value.sql ?? "") : "")).rejects.toThrow(
      "sallyport.hash_",
    );
    await bare.end();
  });
});
