/** Speaks the protocol's messages over a channel that is logged in already. */
import type { Duplex } from "node:stream";
import {
  type BackendMessage,
  MessageFramer,
  errorFields,
  query,
} from "../../../connectors/agent/postgres/messages.ts";

export class RawClient {
  readonly #stream: Duplex;
  readonly #framer = new MessageFramer(64 << 20);
  readonly #chunks: AsyncIterator<Buffer>;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  async next(): Promise<BackendMessage | undefined> {
    for (;;) {
      const message = this.#framer.next();
      if (!message.ok) throw new Error(message.error);
      if (message.value !== undefined) return message.value;
      const chunk = await this.#chunks.next();
      if (chunk.done === true) return undefined;
      this.#framer.push(chunk.value);
    }
  }

  send(sql: string): void {
    this.#stream.write(query(sql));
  }

  /** Text of each row's columns joined with `|`, or the ErrorResponse's message with its SQLSTATE. */
  async query(sql: string): Promise<string[]> {
    this.send(sql);
    return this.result();
  }

  async result(): Promise<string[]> {
    const lines: string[] = [];
    for (;;) {
      const message = await this.next();
      if (message === undefined) return [...lines, "(end)"];
      if (message.type === "Z") return lines;
      if (message.type === "E") {
        const fields = errorFields(message.body);
        lines.push(`${fields.get("C")}: ${fields.get("M")}`);
      }
      if (message.type === "D") lines.push(rowText(message.body));
    }
  }
}

function rowText(body: Buffer): string {
  const columns: string[] = [];
  let at = 2;
  for (let i = 0; i < body.readUInt16BE(0); i += 1) {
    const length = body.readInt32BE(at);
    at += 4;
    columns.push(length < 0 ? "" : body.toString("utf8", at, at + length));
    at += Math.max(0, length);
  }
  return columns.join("|");
}
