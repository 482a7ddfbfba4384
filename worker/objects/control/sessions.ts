/** The index of sessions in the Control object's SQLite. The recordings themselves are in the Session objects. */
import { principalKey } from "../../policy/approval.ts";
import type { Principal } from "../../policy/types.ts";
import type { SessionCounts, SessionRow } from "./types.ts";

/** Under which a session is found by what it depends on: everybody in its authority, and its tasks. */
export function principalLink(principal: Pick<Principal, "issuer" | "subject">): string {
  return `principal ${principalKey(principal)}`;
}

export function taskLink(task: string): string {
  return `task ${task}`;
}

type Row = {
  readonly id: string;
  readonly resource: string;
  readonly protocol: string;
  readonly principal: string;
  readonly started_at: number;
  readonly ended_at: number | null;
  readonly end_reason: string | null;
  readonly operations: number;
  readonly denied: number;
  readonly held: number;
  readonly rows: number;
};

export class SessionIndex {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS sessions (
        id TEXT PRIMARY KEY, resource TEXT NOT NULL, protocol TEXT NOT NULL, principal TEXT NOT NULL,
        process_id INTEGER, started_at INTEGER NOT NULL, ended_at INTEGER, end_reason TEXT,
        operations INTEGER NOT NULL DEFAULT 0, denied INTEGER NOT NULL DEFAULT 0,
        held INTEGER NOT NULL DEFAULT 0, rows INTEGER NOT NULL DEFAULT 0);
      CREATE INDEX IF NOT EXISTS sessions_started ON sessions (started_at);
      CREATE TABLE IF NOT EXISTS session_links (
        link TEXT NOT NULL, session TEXT NOT NULL, PRIMARY KEY (link, session)) WITHOUT ROWID;
      CREATE TABLE IF NOT EXISTS session_chains (session TEXT PRIMARY KEY, body TEXT NOT NULL);
      CREATE INDEX IF NOT EXISTS sessions_live ON sessions (process_id) WHERE ended_at IS NULL;
    `);
  }

  /** `processId` is the one that PostgreSQL clients use to cancel; live sessions do not share one. */
  start(session: Omit<SessionRow, "status" | keyof SessionCounts>, processId: number): void {
    this.#sql.exec(
      "INSERT OR IGNORE INTO sessions (id, resource, protocol, principal, process_id, started_at) VALUES (?, ?, ?, ?, ?, ?)",
      session.id,
      session.resource,
      session.protocol,
      JSON.stringify(session.principal),
      processId,
      session.startedAt,
    );
    const { actors = [], tasks = [] } = session;
    const parties = [
      session.principal,
      ...actors,
      ...tasks.flatMap((step) => [step.principal, ...step.actors]),
    ];
    for (const link of [...parties.map(principalLink), ...tasks.map(({ id }) => taskLink(id))]) {
      this.#sql.exec("INSERT OR IGNORE INTO session_links (link, session) VALUES (?, ?)", link, session.id);
    }
    if (actors.length === 0 && tasks.length === 0) return;
    this.#sql.exec(
      "INSERT OR IGNORE INTO session_chains (session, body) VALUES (?, ?)",
      session.id,
      JSON.stringify({ actors, tasks }),
    );
  }

  /** The live sessions of a link. */
  linked(link: string): string[] {
    return this.#sql
      .exec<{ session: string }>(
        "SELECT session FROM session_links JOIN sessions ON id = session WHERE link = ? AND ended_at IS NULL",
        link,
      )
      .toArray()
      .map(({ session }) => session);
  }

  end(id: string, endedAt: number, reason: string, counts: SessionCounts): void {
    this.#sql.exec(
      "UPDATE sessions SET ended_at = ?, end_reason = ?, operations = ?, denied = ?, held = ?, rows = ? WHERE id = ? AND ended_at IS NULL",
      endedAt,
      reason,
      counts.operations,
      counts.denied,
      counts.held,
      counts.rows,
      id,
    );
  }

  /** What a live session has counted so far. */
  count(id: string, { operations, denied, held, rows }: SessionCounts): void {
    this.#sql.exec(
      "UPDATE sessions SET operations = ?, denied = ?, held = ?, rows = ? WHERE id = ? AND ended_at IS NULL",
      operations,
      denied,
      held,
      rows,
      id,
    );
  }

  get(id: string): SessionRow | undefined {
    const row = this.#sql.exec<Row>("SELECT * FROM sessions WHERE id = ?", id).toArray()[0];
    return row === undefined ? undefined : this.#toSession(row);
  }

  list(liveOnly: boolean, limit: number): SessionRow[] {
    const where = liveOnly ? "WHERE ended_at IS NULL" : "";
    return this.#sql
      .exec<Row>(`SELECT * FROM sessions ${where} ORDER BY started_at DESC LIMIT ?`, limit)
      .toArray()
      .map((row) => this.#toSession(row));
  }

  liveIds(): string[] {
    return this.#sql
      .exec<{ id: string }>("SELECT id FROM sessions WHERE ended_at IS NULL")
      .toArray()
      .map(({ id }) => id);
  }

  byProcessId(processId: number): string | undefined {
    return this.#sql
      .exec<{ id: string }>("SELECT id FROM sessions WHERE process_id = ? AND ended_at IS NULL", processId)
      .toArray()[0]?.id;
  }

  #toSession(row: Row): SessionRow {
    const chain = this.#sql
      .exec<{ body: string }>("SELECT body FROM session_chains WHERE session = ?", row.id)
      .toArray()[0];
    return {
      id: row.id,
      resource: row.resource,
      protocol: row.protocol,
      principal: JSON.parse(row.principal) as SessionRow["principal"],
      startedAt: row.started_at,
      ...(row.ended_at === null ? {} : { endedAt: row.ended_at }),
      status: row.ended_at === null ? "live" : "ended",
      ...(row.end_reason === null ? {} : { endReason: row.end_reason }),
      operations: row.operations,
      denied: row.denied,
      held: row.held,
      rows: row.rows,
      ...(chain === undefined ? {} : (JSON.parse(chain.body) as Pick<SessionRow, "actors" | "tasks">)),
    };
  }
}
