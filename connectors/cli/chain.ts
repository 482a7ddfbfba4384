/**
 * Checking a recording's hash chain from what is stored, trusting nothing that the gateway says about it:
 * each event's hash is SHA-256 over the previous hash (hex), a newline and the exact JSON text of
 * `{seq, at, body}` (docs/api.md). What `play` shows comes from that text too, so an event cannot be shown
 * otherwise than it was hashed.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { type Result, err, ok } from "../../wire/result.ts";
import type { Head, RecordedEvent } from "./answers.ts";
import { parseJson } from "./http.ts";

/** Where a chain stands after the events seen so far. */
export type ChainState = { readonly count: number; readonly seq: number; readonly hash: string };

export type Break = {
  /** Number of the event at which the chain breaks. */
  readonly seq: number;
  readonly why: string;
};

/** What stands before the first event: the hash of the session's identifier, so that recordings cannot be exchanged. */
export function chainStart(session: string): ChainState {
  return { count: 0, seq: 0, hash: createHash("sha256").update(session).digest("hex") };
}

const Hashed = z.strictObject({
  seq: z.number().int(),
  at: z.string(),
  body: z.looseObject({ type: z.string() }),
});
export type Hashed = z.infer<typeof Hashed>;

/** The next event of a chain, checked: what its hashed text says, and the state after it. */
export function nextEvent(
  state: ChainState,
  event: RecordedEvent,
): Result<{ state: ChainState; event: Hashed }, Break> {
  const expected = state.seq + 1;
  const broken = (why: string): Result<never, Break> => err({ seq: expected, why });
  if (event.seq !== expected) return broken(`event ${event.seq} stands where event ${expected} should`);
  if (event.previous !== state.hash) return broken("it does not follow from the event before it");
  const hash = createHash("sha256").update(`${state.hash}\n${event.json}`).digest("hex");
  if (hash !== event.hash) return broken("its content does not have the hash that is recorded for it");
  const hashed = Hashed.safeParse(parseJson(event.json));
  if (!hashed.success) return broken("its hashed text is not an event");
  if (hashed.data.seq !== event.seq || hashed.data.at !== event.at)
    return broken("its hashed text says another number or time");
  return ok({ state: { count: state.count + 1, seq: event.seq, hash }, event: hashed.data });
}

/** Whether the chain ends where the gateway says that it does: nothing was cut off at the end. */
export function checkHead(state: ChainState, head: Head | undefined): Result<void, Break> {
  if (head === undefined || state.count === 0) return err({ seq: 1, why: "it is missing" });
  if (head.seq === state.seq && head.hash === state.hash) return ok(undefined);
  return err({
    seq: state.seq + 1,
    why: `the recording ends at event ${state.seq}, but its head is event ${head.seq}`,
  });
}
