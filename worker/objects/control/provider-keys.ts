/** Public keys of identity providers, as they were read last. */
import type { SqlStorage } from "@cloudflare/workers-types";
import type { KeyStore, StoredKeys } from "../../identity/key-source.ts";

export class ProviderKeys implements KeyStore {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS provider_keys (issuer TEXT PRIMARY KEY, body TEXT NOT NULL, read_at INTEGER NOT NULL)",
    );
  }

  load(issuer: string): StoredKeys | undefined {
    const row = this.#sql
      .exec<{ body: string; read_at: number }>(
        "SELECT body, read_at FROM provider_keys WHERE issuer = ?",
        issuer,
      )
      .toArray()[0];
    return row === undefined
      ? undefined
      : { jwks: JSON.parse(row.body) as StoredKeys["jwks"], readAt: row.read_at };
  }

  save(issuer: string, { jwks, readAt }: StoredKeys): void {
    this.#sql.exec(
      "INSERT OR REPLACE INTO provider_keys (issuer, body, read_at) VALUES (?, ?, ?)",
      issuer,
      JSON.stringify(jwks),
      readAt,
    );
  }
}
