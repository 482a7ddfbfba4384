/** A client that sends exactly the messages it is told to, over TCP. */
import { type Socket, connect } from "node:net";
import { type Message, fields, split, startup } from "./messages.ts";

export class RawClient {
  private readonly socket: Socket;
  private buffer = Buffer.alloc(0);
  private readonly messages: Message[] = [];
  private wake: (() => void) | undefined;
  private closed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (bytes) => {
      this.buffer = Buffer.concat([this.buffer, bytes]);
      let end = 0;
      while (this.buffer.length >= end + 5 && this.buffer.length > end + this.buffer.readUInt32BE(end + 1)) {
        end += 1 + this.buffer.readUInt32BE(end + 1);
      }
      this.messages.push(...split(this.buffer.subarray(0, end)));
      this.buffer = this.buffer.subarray(end);
      this.wake?.();
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      this.closed = true;
      this.wake?.();
    });
  }

  static async open(
    port: number,
    parameters: readonly (readonly [string, string])[] = [],
  ): Promise<RawClient> {
    const client = new RawClient(connect({ port, host: "127.0.0.1", noDelay: true }));
    client.send(
      startup([["user", "postgres"], ["database", "postgres"], ["client_encoding", "UTF8"], ...parameters]),
    );
    await client.until("Z");
    return client;
  }

  send(...messages: Uint8Array[]): void {
    this.socket.write(Buffer.concat(messages));
  }

  /** Messages up to and with the `count`th of this type, or up to the end of the connection. */
  async until(type: string, count = 1): Promise<Message[]> {
    for (;;) {
      let seen = 0;
      const at = this.messages.findIndex((message) => message.type === type && ++seen === count);
      if (at >= 0) return this.messages.splice(0, at + 1);
      if (this.closed) return this.messages.splice(0);
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
  }

  /** What was answered, in words: type, and tag, status, SQLSTATE or row where there is one. */
  async words(type: string, count = 1): Promise<string[]> {
    return (await this.until(type, count)).map(word);
  }

  async run(...messages: Uint8Array[]): Promise<string[]> {
    this.send(...messages);
    return this.words("Z");
  }

  close(): void {
    this.socket.destroy();
  }
}

function word({ type, body }: Message): string {
  if (type === "E" || type === "N") return `${type} ${fields(body)["C"]}`;
  if (type === "C") return `C ${body.toString("utf8", 0, body.length - 1)}`;
  if (type === "Z") return `Z ${body.toString()}`;
  if (type === "D") return `D ${body.toString("latin1", 6)}`;
  if (type === "d") return `d ${body.toString()}`;
  return type;
}
