/** An approval as everybody outside sees it: the API, webhooks, the live stream. Times as RFC 3339. */
import type { Approval } from "../../policy/approval.ts";
import type { ReviewedApproval } from "./approval-desk.ts";

export const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** An approval, as reviewers see it (`mayDecide`, `similar`) or as it is told outside. */
export function showApproval(approval: Approval & Partial<ReviewedApproval>): object {
  const { createdAt, expiresAt, decisions, waiting: _, escalated: __, batchLimit, ...rest } = approval;
  const { requirements, before, batch, escalatedAt, similar, ...same } = rest as typeof rest & {
    readonly similar?: readonly Approval[];
  };
  return {
    ...same,
    requirements: requirements.map(({ anyOf, escalate, batch: most, ...requirement }) => ({
      ...requirement,
      groups: anyOf ?? [requirement.group],
      ...(escalate === undefined
        ? {}
        : { escalate: { groups: escalate.groups, afterSeconds: escalate.after / 1000 } }),
      ...(most === undefined ? {} : { batch: most }),
    })),
    decisions: decisions.map(({ batch: asked, ...decision }) => ({
      ...decision,
      ...(asked === undefined ? {} : { batch: { uses: asked.uses, until: time(asked.until) } }),
      at: time(decision.at),
    })),
    ...(before === undefined
      ? {}
      : { before: before.map((operation) => ({ ...operation, at: time(operation.at) })) }),
    ...(batch === undefined ? {} : { batch: { ...batch, until: time(batch.until) } }),
    ...(batchLimit === undefined || batchLimit === 0 ? {} : { batchLimit }),
    ...(escalatedAt === undefined ? {} : { escalatedAt: time(escalatedAt) }),
    ...(similar === undefined ? {} : { similar: similar.map(showSimilar) }),
    createdAt: time(createdAt),
    expiresAt: time(expiresAt),
  };
}

function showSimilar({ id, status, requester, operation, createdAt, decisions }: Approval): object {
  const comment = decisions.at(-1)?.comment;
  return {
    id,
    status,
    requester,
    text: operation.text,
    createdAt: time(createdAt),
    ...(comment === undefined ? {} : { comment }),
  };
}
