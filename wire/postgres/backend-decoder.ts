/**
 * Bodies of backend messages (PostgreSQL docs 54.7). Each function takes the whole message with its header and
 * gives undefined for one that is malformed.
 */
import { displayUtf8 } from "../bytes.ts";
import type { Field } from "./machine-types.ts";
import { HEADER } from "./messages.ts";
import {
  complete,
  readByte,
  readCString,
  readInt16,
  readInt32,
  readOid,
  readUint16,
  reader,
  text,
} from "./reader.ts";

export function decodeRowDescription(message: Uint8Array): Field[] | undefined {
  const r = reader(message, HEADER);
  const fields: Field[] = [];
  for (let left = readUint16(r); left > 0 && !r.failed; left--) {
    const name = readCString(r);
    fields.push({
      name: text(name) ?? displayUtf8(name),
      tableOid: readOid(r),
      attribute: readInt16(r),
      typeOid: readOid(r),
      // The type's length in bytes is of no use to anybody here.
      typeModifier: (readInt16(r), readInt32(r)),
      format: readInt16(r),
    });
  }
  return complete(r) ? fields : undefined;
}

/** The tag, such as "SELECT 5". */
export function decodeCommandComplete(message: Uint8Array): string | undefined {
  const r = reader(message, HEADER);
  const tag = readCString(r);
  return complete(r) ? (text(tag) ?? displayUtf8(tag)) : undefined;
}

export type TransactionStatus = "I" | "T" | "E";

export function decodeReadyForQuery(message: Uint8Array): TransactionStatus | undefined {
  if (message.length !== HEADER + 1) return undefined;
  const status = message[HEADER];
  if (status === 0x49) return "I";
  if (status === 0x54) return "T";
  return status === 0x45 ? "E" : undefined;
}

export function decodeParameterStatus(message: Uint8Array): readonly [string, string] | undefined {
  const r = reader(message, HEADER);
  const name = readCString(r);
  const value = readCString(r);
  return complete(r) ? [displayUtf8(name), displayUtf8(value)] : undefined;
}

/** Fields of ErrorResponse or NoticeResponse in order; the values are views without the closing zero. */
export type ErrorFields = readonly { readonly code: number; readonly value: Uint8Array }[];

export function decodeErrorFields(message: Uint8Array): ErrorFields | undefined {
  const r = reader(message, HEADER);
  const fields: { code: number; value: Uint8Array }[] = [];
  for (;;) {
    const code = readByte(r);
    if (r.failed) return undefined;
    if (code === 0) return complete(r) ? fields : undefined;
    fields.push({ code, value: readCString(r) });
  }
}

/** The first field with this code as text, "" when there is none. */
export function errorField(fields: ErrorFields, code: number): string {
  for (const field of fields) if (field.code === code) return displayUtf8(field.value);
  return "";
}
