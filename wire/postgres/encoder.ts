/** Messages that the machine writes itself, to either side (PostgreSQL docs 54.7). */
import { concat, utf8, writeUint32 } from "../bytes.ts";
import { REFUSALS, type Refusal } from "../refusals.ts";
import type { ErrorFields, TransactionStatus } from "./backend-decoder.ts";
import { Backend, ErrorField, Frontend, HEADER } from "./messages.ts";

const ZERO = new Uint8Array(1);

/** A message of `type` with these parts as its body. */
export function encodeMessage(type: number, parts: readonly Uint8Array[]): Uint8Array {
  let length = HEADER;
  for (const part of parts) length += part.length;
  const message = new Uint8Array(length);
  message[0] = type;
  writeUint32(message, 1, length - 1);
  let at = HEADER;
  for (const part of parts) {
    message.set(part, at);
    at += part.length;
  }
  return message;
}

/** A zero-terminated string. A zero inside would end it early, so everything from there on is left out. */
export function cString(value: string): Uint8Array {
  const end = value.indexOf("\0");
  return utf8(`${end < 0 ? value : value.slice(0, end)}\0`);
}

function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  writeUint32(bytes, 0, value);
  return bytes;
}

export function encodeErrorFields(type: number, fields: ErrorFields): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const field of fields) parts.push(Uint8Array.of(field.code), field.value, ZERO);
  parts.push(ZERO);
  return encodeMessage(type, parts);
}

export type Severity = "ERROR" | "FATAL" | "NOTICE" | "WARNING";

function report(
  type: number,
  severity: Severity,
  sqlstate: string,
  message: string,
  hint: string | undefined,
  position?: number,
): Uint8Array {
  const field = (code: number, value: string) => concat([Uint8Array.of(code), cString(value)]);
  const parts = [
    field(ErrorField.severity, severity),
    field(ErrorField.severityFixed, severity),
    field(ErrorField.code, sqlstate),
    field(ErrorField.message, message),
  ];
  // A client shows the place itself, as psql does with LINE and a caret.
  if (position !== undefined) parts.push(field(ErrorField.position, String(position)));
  else if (hint !== undefined && hint !== "") parts.push(field(ErrorField.hint, hint));
  parts.push(ZERO);
  return encodeMessage(type, parts);
}

/** A refusal as the client meets it. */
export function encodeRefusal(severity: "ERROR" | "FATAL", refusal: Refusal): Uint8Array {
  return report(
    Backend.ErrorResponse,
    severity,
    REFUSALS[refusal.code].sqlstate,
    refusal.message,
    refusal.hint,
    refusal.position,
  );
}

export function encodeNotice(message: string, hint: string | undefined): Uint8Array {
  return report(Backend.NoticeResponse, "NOTICE", "00000", message, hint);
}

export function encodeAuthenticationOk(): Uint8Array {
  return encodeMessage(Backend.Authentication, [uint32(0)]);
}

export function encodeParameterStatus(name: string, value: string): Uint8Array {
  return encodeMessage(Backend.ParameterStatus, [cString(name), cString(value)]);
}

export function encodeBackendKeyData(processId: number, secretKey: Uint8Array): Uint8Array {
  return encodeMessage(Backend.BackendKeyData, [uint32(processId), secretKey]);
}

export function encodeReadyForQuery(status: TransactionStatus): Uint8Array {
  return encodeMessage(Backend.ReadyForQuery, [utf8(status)]);
}

/** `version` is the whole protocol version, major and minor, as every server sends it. */
export function encodeNegotiateProtocolVersion(version: number, unrecognised: readonly string[]): Uint8Array {
  return encodeMessage(Backend.NegotiateProtocolVersion, [
    uint32(version),
    uint32(unrecognised.length),
    ...unrecognised.map(cString),
  ]);
}

export function encodeQuery(sql: string): Uint8Array {
  return encodeMessage(Frontend.Query, [cString(sql)]);
}

export function encodeParse(name: string, sql: string, parameterTypes: readonly number[]): Uint8Array {
  const types = new Uint8Array(2 + parameterTypes.length * 4);
  types[0] = parameterTypes.length >>> 8;
  types[1] = parameterTypes.length;
  parameterTypes.forEach((oid, index) => writeUint32(types, 2 + index * 4, oid));
  return encodeMessage(Frontend.Parse, [cString(name), cString(sql), types]);
}

export function encodeDescribePortal(name: string): Uint8Array {
  return encodeMessage(Frontend.Describe, [utf8("P"), cString(name)]);
}

export function encodeCopyFail(reason: string): Uint8Array {
  return encodeMessage(Frontend.CopyFail, [cString(reason)]);
}

export function encodeFlush(): Uint8Array {
  return encodeMessage(Frontend.Flush, []);
}

export function encodeTerminate(): Uint8Array {
  return encodeMessage(Frontend.Terminate, []);
}
