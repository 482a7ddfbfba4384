/**
 * Bodies of frontend messages (PostgreSQL docs 54.7). Each function takes the whole message with its header.
 * `malformed` is a message whose parts do not fill it exactly; `not_utf8` is one whose text the server, whose
 * client_encoding is always UTF8 here, would reject too.
 */
import { type Result, err, ok } from "../result.ts";
import type { BindParameters } from "./machine-types.ts";
import { HEADER } from "./messages.ts";
import {
  complete,
  readByte,
  readBytes,
  readCString,
  readInt16,
  readInt32,
  readOid,
  readUint16,
  reader,
  text,
} from "./reader.ts";
import { fromUtf8 } from "../bytes.ts";

export type DecodeError = "malformed" | "not_utf8";

export type Query = { readonly sql: string; readonly sqlBytes: number };
export type Parse = {
  readonly name: string;
  readonly sql: string;
  readonly sqlBytes: number;
  readonly parameterTypes: readonly number[];
};
export type Bind = {
  readonly portal: string;
  readonly statement: string;
  readonly parameters: BindParameters;
};
/** Describe and Close: `kind` is "S" for a prepared statement, "P" for a portal. */
export type Named = { readonly kind: "S" | "P"; readonly name: string };
export type Execute = { readonly portal: string; readonly maxRows: number };

export function decodeQuery(message: Uint8Array): Result<Query, DecodeError> {
  const r = reader(message, HEADER);
  const bytes = readCString(r);
  if (!complete(r)) return err("malformed");
  const sql = fromUtf8(bytes);
  return sql === undefined ? err("not_utf8") : ok({ sql, sqlBytes: bytes.length });
}

export function decodeParse(message: Uint8Array): Result<Parse, DecodeError> {
  const r = reader(message, HEADER);
  const nameBytes = readCString(r);
  const bytes = readCString(r);
  const count = readUint16(r);
  if (r.failed || r.at + count * 4 !== message.length) return err("malformed");
  const parameterTypes: number[] = [];
  for (let i = 0; i < count; i++) parameterTypes.push(readOid(r));
  const name = text(nameBytes);
  const sql = fromUtf8(bytes);
  if (name === undefined || sql === undefined) return err("not_utf8");
  return ok({ name, sql, sqlBytes: bytes.length, parameterTypes });
}

export function decodeBind(message: Uint8Array): Result<Bind, DecodeError> {
  const r = reader(message, HEADER);
  const portalBytes = readCString(r);
  const statementBytes = readCString(r);
  const formats: number[] = [];
  for (let left = readUint16(r); left > 0 && !r.failed; left--) formats.push(readInt16(r));
  const values: (Uint8Array | null)[] = [];
  for (let left = readUint16(r); left > 0 && !r.failed; left--) {
    const length = readInt32(r);
    values.push(length === -1 ? null : readBytes(r, length));
  }
  const results = readUint16(r);
  readBytes(r, results * 2);
  if (!complete(r)) return err("malformed");
  const portal = text(portalBytes);
  const statement = text(statementBytes);
  if (portal === undefined || statement === undefined) return err("not_utf8");
  return ok({ portal, statement, parameters: { formats, values } });
}

export function decodeNamed(message: Uint8Array): Result<Named, DecodeError> {
  const r = reader(message, HEADER);
  const kind = readByte(r);
  const bytes = readCString(r);
  if (!complete(r) || (kind !== 0x53 && kind !== 0x50)) return err("malformed");
  const name = text(bytes);
  return name === undefined ? err("not_utf8") : ok({ kind: kind === 0x53 ? "S" : "P", name });
}

export function decodeExecute(message: Uint8Array): Result<Execute, DecodeError> {
  const r = reader(message, HEADER);
  const bytes = readCString(r);
  const maxRows = readInt32(r);
  if (!complete(r)) return err("malformed");
  const portal = text(bytes);
  return portal === undefined ? err("not_utf8") : ok({ portal, maxRows });
}

/** CopyFail carries one string, which only has to be there. */
export function wellFormedCopyFail(message: Uint8Array): boolean {
  const r = reader(message, HEADER);
  readCString(r);
  return complete(r);
}
