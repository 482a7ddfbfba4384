/** Reading a session's recording page by page, each event checked against the chain as it comes. */
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import { Events, type RecordedEvent } from "./answers.ts";
import type { Api } from "./api.ts";
import { type Break, type ChainState, type Hashed, chainStart, checkHead, nextEvent } from "./chain.ts";
import { type Failure, fail } from "./failure.ts";

const PAGE = 500;

export type Reading = {
  readonly state: ChainState;
  /** Set when the chain does not hold; nothing after it has been read. */
  readonly broken: Break | undefined;
};

/**
 * Reads the events after `from` and gives each, checked, to `onEvent` (with what it says and as it came).
 * `complete` also checks that the last one is the head.
 */
export async function readRecording(
  api: Api,
  session: string,
  onEvent: (event: Hashed, stored: RecordedEvent) => void,
  from: ChainState = chainStart(session),
): Promise<Result<Reading, Failure>> {
  let state = from;
  for (;;) {
    const path = `/v1/sessions/${encodeURIComponent(session)}/events?after=${state.seq}&limit=${PAGE}`;
    const page = await api.call(Events, "GET", path);
    if (!page.ok) return page;
    const { events, head, more } = page.value;
    for (const stored of events) {
      const next = nextEvent(state, stored);
      if (!next.ok) return ok({ state, broken: next.error });
      state = next.value.state;
      onEvent(next.value.event, stored);
    }
    if (!more) {
      const whole = checkHead(state, head);
      return ok({ state, broken: whole.ok ? undefined : whole.error });
    }
    // A gateway that always has more but gives nothing would keep us here for ever.
    if (events.length === 0) return ok({ state, broken: { seq: state.seq + 1, why: "it is missing" } });
  }
}

/** A chain that does not hold is a failure: what is shown of it could be anything. */
export function brokenFailure(session: string, broken: Break): ReturnType<typeof fail> {
  return fail(EXIT.failed, `the recording of ${session} is broken at event ${broken.seq}: ${broken.why}`);
}
