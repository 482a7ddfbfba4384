/**
 * CBOR (RFC 8949) as the API server takes it (k8s.io/apimachinery/pkg/runtime/serializer/cbor): definite lengths
 * only, map keys and texts as byte strings or text strings, no key twice. Of tags only self-description (55799) and
 * those by which bytes stand for their base64url (21) or base64 (22) text, which is how the API server reads them.
 */
import { displayUtf8, fromUtf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";
import { toBase64 } from "../ssh/base64.ts";
import type { Unreadable, Value } from "./value.ts";

const SELF_DESCRIBED = 55_799;
const BASE64URL = 21;
const BASE64 = 22;

export function readCbor(bytes: Uint8Array): Result<Value, Unreadable> {
  const reader = new CborReader(bytes);
  const value = reader.value(0);
  return value.ok && !reader.atEnd ? err("malformed") : value;
}

type Head = { readonly major: number; readonly minor: number; readonly argument: number };

class CborReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get atEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  value(depth: number): Result<Value, Unreadable> {
    if (depth > LIMITS.kubernetes.depth) return err("over_limit");
    const start = this.#at;
    const head = this.#head();
    if (!head.ok) return head;
    const { major, minor, argument } = head.value;
    switch (major) {
      case 0:
        return ok(argument);
      case 1:
        return ok(-1 - argument);
      case 2:
      case 3:
        return this.#string(major, argument);
      case 4:
        return this.#list(argument, depth);
      case 5:
        return this.#map(argument, depth);
      case 6:
        return this.#tagged(argument, start, depth);
      default:
        return this.#simple(minor, start);
    }
  }

  #head(): Result<Head, Unreadable> {
    const first = this.#bytes[this.#at];
    if (first === undefined) return err("malformed");
    this.#at++;
    const major = first >> 5;
    const minor = first & 31;
    if (minor < 24) return ok({ major, minor, argument: minor });
    // 31 is an indefinite length, 28 to 30 are reserved.
    if (minor > 27) return err("unsupported");
    const length = 1 << (minor - 24);
    if (this.#bytes.length - this.#at < length) return err("malformed");
    const at = this.#at;
    this.#at += length;
    const argument =
      length === 1
        ? this.#view.getUint8(at)
        : length === 2
          ? this.#view.getUint16(at)
          : length === 4
            ? this.#view.getUint32(at)
            : Number(this.#view.getBigUint64(at));
    return ok({ major, minor, argument });
  }

  #string(major: number, length: number): Result<string, Unreadable> {
    if (length > this.#bytes.length - this.#at) return err("malformed");
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    if (major === 2) return ok(displayUtf8(bytes));
    const text = fromUtf8(bytes);
    return text === undefined ? err("malformed") : ok(text);
  }

  #list(length: number, depth: number): Result<Value, Unreadable> {
    // Each element takes a byte at least.
    if (length > this.#bytes.length - this.#at) return err("malformed");
    const list: Value[] = [];
    for (let index = 0; index < length; index++) {
      const item = this.value(depth + 1);
      if (!item.ok) return item;
      list.push(item.value);
    }
    return ok(list);
  }

  #map(length: number, depth: number): Result<Value, Unreadable> {
    if (length > (this.#bytes.length - this.#at) / 2) return err("malformed");
    const map = new Map<string, Value>();
    for (let index = 0; index < length; index++) {
      const head = this.#head();
      if (!head.ok) return head;
      const { major, argument } = head.value;
      if (major !== 2 && major !== 3) return err("unsupported");
      const key = this.#string(major, argument);
      if (!key.ok) return key;
      const value = this.value(depth + 1);
      if (!value.ok) return value;
      if (map.has(key.value)) return err("duplicate");
      map.set(key.value, value.value);
    }
    return ok(map);
  }

  #tagged(tag: number, start: number, depth: number): Result<Value, Unreadable> {
    if (tag === SELF_DESCRIBED && start === 0) return this.value(depth + 1);
    if (tag !== BASE64URL && tag !== BASE64) return err("unsupported");
    const head = this.#head();
    if (!head.ok) return head;
    const { major, argument: length } = head.value;
    if (major !== 2) return err("unsupported");
    if (length > this.#bytes.length - this.#at) return err("malformed");
    const text = toBase64(this.#bytes.subarray(this.#at, this.#at + length));
    this.#at += length;
    if (tag === BASE64) return ok(text);
    return ok(text.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, ""));
  }

  #simple(minor: number, start: number): Result<Value, Unreadable> {
    switch (minor) {
      case 20:
        return ok(false);
      case 21:
        return ok(true);
      case 22:
        return ok(null);
      case 25:
        return ok(half(this.#view.getUint16(start + 1)));
      case 26:
        return ok(this.#view.getFloat32(start + 1));
      case 27:
        return ok(this.#view.getFloat64(start + 1));
      default:
        return err("unsupported");
    }
  }
}

/** IEEE 754 binary16 (RFC 8949 appendix D). */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size =
    exponent === 0
      ? fraction * 2 ** -24
      : exponent === 31
        ? fraction === 0
          ? Number.POSITIVE_INFINITY
          : Number.NaN
        : (1024 + fraction) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}
