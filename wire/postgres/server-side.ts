/**
 * What the server sends, held against what it owes: every message has to be legal where it comes, and passes
 * the guard of the statement that it answers.
 */
import { utf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Refusal, refusal } from "../refusals.ts";
import { type ErrorFields, decodeErrorFields, decodeParameterStatus } from "./backend-decoder.ts";
import { answer } from "./answers.ts";
import { encodeErrorFields } from "./encoder.ts";
import { serverViolation } from "./ending.ts";
import { handleError, withhold } from "./failures.ts";
import { peekType, peekUint32, take, takePart, takeRun } from "./framer.ts";
import { fieldsUnknown, hideDetail, withheldField } from "./guard.ts";
import { Backend, ErrorField, HEADER, typeName } from "./messages.ts";
import { type Outbox, report, toClient } from "./outbox.ts";
import { type Entry, type PostgresState, head } from "./state.ts";

export function consumeServer(state: PostgresState, out: Outbox): void {
  const framer = state.server;
  while (state.phase === "ready") {
    if (framer.passing > 0) {
      if (framer.buffered === 0) return;
      takePiece(state, out);
      continue;
    }
    if (framer.buffered < HEADER) return;
    const type = peekType(framer);
    const length = peekUint32(framer, 1);
    if (length < 4 || length > LIMITS.postgres.message) {
      serverViolation(state, out, `a message ${typeName(type)} with length ${length}`);
      return;
    }
    if (type === Backend.DataRow || type === Backend.CopyData) {
      if (!consumeRows(state, out, type, length)) return;
      continue;
    }
    const text = type === Backend.ErrorResponse || type === Backend.NoticeResponse;
    if (length > (text ? LIMITS.postgres.held : LIMITS.postgres.backendHeld)) {
      if (!text) {
        serverViolation(state, out, `a message ${typeName(type)} with length ${length}`);
        return;
      }
      startPieces(state, type === Backend.ErrorResponse ? "error" : "drop", length);
      continue;
    }
    if (framer.buffered < length + 1) return;
    handle(state, out, take(framer, length + 1));
  }
}

function startPieces(state: PostgresState, how: "deliver" | "drop" | "error", length: number): Uint8Array {
  const header = take(state.server, HEADER);
  state.server.passing = length - 4;
  state.serverPieces = how;
  return header;
}

function takePiece(state: PostgresState, out: Outbox): void {
  const framer = state.server;
  const piece = takePart(framer, framer.passing);
  framer.passing -= piece.length;
  if (state.serverPieces === "deliver") {
    toClient(out, piece);
    report(out, { kind: "delivered", id: head(state)?.id ?? 0, bytes: piece, rows: 0 });
  }
  if (framer.passing > 0) return;
  if (state.serverPieces === "error") handleError(state, out, tooLongError());
  for (const notice of state.notices) toClient(out, notice);
  state.notices = [];
}

/** Stands for an error whose text is too long to be held. */
function tooLongError(): ErrorFields {
  const field = (code: number, value: string) => ({ code, value: utf8(value) });
  return [
    field(ErrorField.severity, "ERROR"),
    field(ErrorField.severityFixed, "ERROR"),
    field(ErrorField.code, "54000"),
    field(ErrorField.message, "the statement failed with an error too long to be passed on"),
  ];
}

/** DataRow and CopyData: the bulk of what passes here. Returns false when more bytes are needed. */
function consumeRows(state: PostgresState, out: Outbox, type: number, length: number): boolean {
  const entry = head(state);
  if (entry === undefined || entry.refused !== undefined || !rowsLegal(entry, type)) {
    serverViolation(state, out, `a message ${typeName(type)} that nothing asked for`);
    return true;
  }
  if (type === Backend.DataRow) {
    if (length < 6) {
      serverViolation(state, out, "a malformed DataRow");
      return true;
    }
    entry.phase = "rows";
    if (!entry.checked && entry.withheld === undefined) checkColumns(state, out, entry);
  }
  if (entry.withheld !== undefined) return dropRows(state, type, length);
  if (entry.guard.inspectRows) return inspectRows(state, out, entry, type, length);
  return deliverRows(state, out, entry, type, length);
}

function rowsLegal(entry: Entry, type: number): boolean {
  if (type === Backend.CopyData) return entry.phase === "copyOut";
  return entry.phase === "rows" || (entry.kind === "execute" && entry.phase === "start");
}

function checkColumns(state: PostgresState, out: Outbox, entry: Entry): void {
  entry.checked = true;
  const { guard, portal } = entry;
  entry.fields ??= portal?.fields ?? (guard.inspectRows ? undefined : portal?.statement?.fields);
  if (guard.withheldAttributes.length === 0) return;
  const why = entry.fields === undefined ? fieldsUnknown() : withheldField(guard, entry.fields);
  if (why !== undefined) withhold(state, out, entry, why);
}

function dropRows(state: PostgresState, type: number, length: number): true {
  if (takeRun(state.server, type, 4, LIMITS.postgres.message).count === 0) startPieces(state, "drop", length);
  return true;
}

function inspectRows(state: PostgresState, out: Outbox, entry: Entry, type: number, length: number): boolean {
  if (length > LIMITS.postgres.held) {
    withhold(state, out, entry, rowTooLong(length));
    return dropRows(state, type, length);
  }
  const rows = wholeRows(state, type, length, LIMITS.postgres.held);
  if (rows === undefined) return false;
  report(out, {
    kind: "rows",
    id: entry.id,
    bytes: rows.bytes,
    fields: entry.fields,
    copy: type === Backend.CopyData,
  });
  return true;
}

function rowTooLong(length: number): Refusal {
  return refusal(
    "over_limit",
    `a row of ${length} bytes is too long to be inspected (limit ${LIMITS.postgres.held})`,
    {
      hint: "select parts of the large value, for example with substring()",
    },
  );
}

function deliverRows(state: PostgresState, out: Outbox, entry: Entry, type: number, length: number): boolean {
  const rows = wholeRows(state, type, length, LIMITS.postgres.message);
  if (rows !== undefined) {
    toClient(out, rows.bytes);
    report(out, { kind: "delivered", id: entry.id, bytes: rows.bytes, rows: rows.count });
    return true;
  }
  if (length <= LIMITS.postgres.wholeRow) return false;
  const header = startPieces(state, "deliver", length);
  toClient(out, header);
  report(out, { kind: "delivered", id: entry.id, bytes: header, rows: 1 });
  return true;
}

function wholeRows(
  state: PostgresState,
  type: number,
  length: number,
  maximum: number,
): { bytes: Uint8Array; count: number } | undefined {
  const framer = state.server;
  const run = takeRun(framer, type, type === Backend.DataRow ? 6 : 4, maximum);
  if (run.count > 0) return run;
  return framer.buffered > length ? { bytes: take(framer, length + 1), count: 1 } : undefined;
}

/** One whole message that is neither a row nor COPY data. */
function handle(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const entry = head(state);
  switch (message[0]) {
    case Backend.NotificationResponse:
      toClient(out, message);
      return;
    case Backend.ParameterStatus:
      return handleParameterStatus(state, out, message);
    case Backend.NoticeResponse: {
      if (entry?.withheld !== undefined || entry?.refused !== undefined) return;
      if (entry?.guard.hideErrorDetail !== true) {
        toClient(out, message);
        return;
      }
      const fields = decodeErrorFields(message);
      if (fields === undefined) return serverViolation(state, out, "a malformed NoticeResponse");
      toClient(out, encodeErrorFields(Backend.NoticeResponse, hideDetail(fields, true)));
      return;
    }
    case Backend.ErrorResponse: {
      const fields = decodeErrorFields(message);
      if (fields === undefined) return serverViolation(state, out, "a malformed ErrorResponse");
      return handleError(state, out, fields, message);
    }
    default:
      answer(state, out, message);
  }
}

/** Settings on which every decision rests: text is UTF-8 and a backslash in a string is a backslash. */
const REQUIRED: Readonly<Record<string, string>> = {
  client_encoding: "UTF8",
  standard_conforming_strings: "on",
};

/** The name of a required setting that is missing or has another value. */
export function unsafeParameter(parameters: readonly (readonly [string, string])[]): string | undefined {
  const values = new Map(parameters);
  return Object.keys(REQUIRED).find((name) => values.get(name) !== REQUIRED[name]);
}

function handleParameterStatus(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const parameter = decodeParameterStatus(message);
  if (parameter === undefined) return serverViolation(state, out, "a malformed ParameterStatus");
  const [name, value] = parameter;
  const required = Object.hasOwn(REQUIRED, name) ? REQUIRED[name] : undefined;
  if (required !== undefined && value !== required) {
    return serverViolation(
      state,
      out,
      `${name} became something else than ${required}, so statements would mean other things than were decided`,
    );
  }
  toClient(out, message);
}
