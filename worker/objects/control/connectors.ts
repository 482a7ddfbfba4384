/** Enrolled connectors and join tokens in the Control object's SQLite. */
import type { JoinTokenRecord } from "../../identity/secrets.ts";

/** What a connector enrols: the public half of its Ed25519 key as a JWK (RFC 8037). */
export type ConnectorKey = { readonly kty: "OKP"; readonly crv: "Ed25519"; readonly x: string };

export type ConnectorRow = {
  readonly name: string;
  readonly publicKey: ConnectorKey;
  /** Milliseconds since the epoch. */
  readonly enrolledAt: number;
  readonly revokedAt?: number;
};

type Row = {
  readonly name: string;
  readonly public_key: string;
  readonly enrolled_at: number;
  readonly revoked_at: number | null;
};

export class Connectors {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS connectors (
        name TEXT PRIMARY KEY, public_key TEXT NOT NULL, enrolled_at INTEGER NOT NULL, revoked_at INTEGER);
      CREATE TABLE IF NOT EXISTS join_tokens (hash TEXT PRIMARY KEY, body TEXT NOT NULL);
    `);
  }

  list(): ConnectorRow[] {
    return this.#sql.exec<Row>("SELECT * FROM connectors ORDER BY name").toArray().map(toConnector);
  }

  get(name: string): ConnectorRow | undefined {
    const row = this.#sql.exec<Row>("SELECT * FROM connectors WHERE name = ?", name).toArray()[0];
    return row === undefined ? undefined : toConnector(row);
  }

  /** A new enrolment replaces the key of the old one, revoked or not. */
  enroll(name: string, publicKey: ConnectorKey, at: number): void {
    this.#sql.exec(
      `INSERT INTO connectors (name, public_key, enrolled_at) VALUES (?, ?, ?)
       ON CONFLICT (name) DO UPDATE SET public_key = excluded.public_key, enrolled_at = excluded.enrolled_at, revoked_at = NULL`,
      name,
      JSON.stringify(publicKey),
      at,
    );
  }

  /** False when the key is not the one that it is to follow any more, or not trusted. */
  replaceKey(name: string, before: ConnectorKey, after: ConnectorKey): boolean {
    const known = this.get(name);
    if (known === undefined || known.revokedAt !== undefined || known.publicKey.x !== before.x) return false;
    this.#sql.exec("UPDATE connectors SET public_key = ? WHERE name = ?", JSON.stringify(after), name);
    return true;
  }

  revoke(name: string, at: number): void {
    this.#sql.exec("UPDATE connectors SET revoked_at = ? WHERE name = ? AND revoked_at IS NULL", at, name);
  }

  joinToken(hash: string): JoinTokenRecord | undefined {
    const row = this.#sql
      .exec<{ body: string }>("SELECT body FROM join_tokens WHERE hash = ?", hash)
      .toArray()[0];
    return row === undefined ? undefined : (JSON.parse(row.body) as JoinTokenRecord);
  }

  saveJoinToken(record: JoinTokenRecord): void {
    this.#sql.exec(
      "INSERT INTO join_tokens (hash, body) VALUES (?, ?) ON CONFLICT (hash) DO UPDATE SET body = excluded.body",
      record.hash,
      JSON.stringify(record),
    );
  }
}

function toConnector(row: Row): ConnectorRow {
  return {
    name: row.name,
    publicKey: JSON.parse(row.public_key) as ConnectorKey,
    enrolledAt: row.enrolled_at,
    ...(row.revoked_at === null ? {} : { revokedAt: row.revoked_at }),
  };
}
