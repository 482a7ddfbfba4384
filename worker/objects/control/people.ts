/**
 * Everybody who has proven here who they are, with the groups that their identity provider said last. Used to
 * answer who may do what, and for buttons in chat, whose press carries no token.
 */
import { principalKey } from "../../policy/approval.ts";
import type { Principal } from "../../policy/types.ts";

export type SeenPrincipal = { readonly principal: Principal; readonly at: number };

export class People {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS people (key TEXT PRIMARY KEY, principal TEXT NOT NULL, at INTEGER NOT NULL)",
    );
  }

  /** An identity provider said so at `at`; what it said earlier changes nothing. */
  seen(principal: Principal, at: number): void {
    this.#sql.exec(
      "INSERT INTO people (key, principal, at) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET principal = excluded.principal, at = excluded.at WHERE excluded.at >= people.at",
      principalKey(principal),
      JSON.stringify(principal),
      at,
    );
  }

  get(issuer: string, subject: string): SeenPrincipal | undefined {
    const row = this.#sql
      .exec<{ principal: string; at: number }>(
        "SELECT principal, at FROM people WHERE key = ?",
        JSON.stringify([issuer, subject]),
      )
      .toArray()[0];
    return row === undefined ? undefined : { principal: JSON.parse(row.principal) as Principal, at: row.at };
  }

  /** Newest first. */
  list(limit: number): SeenPrincipal[] {
    return this.#sql
      .exec<{ principal: string; at: number }>(
        "SELECT principal, at FROM people ORDER BY at DESC LIMIT ?",
        limit,
      )
      .toArray()
      .map(({ principal, at }) => ({ principal: JSON.parse(principal) as Principal, at }));
  }
}
