/** A session as everybody outside sees it. Times as RFC 3339. */
import { time } from "./shown-approval.ts";
import type { SessionRow } from "./types.ts";

export function showSession(session: SessionRow): object {
  const { startedAt, endedAt, ...rest } = session;
  return {
    ...rest,
    startedAt: time(startedAt),
    ...(endedAt === undefined ? {} : { endedAt: time(endedAt) }),
  };
}
