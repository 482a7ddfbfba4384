/** A PostgreSQL client that keeps every byte it is sent: one statement at a time, simple or extended, text or binary. */
import { connect, type Socket } from "node:net";

export type Mode = "simple" | "text" | "binary";

/** One backend message, with its type byte and body. */
export type Message = { readonly type: string; readonly body: Buffer };

export class WireClient {
  readonly #socket: Socket;
  #buffered: Buffer = Buffer.alloc(0);
  #messages: Message[] = [];
  #ready: ((messages: Message[]) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  #copyData: Buffer | undefined;
  #extended = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => this.#receive(chunk));
    socket.on("error", (error) => this.#failed?.(error));
    socket.on("close", () => this.#failed?.(new Error("the server closed the connection")));
  }

  /** The server has to trust the connection. */
  static async open(
    port: number,
    database: string,
    user = "postgres",
    parameters: Readonly<Record<string, string>> = {},
  ): Promise<WireClient> {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    const client = new WireClient(socket);
    const pairs = Object.entries({ user, database, ...parameters }).flat();
    const body = Buffer.concat([int32(196_608), ...pairs.map(cstring), Buffer.from([0])]);
    await client.#exchange(Buffer.concat([int32(body.length + 4), body]));
    return client;
  }

  /** All messages of one round, up to and without ReadyForQuery. */
  async run(
    sql: string,
    mode: Mode,
    copyData?: string,
    parameters: readonly (string | null)[] = [],
  ): Promise<Message[]> {
    this.#copyData = copyData === undefined ? undefined : Buffer.from(copyData);
    this.#extended = mode !== "simple";
    if (mode === "simple") return await this.#exchange(message("Q", cstring(sql)));
    const format = mode === "binary" ? 1 : 0;
    return await this.#exchange(
      Buffer.concat([
        message("P", Buffer.concat([cstring(""), cstring(sql), int16(0)])),
        message("D", Buffer.concat([Buffer.from("S"), cstring("")])),
        message(
          "B",
          Buffer.concat([
            ...[cstring(""), cstring(""), int16(0), int16(parameters.length)],
            ...parameters.map((value) =>
              value === null
                ? int32(-1)
                : Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]),
            ),
            ...[int16(1), int16(format)],
          ]),
        ),
        message("E", Buffer.concat([cstring(""), int32(0)])),
        message("S", Buffer.alloc(0)),
      ]),
    );
  }

  close(): void {
    this.#failed = undefined;
    this.#socket.end(message("X", Buffer.alloc(0)));
  }

  async #exchange(bytes: Buffer): Promise<Message[]> {
    return await new Promise((resolve, reject) => {
      this.#ready = resolve;
      this.#failed = reject;
      this.#socket.write(bytes);
    });
  }

  #receive(chunk: Buffer): void {
    this.#buffered = this.#buffered.length === 0 ? chunk : Buffer.concat([this.#buffered, chunk]);
    while (this.#buffered.length >= 5) {
      const length = this.#buffered.readInt32BE(1);
      if (this.#buffered.length < length + 1) return;
      const type = String.fromCharCode(this.#buffered[0] ?? 0);
      const body = Buffer.from(this.#buffered.subarray(5, length + 1));
      this.#buffered = this.#buffered.subarray(length + 1);
      this.#message(type, body);
    }
  }

  #message(type: string, body: Buffer): void {
    if (type === "G") {
      const data = this.#copyData === undefined ? [] : [message("d", this.#copyData)];
      this.#socket.write(
        Buffer.concat([
          ...data,
          message("c", Buffer.alloc(0)),
          ...(this.#extended ? [message("S", Buffer.alloc(0))] : []),
        ]),
      );
    }
    if (type !== "Z") {
      this.#messages.push({ type, body });
      return;
    }
    const messages = this.#messages;
    this.#messages = [];
    this.#ready?.(messages);
  }
}

/** The fields of an ErrorResponse or NoticeResponse by their letter. */
export function errorFields(body: Buffer): Map<string, string> {
  const fields = new Map<string, string>();
  let at = 0;
  while (at < body.length && body[at] !== 0) {
    const end = body.indexOf(0, at);
    fields.set(String.fromCharCode(body[at] ?? 0), body.toString("utf8", at + 1, end));
    at = end + 1;
  }
  return fields;
}

function message(type: string, body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(type), int32(body.length + 4), body]);
}

function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function cstring(value: string): Buffer {
  return Buffer.concat([Buffer.from(value), Buffer.from([0])]);
}
