/**
 * What an approval is and who may decide it (DESIGN section 6). Pure: time is an argument, the record is
 * plain data that the Control object keeps.
 */
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { DeterminingPolicy, HoldRequirement, Principal } from "./types.ts";

export type ApprovalStatus = "pending" | "approved" | "denied" | "expired" | "withdrawn" | "used";

export type ApprovalDecision = {
  readonly reviewer: Principal;
  readonly verdict: "approve" | "deny";
  readonly comment?: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
};

export type HeldOperation = {
  /** Names of the actions, such as `postgres:delete`. */
  readonly action: readonly string[];
  readonly text: string;
  /** As text where they are text, else base64 with the prefix `base64:`; null is SQL NULL. */
  readonly parameters?: readonly (string | null)[];
  /** SHA-256 of the exact operation, parameters included (hex). */
  readonly hash: string;
};

export type Approval = {
  readonly id: string;
  readonly status: ApprovalStatus;
  readonly resource: string;
  readonly session: string;
  /** The session still waits for it. */
  readonly waiting: boolean;
  readonly requester: Principal;
  /** Everybody else on whose behalf or through whom it was asked: actors, and the parties of its tasks. */
  readonly parties?: readonly Principal[];
  /** The task that it was asked under. */
  readonly task?: string;
  readonly operation: HeldOperation;
  readonly reason?: string;
  readonly requirements: readonly HoldRequirement[];
  readonly decisions: readonly ApprovalDecision[];
  readonly policies: readonly DeterminingPolicy[];
  readonly createdAt: number;
  readonly expiresAt: number;
};

/** Whether two principals are the same: the issuer and the subject are, whatever they are called. */
export function samePrincipal(a: Principal, b: Principal): boolean {
  return a.issuer === b.issuer && a.subject === b.subject;
}

/** One string per principal, without a way for two to collide. */
export function principalKey(principal: Pick<Principal, "issuer" | "subject">): string {
  return JSON.stringify([principal.issuer, principal.subject]);
}

/** The approval as it is at `now`: a pending or unused one past its end is expired. */
export function atTime(approval: Approval, now: number): Approval {
  const open = approval.status === "pending" || approval.status === "approved";
  return open && approval.expiresAt <= now ? { ...approval, status: "expired", waiting: false } : approval;
}

/**
 * Adds a reviewer's verdict. Refuses the requester, whoever is in none of the groups asked for, a second
 * verdict of the same person, and an approval that is not pending any more. One denial denies.
 */
export function decideApproval(before: Approval, decision: ApprovalDecision): Result<Approval, Refusal> {
  const approval = atTime(before, decision.at);
  const { reviewer } = decision;
  const about = { approval: approval.id };
  if (approval.status !== "pending") {
    return err(
      refusal("approval_not_pending", `approval ${approval.id} is ${approval.status} already`, about),
    );
  }
  const asked = [approval.requester, ...(approval.parties ?? [])];
  if (asked.some((party) => samePrincipal(reviewer, party))) {
    const hint = "ask somebody else of the group to decide it";
    return err(refusal("approval_own_request", "you cannot decide your own request", { hint, ...about }));
  }
  const groups = approval.requirements.map((requirement) => requirement.group);
  if (!groups.some((group) => reviewer.groups.includes(group))) {
    const message = `only members of ${groups.join(" or ")} can decide approval ${approval.id}`;
    return err(refusal("approval_not_reviewer", message, about));
  }
  if (approval.decisions.some((earlier) => samePrincipal(earlier.reviewer, reviewer))) {
    const message = `you have decided approval ${approval.id} already; another reviewer is needed`;
    return err(refusal("approval_not_pending", message, about));
  }
  const decisions = [...approval.decisions, decision];
  if (decision.verdict === "deny") return ok({ ...approval, decisions, status: "denied", waiting: false });
  return ok({
    ...approval,
    decisions,
    status: isMet(approval.requirements, decisions) ? "approved" : "pending",
  });
}

/** Every requirement has its quorum of distinct reviewers, who were in its group when they decided. */
function isMet(requirements: readonly HoldRequirement[], decisions: readonly ApprovalDecision[]): boolean {
  return requirements.every(({ group, quorum }) => {
    const approving = decisions.filter(
      ({ verdict, reviewer }) => verdict === "approve" && reviewer.groups.includes(group),
    );
    return approving.length >= quorum;
  });
}
