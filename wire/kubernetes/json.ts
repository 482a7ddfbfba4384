/**
 * A JSON text (RFC 8259) as a value, with duplicate keys refused. `JSON.parse` takes the last of them; Go's decoder
 * decodes the second object into the first, so that `{"a":{"x":1},"a":{"y":2}}` has both x and y there.
 */
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";
import type { Unreadable, Value } from "./value.ts";

/** @param text decoded from valid UTF-8 */
export function readJson(text: string): Result<Value, Unreadable> {
  return new JsonReader(text).read();
}

const WORDS: readonly (readonly [string, Value])[] = [
  ["true", true],
  ["false", false],
  ["null", null],
];

class JsonReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Result<Value, Unreadable> {
    const value = this.#value(0);
    if (!value.ok) return value;
    this.#space();
    return this.#at === this.#text.length ? value : err("malformed");
  }

  #value(depth: number): Result<Value, Unreadable> {
    if (depth > LIMITS.kubernetes.depth) return err("over_limit");
    this.#space();
    switch (this.#text[this.#at]) {
      case "{":
        return this.#object(depth);
      case "[":
        return this.#array(depth);
      case '"':
        return this.#string();
      default:
        return this.#word();
    }
  }

  #object(depth: number): Result<Value, Unreadable> {
    const map = new Map<string, Value>();
    this.#at++;
    this.#space();
    if (this.#take("}")) return ok(map);
    for (;;) {
      this.#space();
      if (this.#text[this.#at] !== '"') return err("malformed");
      const key = this.#string();
      if (!key.ok) return key;
      this.#space();
      if (!this.#take(":")) return err("malformed");
      const value = this.#value(depth + 1);
      if (!value.ok) return value;
      if (map.has(key.value)) return err("duplicate");
      map.set(key.value, value.value);
      this.#space();
      if (this.#take("}")) return ok(map);
      if (!this.#take(",")) return err("malformed");
    }
  }

  #array(depth: number): Result<Value, Unreadable> {
    const list: Value[] = [];
    this.#at++;
    this.#space();
    if (this.#take("]")) return ok(list);
    for (;;) {
      const value = this.#value(depth + 1);
      if (!value.ok) return value;
      list.push(value.value);
      this.#space();
      if (this.#take("]")) return ok(list);
      if (!this.#take(",")) return err("malformed");
    }
  }

  #string(): Result<string, Unreadable> {
    const from = this.#at;
    let plain = true;
    for (let at = from + 1; at < this.#text.length; at++) {
      const code = this.#text.charCodeAt(at);
      if (code === 0x22) {
        this.#at = at + 1;
        if (plain) return ok(this.#text.slice(from + 1, at));
        return unescape(this.#text.slice(from, at + 1));
      }
      if (code < 0x20) return err("malformed");
      if (code === 0x5c) {
        plain = false;
        at++;
      }
    }
    return err("malformed");
  }

  #word(): Result<Value, Unreadable> {
    for (const [word, value] of WORDS) {
      if (!this.#text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return ok(value);
    }
    const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
    number.lastIndex = this.#at;
    const match = number.exec(this.#text);
    if (match === null) return err("malformed");
    this.#at += match[0].length;
    return ok(Number(match[0]));
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #space(): void {
    for (; ; this.#at++) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    }
  }
}

/** A string with its quotes and escapes. */
function unescape(quoted: string): Result<string, Unreadable> {
  try {
    const text: unknown = JSON.parse(quoted);
    return typeof text === "string" ? ok(text) : err("malformed");
  } catch {
    return err("malformed");
  }
}
