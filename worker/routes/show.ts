/** How the API shows approvals and sessions: times as RFC 3339. */
import type { SessionRow } from "../objects/control/types.ts";
import type { Approval } from "../policy/approval.ts";

export const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

export function showApproval(approval: Approval): object {
  const { createdAt, expiresAt, decisions, waiting: _, ...rest } = approval;
  return {
    ...rest,
    decisions: decisions.map((decision) => ({ ...decision, at: time(decision.at) })),
    createdAt: time(createdAt),
    expiresAt: time(expiresAt),
  };
}

export function showSession(session: SessionRow): object {
  const { startedAt, endedAt, ...rest } = session;
  return {
    ...rest,
    startedAt: time(startedAt),
    ...(endedAt === undefined ? {} : { endedAt: time(endedAt) }),
  };
}
