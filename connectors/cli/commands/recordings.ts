import { type Result, ok } from "../../../wire/result.ts";
import { Session } from "../answers.ts";
import { openApi } from "../api.ts";
import type { ChainState } from "../chain.ts";
import type { Command } from "../command.ts";
import type { Context } from "../context.ts";
import type { Failure } from "../failure.ts";
import { newPlayer } from "../player.ts";
import { brokenFailure, readRecording } from "../recording.ts";
import { exportTerminal, replay, REPLAY, TERMINAL } from "../terminal-replay.ts";
import { say, toJson } from "../terminal.ts";

const ID = { name: "SESSION", about: "the session's id" };
const POLL_MS = 1000;

export const sessionsPlay: Command = {
  name: "sessions play",
  summary: "print what was run in a session, and what came back",
  about: `Statements with their decisions, and the results as the client was given them (masked values are masked
here too). With --json every event is one line of JSON. The hash chain is checked on the way. With --speed the
terminal of an SSH session is shown as it was, without what could reach beyond the screen.

  sally sessions play ses_… --speed 2 --idle 1`,
  positionals: [ID],
  options: { ...TERMINAL, ...REPLAY },
  run: async (context, given) => {
    const session = given.positionals[0] ?? "";
    if (given.values.has("speed") || given.values.has("idle")) return replay(context, session, given);
    const api = await openApi(context);
    if (!api.ok) return api;
    const player = newPlayer();
    const read = await readRecording(api.value, session, (event) => {
      context.terminal.out(context.json ? `${toJson(event)}\n` : player.text(event));
    });
    if (!read.ok) return read;
    return read.value.broken === undefined ? ok(0) : brokenFailure(session, read.value.broken);
  },
};

export const sessionsTail: Command = {
  name: "sessions tail",
  summary: "follow an open session as sessions play shows it",
  about: `Prints what has been recorded and then what comes, until the session ends or Ctrl-C.`,
  positionals: [ID],
  options: {},
  run: async (context, given) => follow(context, given.positionals[0] ?? ""),
};

async function follow(context: Context, session: string): Promise<Result<number, Failure>> {
  const api = await openApi(context);
  if (!api.ok) return api;
  const player = newPlayer();
  let state: ChainState | undefined;
  for (;;) {
    // Asked first: whatever an ended session recorded is there by then.
    const status = await api.value.call(Session, "GET", `/v1/sessions/${encodeURIComponent(session)}`);
    if (!status.ok) return status;
    const read = await readRecording(
      api.value,
      session,
      (event) => context.terminal.out(context.json ? `${toJson(event)}\n` : player.text(event)),
      state,
    );
    if (!read.ok) return read;
    if (read.value.broken !== undefined) return brokenFailure(session, read.value.broken);
    state = read.value.state;
    if (status.value.status !== "live") return ok(0);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export const sessionsVerify: Command = {
  name: "sessions verify",
  summary: "check that nothing in a recording was changed, removed, added or moved",
  about: `The SHA-256 chain is computed here from the recorded text. Compare the head with one that was noted
elsewhere to know that the whole recording was not replaced.`,
  positionals: [ID],
  options: {},
  run: async (context, given) => {
    const session = given.positionals[0] ?? "";
    const api = await openApi(context);
    if (!api.ok) return api;
    const read = await readRecording(api.value, session, () => undefined);
    if (!read.ok) return read;
    const { broken, state } = read.value;
    if (broken !== undefined) return brokenFailure(session, broken);
    context.terminal.out(
      context.json
        ? `${toJson({ session, ok: true, events: state.count, head: { seq: state.seq, hash: state.hash } })}\n`
        : `ok: ${state.count} ${state.count === 1 ? "event" : "events"}, head ${state.hash}\n`,
    );
    return ok(0);
  },
};

export const sessionsExport: Command = {
  name: "sessions export",
  summary: "write a recording as JSON lines",
  about: `Each line is one event as it is stored, with its hash and the exact text under it (json), so that
anybody can check the chain without Sallyport. A terminal of an SSH session can also be written as an
asciicast, for asciinema and players on web pages.

  sally sessions export ses_… > session.jsonl
  sally sessions export ses_… --format asciicast-v3 > session.cast`,
  positionals: [ID],
  options: {
    ...TERMINAL,
    format: { value: "FORMAT", about: "jsonl (default), asciicast-v2 or asciicast-v3" },
  },
  run: async (context, given) => {
    const session = given.positionals[0] ?? "";
    const format = given.values.get("format") ?? "jsonl";
    if (format !== "jsonl") return exportTerminal(context, session, given, format);
    const api = await openApi(context);
    if (!api.ok) return api;
    const read = await readRecording(api.value, session, (_, stored) =>
      context.terminal.out(`${toJson(stored)}\n`),
    );
    if (!read.ok) return read;
    if (read.value.broken !== undefined) return brokenFailure(session, read.value.broken);
    say(context.terminal, `${read.value.state.count} events, head ${read.value.state.hash}`);
    return ok(0);
  },
};
