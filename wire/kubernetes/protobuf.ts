/**
 * Protobuf on the level of the wire (protobuf.dev, "Encoding"), and the API server's envelope around it:
 * the four bytes `k8s\0`, then a runtime.Unknown (k8s.io/apimachinery/pkg/runtime/generated.proto):
 *
 *   1 typeMeta { 1 apiVersion, 2 kind }   2 raw: the object   3 contentEncoding   4 contentType
 *
 * Strict: a varint longer than it has to be, a tag beyond 32 bits (Go cuts it down, so it is another field there),
 * field 0, groups, and lengths beyond the end are refused. No encoder writes them.
 */
import { concat, fromUtf8, utf8 } from "../bytes.ts";
import { type Result, err, ok } from "../result.ts";
import type { Unreadable } from "./value.ts";

export type ProtobufField = {
  readonly number: number;
  /** The number of a varint (2^53 and above lose their last digits), or the bytes of anything else. */
  readonly value: number | Uint8Array;
  /** Whether `value` was length-delimited. */
  readonly delimited: boolean;
  /** The field with its tag. */
  readonly whole: Uint8Array;
};

const VARINT = 0;
const FIXED64 = 1;
const DELIMITED = 2;
const FIXED32 = 5;

/** The fields of a message in their order. */
export function readFields(bytes: Uint8Array): Result<readonly ProtobufField[], Unreadable> {
  const fields: ProtobufField[] = [];
  let at = 0;
  while (at < bytes.length) {
    const start = at;
    const tag = readVarint(bytes, at);
    if (tag === undefined || tag.value > 0xffffffff) return err("malformed");
    at = tag.end;
    const number = Math.floor(tag.value / 8);
    if (number === 0) return err("malformed");
    const type = tag.value % 8;
    let value: number | Uint8Array;
    if (type === VARINT) {
      const varint = readVarint(bytes, at);
      if (varint === undefined) return err("malformed");
      value = varint.value;
      at = varint.end;
    } else {
      let length = type === FIXED64 ? 8 : type === FIXED32 ? 4 : undefined;
      if (type === DELIMITED) {
        const declared = readVarint(bytes, at);
        if (declared === undefined) return err("malformed");
        length = declared.value;
        at = declared.end;
      }
      if (length === undefined || length > bytes.length - at) return err("malformed");
      value = bytes.subarray(at, at + length);
      at += length;
    }
    fields.push({ number, value, delimited: type === DELIMITED, whole: bytes.subarray(start, at) });
  }
  return ok(fields);
}

function readVarint(bytes: Uint8Array, from: number): { value: number; end: number } | undefined {
  let value = 0;
  for (let index = 0; index < 10; index++) {
    const byte = bytes[from + index];
    if (byte === undefined) return undefined;
    // Ten bytes hold 64 bits: of the last one only the lowest.
    if (index === 9 && byte > 1) return undefined;
    value += (byte & 0x7f) * 2 ** (7 * index);
    if (byte >= 0x80) continue;
    return byte === 0 && index > 0 ? undefined : { value, end: from + index + 1 };
  }
  return undefined;
}

export function writeVarint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

/** A length-delimited field: a text, bytes or a message. */
export function writeField(number: number, value: Uint8Array | string): Uint8Array {
  const bytes = typeof value === "string" ? utf8(value) : value;
  return concat([writeVarint(number * 8 + DELIMITED), writeVarint(bytes.length), bytes]);
}

export function writeNumber(number: number, value: number): Uint8Array {
  return concat([writeVarint(number * 8 + VARINT), writeVarint(value)]);
}

const MAGIC = Uint8Array.of(0x6b, 0x38, 0x73, 0x00);

export type Envelope = {
  /** "" where it does not say. */
  readonly apiVersion: string;
  readonly kind: string;
  readonly raw: Uint8Array;
};

/** Opens the envelope. One that names an encoding or a type for what is in it is not taken. */
export function readEnvelope(bytes: Uint8Array): Result<Envelope, Unreadable> {
  if (MAGIC.some((byte, at) => bytes[at] !== byte)) return err("malformed");
  const unknown = readOnce(bytes.subarray(MAGIC.length));
  if (!unknown.ok) return unknown;
  const typeMeta = readOnce(unknown.value.get(1) ?? new Uint8Array());
  if (!typeMeta.ok) return typeMeta;
  const apiVersion = fromUtf8(typeMeta.value.get(1) ?? new Uint8Array());
  const kind = fromUtf8(typeMeta.value.get(2) ?? new Uint8Array());
  if (apiVersion === undefined || kind === undefined) return err("malformed");
  if ([3, 4].some((number) => (unknown.value.get(number)?.length ?? 0) > 0)) return err("unsupported");
  return ok({ apiVersion, kind, raw: unknown.value.get(2) ?? new Uint8Array() });
}

/** A message whose fields are all length-delimited and there once. */
function readOnce(bytes: Uint8Array): Result<ReadonlyMap<number, Uint8Array>, Unreadable> {
  const fields = readFields(bytes);
  if (!fields.ok) return fields;
  const found = new Map<number, Uint8Array>();
  for (const { number, value } of fields.value) {
    if (typeof value === "number") return err("unsupported");
    if (found.has(number)) return err("duplicate");
    found.set(number, value);
  }
  return ok(found);
}

export function writeEnvelope({ apiVersion, kind, raw }: Envelope): Uint8Array {
  const typeMeta = concat([writeField(1, apiVersion), writeField(2, kind)]);
  // Go's encoder writes the two empty texts as well.
  return concat([MAGIC, writeField(1, typeMeta), writeField(2, raw), writeField(3, ""), writeField(4, "")]);
}
