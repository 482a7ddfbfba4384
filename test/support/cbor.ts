/** CBOR (RFC 8949) written by hand. */
import { concat, utf8 } from "../../wire/bytes.ts";

/** A plain object that describes itself as CBOR, with texts as text strings (3) or byte strings (2). */
export function cbor(value: unknown, text: 2 | 3): Uint8Array {
  const head = (major: number, length: number): Uint8Array =>
    length < 24 ? Uint8Array.of((major << 5) | length) : Uint8Array.of((major << 5) | 24, length);
  const encode = (each: unknown): Uint8Array => {
    if (typeof each === "boolean") return Uint8Array.of(each ? 0xf5 : 0xf4);
    if (typeof each === "number") return head(0, each);
    if (typeof each === "string") return concat([head(text, utf8(each).length), utf8(each)]);
    if (Array.isArray(each)) return concat([head(4, each.length), ...each.map(encode)]);
    const entries = Object.entries(each as object);
    return concat([head(5, entries.length), ...entries.flatMap((entry) => entry.map(encode))]);
  };
  return concat([Uint8Array.of(0xd9, 0xd9, 0xf7), encode(value)]);
}
