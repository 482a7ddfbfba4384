/**
 * Reads the body of one whole message. Reading past the end or an unterminated string marks the reader as
 * failed instead of throwing; the caller asks once, at the end, whether everything was there and nothing more.
 */
import { EMPTY, fromUtf8, readUint32 } from "../bytes.ts";

export type Reader = { readonly bytes: Uint8Array; at: number; failed: boolean };

export function reader(bytes: Uint8Array, at: number): Reader {
  return { bytes, at, failed: false };
}

/** True when the body was read exactly to its end. */
export function complete(r: Reader): boolean {
  return !r.failed && r.at === r.bytes.length;
}

export function readByte(r: Reader): number {
  if (r.at + 1 > r.bytes.length) return fail(r);
  return r.bytes[r.at++] ?? 0;
}

export function readInt16(r: Reader): number {
  if (r.at + 2 > r.bytes.length) return fail(r);
  const value = (((r.bytes[r.at] ?? 0) << 24) >> 16) | (r.bytes[r.at + 1] ?? 0);
  r.at += 2;
  return value;
}

export function readUint16(r: Reader): number {
  return readInt16(r) & 0xffff;
}

export function readInt32(r: Reader): number {
  return readOid(r) | 0;
}

/** An unsigned 32-bit integer, such as an object identifier. */
export function readOid(r: Reader): number {
  if (r.at + 4 > r.bytes.length) return fail(r);
  const value = readUint32(r.bytes, r.at);
  r.at += 4;
  return value;
}

export function readBytes(r: Reader, length: number): Uint8Array {
  if (length < 0 || r.at + length > r.bytes.length) {
    fail(r);
    return EMPTY;
  }
  const taken = r.bytes.subarray(r.at, r.at + length);
  r.at += length;
  return taken;
}

/** The bytes of a zero-terminated string, without the zero. */
export function readCString(r: Reader): Uint8Array {
  const end = r.failed ? -1 : r.bytes.indexOf(0, r.at);
  if (end < 0) {
    fail(r);
    return EMPTY;
  }
  const taken = r.bytes.subarray(r.at, end);
  r.at = end + 1;
  return taken;
}

function fail(r: Reader): 0 {
  r.failed = true;
  r.at = r.bytes.length;
  return 0;
}

/** Decodes text that is mostly short ASCII, such as names and tags; undefined when it is not valid UTF-8. */
export function text(bytes: Uint8Array): string | undefined {
  if (bytes.length > 64) return fromUtf8(bytes);
  let value = "";
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0;
    if (byte > 0x7f) return fromUtf8(bytes);
    value += String.fromCharCode(byte);
  }
  return value;
}
