/** Creates the shop in a running PostgreSQL: the login role, the database, the tables and their rows. */
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type pg from "pg";
import type { Postgres } from "../lib/postgres.ts";
import { type ShopData, shopData } from "./shop-data.ts";

/** The login role that the connector uses: owner of the shop, no superuser. */
export const SHOP_ROLE = "sallyport";

export type ShopOptions = {
  readonly database?: string;
  /** Password of `SHOP_ROLE`; set anew each time. */
  readonly password: string;
  readonly customers?: number;
  readonly data?: ShopData;
};

/** Creates what is missing. Resolves to whether the rows had to be loaded. */
export async function createShop(
  postgres: Postgres,
  options: ShopOptions,
): Promise<{ readonly created: boolean }> {
  const database = options.database ?? "shop";
  await postgres.withClient("postgres", async (client) => {
    const role = client.escapeIdentifier(SHOP_ROLE);
    const { rowCount } = await client.query("SELECT 1 FROM pg_roles WHERE rolname = $1", [SHOP_ROLE]);
    if (rowCount === 0) await client.query(`CREATE ROLE ${role} LOGIN NOSUPERUSER NOCREATEROLE CREATEDB`);
    await client.query(`ALTER ROLE ${role} PASSWORD ${client.escapeLiteral(options.password)}`);
    const existing = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [database]);
    if (existing.rowCount === 0) {
      await client.query(`CREATE DATABASE ${client.escapeIdentifier(database)} OWNER ${role}`);
    }
  });
  return postgres.withClient(database, async (client) => {
    const { rows } = await client.query<{ present: boolean }>(
      "SELECT to_regclass('public.customers') IS NOT NULL AS present",
    );
    if (rows[0]?.present === true) return { created: false };
    const schema = await readFile(join(dirname(fileURLToPath(import.meta.url)), "shop.sql"), "utf8");
    // One transaction: an interrupted first start leaves nothing half done.
    await client.query("BEGIN");
    await client.query(`SET LOCAL ROLE ${client.escapeIdentifier(SHOP_ROLE)}`);
    await client.query(schema);
    await load(
      client,
      options.data ?? shopData(options.customers === undefined ? {} : { customers: options.customers }),
    );
    await client.query("REFRESH MATERIALIZED VIEW public.monthly_revenue");
    await client.query("COMMIT");
    await client.query("ANALYZE");
    return { created: true };
  });
}

async function load(client: pg.Client, data: ShopData): Promise<void> {
  for (const table of ["customers", "employees", "orders", "payments"] as const) {
    await client.query(
      `INSERT INTO public.${table} SELECT * FROM jsonb_populate_recordset(NULL::public.${table}, $1::jsonb)`,
      [JSON.stringify(data[table])],
    );
    await client.query(
      `SELECT setval(pg_get_serial_sequence('public.${table}', 'id'), (SELECT max(id) FROM public.${table}))`,
    );
  }
}
