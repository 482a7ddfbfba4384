/** Showing the terminal of a recorded session again, and writing it as an asciicast. */
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import {
  type AsciicastClock,
  type AsciicastVersion,
  type TerminalEvent,
  asciicastEvent,
  asciicastHeader,
  newAsciicastClock,
} from "../../wire/ssh/asciicast.ts";
import { openApi } from "./api.ts";
import type { Arguments } from "./arguments.ts";
import type { Context } from "./context.ts";
import { type Failure, fail, usage } from "./failure.ts";
import { brokenFailure, readRecording } from "./recording.ts";
import { RESET, filterTerminal, newTerminalFilter } from "./terminal-filter.ts";
import { newTerminalReader } from "./terminal-recording.ts";

export const TERMINAL = {
  channel: {
    value: "N",
    about: "of several terminals in one session, the one on this channel (default: the first)",
  },
} as const;

export const REPLAY = {
  speed: { value: "X", about: "show the terminal of an SSH session, so many times as fast (1: as it was)" },
  idle: { value: "SECONDS", about: "with --speed: cut waits to this (default 2)" },
} as const;

const DEFAULT_IDLE_SECONDS = 2;

/** Replays one terminal with its timing. */
export async function replay(
  context: Context,
  session: string,
  given: Arguments,
): Promise<Result<number, Failure>> {
  const speed = Number(given.values.get("speed") ?? "1");
  const idle = Number(given.values.get("idle") ?? DEFAULT_IDLE_SECONDS);
  if (!(speed > 0 && speed <= 1000)) return usage("--speed is not a number above 0", "2 is twice as fast");
  if (!(idle >= 0)) return usage("--idle is not a number of seconds", "0 leaves no waits at all");
  const read = await readTerminal(context, session, given);
  if (!read.ok) return read;
  const filter = newTerminalFilter();
  let previous: number | undefined;
  for (const event of read.value.events) {
    const wait = Math.min(Math.max(0, event.at - (previous ?? event.at)) / speed, idle * 1000);
    previous = event.at;
    if (event.kind !== "output") continue;
    if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    context.terminal.out(filterTerminal(filter, event.text));
  }
  context.terminal.out(`${RESET}\n`);
  return ok(0);
}

export async function exportTerminal(
  context: Context,
  session: string,
  given: Arguments,
  format: string,
): Promise<Result<number, Failure>> {
  const version: AsciicastVersion | undefined =
    format === "asciicast-v2" ? 2 : format === "asciicast-v3" ? 3 : undefined;
  if (version === undefined)
    return usage(`--format ${format} is not known`, "jsonl, asciicast-v2 or asciicast-v3");
  const read = await readTerminal(context, session, given);
  if (!read.ok) return read;
  const { header, events } = read.value;
  const clock: AsciicastClock = newAsciicastClock(header.startedAt);
  context.terminal.out(asciicastHeader(version, header));
  for (const event of events) context.terminal.out(asciicastEvent(version, clock, event));
  return ok(0);
}

type Terminal = {
  readonly header: Parameters<typeof asciicastHeader>[1];
  readonly events: readonly TerminalEvent[];
};

/** Reads and checks the whole recording first: what does not chain is not shown. */
async function readTerminal(
  context: Context,
  session: string,
  given: Arguments,
): Promise<Result<Terminal, Failure>> {
  const asked = given.values.get("channel");
  if (asked !== undefined && !/^[1-9]\d{0,9}$/.test(asked))
    return usage(`--channel ${asked} is not a number`);
  const api = await openApi(context);
  if (!api.ok) return api;
  const reader = newTerminalReader(asked === undefined ? undefined : Number(asked));
  let header: Terminal["header"] | undefined;
  const events: TerminalEvent[] = [];
  const read = await readRecording(api.value, session, (event) => {
    const taken = reader.take(event);
    header ??= taken.header;
    events.push(...taken.events);
  });
  if (!read.ok) return read;
  if (read.value.broken !== undefined) return brokenFailure(session, read.value.broken);
  if (header !== undefined) return ok({ header, events });
  const others =
    reader.channels.length > 0 ? `; terminals are on channels ${reader.channels.join(", ")}` : "";
  return fail(EXIT.failed, `there is no such terminal in ${session}${others}`, {
    hint: "show what was done in it with: sally sessions play (without --speed)",
  });
}
