/** Runs SQL of our own on a logged-in connection, in the simple protocol with text results, one at a time. */
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Connection } from "./connect.ts";
import { type LoggedIn, MessageReader } from "./login.ts";
import { errorFields, query } from "./messages.ts";

export type Row = readonly (string | null)[];

/** One message of a result. */
const MAX_MESSAGE = 4 << 20;

export class SimpleQueries {
  readonly #connection: Connection;
  readonly #reader: MessageReader;

  /** `maxBytes` bounds what the server may send over the life of this object. */
  constructor(connection: Connection, login: LoggedIn, signal: AbortSignal, maxBytes: number) {
    this.#connection = connection;
    this.#reader = new MessageReader(connection.stream, signal, MAX_MESSAGE, maxBytes);
    this.#reader.push(login.rest);
  }

  /** Rows of one statement; an error leaves the connection usable only when `usable` says so. */
  async run(sql: string): Promise<Result<Row[], { readonly detail: string; readonly usable: boolean }>> {
    this.#connection.stream.write(query(sql));
    const rows: Row[] = [];
    let failure: string | undefined;
    for (;;) {
      const message = await this.#reader.next();
      if (!message.ok) return err({ detail: message.error.detail, usable: false });
      const { type, body } = message.value;
      switch (type) {
        case "D": {
          const row = readRow(body);
          if (row === undefined) return err({ detail: "the server sent a malformed DataRow", usable: false });
          rows.push(row);
          break;
        }
        case "E": {
          const fields = errorFields(body);
          failure = `${fields.get("C") ?? ""} ${(fields.get("M") ?? "").slice(0, 500)}`.trim();
          // FATAL and PANIC: no ReadyForQuery follows.
          if (fields.get("V") !== "ERROR") return err({ detail: failure, usable: false });
          break;
        }
        case "Z":
          return failure === undefined ? ok(rows) : err({ detail: failure, usable: true });
        case "T": // RowDescription: the columns are known from the query.
        case "C": // CommandComplete
        case "I": // EmptyQueryResponse
        case "N": // NoticeResponse
        case "S": // ParameterStatus
        case "A": // NotificationResponse
          break;
        default:
          return err({ detail: "the server sent a message that does not belong to a query", usable: false });
      }
    }
  }
}

/** DataRow (PostgreSQL docs 54.7): int16 columns, then each an int32 length, -1 for NULL, and its text. */
function readRow(body: Buffer): Row | undefined {
  if (body.length < 2) return undefined;
  const columns = body.readUInt16BE(0);
  const row: (string | null)[] = [];
  let at = 2;
  for (let i = 0; i < columns; i += 1) {
    if (at + 4 > body.length) return undefined;
    const length = body.readInt32BE(at);
    at += 4;
    if (length === -1) {
      row.push(null);
      continue;
    }
    if (length < 0 || at + length > body.length) return undefined;
    row.push(body.toString("utf8", at, at + length));
    at += length;
  }
  return at === body.length ? row : undefined;
}
