/**
 * Replaces named fields in a JSON text as it streams by (RFC 8259). Memory does not depend on the text's length:
 * what is not named passes as it is, byte for byte; one key and one named value at a time are held, each up to a
 * limit; the nesting is counted and limited.
 *
 *   value ──► string | number or word | { … } | [ … ]
 *   { ──► key or } ──► colon ──► value ──► comma or }      [ ──► value or ] ──► comma or ]
 *
 * The text has to be JSON exactly: what one decoder forgives and another does not (comments, trailing commas, keys
 * without quotes, bytes that are not UTF-8 in a key) could hide a field, so it ends the text with an error.
 * Several texts one after the other (JSON lines) are taken.
 */
import { concat, fromUtf8, utf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";
import { type FieldPaths, type Place, foldKey } from "./json-paths.ts";

export type JsonValue =
  | { readonly kind: "string"; readonly text: string }
  /** As written. */
  | { readonly kind: "number"; readonly text: string }
  | { readonly kind: "boolean" | "null"; readonly text: string }
  /** An object, or a value over LIMITS.http.jsonValue: its content is not looked at. */
  | { readonly kind: "whole" };

export type JsonProblem = "not_json" | "over_limit";

/** The JSON text in place of a named value; undefined leaves it. A `whole` value cannot be left. */
export type Replace = (pattern: number, value: JsonValue) => string | undefined;

export type JsonMaskerOptions = {
  readonly paths: FieldPaths;
  readonly replace: Replace;
  /** Called for a key that is there again in the same object and that a pattern may care about. */
  readonly duplicate?: () => void;
};

type Container = {
  readonly object: boolean;
  /** Place of what is in it: of each element of an array, above each member of an object. */
  readonly place: Place;
  readonly keys: Set<string> | undefined;
};

type State = "value" | "firstElement" | "firstKey" | "key" | "colon" | "after" | "string" | "word" | "skip";

const NOTHING: Result<undefined, JsonProblem> = ok(undefined);
/** Names in patterns are shorter. */
const MAX_QUICK_KEY = 256;
const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

export class JsonMasker {
  readonly #options: JsonMaskerOptions;
  readonly #stack: Container[] = [];
  #state: State = "value";
  /** Place of the value that comes next. */
  #place: Place;
  #anyText = false;
  // A string, key or word under way.
  #isKey = false;
  #escaped = false;
  #captured: Uint8Array[] = [];
  #capturedBytes = 0;
  /** The value under way is replaced: none of its bytes goes out. */
  #masking = false;
  #tooLong = false;
  // An object that is replaced whole: its nesting, and whether a string is open in it.
  #skipDepth = 0;
  #skipString = false;
  #bom = 0;

  constructor(options: JsonMaskerOptions) {
    this.#options = options;
    this.#place = options.paths.top;
  }

  /** The masked form of the next piece. After an error nothing more may be delivered. */
  push(bytes: Uint8Array): Result<Uint8Array, JsonProblem> {
    const out: Uint8Array[] = [];
    let from = 0;
    let at = 0;
    const flush = (to: number): void => {
      if (to > from) out.push(bytes.subarray(from, to));
    };
    while (at < bytes.length) {
      const byte = bytes[at] ?? 0;
      switch (this.#state) {
        case "string": {
          const end = this.#stringEnd(bytes, at);
          if (end < 0) return err("not_json");
          const next = end === 0 ? bytes.length : end;
          this.#capture(bytes, at, next);
          at = next;
          if (end === 0) {
            if (this.#masking) from = at;
            break;
          }
          if (this.#isKey) {
            const key = this.#takeKey();
            if (!key.ok) return key;
            break;
          }
          this.#state = "after";
          if (!this.#masking) break;
          from = at;
          const replaced = this.#replaceString();
          if (!replaced.ok) return replaced;
          out.push(replaced.value);
          break;
        }
        case "word": {
          if (isWordByte(byte)) {
            let end = at + 1;
            while (end < bytes.length && isWordByte(bytes[end] ?? 0)) end++;
            this.#capture(bytes, at, end);
            if (this.#tooLong) return err("over_limit");
            at = end;
            if (this.#masking) from = at;
            break;
          }
          const word = this.#endWord();
          if (!word.ok) return word;
          if (word.value !== undefined) {
            out.push(word.value);
            from = at;
          }
          break;
        }
        case "skip": {
          const skipped = this.#skip(bytes, at);
          if (skipped === undefined) return err("over_limit");
          at = skipped;
          from = at;
          break;
        }
        default: {
          const quick = this.#quick(bytes, at, byte);
          if (quick > at) {
            at = quick;
            break;
          }
          if (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09) {
            at++;
            break;
          }
          if (!this.#anyText && this.#isByteOrderMark(byte)) {
            at++;
            break;
          }
          const step = this.#structure(byte);
          if (!step.ok) return step;
          // A word's first byte belongs to it.
          if (this.#isInWord()) this.#capture(bytes, at, at + 1);
          if (this.#masking) {
            flush(at);
            from = at + 1;
            if (step.value !== undefined) out.push(step.value);
          }
          at++;
        }
      }
    }
    if (!this.#masking && this.#state !== "skip") flush(bytes.length);
    return ok(concat(out.length === 0 ? [new Uint8Array()] : out));
  }

  /** What is left at the end of the text, or why it was none. */
  end(): Result<Uint8Array, JsonProblem> {
    let rest: Uint8Array | undefined;
    if (this.#state === "word") {
      const word = this.#endWord();
      if (!word.ok) return word;
      rest = word.value;
    }
    const whole = this.#stack.length === 0 && (this.#state === "after" || this.#state === "value");
    return whole ? ok(rest ?? new Uint8Array()) : err("not_json");
  }

  /**
   * The common case in one step: a plain key, or a string or word that is not replaced, which is whole in this
   * piece. Returns where it ends, or `at` for everything else.
   */
  #quick(bytes: Uint8Array, at: number, byte: number): number {
    if (this.#bom === 1 || this.#bom === 2) return at;
    const state = this.#state;
    if (byte === QUOTE && (state === "key" || state === "firstKey")) return this.#quickKey(bytes, at);
    if ((state !== "value" && state !== "firstElement") || this.#place.match >= 0) return at;
    if (byte === QUOTE) {
      const end = this.#stringEnd(bytes, at + 1);
      // Not closed, or not allowed: the long way finds out.
      this.#escaped = false;
      if (end <= 0) return at;
      this.#anyText = true;
      this.#state = "after";
      return end;
    }
    if (!isWordByte(byte)) return at;
    let end = at + 1;
    while (end < bytes.length && isWordByte(bytes[end] ?? 0)) end++;
    if (end === bytes.length || end - at > LIMITS.http.jsonKey) return at;
    let text = "";
    for (let index = at; index < end; index++) text += String.fromCharCode(bytes[index] ?? 0);
    if (wordValue(text) === undefined) return at;
    this.#anyText = true;
    this.#state = "after";
    return end;
  }

  #quickKey(bytes: Uint8Array, at: number): number {
    const container = this.#stack.at(-1);
    if (container === undefined) return at;
    let key = "";
    let end = at + 1;
    for (; end < bytes.length; end++) {
      const byte = bytes[end] ?? 0;
      if (byte === QUOTE) break;
      if (byte < 0x20 || byte >= 0x80 || byte === BACKSLASH || end - at > MAX_QUICK_KEY) return at;
      key += String.fromCharCode(byte);
    }
    if (end >= bytes.length) return at;
    this.#state = "colon";
    this.#named(container, key);
    return end + 1;
  }

  /** The value that follows has this key. */
  #named(container: Container, key: string): void {
    this.#place = this.#options.paths.below(container.place, key);
    const { keys } = container;
    if (keys === undefined || !this.#place.relevant) return;
    const folded = foldKey(key);
    if (keys.has(folded)) this.#options.duplicate?.();
    keys.add(folded);
  }

  #isInWord(): boolean {
    return this.#state === "word";
  }

  /** RFC 8259 section 8.1 lets a parser ignore U+FEFF at the start; many do. */
  #isByteOrderMark(byte: number): boolean {
    if (byte !== [0xef, 0xbb, 0xbf][this.#bom]) return false;
    this.#bom++;
    return true;
  }

  /** One byte that is neither space nor inside a string or word. A value returned goes out in place of it. */
  #structure(byte: number): Result<Uint8Array | undefined, JsonProblem> {
    if (this.#bom === 1 || this.#bom === 2) return err("not_json");
    this.#anyText = true;
    const container = this.#stack.at(-1);
    switch (this.#state) {
      case "after":
        if (container === undefined) {
          this.#place = this.#options.paths.top;
          this.#state = "value";
          return this.#structure(byte);
        }
        if (byte === 0x2c /* , */) {
          this.#state = container.object ? "key" : "value";
          this.#place = container.place;
          return NOTHING;
        }
        return byte === (container.object ? 0x7d : 0x5d) ? this.#close() : err("not_json");
      case "firstKey":
      case "key":
        if (byte === QUOTE) {
          this.#begin("string", true);
          return NOTHING;
        }
        return byte === 0x7d /* } */ && this.#state === "firstKey" ? this.#close() : err("not_json");
      case "colon":
        if (byte !== 0x3a /* : */) return err("not_json");
        this.#state = "value";
        return NOTHING;
      case "firstElement":
        return byte === 0x5d /* ] */ ? this.#close() : this.#beginValue(byte);
      case "value":
        return this.#beginValue(byte);
      default:
        return err("not_json");
    }
  }

  #close(): Result<undefined, JsonProblem> {
    this.#stack.pop();
    this.#state = "after";
    return NOTHING;
  }

  #beginValue(byte: number): Result<Uint8Array | undefined, JsonProblem> {
    const named = this.#place.match >= 0;
    switch (byte) {
      case 0x7b /* { */: {
        if (named) {
          const replaced = this.#options.replace(this.#place.match, { kind: "whole" });
          if (replaced !== undefined) {
            this.#state = "skip";
            this.#masking = true;
            this.#skipDepth = 1;
            this.#skipString = false;
            this.#escaped = false;
            return ok(utf8(replaced));
          }
        }
        return this.#open(true);
      }
      case 0x5b /* [ */:
        return this.#open(false);
      case QUOTE:
        this.#begin("string", false);
        this.#masking = named;
        return NOTHING;
      default:
        if (!isWordByte(byte)) return err("not_json");
        this.#begin("word", false);
        this.#masking = named;
        return NOTHING;
    }
  }

  #open(object: boolean): Result<undefined, JsonProblem> {
    if (this.#stack.length >= LIMITS.http.jsonDepth) return err("over_limit");
    const keys = object && this.#options.duplicate !== undefined ? new Set<string>() : undefined;
    this.#stack.push({ object, place: this.#place, keys });
    this.#state = object ? "firstKey" : "firstElement";
    return NOTHING;
  }

  #begin(state: "string" | "word", isKey: boolean): void {
    this.#state = state;
    this.#isKey = isKey;
    this.#escaped = false;
    this.#captured = [];
    this.#capturedBytes = 0;
    this.#tooLong = false;
    this.#masking = false;
  }

  /** Where the string that is open ends, its closing quote included; 0 while it is not closed, -1 when malformed. */
  #stringEnd(bytes: Uint8Array, from: number): number {
    let escaped = this.#escaped;
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte < 0x20) return -1;
      if (escaped) escaped = false;
      else if (byte === BACKSLASH) escaped = true;
      else if (byte === QUOTE) {
        this.#escaped = false;
        return at + 1;
      }
    }
    this.#escaped = escaped;
    return 0;
  }

  /** Keeps bytes of a key, a word, or a value that is replaced; what is too long for that is only noted. */
  #capture(bytes: Uint8Array, from: number, to: number): void {
    if (!this.#isKey && !this.#masking && this.#state !== "word") return;
    const limit = this.#isKey ? LIMITS.http.jsonKey : LIMITS.http.jsonValue;
    this.#capturedBytes += to - from;
    if (this.#capturedBytes > limit) {
      this.#tooLong = true;
      this.#captured = [];
    } else this.#captured.push(bytes.slice(from, to));
  }

  #takeKey(): Result<void, JsonProblem> {
    const container = this.#stack.at(-1);
    if (container === undefined) return err("not_json");
    this.#state = "colon";
    this.#isKey = false;
    // Where nothing below is named, keys need not be understood.
    if (container.place.dead && container.keys === undefined) {
      this.#place = container.place;
      return ok(undefined);
    }
    // A name in a pattern is shorter than this, however it is escaped.
    if (this.#tooLong) return err("over_limit");
    const key = decodeString(concat([Uint8Array.of(QUOTE), ...this.#captured]));
    if (key === undefined) return err("not_json");
    this.#named(container, key);
    return ok(undefined);
  }

  #replaceString(): Result<Uint8Array, JsonProblem> {
    this.#masking = false;
    const match = this.#place.match;
    if (this.#tooLong) return ok(utf8(this.#options.replace(match, { kind: "whole" }) ?? "null"));
    const raw = concat([Uint8Array.of(QUOTE), ...this.#captured]);
    const text = decodeString(raw);
    if (text === undefined) return err("not_json");
    const replaced = this.#options.replace(match, { kind: "string", text });
    return ok(replaced === undefined ? raw : utf8(replaced));
  }

  /** A number, true, false or null has ended. */
  #endWord(): Result<Uint8Array | undefined, JsonProblem> {
    const text = fromUtf8(concat(this.#captured.length === 0 ? [new Uint8Array()] : this.#captured)) ?? "";
    const masking = this.#masking;
    this.#masking = false;
    this.#state = "after";
    const value = wordValue(text);
    if (value === undefined) return err("not_json");
    if (!masking) return ok(undefined);
    return ok(utf8(this.#options.replace(this.#place.match, value) ?? text));
  }

  /** Passes over an object that is replaced. Undefined when it is nested too deeply. */
  #skip(bytes: Uint8Array, from: number): number | undefined {
    for (let at = from; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (this.#skipString) {
        if (this.#escaped) this.#escaped = false;
        else if (byte === BACKSLASH) this.#escaped = true;
        else if (byte === QUOTE) this.#skipString = false;
      } else if (byte === QUOTE) this.#skipString = true;
      else if (byte === 0x7b || byte === 0x5b) {
        if (++this.#skipDepth > LIMITS.http.jsonDepth) return undefined;
      } else if ((byte === 0x7d || byte === 0x5d) && --this.#skipDepth === 0) {
        this.#state = "after";
        this.#masking = false;
        return at + 1;
      }
    }
    return bytes.length;
  }
}

function isWordByte(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x61 && byte <= 0x7a) ||
    byte === 0x2d ||
    byte === 0x2b ||
    byte === 0x2e ||
    byte === 0x45
  );
}

function wordValue(text: string): JsonValue | undefined {
  if (text === "true" || text === "false") return { kind: "boolean", text };
  if (text === "null") return { kind: "null", text };
  return NUMBER.test(text) ? { kind: "number", text } : undefined;
}

/** A JSON string with its quotes. Undefined when it is not one, or not UTF-8. */
function decodeString(raw: Uint8Array): string | undefined {
  const text = fromUtf8(raw);
  if (text === undefined) return undefined;
  if (!text.includes("\\")) return text.slice(1, -1);
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}

/**
 * The values of named fields in a whole JSON text, as `[pattern, value]` in order. `duplicate` says that a key
 * which a pattern may care about is there twice, so that decoders disagree about its value.
 */
export function readFields(
  bytes: Uint8Array,
  paths: FieldPaths,
): Result<{ values: (readonly [number, JsonValue])[]; duplicate: boolean }, JsonProblem> {
  const values: (readonly [number, JsonValue])[] = [];
  let duplicate = false;
  const masker = new JsonMasker({
    paths,
    duplicate: () => (duplicate = true),
    replace: (pattern, value) => {
      if (values.length < LIMITS.http.bodyFields) values.push([pattern, value]);
      else values.length = LIMITS.http.bodyFields + 1;
      return undefined;
    },
  });
  const pushed = masker.push(bytes);
  if (!pushed.ok) return pushed;
  const ended = masker.end();
  if (!ended.ok) return ended;
  return values.length > LIMITS.http.bodyFields ? err("over_limit") : ok({ values, duplicate });
}
