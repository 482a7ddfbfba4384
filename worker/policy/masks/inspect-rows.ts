/**
 * The third line over PostgreSQL's results: DataRow messages value by value, in text or binary format, and
 * COPY data as a stream. Values that are not text are looked at as what they mean: a card number can be a
 * bigint.
 */
import type { Field } from "../../../wire/postgres/machine-types.ts";
import { isCard } from "./detect-numbers.ts";
import {
  createDetector,
  detect,
  flush,
  latin1,
  overwrite,
  push,
  type Detector,
  type DetectorKind,
} from "./detectors.ts";

/** State between calls for one result, as plain data. */
export type RowInspector = {
  readonly kinds: readonly DetectorKind[];
  /** For COPY: data is a stream that messages cut anywhere. */
  readonly copy: Detector;
  /** For each column, the end of the values so far that were too short to hold anything: a value can be spread over rows. */
  readonly tails: readonly string[];
};

export type Inspected = {
  readonly inspector: RowInspector;
  readonly bytes: Uint8Array;
  readonly found: readonly DetectorKind[];
};

export function createRowInspector(kinds: readonly DetectorKind[]): RowInspector {
  return { kinds, copy: createDetector(kinds), tails: [] };
}

const DATA_ROW = 0x44; // D
const COPY_DATA = 0x64; // d
const HEADER = 5;

/** Types whose values are numbers or times and never hold anything that is looked for. */
const PLAIN = new Set([16, 18, 21, 23, 26, 700, 701, 1082, 1083, 1114, 1184, 1186, 1266, 2950]);
const INT8 = 20;
const NUMERIC = 1700;
const JSON_TYPES = new Set([114, 3802, 199, 3807]);

/**
 * Inspects whole DataRow or CopyData messages and overwrites what is found.
 * @param fields the RowDescription, for DataRow; without it every value is taken for text
 * @returns the messages to deliver instead. For COPY the last bytes may be held: see `flushCopy`
 */
export function inspectRows(
  inspector: RowInspector,
  bytes: Uint8Array,
  fields: readonly Field[] | undefined,
): Inspected {
  const out: Uint8Array[] = [];
  const found = new Set<DetectorKind>();
  let { copy, tails } = inspector;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + HEADER <= bytes.length;) {
    const end = at + 1 + view.getUint32(at + 1);
    const message = bytes.subarray(at, Math.min(end, bytes.length));
    if (bytes[at] === DATA_ROW) {
      const row = inspectRow(message, fields, inspector.kinds, tails, found);
      out.push(row.bytes);
      tails = row.tails;
    } else if (bytes[at] === COPY_DATA) {
      const passed = push(copy, message.subarray(HEADER));
      copy = passed.detector;
      for (const kind of passed.found) found.add(kind);
      if (passed.bytes.length > 0) out.push(copyMessage(passed.bytes));
    } else out.push(message);
    at = end;
  }
  return { inspector: { kinds: inspector.kinds, copy, tails }, bytes: join(out), found: [...found] };
}

/** What COPY still holds, as a last CopyData message; to be delivered before CopyDone. */
export function flushCopy(inspector: RowInspector): Inspected {
  const passed = flush(inspector.copy);
  const bytes = passed.bytes.length === 0 ? passed.bytes : copyMessage(passed.bytes);
  return { inspector: { ...inspector, copy: passed.detector }, bytes, found: passed.found };
}

type Value = { readonly start: number; readonly end: number };

function inspectRow(
  message: Uint8Array,
  fields: readonly Field[] | undefined,
  kinds: readonly DetectorKind[],
  tails: readonly string[],
  found: Set<DetectorKind>,
): { readonly bytes: Uint8Array; readonly tails: readonly string[] } {
  const row = new Uint8Array(message); // a copy, whatever kind of view the message is
  const view = new DataView(row.buffer);
  const count = row.length >= HEADER + 2 ? view.getUint16(HEADER) : 0;
  const nulls: Value[] = [];
  const nextTails: string[] = [];
  let at = HEADER + 2;
  for (let column = 0; column < count && at + 4 <= row.length; column++) {
    const length = view.getInt32(at);
    const start = at + 4;
    at = start + Math.max(0, length);
    if (length <= 0 || at > row.length) continue;
    const field = fields?.[column];
    const value = row.subarray(start, at);
    if (field !== undefined && PLAIN.has(field.typeOid)) continue;
    const number = field?.format === 1 ? binaryNumber(field.typeOid, value) : undefined;
    if (number !== undefined || field?.typeOid === INT8 || field?.typeOid === NUMERIC) {
      if (kinds.includes("card") && isCard(number ?? latin1(value))) {
        found.add("card");
        nulls.push({ start, end: at });
      }
      continue;
    }
    const text = latin1(value);
    const detections = detect(text, kinds, field?.name ?? "");
    overwrite(value, text, detections, field !== undefined && JSON_TYPES.has(field.typeOid));
    for (const { kind } of detections) found.add(kind);
    nextTails[column] = spread(tails[column] ?? "", text, kinds, field?.name ?? "", value, found);
  }
  return { bytes: nulls.length === 0 ? row : withNulls(row, nulls), tails: nextTails };
}

/** A value of at most this many characters may be a piece of a longer one. */
const PIECE = 4;
const TAIL = 40;

/** `SELECT substr(card, n, 1)` over sixteen rows: the last piece is overwritten, and it is said what was found. */
function spread(
  tail: string,
  text: string,
  kinds: readonly DetectorKind[],
  context: string,
  value: Uint8Array,
  found: Set<DetectorKind>,
): string {
  if (text.length > PIECE) return "";
  const joined = (tail + text).slice(-TAIL);
  const numbers = kinds.filter((kind) => kind === "card" || kind === "iban");
  const hit = detect(joined, numbers, context).find(({ end }) => end === joined.length);
  if (hit === undefined) return joined;
  found.add(hit.kind);
  value.fill(0x2a);
  return "";
}

/** Digits of a bigint or numeric in binary format; undefined for what is no whole number. */
function binaryNumber(typeOid: number, value: Uint8Array): string | undefined {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  if (typeOid === INT8) return value.length === 8 ? view.getBigInt64(0).toString() : "";
  if (typeOid !== NUMERIC || value.length < 8) return undefined;
  // PostgreSQL numeric_send: digits in base 10,000, weight of the first, sign, scale.
  const digits = view.getUint16(0);
  const weight = view.getInt16(2);
  if (value.length < 8 + digits * 2 || weight > 8) return "";
  let out = "";
  for (let index = 0; index <= weight; index++) {
    out += (index < digits ? view.getUint16(8 + index * 2) : 0).toString().padStart(4, "0");
  }
  return out.replace(/^0+/, "");
}

/** The row with some values replaced by NULL. */
function withNulls(row: Uint8Array, nulls: readonly Value[]): Uint8Array {
  const removed = nulls.reduce((sum, { start, end }) => sum + end - start, 0);
  const out = new Uint8Array(row.length - removed);
  const view = new DataView(out.buffer);
  let from = 0;
  let to = 0;
  for (const { start, end } of nulls) {
    out.set(row.subarray(from, start), to);
    to += start - from;
    view.setInt32(to - 4, -1);
    from = end;
  }
  out.set(row.subarray(from), to);
  view.setUint32(1, out.length - 1);
  return out;
}

function copyMessage(data: Uint8Array): Uint8Array {
  const message = new Uint8Array(HEADER + data.length);
  message[0] = COPY_DATA;
  new DataView(message.buffer).setUint32(1, data.length + 4);
  message.set(data, HEADER);
  return message;
}

function join(parts: readonly Uint8Array[]): Uint8Array {
  const [only] = parts;
  if (parts.length === 1 && only !== undefined) return only;
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
