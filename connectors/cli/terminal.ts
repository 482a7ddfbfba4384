/**
 * Where `sally` speaks. Answers go to stdout, everything else to stderr as `sally: …`, lower case, no full
 * stop, a hint on a line of its own. Text that others wrote (statements, reasons, names) passes `visible`,
 * so that a requester cannot repaint a reviewer's terminal with escape sequences or reorder what it shows
 * with bidirectional controls ("Trojan Source", CVE-2021-42574).
 */
import type { Failure } from "./failure.ts";

export type Terminal = {
  /** Writes to stdout as it is. */
  readonly out: (text: string) => void;
  /** Writes to stderr as it is. */
  readonly err: (text: string) => void;
};

// C0 except tab and newline, DEL, C1, zero-width and bidirectional controls, line separators, tag characters.
const UNSAFE =
  // oxlint-disable-next-line no-control-regex -- finding control characters is the purpose
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

function escaped(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}

/** Text of others, of one or several lines, made harmless: what cannot be seen is shown as `\u{…}`. */
export function visible(text: string): string {
  return text.replace(UNSAFE, escaped);
}

/** The same for a place that has one line only. */
export function visibleLine(text: string): string {
  return visible(text).replace(/\t/g, "\\t").replace(/\n/g, "\\n");
}

/** One line of JSON without raw control characters, which JSON.stringify leaves in beyond U+001F. */
export function toJson(value: unknown): string {
  return JSON.stringify(value).replace(UNSAFE, (character) => {
    let text = "";
    for (let at = 0; at < character.length; at++) {
      text += `\\u${character.charCodeAt(at).toString(16).padStart(4, "0")}`;
    }
    return text;
  });
}

/** A line for the user on stderr. */
export function say(terminal: Terminal, message: string): void {
  terminal.err(`sally: ${visibleLine(message)}\n`);
}

export function sayFailure(terminal: Terminal, failure: Failure): void {
  say(terminal, failure.message);
  for (const detail of failure.details ?? []) terminal.err(`  ${visibleLine(detail)}\n`);
  if (failure.hint !== undefined) terminal.err(`  hint: ${visibleLine(failure.hint)}\n`);
}

/** Columns as wide as their widest cell; the last one is not padded. Cells are made harmless. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [header, ...rows.map((row) => row.map(visibleLine))];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => (column === line.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
        .join("  "),
    )
    .map((line) => `${line.trimEnd()}\n`)
    .join("");
}

/** `label  value` lines, aligned, for showing one thing. A value of several lines is indented below. */
export function fields(pairs: readonly (readonly [string, string | undefined])[]): string {
  const shown = pairs.filter((pair): pair is readonly [string, string] => pair[1] !== undefined);
  const width = Math.max(...shown.map(([label]) => label.length));
  return shown
    .map(
      ([label, value]) =>
        `${label.padEnd(width)}  ${visible(value).replace(/\n/g, `\n${" ".repeat(width + 2)}`)}\n`,
    )
    .join("");
}

/** Shortens to `length` characters for a table, with an ellipsis; newlines become spaces first. */
export function shorten(text: string, length: number): string {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length <= length ? line : `${line.slice(0, length - 1)}…`;
}
