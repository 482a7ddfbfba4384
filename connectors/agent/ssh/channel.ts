/** One channel to the server, client's side (RFC 4254 section 5): two windows, and an orderly end. */
import { LIMITS } from "../../../wire/limits.ts";
import { EXTENDED_DATA_STDERR, type SshMessage } from "../../../wire/ssh/messages.ts";
import type { SshClient } from "./client.ts";

export type ChannelEvents = {
  /** Output; call `taken` when it has gone on, which opens the server's window again. */
  readonly data: (stream: 0 | 1, bytes: Uint8Array, taken: () => void) => void;
  /** No more output. */
  readonly end: () => void;
  /** `exit-status`, `exit-signal` and others; none of them is answered. */
  readonly request: (type: string, data: Uint8Array) => void;
  /** The channel is over: closed by the server, or with the connection. */
  readonly closed: (orderly: boolean) => void;
};

type Pending = { bytes: Uint8Array; readonly sent: () => void };

export class ServerChannel {
  readonly #client: SshClient;
  readonly #events: ChannelEvents;
  readonly #forget: () => void;
  #peer = 0;
  #peerWindow = 0;
  #peerPacket = 0;
  #window: number = LIMITS.ssh.window;
  #taken = 0;
  #pending: Pending[] = [];
  #replies: ((success: boolean) => void)[] = [];
  #ending = false;
  #sentEnd = false;
  #sentClose = false;
  #theyEnded = false;
  #over = false;

  constructor(client: SshClient, events: ChannelEvents, forget: () => void) {
    this.#client = client;
    this.#events = events;
    this.#forget = forget;
  }

  opened(peer: number, window: number, maximumPacket: number): void {
    this.#peer = peer;
    this.#peerWindow = window;
    this.#peerPacket = Math.max(1, Math.min(maximumPacket, LIMITS.ssh.channelPacket));
  }

  /** Sends bytes as the server's window lets them go; `sent` says when they have. */
  write(bytes: Uint8Array, sent: () => void): void {
    if (this.#over || this.#sentClose || this.#ending) return sent();
    this.#pending.push({ bytes, sent });
    this.#flush();
  }

  /** No more input after what has been written. */
  end(): void {
    this.#ending = true;
    this.#flush();
  }

  close(): void {
    if (this.#sentClose || this.#over) return;
    this.#sentClose = true;
    this.#drop();
    this.#client.send({ kind: "channelClose", recipient: this.#peer });
  }

  /** A channel request; resolves with the server's answer, or at once when none is wanted. */
  request(type: string, data: Uint8Array, wantReply: boolean): Promise<boolean> {
    if (this.#over || this.#sentClose) return Promise.resolve(false);
    this.#client.send({ kind: "channelRequest", recipient: this.#peer, type, wantReply, data });
    if (!wantReply) return Promise.resolve(true);
    return new Promise((resolve) => this.#replies.push(resolve));
  }

  /** A message for this channel. Returns what the server did wrong, when it did. */
  take(message: SshMessage): string | undefined {
    switch (message.kind) {
      case "channelWindowAdjust":
        this.#peerWindow += message.amount;
        if (this.#peerWindow > 0xffffffff) return "window over 2^32 - 1";
        this.#flush();
        return undefined;
      case "channelData":
        return this.#data(0, message.data);
      case "channelExtendedData":
        if (message.type !== EXTENDED_DATA_STDERR) return "unknown extended data";
        return this.#data(1, message.data);
      case "channelEof":
        if (this.#theyEnded) return "second end of data";
        this.#theyEnded = true;
        this.#events.end();
        return undefined;
      case "channelClose":
        this.#forget();
        if (!this.#sentClose) this.#client.send({ kind: "channelClose", recipient: this.#peer });
        this.#finish(true);
        return undefined;
      case "channelRequest":
        if (message.wantReply) this.#client.send({ kind: "channelFailure", recipient: this.#peer });
        this.#events.request(message.type, message.data);
        return undefined;
      case "channelSuccess":
      case "channelFailure": {
        const reply = this.#replies.shift();
        if (reply === undefined) return "reply to no request";
        reply(message.kind === "channelSuccess");
        return undefined;
      }
      default:
        return `unexpected ${message.kind}`;
    }
  }

  /** The connection is lost. */
  gone(): void {
    this.#finish(false);
  }

  #data(stream: 0 | 1, bytes: Uint8Array): string | undefined {
    if (this.#theyEnded) return "data after end of data";
    if (bytes.length > this.#window) return "data over the window";
    this.#window -= bytes.length;
    if (this.#sentClose) return undefined;
    this.#events.data(stream, bytes, () => this.#give(bytes.length));
    return undefined;
  }

  #give(length: number): void {
    this.#taken += length;
    if (this.#taken < LIMITS.ssh.window / 4 || this.#over || this.#sentClose || this.#theyEnded) return;
    this.#client.send({ kind: "channelWindowAdjust", recipient: this.#peer, amount: this.#taken });
    this.#window += this.#taken;
    this.#taken = 0;
  }

  #flush(): void {
    while (this.#pending.length > 0 && this.#peerWindow > 0) {
      const [first] = this.#pending;
      if (first === undefined) break;
      const length = Math.min(first.bytes.length, this.#peerWindow, this.#peerPacket);
      this.#client.send({
        kind: "channelData",
        recipient: this.#peer,
        data: first.bytes.subarray(0, length),
      });
      this.#peerWindow -= length;
      if (length < first.bytes.length) {
        first.bytes = first.bytes.subarray(length);
        continue;
      }
      this.#pending.shift();
      first.sent();
    }
    if (this.#pending.length > 0 || !this.#ending || this.#sentEnd || this.#sentClose || this.#over) return;
    this.#sentEnd = true;
    this.#client.send({ kind: "channelEof", recipient: this.#peer });
  }

  #drop(): void {
    for (const { sent } of this.#pending.splice(0)) sent();
  }

  #finish(orderly: boolean): void {
    if (this.#over) return;
    this.#over = true;
    this.#drop();
    for (const reply of this.#replies.splice(0)) reply(false);
    this.#events.closed(orderly);
  }
}
