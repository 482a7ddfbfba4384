/**
 * What one operation's results become in the recording: the rows as the client was given them, up to the
 * resource's limit, then only their count, their length and a digest over all of them.
 */
import { type Hash, createHash } from "node:crypto";
import { fromUtf8, readUint32 } from "../../../wire/bytes.ts";
import type { Field } from "../../../wire/postgres/machine-types.ts";
import type { EventBody } from "../recording/chain.ts";

const DATA_ROW = 0x44; // D
const HEADER = 5;

/** A value as recorded: text, `{ "base64": … }` for what is not text, null for SQL NULL. */
export type RecordedValue = string | { readonly base64: string } | null;

export class OperationResult {
  readonly #keep: number;
  #fields: readonly Field[] | undefined;
  #digest: Hash | undefined;
  /** Row messages not yet written to the recording; may end in the middle of one. */
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #kept = 0;
  #bytes = 0;
  #rows = 0;

  /** `keep`: bytes of rows that the recording takes at most. */
  constructor(keep: number) {
    this.#keep = keep;
  }

  columns(fields: readonly Field[]): void {
    this.#fields = fields;
  }

  get rows(): number {
    return this.#rows;
  }

  /** Row messages, or pieces of them, that the client was given. */
  delivered(bytes: Uint8Array, rows: number): void {
    this.#rows += rows;
    this.#bytes += bytes.length;
    this.#digest ??= createHash("sha256");
    this.#digest.update(bytes);
    const room = this.#keep - this.#kept;
    if (room <= 0) return;
    // A copy: the bytes are a view of a network buffer that lives no longer than this turn.
    const piece = bytes.slice(0, room);
    this.#kept += piece.length;
    this.#pending.push(piece);
    this.#pendingBytes += piece.length;
  }

  /** An event with the rows that have gathered, when there are enough to be worth one. */
  takeRows(least: number): EventBody | undefined {
    if (this.#pendingBytes < least || this.#pendingBytes === 0) return undefined;
    const { rows, copied, rest } = decodeRows(this.#pending, this.#fields);
    this.#pending = rest.length === 0 ? [] : [rest];
    this.#pendingBytes = rest.length;
    if (rows.length === 0 && copied === "") return undefined;
    return { type: "rows", ...(rows.length === 0 ? {} : { rows }), ...(copied === "" ? {} : { copied }) };
  }

  /** The summary when a statement of the operation has completed; `next` follows it. */
  summary(): Record<string, unknown> {
    const columns = this.#fields?.map(({ name, typeOid }) => ({ name, type: typeOid }));
    return {
      ...(columns === undefined ? {} : { columns }),
      rowCount: this.#rows,
      bytes: this.#bytes,
      ...(this.#bytes > this.#kept ? { truncated: true } : {}),
      ...(this.#digest === undefined ? {} : { sha256: this.#digest.digest("hex") }),
    };
  }

  /** Another statement of the same operation begins. */
  next(): void {
    this.#fields = undefined;
    this.#digest = undefined;
    this.#bytes = 0;
    this.#kept = 0;
    this.#rows = 0;
    this.#pending = [];
    this.#pendingBytes = 0;
  }
}

type Decoded = { readonly rows: RecordedValue[][]; readonly copied: string; readonly rest: Uint8Array };

/** DataRow messages as values, CopyData as text; what is not whole yet is the rest. */
function decodeRows(pieces: readonly Uint8Array[], fields: readonly Field[] | undefined): Decoded {
  const bytes = join(pieces);
  const rows: RecordedValue[][] = [];
  let copied = "";
  let at = 0;
  while (at + HEADER <= bytes.length) {
    const end = at + 1 + readUint32(bytes, at + 1);
    if (end > bytes.length || end < at + HEADER) break;
    const body = bytes.subarray(at + HEADER, end);
    if (bytes[at] === DATA_ROW) rows.push(decodeDataRow(body, fields));
    else copied += fromUtf8(body) ?? `base64:${toBase64(body)}\n`;
    at = end;
  }
  return { rows, copied, rest: bytes.subarray(at) };
}

function decodeDataRow(body: Uint8Array, fields: readonly Field[] | undefined): RecordedValue[] {
  const count = ((body[0] ?? 0) << 8) | (body[1] ?? 0);
  const values: RecordedValue[] = [];
  let at = 2;
  for (let index = 0; index < count && at + 4 <= body.length; index++) {
    const length = readUint32(body, at) | 0;
    at += 4;
    if (length < 0) values.push(null);
    else {
      const value = body.subarray(at, at + length);
      at += length;
      const text = fields?.[index]?.format === 1 ? undefined : fromUtf8(value);
      values.push(text ?? { base64: toBase64(value) });
    }
  }
  return values;
}

function join(pieces: readonly Uint8Array[]): Uint8Array {
  const [first] = pieces;
  return pieces.length === 1 && first !== undefined ? first : Buffer.concat(pieces);
}

export function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
