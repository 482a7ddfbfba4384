/**
 * The gateway's signing keys in the Control object's SQLite. A new key is published before it signs, and the
 * one before it goes on verifying until the last token that it signed has ended:
 *
 *   published ── LIMITS.time.keyPublished ──► signs ── next key signs ──► verifies ── 16 minutes ──► gone
 */
import type { SqlStorage } from "@cloudflare/workers-types";
import { LIMITS } from "../../../wire/limits.ts";
import {
  type SigningKey,
  type VerificationKey,
  generateSigningKey,
  publicKey,
} from "../../identity/session-token.ts";

type Held = {
  readonly key: SigningKey;
  readonly signsFrom: number;
  readonly verifiesUntil: number | undefined;
};

type Row = { readonly body: string; readonly signs_from: number; readonly verifies_until: number | null };

export type KeyStatus = {
  readonly kid: string;
  /** Milliseconds since the epoch. */
  readonly signsFrom: number;
  readonly verifiesUntil?: number;
  readonly status: "published" | "signing" | "verifying";
};

export class SigningKeys {
  readonly #sql: SqlStorage;
  #held: readonly Held[] = [];

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS signing_keys (
        kid TEXT PRIMARY KEY, body TEXT NOT NULL, signs_from INTEGER NOT NULL, verifies_until INTEGER)`);
    this.#read();
  }

  /** Makes the first key. */
  async prepare(now: number): Promise<void> {
    if (this.#held.length === 0) this.#insert(await generateSigningKey(), now);
  }

  /** The key that signs now. */
  current(now: number): SigningKey {
    const held = this.#held.find(({ signsFrom }) => signsFrom <= now) ?? this.#held.at(-1);
    if (held === undefined) throw new Error("the signing keys are not loaded");
    return held.key;
  }

  /** Keys that tokens may be signed with, newest first; published ones too. */
  verification(now: number): VerificationKey[] {
    return this.#good(now).map(({ key }) => publicKey(key));
  }

  status(now: number): KeyStatus[] {
    const signing = this.current(now).kid;
    return this.#good(now).map(({ key, signsFrom, verifiesUntil }) => ({
      kid: key.kid,
      signsFrom,
      ...(verifiesUntil === undefined ? {} : { verifiesUntil }),
      status: key.kid === signing ? "signing" : signsFrom > now ? "published" : "verifying",
    }));
  }

  /** When the newest key began, or begins, to sign. */
  newestFrom(): number {
    return this.#held[0]?.signsFrom ?? 0;
  }

  /** A new key. `at` is when it begins to sign; record the rotation first. */
  add(key: SigningKey, at: number, now: number): void {
    const until = at + LIMITS.time.sessionToken + LIMITS.time.clockSkew;
    this.#sql.exec("UPDATE signing_keys SET verifies_until = ? WHERE verifies_until IS NULL", until);
    this.#sql.exec("DELETE FROM signing_keys WHERE verifies_until <= ?", now);
    this.#insert(key, at);
  }

  #good(now: number): Held[] {
    return this.#held.filter(({ verifiesUntil }) => verifiesUntil === undefined || verifiesUntil > now);
  }

  #insert(key: SigningKey, signsFrom: number): void {
    this.#sql.exec(
      "INSERT INTO signing_keys (kid, body, signs_from) VALUES (?, ?, ?)",
      key.kid,
      JSON.stringify(key),
      signsFrom,
    );
    this.#read();
  }

  #read(): void {
    this.#held = this.#sql
      .exec<Row>(
        "SELECT body, signs_from, verifies_until FROM signing_keys ORDER BY signs_from DESC, rowid DESC",
      )
      .toArray()
      .map((row) => ({
        key: JSON.parse(row.body) as SigningKey,
        signsFrom: row.signs_from,
        verifiesUntil: row.verifies_until ?? undefined,
      }));
  }
}
