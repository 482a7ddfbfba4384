/**
 * A terminal's recording as an asciicast, version 2 or 3 (docs.asciinema.org/manual/asciicast). Version 2 counts
 * time from the start, version 3 from the event before, and version 3 alone has the exit status.
 */

/** What happened on one terminal, in order. */
export type TerminalEvent =
  /** `at` in milliseconds of any clock that only goes forward. */
  | { readonly kind: "output" | "input"; readonly at: number; readonly text: string }
  | { readonly kind: "resize"; readonly at: number; readonly columns: number; readonly rows: number }
  | { readonly kind: "exit"; readonly at: number; readonly status: number };

export type TerminalHeader = {
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly columns: number;
  readonly rows: number;
  readonly term: string;
  readonly title: string;
};

export type AsciicastVersion = 2 | 3;

/** A terminal without a size, as programs without one are told. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

/** The first line, with its line end. */
export function asciicastHeader(version: AsciicastVersion, header: TerminalHeader): string {
  const timestamp = Math.floor(header.startedAt / 1000);
  const columns = header.columns > 0 ? header.columns : DEFAULT_COLUMNS;
  const rows = header.rows > 0 ? header.rows : DEFAULT_ROWS;
  const { term, title } = header;
  const line =
    version === 2
      ? { version, width: columns, height: rows, timestamp, title, env: { TERM: term } }
      : { version, term: { cols: columns, rows, type: term }, timestamp, title };
  return `${JSON.stringify(line)}\n`;
}

/** Where the clock of a recording stands. */
export type AsciicastClock = { readonly start: number; previous: number };

export function newAsciicastClock(startedAt: number): AsciicastClock {
  return { start: startedAt, previous: startedAt };
}

/** One event's line, with its line end; "" for what the version cannot say. */
export function asciicastEvent(
  version: AsciicastVersion,
  clock: AsciicastClock,
  event: TerminalEvent,
): string {
  if (version === 2 && event.kind === "exit") return "";
  // A clock that was set back must not make time run backwards.
  const at = Math.max(event.at, clock.previous);
  const seconds = (version === 2 ? at - clock.start : at - clock.previous) / 1000;
  clock.previous = at;
  return `${JSON.stringify([seconds, ...said(event)])}\n`;
}

function said(event: TerminalEvent): [string, string] {
  switch (event.kind) {
    case "output":
      return ["o", event.text];
    case "input":
      return ["i", event.text];
    case "resize":
      return ["r", `${event.columns}x${event.rows}`];
    case "exit":
      return ["x", String(event.status)];
  }
}
