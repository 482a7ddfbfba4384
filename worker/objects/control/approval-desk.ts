/**
 * What happens to approvals over their life: requests, decisions, escalation, expiry, and who is told. The
 * Control object has one; each public method is one of its own. What changes is recorded in the same turn,
 * before anything leaves the object.
 *
 *   pending ─ approve (quorum) ─► approved ─ taken up ─► used ─ batch: further uses, counted
 *      ├─ deny ─► denied            └─ time ─► expired
 *      ├─ time ─► expired
 *      └─ requester gone ─► withdrawn          gateway restarted: stays open, the retry uses it
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import {
  type Approval,
  type Batch,
  type Estimate,
  decideApproval,
  escalations,
  isParty,
  isReviewer,
  samePrincipal,
} from "../../policy/approval.ts";
import { batchLimit, checkBatch } from "../../policy/approval-batch.ts";
import type { NotificationEvent } from "../../policy/notification.ts";
import type { Principal } from "../../policy/types.ts";
import { identifier } from "../identifiers.ts";
import type { Approvals } from "./approvals.ts";
import type { ApprovalOutcome, HoldAnswer, HoldRequest } from "./types.ts";

export type DeskHost = {
  readonly record: (body: { readonly type: string; readonly [field: string]: unknown }) => void;
  /** Whether policy lets somebody decide approvals on the resource. */
  readonly mayDecide: (principal: Principal, resource: string) => Result<void, Refusal>;
  /** Tells the session that waits. False: it does not wait any more. */
  readonly tell: (session: string, outcome: ApprovalOutcome) => Promise<boolean>;
  /** The approval is another now; `event` where people outside are to be told. */
  readonly changed: (approval: Approval, event?: NotificationEvent) => void;
};

export type Verdict = {
  readonly verdict: "approve" | "deny";
  readonly comment?: string;
  /** The hash that the reviewer saw; refused unless it is the operation's. */
  readonly hash?: string;
  readonly batch?: Pick<Batch, "uses" | "until">;
  /** Where it was decided, for the record: `slack`, else undefined. */
  readonly channel?: string;
};

/** What a reviewer sees of an approval. */
export type ReviewedApproval = Approval & {
  readonly mayDecide: boolean;
  readonly batchLimit: number;
};

export class ApprovalDesk {
  readonly #store: Approvals;
  readonly #host: DeskHost;

  constructor(store: Approvals, host: DeskHost) {
    this.#store = store;
    this.#host = host;
  }

  /** Opens an approval, or uses up a granted one. The session has decided that the operation is held. */
  hold(request: HoldRequest, now: number): HoldAnswer {
    const answer = this.#store.hold(request, identifier("apr"), now);
    const { id, status, operation, batch } = answer.approval;
    this.#host.record({
      type: "hold",
      approval: id,
      status: answer.batch === true ? "batch" : status,
      session: request.session,
      requester: request.requester,
      ...(request.parties.length === 0 ? {} : { parties: request.parties }),
      ...(request.task === undefined ? {} : { task: request.task }),
      resource: request.resource,
      hash: request.operation.hash,
      // Under a batch the statement that runs is not the one that was looked at.
      ...(request.operation.hash === operation.hash ? {} : { text: request.operation.text }),
      ...(batch === undefined ? {} : { left: batch.left }),
    });
    this.#host.changed(answer.approval, answer.opened === true ? "requested" : undefined);
    return answer;
  }

  /** The session has found out how many rows the operation is expected to touch. */
  describe(id: string, session: string, estimate: Estimate, now: number): void {
    const found = this.#store.get(id, now);
    if (!found.ok || found.value.session !== session || found.value.status !== "pending") return;
    const described: Approval = { ...found.value, estimate };
    this.#store.save(described);
    this.#host.changed(described);
  }

  /** A waiting session takes its approved operation up. */
  use(id: string, session: string, now: number): Result<void, Refusal> {
    const used = this.#store.use(id, session, now);
    if (!used.ok) return used;
    this.#host.record({ type: "approval_used", approval: id, session });
    this.#host.changed(used.value);
    return ok(undefined);
  }

  withdraw(id: string, session: string, now: number): void {
    const withdrawn = this.#store.withdraw(id, session, now);
    if (withdrawn === undefined) return;
    this.#host.record({ type: "withdrawn", approval: id, session });
    this.#host.changed(withdrawn, "withdrawn");
  }

  /** After a crash: what the session waited for stays open for the retry. */
  orphan(session: string, now: number): void {
    this.#store.orphan(session, now);
  }

  /** Approvals that somebody asked for, has a part in, or could decide; newest first. */
  list(reviewer: Principal, pendingOnly: boolean, limit: number, now: number): ReviewedApproval[] {
    return this.#store
      .list(pendingOnly, limit, now)
      .filter((one) => this.maySee(reviewer, one, now))
      .map((one) => this.show(reviewer, one, now));
  }

  /** What the session waits for now. The caller has shown that it is theirs. */
  waitingIn(requester: Principal, session: string, now: number): ReviewedApproval[] {
    return this.#store.waitingIn(session, now).map((one) => this.show(requester, one, now));
  }

  /** One approval with those that were like it. */
  get(
    reviewer: Principal,
    id: string,
    now: number,
  ): Result<ReviewedApproval & { similar: Approval[] }, Refusal> {
    const found = this.#store.get(id, now);
    if (!found.ok) return found;
    if (!this.maySee(reviewer, found.value, now)) {
      return err(refusal("not_found", `there is no approval ${id}`));
    }
    const similar = this.#store.similar(found.value, now).filter((one) => this.maySee(reviewer, one, now));
    return ok({ ...this.show(reviewer, found.value, now), similar });
  }

  maySee(principal: Principal, approval: Approval, now: number): boolean {
    return (
      isParty(approval, principal) ||
      isReviewer(approval, principal.groups, now) ||
      this.#host.mayDecide(principal, approval.resource).ok
    );
  }

  show(principal: Principal, approval: Approval, now: number): ReviewedApproval {
    const mayDecide =
      approval.status === "pending" &&
      isReviewer(approval, principal.groups, now) &&
      !isParty(approval, principal) &&
      !approval.decisions.some(({ reviewer }) => samePrincipal(reviewer, principal)) &&
      this.#host.mayDecide(principal, approval.resource).ok;
    return { ...approval, mayDecide, batchLimit: batchLimit(approval) };
  }

  async decide(
    principal: Principal,
    id: string,
    { verdict, comment, hash, batch, channel }: Verdict,
    now: number,
  ): Promise<Result<ReviewedApproval, Refusal>> {
    const found = this.#store.get(id, now);
    if (!found.ok) return found;
    if (!this.maySee(principal, found.value, now)) {
      return err(refusal("not_found", `there is no approval ${id}`));
    }
    if (hash !== undefined && hash !== found.value.operation.hash) {
      const message = `approval ${id} is for another operation than the one you looked at`;
      return err(refusal("approval_not_pending", message, { hint: "look at it again", approval: id }));
    }
    const asked = batch === undefined || verdict === "deny" ? undefined : batch;
    if (asked !== undefined) {
      const allowed = checkBatch(found.value, asked, now);
      if (!allowed.ok) return allowed;
    }
    const decided = decideApproval(found.value, {
      reviewer: principal,
      verdict,
      ...(comment === undefined || comment === "" ? {} : { comment }),
      ...(asked === undefined ? {} : { batch: { uses: asked.uses, until: asked.until } }),
      at: now,
    });
    if (!decided.ok) return decided;
    const allowed = this.#host.mayDecide(principal, found.value.resource);
    if (!allowed.ok) return allowed;
    this.#host.record({
      type: "decision",
      approval: id,
      verdict,
      by: principal,
      ...(comment === undefined || comment === "" ? {} : { comment }),
      ...(asked === undefined ? {} : { batch: asked }),
      ...(channel === undefined ? {} : { channel }),
      hash: found.value.operation.hash,
    });
    const saved = this.#store.saveDecided(decided.value);
    const { status } = saved;
    this.#host.changed(saved, status === "approved" || status === "denied" ? status : undefined);
    if (status === "approved" || status === "denied") await this.#tell(found.value, status, saved, now);
    const after = this.#store.get(id, now);
    return after.ok ? ok(this.show(principal, after.value, now)) : after;
  }

  /** Ends what is left of a batch; whoever could decide the approval may. */
  endBatch(principal: Principal, id: string, now: number): Result<ReviewedApproval, Refusal> {
    const found = this.#store.get(id, now);
    if (!found.ok) return found;
    const about = { approval: id };
    if (!isReviewer(found.value, principal.groups, now)) {
      return err(refusal("approval_not_reviewer", `only a reviewer can end the batch of ${id}`, about));
    }
    const allowed = this.#host.mayDecide(principal, found.value.resource);
    if (!allowed.ok) return allowed;
    this.#host.record({ type: "batch_ended", approval: id, by: principal });
    if (!this.#store.endBatch(id, now)) {
      return err(refusal("approval_not_pending", `nothing is left of a batch of ${id}`, about));
    }
    const after = this.#store.get(id, now);
    if (!after.ok) return after;
    this.#host.changed(after.value);
    return ok(this.show(principal, after.value, now));
  }

  /** Does what time asks for: expiry and escalation. */
  async pass(now: number): Promise<void> {
    for (const before of this.#store.expire(now)) {
      this.#host.record({ type: "expired", approval: before.id });
      const after = this.#store.get(before.id, now);
      if (after.ok) this.#host.changed(after.value, before.status === "pending" ? "expired" : undefined);
      if (before.status === "pending") await this.#tell(before, "expired", before, now);
    }
    for (const approval of this.#store.escalating(now)) {
      const due = dueEscalations(approval, now);
      if (due <= (approval.escalated ?? 0)) continue;
      const escalated: Approval = { ...approval, escalated: due, escalatedAt: now };
      this.#host.record({ type: "escalated", approval: approval.id });
      this.#store.save(escalated);
      this.#host.changed(escalated, "escalated");
    }
  }

  /** When `pass` is to be called next, in milliseconds since the epoch. */
  next(now: number): number {
    const times = this.#store
      .escalating(now)
      .flatMap((approval) =>
        dueEscalations(approval, now) > (approval.escalated ?? 0)
          ? [now]
          : escalations(approval).filter((at) => at > now),
      );
    return Math.min(this.#store.nextExpiry() ?? Number.POSITIVE_INFINITY, ...times);
  }

  /** Tells the session that waits, if one does; else an approved operation waits for the retry. */
  async #tell(
    before: Approval,
    outcome: ApprovalOutcome["outcome"],
    decided: Approval,
    now: number,
  ): Promise<void> {
    if (!before.waiting) return;
    const last = decided.decisions.at(-1);
    const taken = await this.#host.tell(before.session, {
      approval: before.id,
      outcome,
      // Who denied it; an approval is everybody's who approved.
      by:
        outcome === "denied"
          ? [last?.reviewer.name ?? ""]
          : decided.decisions.map(({ reviewer }) => reviewer.name),
      ...(last?.comment === undefined ? {} : { comment: last.comment }),
    });
    if (!taken) this.#store.orphan(before.session, now);
  }
}

function dueEscalations(approval: Approval, now: number): number {
  return escalations(approval).filter((at) => at <= now).length;
}
