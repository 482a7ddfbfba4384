/** Two databases that differ in masked values only, one server, the same object identifiers in both. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { startPostgres } from "../../../scripts/lib/postgres.ts";
import { postgresOfVersion } from "../../support/postgres-versions.ts";
import type { Catalogue } from "../../../wire/postgres/catalogue.ts";
import { createMasker } from "../../../worker/policy/masks/masker.ts";
import type { Masker, Reveals } from "../../../worker/policy/masks/types.ts";
import type { SqlParser } from "../../../worker/policy/sql/parser.ts";
import { loadSqlParser } from "../../support/sql-parser.ts";
import { readCatalogue } from "./read-catalogue.ts";
import { MaskingRunner, type Runner } from "./runner.ts";
import { DEFINITIONS, RESOURCE, rowsSql } from "./schema.ts";
import { WireClient } from "./wire-client.ts";

export const HASH_KEY = "5a".repeat(32);

export type Twins = {
  readonly port: number;
  /** The highest object identifier before any test ran. */
  readonly lastOid: number;
  readonly catalogue: Catalogue;
  readonly masker: Masker;
  readonly parser: SqlParser;
  /** A session of the database 0 or 1. */
  connect(version: 0 | 1, reveals?: Reveals): Promise<Runner>;
  /** Runs SQL as the superuser, on a connection of its own. */
  sql(database: string, text: string): Promise<void>;
  stop(): Promise<void>;
};

/** TWINS_POSTGRES=16 runs on a server of that version instead of the newest. */
export async function startTwins(): Promise<Twins> {
  const major = process.env["TWINS_POSTGRES"];
  const binaries = major === undefined ? undefined : await postgresOfVersion(Number(major));
  const server = await startPostgres({
    dataDirectory: join(mkdtempSync(join(tmpdir(), "twins-")), "data"),
    superuserPassword: "twins",
    hba: ["host all all 127.0.0.1/32 trust"],
    unsafe: true,
    settings: { autovacuum: "off" },
    ...(binaries === undefined ? {} : { binaries }),
  });
  const sql = async (database: string, text: string): Promise<void> => {
    const client = new pg.Client({ connectionString: server.url(database) });
    await client.connect();
    try {
      await client.query(text);
    } finally {
      await client.end();
    }
  };
  await sql("postgres", "CREATE DATABASE base");
  await sql("base", DEFINITIONS);
  for (const version of [0, 1] as const) {
    await sql("postgres", `CREATE DATABASE twin${version} TEMPLATE base`);
    await sql(`twin${version}`, rowsSql(version));
    // Index-only scans need the visibility map.
    await sql(`twin${version}`, "VACUUM ANALYZE");
  }
  const client = new pg.Client({ connectionString: server.url("twin0") });
  await client.connect();
  const catalogue = await readCatalogue(client);
  const last = await client.query<{ oid: number }>(
    "SELECT max(oid)::int AS oid FROM (SELECT oid FROM pg_class UNION ALL SELECT oid FROM pg_type) o",
  );
  const lastOid = last.rows[0]?.oid ?? 0;
  await client.end();
  const parser = await loadSqlParser();
  const masker = createMasker({ catalogue, resource: RESOURCE, parser, hashKey: HASH_KEY });
  if (!masker.ok) throw new Error(JSON.stringify(masker.error));
  return {
    port: server.port,
    lastOid,
    catalogue,
    masker: masker.value,
    parser,
    async connect(version, reveals = () => false) {
      const wire = await WireClient.open(
        server.port,
        `twin${version}`,
        "postgres",
        masker.value.startupParameters,
      );
      return new MaskingRunner(wire, parser, masker.value, reveals, lastOid);
    },
    sql,
    stop: () => server.stop(),
  };
}
