/**
 * Keeps sessions of requests alive for as long as something long runs in them: an exec, a watch, a stream of events.
 * A token lasts 15 minutes, and so would they; the next token is shown to the session before that.
 */
import { z } from "zod";
import { apiWith } from "./api.ts";
import { RENEWAL_RETRY_MS, type SessionTokens, renewalDelay } from "./session-token.ts";

export type SessionKeeper = {
  /**
   * Something has begun in the session, whose token ends at `expiresAt` (milliseconds since the epoch). Call what this
   * returns when it is over.
   */
  readonly begun: (session: string, expiresAt: number) => () => void;
};

type Kept = { running: number; expiresAt: number; timer: NodeJS.Timeout | undefined };

export function newSessionKeeper(gateway: string, tokens: SessionTokens): SessionKeeper {
  const api = apiWith(gateway, tokens);
  const sessions = new Map<string, Kept>();
  const schedule = (session: string, kept: Kept, atMost = Number.POSITIVE_INFINITY): void => {
    const delay = Math.min(renewalDelay(kept.expiresAt - Date.now()), atMost);
    kept.timer = setTimeout(() => void renew(session, kept), Math.max(delay, 1000)).unref();
  };
  const renew = async (session: string, kept: Kept): Promise<void> => {
    const fresh = await tokens.renew();
    const shown = fresh.ok ? await api.call(z.undefined(), "POST", `/v1/sessions/${session}/renew`) : fresh;
    if (kept.running === 0) return;
    if (fresh.ok && shown.ok) kept.expiresAt = fresh.value.expiresAt;
    // It ends by itself when nothing helps, and its client hears why.
    if (kept.expiresAt > Date.now()) schedule(session, kept, shown.ok ? undefined : RENEWAL_RETRY_MS);
  };
  return {
    begun: (session, expiresAt) => {
      const kept = sessions.get(session) ?? { running: 0, expiresAt, timer: undefined };
      sessions.set(session, kept);
      if (++kept.running === 1) schedule(session, kept);
      let over = false;
      return () => {
        if (over) return;
        over = true;
        if (--kept.running > 0) return;
        clearTimeout(kept.timer);
        sessions.delete(session);
      };
    },
  };
}
