/** Who is not trusted any more, and who has left which group, in the Control object's SQLite. */
import { principalKey } from "../../policy/approval.ts";
import type { Principal } from "../../policy/types.ts";

/** Issuer and subject are what a principal is; its name and groups may change. */
export type PrincipalName = Pick<Principal, "issuer" | "subject">;

export type Revocation = PrincipalName & {
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly by: string;
  readonly reason?: string;
  /** Also what is issued later is refused, until the revocation is lifted. */
  readonly blocks: boolean;
};

type Row = {
  readonly id: string;
  readonly issuer: string;
  readonly subject: string;
  readonly at: number;
  readonly by: string;
  readonly reason: string | null;
  readonly blocks: number;
};

export class Revocations {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS revocations (
        id TEXT PRIMARY KEY, key TEXT NOT NULL, issuer TEXT NOT NULL, subject TEXT NOT NULL, at INTEGER NOT NULL,
        by TEXT NOT NULL, reason TEXT, blocks INTEGER NOT NULL);
      CREATE INDEX IF NOT EXISTS revocations_key ON revocations (key);
      CREATE TABLE IF NOT EXISTS departures (
        key TEXT NOT NULL, member_of TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (key, member_of));
    `);
  }

  add(revocation: Revocation): void {
    this.#sql.exec(
      "INSERT INTO revocations (id, key, issuer, subject, at, by, reason, blocks) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
      revocation.id,
      principalKey(revocation),
      revocation.issuer,
      revocation.subject,
      revocation.at,
      revocation.by,
      revocation.reason ?? null,
      revocation.blocks ? 1 : 0,
    );
  }

  /** Lifts one, as if it had not been; false when there is none of this id. What it ended stays ended. */
  lift(id: string): boolean {
    return this.#sql.exec("DELETE FROM revocations WHERE id = ?", id).rowsWritten > 0;
  }

  /** Newest first. */
  list(limit: number): Revocation[] {
    return this.#sql
      .exec<Row>("SELECT * FROM revocations ORDER BY at DESC LIMIT ?", limit)
      .toArray()
      .map(({ reason, blocks, id, issuer, subject, at, by }) => ({
        id,
        issuer,
        subject,
        at,
        by,
        blocks: blocks === 1,
        ...(reason === null ? {} : { reason }),
      }));
  }

  /** Whether a token that was issued to the principal then is refused. Times in milliseconds since the epoch. */
  refuses(principal: PrincipalName, issuedAt: number): boolean {
    return (
      this.#sql
        .exec(
          "SELECT 1 FROM revocations WHERE key = ? AND (blocks = 1 OR at >= ?) LIMIT 1",
          principalKey(principal),
          issuedAt,
        )
        .toArray().length > 0
    );
  }

  /** The principal has left these groups: tokens from before that do not give them any more. */
  leave(principal: PrincipalName, groups: readonly string[], at: number): void {
    for (const group of groups) {
      this.#sql.exec(
        "INSERT INTO departures (key, member_of, at) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = excluded.at",
        principalKey(principal),
        group,
        at,
      );
    }
  }

  /** The principal with the groups that a token issued then still gives. */
  current(principal: Principal, issuedAt: number): Principal {
    const left = new Set(
      this.#sql
        .exec<{ member_of: string }>(
          "SELECT member_of FROM departures WHERE key = ? AND at >= ?",
          principalKey(principal),
          issuedAt,
        )
        .toArray()
        .map((row) => row.member_of),
    );
    if (left.size === 0) return principal;
    return { ...principal, groups: principal.groups.filter((group) => !left.has(group)) };
  }
}
