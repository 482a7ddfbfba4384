/**
 * Batches: one approval for several statements of the same shape (docs/approvals.md). A reviewer chooses it,
 * every policy that holds the operation has to allow it with `@batch`, and each reviewer that the approval
 * needs has to choose it too. Pure; the Control object counts.
 */
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type Approval, type Batch, principalKey } from "./approval.ts";
import type { HoldRequirement, Principal } from "./types.ts";

/** Most uses that may be granted; 0 where policy allows no batch. */
export function batchLimit({
  requirements,
  operation,
}: Pick<Approval, "requirements" | "operation">): number {
  if (operation.shape === undefined || requirements.length === 0) return 0;
  return Math.min(...requirements.map(({ batch }) => batch ?? 0));
}

/** Checks what a reviewer asks for; the uses include the operation that waits. */
export function checkBatch(
  approval: Approval,
  { uses, until }: Pick<Batch, "uses" | "until">,
  now: number,
): Result<void, Refusal> {
  const about = { approval: approval.id };
  const most = batchLimit(approval);
  if (most === 0) {
    const why =
      approval.operation.shape === undefined
        ? "an operation of this kind has no shape to approve"
        : "policy allows no batch here";
    return err(refusal("request_invalid", `${why}; approve it alone`, about));
  }
  if (!Number.isInteger(uses) || uses < 1 || uses > most) {
    return err(refusal("request_invalid", `policy allows from 1 to ${most} uses of one approval`, about));
  }
  if (until <= now || until > now + LIMITS.time.batch) {
    const hours = LIMITS.time.batch / 3_600_000;
    return err(
      refusal("request_invalid", `a batch ends in the future, at most ${hours} hours from now`, about),
    );
  }
  return ok(undefined);
}

/** The batch that the approving decisions grant together: only if all of them do, and then the least of them. */
export function grantedBatch({ decisions }: Pick<Approval, "decisions">): Batch | undefined {
  const asked = decisions.filter(({ verdict }) => verdict === "approve").map(({ batch }) => batch);
  const given = asked.filter((batch) => batch !== undefined);
  if (given.length === 0 || given.length !== asked.length) return undefined;
  const uses = Math.min(...given.map((batch) => batch.uses));
  return { uses, left: uses, until: Math.min(...given.map(({ until }) => until)) };
}

/**
 * Whom and what a batch is for, as one string: the requester with everybody whom they act for or through, the
 * task, the resource, the shape, and what policy asked for, so that stricter policies end it.
 */
export function batchKey(of: {
  readonly requester: Principal;
  readonly parties?: readonly Principal[];
  readonly task?: string;
  readonly resource: string;
  readonly requirements: readonly HoldRequirement[];
  readonly shape: string;
}): string {
  return JSON.stringify([
    principalKey(of.requester),
    (of.parties ?? []).map(principalKey).toSorted(),
    of.task ?? null,
    of.resource,
    of.requirements.map((requirement) => JSON.stringify(requirement)).toSorted(),
    of.shape,
  ]);
}
