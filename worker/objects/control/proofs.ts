/** Proofs of possession that have been used (RFC 9449 section 11.1), and sources that sent bad token requests. */
import { LIMITS } from "../../../wire/limits.ts";
import type { Proof } from "../../identity/proof.ts";

export class UsedProofs {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS used_proofs (
        key TEXT NOT NULL, id TEXT NOT NULL, forget_at INTEGER NOT NULL, PRIMARY KEY (key, id));
      CREATE INDEX IF NOT EXISTS used_proofs_forget ON used_proofs (forget_at);
    `);
  }

  /**
   * True the first time. Also false where too many are remembered to take one more: forgetting one early
   * would let it be used again. A key that floods fills its own share only.
   */
  use({ key, id, forgetAt }: Proof, now: number): boolean {
    this.#sql.exec("DELETE FROM used_proofs WHERE forget_at <= ?", now);
    const { own, all } = this.#sql
      .exec<{ own: number; all: number }>(
        'SELECT (SELECT count(*) FROM used_proofs WHERE key = ?) AS own, (SELECT count(*) FROM used_proofs) AS "all"',
        key,
      )
      .one();
    if (own >= LIMITS.proofs.perKey || all >= LIMITS.proofs.all) return false;
    return (
      this.#sql.exec("INSERT OR IGNORE INTO used_proofs VALUES (?, ?, ?)", key, id, forgetAt).rowsWritten > 0
    );
  }
}

type Count = { failures: number; since: number };
const WINDOW_MS = 60_000;

/** Refused token requests by source in the current minute. In memory: a restart forgives. */
export class FailureCounts {
  readonly #sources = new Map<string, Count>();

  /** Seconds to wait before the next attempt is read; 0 for none. `source` undefined: not known. */
  wait(source: string | undefined, now: number): number {
    const count = this.#sources.get(source ?? "");
    if (count === undefined || now - count.since >= WINDOW_MS) return 0;
    const most = source === undefined ? LIMITS.exchange.failuresUnknownSource : LIMITS.exchange.failures;
    return count.failures < most ? 0 : Math.ceil((count.since + WINDOW_MS - now) / 1000);
  }

  failed(source: string | undefined, now: number): void {
    const key = source ?? "";
    const count = this.#sources.get(key);
    if (count !== undefined && now - count.since < WINDOW_MS) {
      count.failures++;
      return;
    }
    this.#sources.delete(key);
    // The oldest goes: a source that comes back starts anew, and the map stays small.
    const [oldest] = this.#sources.keys();
    if (this.#sources.size >= LIMITS.exchange.sources && oldest !== undefined) this.#sources.delete(oldest);
    this.#sources.set(key, { failures: 1, since: now });
  }
}
