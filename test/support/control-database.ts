/** The Control object's own database, read beside the gateway that runs: what it recorded, without asking it. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { System } from "../../scripts/lib/system.ts";

/** It is the only one with signing keys. */
export async function controlDatabase(system: System, readOnly: boolean): Promise<DatabaseSync> {
  const directory = join(system.directory, "gateway");
  for (const name of await readdir(directory, { recursive: true })) {
    if (!name.endsWith(".sqlite")) continue;
    const database = new DatabaseSync(join(directory, name), { readOnly });
    const found = database.prepare("SELECT 1 FROM sqlite_master WHERE name = 'signing_keys'").get();
    if (found !== undefined) return database;
    database.close();
  }
  throw new Error("no database has signing keys");
}

export type Recorded = { readonly type: string; readonly [field: string]: unknown };

/** The Control object's own log, oldest first. */
export async function controlLog(system: System): Promise<Recorded[]> {
  const database = await controlDatabase(system, true);
  try {
    const rows = database.prepare("SELECT json FROM events ORDER BY seq").all() as { json: string }[];
    return rows.map(({ json }) => (JSON.parse(json) as { body: Recorded }).body);
  } finally {
    database.close();
  }
}
