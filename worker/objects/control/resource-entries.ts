/**
 * Browsers on the origin of a resource (routes/origins.ts). A login for one is begun and finished as for the console;
 * what comes out of it is a code, good once, for a minute, for that resource and for the browser that began. Traded
 * in, it gives a cookie that counts on that origin and nowhere else.
 *
 *   expected ── the provider confirms ──► code ── the same browser comes with it ──► cookie, until the login ends
 */
import { identifier } from "../identifiers.ts";
import { sha256 } from "../recording/chain.ts";

/** What a browser wants to enter. */
export type Entry = {
  readonly resource: string;
  /** SHA-256 of a secret in a cookie on the resource's origin, hexadecimal. */
  readonly proof: string;
  /** Path and query where it goes then. */
  readonly returnTo: string;
};

/** How long a code may take from the gateway's origin to the resource's. */
const CODE_TIME = 60_000;
/** A token that ends within this time gives way to the next. */
const TOKEN_MARGIN = 30_000;

type BrowserRow = {
  readonly id: string;
  readonly resource: string;
  readonly proof: string;
  readonly code_until: number;
  readonly entered: number;
  readonly token: string | null;
  readonly token_until: number;
};

export class ResourceEntries {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS resource_logins (
        state TEXT PRIMARY KEY, resource TEXT NOT NULL, proof TEXT NOT NULL, return_to TEXT NOT NULL,
        expires_at INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS resource_browsers (
        id TEXT PRIMARY KEY, resource TEXT NOT NULL, proof TEXT NOT NULL, code_until INTEGER NOT NULL,
        entered INTEGER NOT NULL, token TEXT, token_until INTEGER NOT NULL);
    `);
  }

  /** The login with this state is for an entry. At most `most` are kept, the youngest. */
  expect(
    state: string,
    { resource, proof, returnTo }: Entry,
    now: number,
    until: number,
    most: number,
  ): void {
    this.#sql.exec("DELETE FROM resource_logins WHERE expires_at < ?", now);
    this.#sql.exec(
      "DELETE FROM resource_logins WHERE state IN (SELECT state FROM resource_logins ORDER BY expires_at DESC LIMIT -1 OFFSET ?)",
      most,
    );
    this.#sql.exec(
      "INSERT INTO resource_logins VALUES (?, ?, ?, ?, ?)",
      state,
      resource,
      proof,
      returnTo,
      until,
    );
  }

  /** What the login with this state was for; undefined for the console. It is asked once. */
  take(state: string): Entry | undefined {
    const row = this.#sql
      .exec<{ resource: string; proof: string; return_to: string }>(
        "DELETE FROM resource_logins WHERE state = ? RETURNING resource, proof, return_to",
        state,
      )
      .toArray()[0];
    return row === undefined
      ? undefined
      : { resource: row.resource, proof: row.proof, returnTo: row.return_to };
  }

  /** The login has given a browser's session of this name, to be entered with its code. */
  made(id: string, { resource, proof }: Entry, now: number): void {
    this.#sql.exec(
      "INSERT INTO resource_browsers VALUES (?, ?, ?, ?, 0, NULL, 0)",
      id,
      resource,
      proof,
      now + CODE_TIME,
    );
  }

  /** Whether a browser's session is for a resource, and so not for the console. */
  has(id: string): boolean {
    return this.#row(id) !== undefined;
  }

  /**
   * Uses a code up. True when it was good and `next` is the session's name from now on; when it was not, but was one,
   * its session is over.
   */
  enter(
    id: string,
    resource: string,
    secret: string,
    next: string,
    now: number,
  ): "entered" | "refused" | "unknown" {
    const row = this.#row(id);
    if (row === undefined || row.entered === 1) return "unknown";
    const good = row.resource === resource && row.code_until > now && row.proof === sha256(secret);
    if (good) this.#sql.exec("UPDATE resource_browsers SET id = ?, entered = 1 WHERE id = ?", next, id);
    return good ? "entered" : "refused";
  }

  /** Whether a session has been entered for this resource. */
  entered(id: string, resource: string): boolean {
    const row = this.#row(id);
    return row?.entered === 1 && row.resource === resource;
  }

  /**
   * The token that a browser's requests count as. It is one for some minutes, so that they are one session; `until`
   * is when what the provider said last runs out.
   */
  token(id: string, until: number, now: number): { readonly tokenId: string; readonly expiresAt: number } {
    const row = this.#row(id);
    const running = row !== undefined && row.token !== null && row.token_until > now;
    const ending = running && row.token_until <= now + TOKEN_MARGIN && until > row.token_until;
    if (running && !ending && row.token !== null) return { tokenId: row.token, expiresAt: row.token_until };
    const tokenId = identifier("brw");
    this.#sql.exec(
      "UPDATE resource_browsers SET token = ?, token_until = ? WHERE id = ?",
      tokenId,
      until,
      id,
    );
    return { tokenId, expiresAt: until };
  }

  /** Identifier of the token that a browser's requests counted as last. */
  lastToken(id: string): string | undefined {
    return this.#row(id)?.token ?? undefined;
  }

  forget(id: string): void {
    this.#sql.exec("DELETE FROM resource_browsers WHERE id = ?", id);
  }

  /** Forgets those whose browser's session is over. */
  prune(): void {
    this.#sql.exec("DELETE FROM resource_browsers WHERE id NOT IN (SELECT id FROM console_sessions)");
  }

  #row(id: string): BrowserRow | undefined {
    return this.#sql.exec<BrowserRow>("SELECT * FROM resource_browsers WHERE id = ?", id).toArray()[0];
  }
}
