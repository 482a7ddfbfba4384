/**
 * What is different about the output of programs, as terminals and commands give it: somebody may be reading it
 * as it comes, so that only what could be the beginning of something waits for what follows it; it may be binary;
 * and a private key may break off in it without its END.
 */
import type { Span } from "./detect-numbers.ts";
import { PRIVATE_KEY_BEGIN, PRIVATE_KEY_END } from "./detect-secrets.ts";

/** Letters, digits and marks of which addresses, keys and tokens consist. */
const WORD = /[A-Za-z0-9._%+@-]/;
/** What numbers are written with. */
const NUMBER = /[\d ().+/-]/;
/** The longest number with its separators: an IBAN of 34 in groups of four. */
const LONGEST_NUMBER = 48;
const IBAN_BEGINS =
  /(?:^|[^A-Za-z0-9])([A-Za-z]{2}\d{2}[A-Za-z0-9]{0,30}(?:[ -][A-Za-z0-9]{1,30}){0,10}[ -]?)$/;

/**
 * Where the last thing begins that could become a match with what follows; the text's length when nothing could.
 * @param least no earlier than here
 */
export function beginsSomething(text: string, least: number): number {
  let word = text.length;
  while (word > least && WORD.test(text.charAt(word - 1))) word--;
  let number = text.length;
  const earliest = Math.max(least, text.length - LONGEST_NUMBER);
  while (number > earliest && NUMBER.test(text.charAt(number - 1))) number--;
  while (number < text.length && !/[\d(+]/.test(text.charAt(number))) number++;
  const tail = text.slice(earliest);
  const iban = IBAN_BEGINS.exec(tail);
  return Math.min(word, number, iban === null ? text.length : earliest + tail.lastIndexOf(iban[1] ?? ""));
}

/** The beginning of an END line that is not whole yet. */
const END_BEGINS = /-{1,5}(?:E(?:ND?)?|END [A-Z0-9 -]{0,48})?$/;
const LONGEST_END = 64;

/** Where an END line may begin that is not whole yet; the text's length when none does. */
export function endsKey(text: string): number {
  const from = Math.max(0, text.length - LONGEST_END);
  const begun = END_BEGINS.exec(text.slice(from));
  return begun === null ? text.length : from + begun.index;
}

/** In no form of a private key, but in every prompt of a shell. */
// oxlint-disable-next-line no-control-regex -- ESC is what it is about
const NOT_OF_A_KEY = /[@$#~>%\u001b]/;

/** Where a private key ends in this text: at its END line, or where it has broken off. */
export function privateKeyEnd(text: string): number | undefined {
  const broken = NOT_OF_A_KEY.exec(text)?.index;
  return PRIVATE_KEY_END.exec(broken === undefined ? text : text.slice(0, broken))?.index ?? broken;
}

/** Private keys as far as they go on; one that is last may reach the end of the text. */
export function findKeysInOutput(text: string): Span[] {
  const found: Span[] = [];
  for (let from = 0; ;) {
    const begin = PRIVATE_KEY_BEGIN.exec(text.slice(from));
    if (begin === null) return found;
    const start = from + begin.index + begin[0].length;
    const length = privateKeyEnd(text.slice(start));
    from = length === undefined ? text.length : start + length;
    found.push({ start, end: from });
  }
}

const ESCAPE = "\u001b";
/** What moves a terminal's cursor or sets its colours (ECMA-48 section 5.4). */
// oxlint-disable-next-line no-control-regex -- ESC is what it is about
const CONTROL_SEQUENCE = /\u001b\[[0-?]{0,64}[ -/]{0,8}[@-~]/g;
// oxlint-disable-next-line no-control-regex -- ESC is what it is about
const CONTROL_SEQUENCE_BEGINS = /\u001b(?:\[[0-?]{0,64}[ -/]{0,8})?$/;
const LONGEST_SEQUENCE = 80;

/** The text with a line end in place of every byte of these spans and of what only a terminal reads. */
export function withoutControls(text: string, spans: readonly Span[]): string {
  let visible = "";
  let from = 0;
  for (const { start, end } of spans) {
    visible += text.slice(from, start) + "\n".repeat(end - start);
    from = end;
  }
  visible += text.slice(from);
  if (!visible.includes(ESCAPE)) return visible;
  return visible.replaceAll(CONTROL_SEQUENCE, (sequence) => "\n".repeat(sequence.length));
}

/** Where a control sequence begins that is not whole yet; the text's length when none does. */
export function beginsControl(text: string): number {
  const from = Math.max(0, text.length - LONGEST_SEQUENCE);
  const begun = CONTROL_SEQUENCE_BEGINS.exec(text.slice(from));
  return begun === null ? text.length : from + begun.index;
}

/** Bytes on either side of a match that are looked at. */
const AROUND = 24;
/** One byte in so many may be none of a text's. */
const TEXT = 8;
/** NUL parts names (`find -print0`); the others are line ends and what terminals know. */
const CONTROLS_OF_TEXT = new Set([0, 7, 8, 9, 10, 11, 12, 13, 0x1b]);

/**
 * Whether a match lies in the midst of binary data, where addresses of a few letters come about by chance and
 * overwriting them would spoil an archive or an image. Latin-1 and UTF-8 with a few accents are text.
 */
export function amongBinary(text: string, { start, end }: Span): boolean {
  const around = text.slice(Math.max(0, start - AROUND), start) + text.slice(end, end + AROUND);
  let odd = 0;
  for (let at = 0; at < around.length; at++) {
    const code = around.charCodeAt(at);
    if (code < 0x20 ? !CONTROLS_OF_TEXT.has(code) : code === 0x7f) odd++;
    else if (code >= 0x80) {
      const length = utf8Length(around, at);
      if (length === 0) odd++;
      else at += length - 1;
    }
  }
  return odd > 1 && odd > around.length / TEXT;
}

/** Length of the UTF-8 sequence that begins here, 0 for none. A sequence that is cut at the end counts as one. */
function utf8Length(text: string, at: number): number {
  const code = text.charCodeAt(at);
  const length = code >= 0xf0 && code <= 0xf4 ? 4 : code >= 0xe0 ? 3 : code >= 0xc2 ? 2 : 0;
  if (code > 0xf4 || length === 0) return 0;
  for (let next = at + 1; next < Math.min(at + length, text.length); next++)
    if ((text.charCodeAt(next) & 0xc0) !== 0x80) return 0;
  return length;
}
