/**
 * One session's recording, read from its beginning, verified as it arrives, and followed while the session is
 * live. The same events make the timeline, so what is shown is what was verified.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import { Timeline } from "../model/timeline.ts";
import { type ChainBreak, type ChainProgress, startOfChain, verifyEvents } from "../model/verify.ts";
import { type Answer, type Problem, get } from "./client.ts";
import type { Events, Head } from "./types.ts";

export type Recording = {
  readonly timeline: Timeline;
  /** How far the chain holds. */
  readonly verified: ChainProgress | undefined;
  readonly broken: ChainBreak | undefined;
  /** The gateway's own head of the chain, at the last answer. */
  readonly head: Head | undefined;
  /** Everything that there is at the moment has been read. */
  readonly complete: boolean;
  readonly problem: Problem | undefined;
  /** Counts up as more arrives; the timeline itself is the same object. */
  readonly turn: number;
};

const PAGE = 500;
/** Seconds that the gateway may wait for the next event. */
const WAIT = 20;

/** `status` is undefined until it is known. */
export function useRecording(
  session: string,
  status: "live" | "ended" | undefined,
  retry: number,
): Recording {
  const [state, setState] = useState<Recording>(() => fresh());
  const current = useRef(status);
  current.current = status;
  useEffect(() => {
    const stop = new AbortController();
    setState(fresh());
    void follow(session, current, stop.signal, (change) =>
      setState((before) => ({ ...before, ...change, turn: before.turn + 1 })),
    );
    return () => stop.abort();
  }, [session, retry]);
  return state;
}

function fresh(): Recording {
  return {
    timeline: new Timeline(),
    verified: undefined,
    broken: undefined,
    head: undefined,
    complete: false,
    problem: undefined,
    turn: 0,
  };
}

async function follow(
  session: string,
  status: { readonly current: "live" | "ended" | undefined },
  stop: AbortSignal,
  tell: (change: Partial<Recording>) => void,
): Promise<void> {
  const timeline = new Timeline();
  let verified = await startOfChain(session);
  let broken: ChainBreak | undefined;
  let after = 0;
  let complete = false;
  let lastRead = false;
  for (;;) {
    if (stop.aborted) return;
    const wait: string = complete && status.current === "live" ? `&wait=${WAIT}` : "";
    // Of a session that ended a moment ago, the end itself is still to be read.
    if (complete && status.current === "ended") {
      if (lastRead) return;
      lastRead = true;
    }
    const path: string = `/v1/sessions/${encodeURIComponent(session)}/events?after=${after}&limit=${PAGE}${wait}`;
    const started = performance.now();
    const answer: Answer<Events> = await get<Events>(path, stop);
    if (stop.aborted) return;
    if (!answer.ok) {
      tell({ problem: answer.error });
      if (answer.error.status !== 0) return;
      await pause(3000, stop);
      continue;
    }
    const { events, head, more }: Events = answer.value;
    timeline.add(events);
    after = events.at(-1)?.seq ?? after;
    if (broken === undefined) {
      const result = await verifyEvents(verified, events);
      verified = result.progress;
      broken = result.broken;
      // The end that the gateway speaks of has to be the one that was read.
      if (broken === undefined && head.seq === verified.seq && head.hash !== verified.hash) {
        broken = { seq: head.seq, why: "the gateway names another hash for it" };
      }
    }
    complete = !more;
    tell({ timeline, verified, broken, head, complete, problem: undefined });
    // A gateway that does not wait must not be asked in a circle.
    if (complete && status.current !== "ended" && events.length === 0 && performance.now() - started < 1000)
      await pause(2000, stop);
  }
}

function pause(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    stop.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
