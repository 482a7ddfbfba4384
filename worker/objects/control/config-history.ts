/** Every configuration that ever ran, in the Control object's SQLite. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Principal } from "../../policy/types.ts";
import { sha256 } from "../recording/chain.ts";

export type Files = Readonly<Record<string, string>>;

export type ConfigVersion = {
  readonly version: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly by: Principal | "bootstrap";
};

type Row = { readonly version: number; readonly at: number; readonly by: string; readonly files: string };

export class ConfigHistory {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS config (
        version INTEGER PRIMARY KEY, at INTEGER NOT NULL, by TEXT NOT NULL, files TEXT NOT NULL);
    `);
  }

  /** `files` as JSON, `at` in milliseconds since the epoch. */
  add(version: number, at: number, by: Principal | "bootstrap", files: string): void {
    this.#sql.exec(
      "INSERT INTO config (version, at, by, files) VALUES (?, ?, ?, ?)",
      version,
      at,
      JSON.stringify(by),
      files,
    );
  }

  /** The one that runs; version 0 and no files before the first. */
  newest(): { readonly version: number; readonly files: Files } {
    const row = this.#sql
      .exec<Pick<Row, "version" | "files">>("SELECT version, files FROM config ORDER BY version DESC LIMIT 1")
      .toArray()[0];
    return row === undefined
      ? { version: 0, files: {} }
      : { version: row.version, files: JSON.parse(row.files) as Files };
  }

  /** Newest first. */
  list(limit: number): (ConfigVersion & { readonly digest: string })[] {
    return this.#sql
      .exec<Row>("SELECT version, at, by, files FROM config ORDER BY version DESC LIMIT ?", limit)
      .toArray()
      .map((row) => ({ ...versionOf(row), digest: sha256(row.files) }));
  }

  get(version: number): Result<ConfigVersion & { readonly files: Files }, Refusal> {
    const row = this.#sql
      .exec<Row>("SELECT version, at, by, files FROM config WHERE version = ?", version)
      .toArray()[0];
    return row === undefined
      ? err(refusal("not_found", `there is no configuration version ${version}`))
      : ok({ ...versionOf(row), files: JSON.parse(row.files) as Files });
  }
}

function versionOf({ version, at, by }: Row): ConfigVersion {
  return { version, at, by: JSON.parse(by) as Principal | "bootstrap" };
}
