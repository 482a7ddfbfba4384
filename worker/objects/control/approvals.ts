/** Pending and decided approvals in the Control object's SQLite. The rules are in worker/policy/approval.ts. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type Approval, atTime, principalKey } from "../../policy/approval.ts";
import type { HoldAnswer, HoldRequest } from "./types.ts";

type Row = { readonly body: string };

/** Who asked, in which capacity: an approval of one's own request is not one of a task's, nor the other way round. */
function requesterKey({ requester, parties = [], task }: Pick<Approval, "requester" | "parties" | "task">): string {
  if (parties.length === 0 && task === undefined) return principalKey(requester);
  return JSON.stringify([principalKey(requester), ...parties.map(principalKey), task ?? ""]);
}

export class Approvals {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS approvals (
        id TEXT PRIMARY KEY, status TEXT NOT NULL, requester TEXT NOT NULL, resource TEXT NOT NULL,
        hash TEXT NOT NULL, session TEXT NOT NULL, created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL,
        body TEXT NOT NULL);
      CREATE INDEX IF NOT EXISTS approvals_operation ON approvals (requester, resource, hash, status);
      CREATE INDEX IF NOT EXISTS approvals_status ON approvals (status, expires_at);
      CREATE INDEX IF NOT EXISTS approvals_session ON approvals (session, status);
    `);
  }

  get(id: string, now: number): Result<Approval, Refusal> {
    const row = this.#sql.exec<Row>("SELECT body FROM approvals WHERE id = ?", id).toArray()[0];
    if (row === undefined) return err(refusal("not_found", `there is no approval ${id}`));
    return ok(atTime(JSON.parse(row.body) as Approval, now));
  }

  save(approval: Approval): void {
    this.#sql.exec(
      `INSERT INTO approvals (id, status, requester, resource, hash, session, created_at, expires_at, body)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET status = excluded.status, session = excluded.session, body = excluded.body`,
      approval.id,
      approval.status,
      requesterKey(approval),
      approval.resource,
      approval.operation.hash,
      approval.session,
      approval.createdAt,
      approval.expiresAt,
      JSON.stringify(approval),
    );
  }

  /** Newest first. */
  list(pendingOnly: boolean, limit: number, now: number): Approval[] {
    const rows = pendingOnly
      ? this.#sql.exec<Row>(
          "SELECT body FROM approvals WHERE status = 'pending' AND expires_at > ? ORDER BY created_at DESC LIMIT ?",
          now,
          limit,
        )
      : this.#sql.exec<Row>("SELECT body FROM approvals ORDER BY created_at DESC LIMIT ?", limit);
    return rows.toArray().map(({ body }) => atTime(JSON.parse(body) as Approval, now));
  }

  /**
   * Opens an approval for a held operation, or uses up one that was approved for exactly this operation of
   * this principal. Whoever only asks (`--no-wait`) and has asked already gets the same pending one.
   */
  hold(request: HoldRequest, id: string, now: number): HoldAnswer {
    const same = (status: string): Approval | undefined => {
      const row = this.#sql
        .exec<Row>(
          `SELECT body FROM approvals WHERE requester = ? AND resource = ? AND hash = ? AND status = ? AND expires_at > ?
           ORDER BY created_at LIMIT 1`,
          requesterKey(request),
          request.resource,
          request.operation.hash,
          status,
          now,
        )
        .toArray()[0];
      return row === undefined ? undefined : (JSON.parse(row.body) as Approval);
    };
    const approved = same("approved");
    if (approved !== undefined && !approved.waiting) {
      const used: Approval = { ...approved, status: "used", session: request.session };
      this.save(used);
      return { granted: true, approval: used };
    }
    const pending = same("pending");
    if (pending !== undefined && !pending.waiting) {
      // The earlier request without a session that waits is taken over rather than opened twice.
      const taken: Approval = request.waiting
        ? { ...pending, session: request.session, waiting: true }
        : pending;
      this.save(taken);
      return { granted: false, approval: taken };
    }
    const { session, resource, requester, operation, requirements, policies, reason, waiting, expiresAt } =
      request;
    const { parties, task } = request;
    const approval: Approval = {
      id,
      status: "pending",
      resource,
      session,
      waiting,
      requester,
      ...(parties.length === 0 ? {} : { parties }),
      ...(task === undefined ? {} : { task }),
      operation,
      ...(reason === undefined ? {} : { reason }),
      requirements,
      decisions: [],
      policies,
      createdAt: now,
      expiresAt,
    };
    this.save(approval);
    return { granted: false, approval };
  }

  /** The waiting session takes its approved operation up: once. */
  use(id: string, session: string, now: number): Result<Approval, Refusal> {
    const found = this.get(id, now);
    if (!found.ok) return found;
    const approval = found.value;
    if (approval.status !== "approved" || approval.session !== session) {
      return err(refusal("approval_not_pending", `approval ${id} is ${approval.status}`, { approval: id }));
    }
    const used: Approval = { ...approval, status: "used", waiting: false };
    this.save(used);
    return ok(used);
  }

  /** The requester gave up: Ctrl-C, a closed connection, the end of the session. */
  withdraw(id: string, session: string, now: number): Approval | undefined {
    const found = this.get(id, now);
    if (!found.ok || found.value.session !== session || !found.value.waiting) return undefined;
    const { status } = found.value;
    if (status !== "pending" && status !== "approved") return undefined;
    const withdrawn: Approval = { ...found.value, status: "withdrawn", waiting: false };
    this.save(withdrawn);
    return withdrawn;
  }

  /** A session died with the gateway: whatever it waited for stays open, for the retry. */
  orphan(session: string): void {
    const rows = this.#sql
      .exec<Row>(
        "SELECT body FROM approvals WHERE session = ? AND status IN ('pending', 'approved')",
        session,
      )
      .toArray();
    for (const { body } of rows) this.save({ ...(JSON.parse(body) as Approval), waiting: false });
  }

  /** Marks what has run out and returns it. */
  expire(now: number): Approval[] {
    const rows = this.#sql
      .exec<Row>(
        "SELECT body FROM approvals WHERE status IN ('pending', 'approved') AND expires_at <= ?",
        now,
      )
      .toArray();
    return rows.map(({ body }) => {
      const before = JSON.parse(body) as Approval;
      this.save(atTime(before, now));
      return before;
    });
  }

  /** When the next one runs out, in milliseconds since the epoch. */
  nextExpiry(): number | undefined {
    const row = this.#sql
      .exec<{ at: number | null }>(
        "SELECT min(expires_at) AS at FROM approvals WHERE status IN ('pending', 'approved')",
      )
      .one();
    return row.at ?? undefined;
  }
}
