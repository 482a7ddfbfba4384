/**
 * Pending and decided approvals in the Control object's SQLite. The rules are in worker/policy/approval.ts and
 * approval-batch.ts. Every method is one synchronous step of the object, so that of several sessions that race
 * for the last use of something exactly one gets it.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type Approval, type Batch, atTime, principalKey } from "../../policy/approval.ts";
import { batchKey, grantedBatch } from "../../policy/approval-batch.ts";
import type { HoldAnswer, HoldRequest } from "./types.ts";

type Row = { readonly body: string };
type BatchRow = {
  readonly approval: string;
  readonly uses: number;
  readonly left: number;
  readonly until: number;
};

/** Who asked, in which capacity: an approval of one's own request is not one of a task's, nor the other way round. */
function requesterKey({
  requester,
  parties = [],
  task,
}: Pick<Approval, "requester" | "parties" | "task">): string {
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
      CREATE INDEX IF NOT EXISTS approvals_created ON approvals (created_at);
      CREATE TABLE IF NOT EXISTS batches (
        approval TEXT PRIMARY KEY, key TEXT NOT NULL, uses INTEGER NOT NULL, left INTEGER NOT NULL,
        until INTEGER NOT NULL);
      CREATE INDEX IF NOT EXISTS batches_key ON batches (key, until);
      CREATE TABLE IF NOT EXISTS approval_shapes (approval TEXT PRIMARY KEY, shape TEXT NOT NULL);
      CREATE INDEX IF NOT EXISTS approval_shapes_shape ON approval_shapes (shape);
    `);
  }

  get(id: string, now: number): Result<Approval, Refusal> {
    const row = this.#sql.exec<Row>("SELECT body FROM approvals WHERE id = ?", id).toArray()[0];
    if (row === undefined) return err(refusal("not_found", `there is no approval ${id}`));
    return ok(this.#read(row, now));
  }

  save(approval: Approval): void {
    const { batch: _, ...body } = approval;
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
      JSON.stringify(body),
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
    return rows.toArray().map((row) => this.#read(row, now));
  }

  /** What requests of the session wait for now, oldest first. */
  waitingIn(session: string, now: number): Approval[] {
    return this.#sql
      .exec<Row>(
        "SELECT body FROM approvals WHERE session = ? AND status = 'pending' AND expires_at > ? ORDER BY created_at",
        session,
        now,
      )
      .toArray()
      .map((row) => this.#read(row, now))
      .filter(({ waiting }) => waiting);
  }

  /** Pending ones that further groups will be or have been asked for. */
  escalating(now: number): Approval[] {
    return this.#sql
      .exec<Row>(
        `SELECT body FROM approvals WHERE status = 'pending' AND expires_at > ? AND instr(body, '"escalate":') > 0`,
        now,
      )
      .toArray()
      .map((row) => this.#read(row, now));
  }

  /** Requests from `from` on, in milliseconds since the epoch; oldest first. */
  since(from: number, until: number, limit: number, now: number): Approval[] {
    return this.#sql
      .exec<Row>(
        "SELECT body FROM approvals WHERE created_at >= ? AND created_at < ? ORDER BY created_at LIMIT ?",
        from,
        until,
        limit,
      )
      .toArray()
      .map((row) => this.#read(row, now));
  }

  /** Earlier requests for the same operation or one of the same shape, of anybody; newest first. */
  similar(approval: Approval, now: number): Approval[] {
    return this.#sql
      .exec<Row>(
        `SELECT body FROM approvals WHERE resource = ? AND id <> ? AND created_at <= ?
         AND (hash = ? OR id IN (SELECT approval FROM approval_shapes WHERE shape = ?))
         ORDER BY created_at DESC LIMIT ?`,
        approval.resource,
        approval.id,
        approval.createdAt,
        approval.operation.hash,
        approval.operation.shape?.hash ?? "",
        LIMITS.approvals.similar,
      )
      .toArray()
      .map((row) => this.#read(row, now));
  }

  /**
   * Opens an approval for a held operation, or uses up one that was approved for exactly this operation of
   * this principal, or one use of a batch. The operation that a batch was granted for is one of its uses: where
   * others were quicker, it is held anew. Whoever only asks (`--no-wait`) and has asked already gets the same
   * pending one.
   */
  hold(request: HoldRequest, id: string, now: number): HoldAnswer {
    const approved = this.#same(request, "approved", now).find(
      ({ id, waiting, batch: shared }) => !waiting && (shared === undefined || this.#useBatch(id, now)),
    );
    if (approved !== undefined) {
      const used: Approval = { ...approved, status: "used", session: request.session };
      this.save(used);
      return { granted: true, approval: this.#withBatch(used) };
    }
    const batch = this.#batchFor(request, now);
    if (batch !== undefined && this.#useBatch(batch, now)) {
      const found = this.get(batch, now);
      if (found.ok) return { granted: true, approval: found.value, batch: true };
    }
    const pending = this.#same(request, "pending", now).find(({ waiting }) => !waiting);
    if (pending !== undefined) {
      // The earlier request without a session that waits is taken over rather than opened twice.
      const taken: Approval = request.waiting
        ? { ...pending, session: request.session, waiting: true }
        : pending;
      this.save(taken);
      return { granted: false, approval: taken };
    }
    const { session, resource, requester, parties, task, operation, requirements, policies } = request;
    const { reason, waiting, expiresAt, before } = request;
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
      ...(before === undefined ? {} : { before }),
    };
    this.save(approval);
    if (operation.shape !== undefined) {
      this.#sql.exec("INSERT INTO approval_shapes VALUES (?, ?)", id, operation.shape.hash);
    }
    return { granted: false, approval, opened: true };
  }

  /**
   * Saves an approval that was approved just now, with the batch that its reviewers granted. A session that waits
   * has its use at once, so that nobody takes it away between the decision and the statement.
   */
  saveDecided(approval: Approval): Approval {
    this.save(approval);
    const granted = approval.status === "approved" ? grantedBatch(approval) : undefined;
    const shape = approval.operation.shape?.hash;
    if (granted === undefined || shape === undefined) return approval;
    const batch: Batch = { ...granted, left: granted.left - (approval.waiting ? 1 : 0) };
    this.#sql.exec(
      "INSERT INTO batches (approval, key, uses, left, until) VALUES (?, ?, ?, ?, ?)",
      approval.id,
      batchKey({ ...approval, shape }),
      batch.uses,
      batch.left,
      batch.until,
    );
    return { ...approval, batch };
  }

  /** The waiting session takes its approved operation up: once. */
  use(id: string, session: string, now: number): Result<Approval, Refusal> {
    const found = this.get(id, now);
    if (!found.ok) return found;
    const approval = found.value;
    if (approval.status !== "approved" || approval.session !== session || !approval.waiting) {
      return err(refusal("approval_not_pending", `approval ${id} is ${approval.status}`, { approval: id }));
    }
    const used: Approval = { ...approval, status: "used", waiting: false };
    this.save(used);
    return ok(this.#withBatch(used));
  }

  /** Nothing more runs under the batch of this approval. False when there was nothing left of it. */
  endBatch(id: string, now: number): boolean {
    return (
      this.#sql.exec(
        "UPDATE batches SET left = 0, until = ? WHERE approval = ? AND left > 0 AND until > ?",
        now,
        id,
        now,
      ).rowsWritten > 0
    );
  }

  /** The requester gave up: Ctrl-C, a closed connection, the end of the session. */
  withdraw(id: string, session: string, now: number): Approval | undefined {
    const found = this.get(id, now);
    if (!found.ok || found.value.session !== session || !found.value.waiting) return undefined;
    const { status } = found.value;
    if (status !== "pending" && status !== "approved") return undefined;
    if (status === "approved") this.#returnUse(id, now);
    const withdrawn: Approval = { ...found.value, status: "withdrawn", waiting: false };
    this.save(withdrawn);
    return withdrawn;
  }

  /** A session died with the gateway: whatever it waited for stays open, for the retry. */
  orphan(session: string, now: number): void {
    const rows = this.#sql
      .exec<Row>(
        "SELECT body FROM approvals WHERE session = ? AND status IN ('pending', 'approved')",
        session,
      )
      .toArray();
    for (const { body } of rows) {
      const approval = JSON.parse(body) as Approval;
      if (approval.status === "approved" && approval.waiting) this.#returnUse(approval.id, now);
      this.save({ ...approval, waiting: false });
    }
  }

  /** Marks what has run out and returns it as it was before. */
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

  /** Approvals of the same operation by the same people under the same task, asked for the same: oldest first. */
  #same(request: HoldRequest, status: "pending" | "approved", now: number): Approval[] {
    const scope = (of: Omit<Parameters<typeof batchKey>[0], "shape">): string =>
      batchKey({ ...of, shape: "" });
    return this.#sql
      .exec<Row>(
        `SELECT body FROM approvals WHERE requester = ? AND resource = ? AND hash = ? AND status = ? AND expires_at > ?
         ORDER BY created_at`,
        requesterKey(request),
        request.resource,
        request.operation.hash,
        status,
        now,
      )
      .toArray()
      .map((row) => this.#read(row, now))
      .filter((approval) => scope(approval) === scope(request));
  }

  #batchFor(request: HoldRequest, now: number): string | undefined {
    const shape = request.operation.shape?.hash;
    if (shape === undefined) return undefined;
    return this.#sql
      .exec<{ approval: string }>(
        "SELECT approval FROM batches WHERE key = ? AND left > 0 AND until > ? ORDER BY until LIMIT 1",
        batchKey({ ...request, shape }),
        now,
      )
      .toArray()[0]?.approval;
  }

  /** Counts one use down. False when the approval has no batch, or nothing is left of it. */
  #useBatch(approval: string, now: number): boolean {
    return (
      this.#sql.exec(
        "UPDATE batches SET left = left - 1 WHERE approval = ? AND left > 0 AND until > ?",
        approval,
        now,
      ).rowsWritten > 0
    );
  }

  /** The session that had a use without running anything is gone: whoever comes next has it, if the batch goes on. */
  #returnUse(approval: string, now: number): void {
    this.#sql.exec(
      "UPDATE batches SET left = left + 1 WHERE approval = ? AND left < uses AND until > ?",
      approval,
      now,
    );
  }

  #read({ body }: Row, now: number): Approval {
    return this.#withBatch(atTime(JSON.parse(body) as Approval, now));
  }

  #withBatch(approval: Approval): Approval {
    const row = this.#sql
      .exec<BatchRow>("SELECT approval, uses, left, until FROM batches WHERE approval = ?", approval.id)
      .toArray()[0];
    if (row === undefined) return approval;
    const batch: Batch = { uses: row.uses, left: row.left, until: row.until };
    return { ...approval, batch };
  }
}
