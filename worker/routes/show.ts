/** How the API shows approvals and sessions: times as RFC 3339. */
import { time } from "../objects/control/shown-approval.ts";
import type { SessionRow } from "../objects/control/types.ts";

export { showApproval, time } from "../objects/control/shown-approval.ts";

export function showSession(session: SessionRow): object {
  const { startedAt, endedAt, ...rest } = session;
  return {
    ...rest,
    startedAt: time(startedAt),
    ...(endedAt === undefined ? {} : { endedAt: time(endedAt) }),
  };
}
