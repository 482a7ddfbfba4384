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
  /** The reviewer approves further statements of the same shape too. */
  readonly batch?: Pick<Batch, "uses" | "until">;
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
  /** The same text laid out for reading; `text` is what counts. */
  readonly formatted?: string;
  readonly relations?: { readonly reads: readonly string[]; readonly writes: readonly string[] };
  /** What it has in common with the same statement with other constants, where it can be told. */
  readonly shape?: OperationShape;
};

export type OperationShape = {
  /** The statement with its constants as `$1`, `$2`, … */
  readonly text: string;
  /** SHA-256 over the resource and the statement's syntax tree without those constants (hex). */
  readonly hash: string;
};

/** How many rows the database expects the operation to touch, by EXPLAIN; or why that is not known. */
export type Estimate =
  | {
      readonly rows: number;
      readonly cost: number;
      /** Relations that the plan reads or changes, with the rows expected of each. */
      readonly relations: readonly { readonly relation: string; readonly rows: number }[];
    }
  | { readonly unavailable: string };

/** Something that the same session did before. */
export type EarlierOperation = {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly text: string;
  readonly effect: "allow" | "hold" | "deny";
  readonly rows?: number;
};

/** Several uses of one approval for statements of its shape (worker/policy/approval-batch.ts). */
export type Batch = {
  readonly uses: number;
  readonly left: number;
  /** Milliseconds since the epoch. */
  readonly until: number;
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
  readonly estimate?: Estimate;
  readonly before?: readonly EarlierOperation[];
  readonly batch?: Batch;
  /** How many of its escalations have been told of, and when the last was. */
  readonly escalated?: number;
  readonly escalatedAt?: number;
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

/** Groups whose members count for a requirement at `at`, when it was asked at `askedAt`. */
export function groupsOf(
  { group, anyOf, escalate }: HoldRequirement,
  askedAt: number,
  at: number,
): readonly string[] {
  const groups = anyOf ?? [group];
  return escalate !== undefined && at >= askedAt + escalate.after ? [...groups, ...escalate.groups] : groups;
}

/** When further groups are asked, in milliseconds since the epoch; one time for each that escalates. */
export function escalations({ requirements, createdAt }: Approval): readonly number[] {
  return requirements.flatMap(({ escalate }) => (escalate === undefined ? [] : [createdAt + escalate.after]));
}

/** Whether somebody with these groups could decide the approval at `at`, their part in the request aside. */
export function isReviewer(approval: Approval, groups: readonly string[], at: number): boolean {
  return approval.requirements.some((requirement) =>
    groupsOf(requirement, approval.createdAt, at).some((group) => groups.includes(group)),
  );
}

/** Whether they asked for it, or it was asked on their behalf or through them. */
export function isParty(approval: Approval, person: Principal): boolean {
  return [approval.requester, ...(approval.parties ?? [])].some((party) => samePrincipal(person, party));
}

/**
 * Adds a reviewer's verdict. Refuses whoever has a part in the request, is in none of the groups asked for
 * now, or has decided already, and an approval that is not pending any more. One denial denies.
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
  if (isParty(approval, reviewer)) {
    const hint = "ask somebody else of the group to decide it";
    return err(refusal("approval_own_request", "you cannot decide your own request", { hint, ...about }));
  }
  if (!isReviewer(approval, reviewer.groups, decision.at)) {
    const groups = approval.requirements.flatMap((requirement) =>
      groupsOf(requirement, approval.createdAt, decision.at),
    );
    const message = `only members of ${[...new Set(groups)].join(" or ")} can decide approval ${approval.id}`;
    return err(refusal("approval_not_reviewer", message, about));
  }
  if (approval.decisions.some((earlier) => samePrincipal(earlier.reviewer, reviewer))) {
    const message = `you have decided approval ${approval.id} already; another reviewer is needed`;
    return err(refusal("approval_not_pending", message, about));
  }
  const decisions = [...approval.decisions, decision];
  if (decision.verdict === "deny") return ok({ ...approval, decisions, status: "denied", waiting: false });
  return ok({ ...approval, decisions, status: isMet(approval, decisions) ? "approved" : "pending" });
}

/** Every requirement has its quorum of distinct reviewers, who were in its groups when they decided. */
function isMet({ requirements, createdAt }: Approval, decisions: readonly ApprovalDecision[]): boolean {
  return requirements.every((requirement) => {
    const approving = decisions.filter(({ verdict, reviewer, at }) => {
      const groups = groupsOf(requirement, createdAt, at);
      return verdict === "approve" && groups.some((group) => reviewer.groups.includes(group));
    });
    return approving.length >= requirement.quorum;
  });
}
