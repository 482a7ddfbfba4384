/**
 * HTTP has no way to tell a client that its request is held: it waits without a word. Whoever passes requests on
 * asks the gateway when an answer takes its time, and says so beside the client.
 */
import { type Api, apiWith } from "./api.ts";
import { Approvals } from "./answers.ts";
import type { SessionTokens } from "./session-token.ts";

/** Milliseconds without an answer after which the gateway is asked, one time after the other. */
const ASK_AFTER = [700, 2_000, 6_000] as const;

export type HeldWatch = {
  /** A request is on its way; call what this returns when its answer begins or it is given up. */
  readonly started: () => () => void;
};

/** Tells `held` of each approval that requests to `resource` under these tokens wait for, once. */
export function newHeldWatch(
  gateway: string,
  resource: string,
  tokens: SessionTokens,
  held: (approval: string) => void,
): HeldWatch {
  const api: Api = apiWith(gateway, tokens);
  const told = new Set<string>();
  const ask = async (): Promise<void> => {
    const path = `/v1/approvals/waiting?resource=${encodeURIComponent(resource)}`;
    const answer = await api.call(Approvals, "GET", path);
    // What cannot be asked is not worth a word: the request itself will say what is wrong.
    if (!answer.ok) return;
    for (const { id } of answer.value.approvals) {
      if (told.has(id)) continue;
      told.add(id);
      held(id);
    }
  };
  return {
    started: () => {
      const timers = ASK_AFTER.map((after) => setTimeout(() => void ask(), after));
      return () => timers.forEach(clearTimeout);
    },
  };
}
