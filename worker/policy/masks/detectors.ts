/**
 * The third line: what looks like a card, an account or a key is found in whatever is returned, for any
 * protocol. It is a net under the masks, not a promise: a value that is cut, encoded or encrypted passes.
 *
 * Work is on bytes, read as one character each, since every form here is ASCII; what is found is overwritten
 * with as many `*`, so that no length in a protocol changes.
 */
import {
  amongBinary,
  beginsControl,
  beginsSomething,
  endsKey,
  findKeysInOutput,
  privateKeyEnd,
  withoutControls,
} from "./detect-output.ts";
import { findCards, findIbans, findPhones, findSocialSecurity, type Span } from "./detect-numbers.ts";
import { findEmails, findKeys, findPrivateKeys, PRIVATE_KEY_END } from "./detect-secrets.ts";

export const DETECTOR_KINDS = ["card", "iban", "email", "phone", "us_ssn", "api_key", "private_key"] as const;
export type DetectorKind = (typeof DETECTOR_KINDS)[number];

export type Detection = Span & { readonly kind: DetectorKind };

/**
 * Finds everything of these kinds in a text, in order and without overlaps.
 * @param context what is known of the text's meaning, such as the name of its column
 */
export function detect(
  text: string,
  kinds: readonly DetectorKind[] = DETECTOR_KINDS,
  context = "",
): Detection[] {
  const found: Detection[] = [];
  for (const kind of kinds) {
    for (const { start, end } of FINDERS[kind](text, context)) found.push({ kind, start, end });
  }
  if (found.length < 2) return found;
  found.sort((one, other) => one.start - other.start || other.end - one.end);
  return found.filter((one, index) =>
    found.slice(0, index).every((earlier) => earlier.end <= one.start || earlier.start > one.end),
  );
}

const HAS_DIGITS = /\d[\d -]{7}/;

const FINDERS: Readonly<Record<DetectorKind, (text: string, context: string) => Span[]>> = {
  card: (text) => (HAS_DIGITS.test(text) ? findCards(text) : []),
  iban: (text) => (text.length < 15 ? [] : findIbans(text)),
  email: findEmails,
  phone: (text) => (text.length < 8 ? [] : findPhones(text)),
  us_ssn: (text, context) => (text.length < 9 ? [] : findSocialSecurity(text, context)),
  api_key: (text) => (text.length < 16 ? [] : findKeys(text)),
  private_key: (text) => (text.includes("PRIVATE KEY") ? findPrivateKeys(text) : []),
};

const STAR = 0x2a;
const ZERO = 0x30;

/** Overwrites what was found. A bare number in JSON gets a one and zeros, so that it stays a number. */
export function overwrite(bytes: Uint8Array, text: string, found: readonly Detection[], json: boolean): void {
  for (const { start, end } of found) {
    const number = json && isBareNumber(text, start);
    bytes.fill(number ? ZERO : STAR, start, end);
    // RFC 8259 section 6: a number does not begin with a zero that others follow.
    if (number) bytes[start] = ZERO + 1;
  }
}

function isBareNumber(text: string, start: number): boolean {
  const before = text.slice(Math.max(0, start - 16), start).trimEnd();
  return (
    before === "" ||
    before.endsWith(":") ||
    before.endsWith(",") ||
    before.endsWith("[") ||
    before.endsWith("-")
  );
}

/** One character for each byte. */
export function latin1(bytes: Uint8Array): string {
  if (bytes.length < 64) return String.fromCharCode(...bytes);
  let text = "";
  for (let at = 0; at < bytes.length; at += 8_192)
    text += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return text;
}

/**
 * What a stream is: `text`; `json`, in which a bare number has to stay one; or `output` of a program, which is
 * held back only as far as something could begin in it, and may be binary (detect-output.ts).
 */
export type StreamKind = "text" | "json" | "output";

/** A detector over a stream, as plain data. */
export type Detector = {
  readonly kinds: readonly DetectorKind[];
  readonly stream: StreamKind;
  /** The last bytes, in which something may have begun that is not complete. */
  readonly held: Uint8Array;
  /** Inside a private key, whose end has not come. */
  readonly inPrivateKey: boolean;
  /** Bytes before `held` that were let through, for words that give a meaning. */
  readonly before: string;
};

export type Detected = {
  readonly detector: Detector;
  /** What can be passed on, overwritten where something was found. */
  readonly bytes: Uint8Array;
  readonly found: readonly DetectorKind[];
};

/** At most this many bytes wait for what follows them; no form but a private key is longer. */
export const HOLD_BACK = 768;
/** Of what was let through, kept for context. */
const CONTEXT = 64;

export function createDetector(
  kinds: readonly DetectorKind[] = DETECTOR_KINDS,
  stream: StreamKind = "text",
): Detector {
  return { kinds, stream, held: new Uint8Array(0), inPrivateKey: false, before: "" };
}

/** Takes more bytes of the stream. What could be part of something longer is held back. */
export function push(detector: Detector, bytes: Uint8Array): Detected {
  return advance(detector, bytes, false);
}

/** Takes more bytes and holds nothing back, for what a person waits for. */
export function pushThrough(detector: Detector, bytes: Uint8Array): Detected {
  return advance(detector, bytes, true);
}

/** Lets everything through that is held: the stream ended, or its reader has waited long enough. */
export function flush(detector: Detector): Detected {
  return advance(detector, new Uint8Array(0), true);
}

function advance(detector: Detector, more: Uint8Array, all: boolean): Detected {
  const bytes = new Uint8Array(detector.held.length + more.length);
  bytes.set(detector.held);
  bytes.set(more, detector.held.length);
  const text = latin1(bytes);
  const found: Detection[] = [];
  const output = detector.stream === "output";
  const end = detector.inPrivateKey ? keyEnd(text, output) : undefined;
  const from = !detector.inPrivateKey ? 0 : (end ?? text.length);
  if (detector.inPrivateKey) found.push({ kind: "private_key", start: 0, end: from });
  const shift = from - detector.before.length;
  const rest = detector.before + text.slice(from);
  for (const { kind, start, end } of output
    ? detectInOutput(rest, detector.kinds)
    : detect(rest, detector.kinds)) {
    if (end + shift > from) found.push({ kind, start: Math.max(from, start + shift), end: end + shift });
  }
  const last = found.findLast(({ kind }) => kind === "private_key");
  // An empty one at the very end is a BEGIN whose key has not come yet.
  const open = last !== undefined && last.end === text.length;
  let cut = all ? text.length : output ? outputCut(text, open) : cutAt(text, open);
  for (const one of found) {
    // The key's lines go out as stars as they come; anything else waits until it is whole.
    if (one.kind !== "private_key" && one.start < cut && one.end > cut) cut = one.start;
  }
  const reached = found
    .filter(({ start }) => start < cut)
    .map((one) => ({ ...one, end: Math.min(one.end, cut) }));
  const out = bytes.subarray(0, cut);
  overwrite(out, text, reached, detector.stream === "json");
  const within = found.some(
    ({ kind, start, end }) =>
      kind === "private_key" && start <= cut && (cut < end || (open && end === text.length)),
  );
  return {
    detector: {
      kinds: detector.kinds,
      stream: detector.stream,
      held: bytes.slice(cut),
      inPrivateKey: within,
      before: (detector.before + text.slice(0, cut)).slice(-CONTEXT),
    },
    bytes: out,
    found: [...new Set(reached.filter(({ start, end }) => end > start).map(({ kind }) => kind))],
  };
}

function keyEnd(text: string, output: boolean): number | undefined {
  return output ? privateKeyEnd(text) : PRIVATE_KEY_END.exec(text)?.index;
}

/** As `detect`, for what a terminal shows, where a private key reaches only as far as it goes on. */
function detectInOutput(text: string, kinds: readonly DetectorKind[]): Detection[] {
  const keys = kinds.includes("private_key") && text.includes("PRIVATE KEY") ? findKeysInOutput(text) : [];
  const others = kinds.filter((kind) => kind !== "private_key");
  const visible = withoutControls(text, keys);
  const found: Detection[] = keys.map((key) => ({ ...key, kind: "private_key" }));
  for (const one of detect(visible, others))
    if (one.kind !== "email" || !amongBinary(text, one)) found.push(one);
  return found.sort((one, other) => one.start - other.start);
}

/** Where to cut output: before what could become a match with what follows. */
function outputCut(text: string, inPrivateKey: boolean): number {
  if (inPrivateKey) return endsKey(text);
  const something = beginsSomething(text, Math.max(0, text.length - HOLD_BACK));
  return beginsKey(text, Math.min(something, beginsControl(text)));
}

/** Nothing that is looked for goes across one of these. */
const BOUNDARY = new Set("\n\r\t\0\"'<>,;|{}[]\\`=&?#*!~^$".split(""));

/** Where to cut: after the last boundary, but no further back than the hold-back reaches. */
function cutAt(text: string, inPrivateKey: boolean): number {
  if (inPrivateKey) return Math.max(0, text.length - 64);
  const least = Math.max(0, text.length - HOLD_BACK);
  for (let at = text.length; at > least; at--)
    if (BOUNDARY.has(text.charAt(at - 1))) return beginsKey(text, at);
  return least;
}

/** The BEGIN line of a private key has no boundary in it but may be cut before its end. */
function beginsKey(text: string, cut: number): number {
  const dashes = text.lastIndexOf("-----BEGIN", cut);
  return dashes !== -1 && !text.includes("\n", dashes) && cut - dashes < 80 ? dashes : cut;
}
