/**
 * A client of the gateway without `sally`: its own WebSocket to `/connect/<resource>`, on which it can send
 * any frame and any PostgreSQL message, lawful or not.
 */
import { type ClientRequest, type IncomingMessage } from "node:http";
import WebSocket from "ws";
import { LIMITS } from "../../wire/limits.ts";
import { decodeFrame, encodeFrame } from "../../wire/tunnel.ts";
import { type Message, fields, split, startup } from "../wire/postgres/support/messages.ts";

export type Dialled =
  | { readonly ok: true; readonly client: GatewayClient }
  /** The upgrade was answered with this. */
  | { readonly ok: false; readonly status: number; readonly body: string };

/** What the gateway closed the WebSocket with. */
export type Closed = { readonly code: number; readonly reason: string };

export class GatewayClient {
  readonly #socket: WebSocket;
  #buffer = Buffer.alloc(0);
  #messages: Message[] = [];
  #wake: (() => void) | undefined;
  #over = false;
  #paused = false;
  #unread = 0;
  /** The gateway's text messages, in order. */
  readonly notices: Record<string, unknown>[] = [];
  readonly closed: Promise<Closed>;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.on("message", (data: Buffer, binary: boolean) => this.#receive(data, binary));
    socket.on("error", () => undefined);
    this.closed = new Promise((resolve) => {
      socket.on("close", (code, reason) => {
        this.#over = true;
        this.#wake?.();
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  /** Opens the WebSocket; nothing of PostgreSQL's protocol is sent. */
  static dial(gateway: string, path: string, headers: Record<string, string>): Promise<Dialled> {
    const socket = new WebSocket(`${gateway.replace("http", "ws")}${path}`, "sallyport.v1", { headers });
    return new Promise((resolve, reject) => {
      const client = new GatewayClient(socket);
      socket.on("open", () => resolve({ ok: true, client }));
      socket.on("unexpected-response", (_request: ClientRequest, response: IncomingMessage) => {
        let body = "";
        response.on("data", (chunk) => (body += String(chunk)));
        response.on("end", () => resolve({ ok: false, status: response.statusCode ?? 0, body }));
      });
      socket.on("error", reject);
    });
  }

  /** Opens a session on `resource`, up to its first ReadyForQuery. */
  static async open(
    gateway: string,
    resource: string,
    token: string,
    options: { readonly noWait?: boolean; readonly parameters?: readonly (readonly [string, string])[] } = {},
  ): Promise<GatewayClient> {
    const dialled = await GatewayClient.dial(gateway, `/connect/${resource}`, {
      authorization: `Bearer ${token}`,
      ...(options.noWait === true ? { "sally-no-wait": "1" } : {}),
    });
    if (!dialled.ok) throw new Error(`${dialled.status} ${dialled.body}`);
    const { client } = dialled;
    client.send(startup([["user", "app"], ["database", resource], ...(options.parameters ?? [])]));
    const opened = await client.words("Z");
    if (opened.at(-1) !== "Z I") throw new Error(opened.join(", "));
    return client;
  }

  /** Identifier of the session; known once it has started. */
  get session(): string {
    return String(this.notices.find(({ type }) => type === "session")?.["session"]);
  }

  /** Sends bytes of the protocol, cut into frames as the tunnel wants them. */
  send(...messages: Uint8Array[]): void {
    const bytes = Buffer.concat(messages);
    for (let at = 0; at < bytes.length; at += LIMITS.tunnel.chunk) {
      const piece = bytes.subarray(at, at + LIMITS.tunnel.chunk);
      this.sendFrame(encodeFrame({ kind: "data", channel: 0, bytes: piece }));
    }
  }

  /** Sends a binary WebSocket message as it is. */
  sendFrame(bytes: Uint8Array): void {
    this.#socket.send(bytes);
  }

  sendText(text: string): void {
    this.#socket.send(text);
  }

  /** Messages up to and with the `count`th of this type, or up to the end of the connection. */
  async until(type: string, count = 1): Promise<Message[]> {
    for (;;) {
      let seen = 0;
      const at = this.#messages.findIndex((message) => message.type === type && ++seen === count);
      if (at >= 0) return this.#messages.splice(0, at + 1);
      if (this.#over) return this.#messages.splice(0);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** What was answered, in words: type, and tag, status, SQLSTATE and text, or row where there is one. */
  async words(type: string, count = 1): Promise<string[]> {
    return (await this.until(type, count)).filter(({ type: letter }) => !"SKR".includes(letter)).map(word);
  }

  async run(...messages: Uint8Array[]): Promise<string[]> {
    this.send(...messages);
    return this.words("Z");
  }

  /** Gives no credit back from now on. */
  pause(): void {
    this.#paused = true;
  }

  /** Drops the connection without a word. */
  drop(): void {
    this.#socket.terminate();
  }

  close(): void {
    this.#socket.close(1000);
  }

  #receive(data: Buffer, binary: boolean): void {
    if (!binary) {
      this.notices.push(JSON.parse(data.toString()) as Record<string, unknown>);
      this.#wake?.();
      return;
    }
    const frame = decodeFrame(data);
    if (!frame.ok || frame.value.kind !== "data") return;
    this.#unread += frame.value.bytes.length;
    if (!this.#paused && this.#unread >= LIMITS.tunnel.window / 4) {
      this.sendFrame(encodeFrame({ kind: "credit", channel: 0, amount: this.#unread }));
      this.#unread = 0;
    }
    this.#buffer = Buffer.concat([this.#buffer, frame.value.bytes]);
    let end = 0;
    while (this.#buffer.length >= end + 5 && this.#buffer.length > end + this.#buffer.readUInt32BE(end + 1)) {
      end += 1 + this.#buffer.readUInt32BE(end + 1);
    }
    this.#messages.push(...split(this.#buffer.subarray(0, end)));
    this.#buffer = this.#buffer.subarray(end);
    this.#wake?.();
  }
}

function word({ type, body }: Message): string {
  if (type === "E" || type === "N") return `${type} ${fields(body)["C"]} ${fields(body)["M"]}`;
  if (type === "C") return `C ${body.toString("utf8", 0, body.length - 1)}`;
  if (type === "Z") return `Z ${body.toString()}`;
  if (type === "D") return `D ${body.toString("latin1", 6)}`;
  return type;
}
