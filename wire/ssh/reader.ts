/** Reading and writing the data types of RFC 4251 section 5, which SSH and SFTP share. */
import { concat, fromUtf8, readUint32, utf8, writeUint32 } from "../bytes.ts";

/**
 * Reads fields one after the other. A field that is not wholly there makes the reader fail for good:
 * `failed` is then true and every later field is empty, so a decoder checks once, at its end.
 */
export class Reader {
  readonly #bytes: Uint8Array;
  #at: number;
  failed = false;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  byte(): number {
    if (!this.#has(1)) return 0;
    const value = this.#bytes[this.#at] ?? 0;
    this.#at += 1;
    return value;
  }

  boolean(): boolean {
    return this.byte() !== 0;
  }

  uint32(): number {
    if (!this.#has(4)) return 0;
    const value = readUint32(this.#bytes, this.#at);
    this.#at += 4;
    return value;
  }

  /** A uint64; above 2^53 - 1 it is refused, no offset or size in use comes near. */
  uint64(): number {
    const high = this.uint32();
    const low = this.uint32();
    const value = high * 2 ** 32 + low;
    if (!Number.isSafeInteger(value)) this.failed = true;
    return this.failed ? 0 : value;
  }

  /** A string as a view of the input, not a copy. */
  bytes(limit = Number.MAX_SAFE_INTEGER): Uint8Array {
    const length = this.uint32();
    if (length > limit) this.failed = true;
    if (!this.#has(length)) return new Uint8Array(0);
    const value = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return value;
  }

  /** A string that has to be UTF-8. */
  text(limit?: number): string {
    const value = fromUtf8(this.bytes(limit));
    if (value === undefined) this.failed = true;
    return value ?? "";
  }

  /** Everything that is left, as a view. */
  rest(): Uint8Array {
    if (this.failed) return new Uint8Array(0);
    const value = this.#bytes.subarray(this.#at);
    this.#at = this.#bytes.length;
    return value;
  }

  /** True when every field was there and nothing follows. */
  done(): boolean {
    return !this.failed && this.remaining === 0;
  }

  #has(length: number): boolean {
    if (this.failed || length > this.remaining) this.failed = true;
    return !this.failed;
  }
}

export function byte(value: number): Uint8Array {
  return new Uint8Array([value]);
}

export function boolean(value: boolean): Uint8Array {
  return byte(value ? 1 : 0);
}

export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeUint32(bytes, 0, value);
  return bytes;
}

export function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeUint32(bytes, 0, Math.floor(value / 2 ** 32));
  writeUint32(bytes, 4, value % 2 ** 32);
  return bytes;
}

/** An SSH string: length and bytes. */
export function string(value: string | Uint8Array): Uint8Array {
  const bytes = typeof value === "string" ? utf8(value) : value;
  return concat([uint32(bytes.length), bytes]);
}
