/** Protobuf written by hand: fields in any order, repeated, unknown, as honest and dishonest encoders write them. */
import { concat } from "../../wire/bytes.ts";
import { writeEnvelope, writeField, writeNumber } from "../../wire/kubernetes/protobuf.ts";

type Item = readonly [field: number, value: string | number | boolean | Uint8Array | readonly Item[]];

/** A message of these fields in this order. */
export function message(...items: readonly Item[]): Uint8Array {
  return concat([
    new Uint8Array(),
    ...items.map(([field, value]) => {
      if (typeof value === "number" || typeof value === "boolean") return writeNumber(field, Number(value));
      return writeField(
        field,
        Array.isArray(value) ? message(...(value as readonly Item[])) : (value as string),
      );
    }),
  ]);
}

/** An object in the API server's envelope. */
export function inEnvelope(kind: string, raw: Uint8Array, apiVersion = "v1"): Uint8Array {
  return writeEnvelope({ apiVersion, kind, raw });
}
