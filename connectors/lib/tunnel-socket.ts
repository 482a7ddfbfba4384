/**
 * The Node end of a tunnel: a `ws` WebSocket that carries the frames of `wire/tunnel.ts`, each channel a Duplex.
 *
 * Back-pressure holds both ways. What arrives is given back as credit only once the channel's reader has taken
 * it; what is written waits for credit, and for the WebSocket's own buffer to drain. So one channel holds at
 * most one window in each direction, however slow either end is.
 */
import type { RawData, WebSocket } from "ws";
import { LIMITS } from "../../wire/limits.ts";
import {
  type Frame,
  type Tunnel,
  type TunnelSide,
  acceptChannel,
  addChannel,
  batchFrames,
  closeChannel,
  consume,
  decodeFrames,
  encodeFrame,
  endChannel,
  newTunnel,
  nextChannel,
  receiveFrame,
  sendable,
  spend,
} from "../../wire/tunnel.ts";
import { type CloseReason, DONE, TunnelChannel } from "./tunnel-channel.ts";

export type TunnelHandlers = {
  /** The peer opened a channel: answer with `accept` or `close`. Without this handler it is refused. */
  readonly onOpen?: (channel: TunnelChannel, payload: unknown) => void;
  /** A text control message, at most LIMITS.tunnel.control long; parse it with `parseControl`. */
  readonly onControl?: (text: string) => void;
  /** Called once. The channels have been told before. */
  readonly onClosed?: (reason: CloseReason) => void;
};

export type TunnelOptions = TunnelHandlers & {
  /** Default `connector`: the side of whoever dials the gateway. */
  readonly side?: TunnelSide;
  /** Milliseconds between WebSocket pings; a peer silent for three of them is lost. 0 for none. */
  readonly keepAlive?: number;
  /** Frames of one turn of the event loop leave as one WebSocket message: to the gateway, from a connector. */
  readonly batches?: boolean;
};

export { ChannelClosed, DONE, TunnelChannel } from "./tunnel-channel.ts";
export type { CloseReason } from "./tunnel-channel.ts";

/** Bytes in the WebSocket's own buffer above which channels wait. */
const CONGESTED = 4 * LIMITS.tunnel.chunk;
const DEFAULT_KEEP_ALIVE = 20_000;
/** WebSocket close codes (RFC 6455 section 7.4.1). */
const NORMAL = 1000;
const PROTOCOL_ERROR = 1002;

/** One end of a tunnel over an open WebSocket, which it owns from now on. */
export class TunnelSocket {
  readonly #socket: WebSocket;
  readonly #handlers: TunnelHandlers;
  readonly #tunnel: Tunnel;
  readonly #channels = new Map<number, TunnelChannel>();
  readonly #batches: boolean;
  /** Encoded frames of this turn that have not been sent, and their bytes. */
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  /** A channel has been told to wait for the WebSocket's own buffer. */
  #congested = false;
  #closed: CloseReason | undefined;
  #keepAlive: NodeJS.Timeout | undefined;
  #unanswered = 0;

  constructor(socket: WebSocket, options: TunnelOptions = {}) {
    this.#socket = socket;
    this.#handlers = options;
    this.#tunnel = newTunnel(options.side ?? "connector");
    this.#batches = options.batches ?? false;
    socket.binaryType = "nodebuffer";
    socket.on("message", (data, isBinary) => this.#message(data, isBinary));
    socket.on("close", (code, reason) =>
      this.#ended({ code: "tunnel_lost", message: closeText(code, reason) }),
    );
    // `close` follows every `error`.
    socket.on("error", () => undefined);
    socket.on("pong", () => (this.#unanswered = 0));
    const interval = options.keepAlive ?? DEFAULT_KEEP_ALIVE;
    if (interval > 0) this.#keepAlive = setInterval(() => this.#ping(), interval).unref();
    if (socket.isPaused) socket.resume();
  }

  get closed(): CloseReason | undefined {
    return this.#closed;
  }

  /** Channel 0, open from the start: the native client's byte stream on a shim's socket. */
  attach(): TunnelChannel {
    if (!addChannel(this.#tunnel, 0, "open").ok) throw new Error("channel 0 is attached already");
    return this.#newChannel(0);
  }

  /** Opens a channel to the peer. What is written waits for its OPENED; undefined when there are too many. */
  open(payload: unknown, onOpened?: (payload: unknown) => void): TunnelChannel | undefined {
    const number = nextChannel(this.#tunnel);
    if (this.#closed !== undefined || !addChannel(this.#tunnel, number, "opening").ok) return undefined;
    const channel = this.#newChannel(number, onOpened);
    this.#send({ kind: "open", channel: number, payload });
    return channel;
  }

  /** Sends a text control message. */
  control(message: unknown): void {
    if (this.#closed !== undefined) return;
    this.#flush();
    this.#socket.send(JSON.stringify(message));
  }

  /** Ends the tunnel and all its channels in an orderly way. */
  close(reason: CloseReason = DONE): void {
    if (this.#closed !== undefined) return;
    this.#flush();
    this.#socket.close(NORMAL, reason.code);
    this.#ended(reason);
  }

  #newChannel(number: number, onOpened?: (payload: unknown) => void): TunnelChannel {
    const channel = new TunnelChannel(number, {
      send: (frame) => this.#send(frame),
      sendable: () => {
        this.#congested ||= this.#socket.bufferedAmount + this.#waitingBytes >= CONGESTED;
        return this.#congested ? 0 : sendable(this.#tunnel, number);
      },
      sendData: (bytes) => {
        spend(this.#tunnel, number, bytes.length);
        this.#send({ kind: "data", channel: number, bytes });
      },
      consumed: (length) => {
        const amount = consume(this.#tunnel, number, length);
        if (amount > 0) this.#send({ kind: "credit", channel: number, amount });
      },
      accept: () => acceptChannel(this.#tunnel, number),
      end: () => endChannel(this.#tunnel, number),
      forget: () => {
        this.#channels.delete(number);
        return closeChannel(this.#tunnel, number);
      },
      opened: onOpened ?? (() => undefined),
    });
    this.#channels.set(number, channel);
    return channel;
  }

  #send(frame: Frame): void {
    if (this.#closed !== undefined) return;
    const bytes = encodeFrame(frame);
    if (!this.#batches) return this.#write(bytes);
    if (this.#waiting.length === 0) setImmediate(() => this.#flush());
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= LIMITS.tunnel.chunk) this.#flush();
  }

  #flush(): void {
    const frames = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (this.#closed === undefined) for (const message of batchFrames(frames)) this.#write(message);
  }

  #write(message: Uint8Array): void {
    this.#socket.send(message, () => {
      // The WebSocket's buffer has drained by this message: whoever waited for that may go on.
      if (!this.#congested || this.#socket.bufferedAmount >= CONGESTED) return;
      this.#congested = false;
      for (const channel of this.#channels.values()) channel.pump();
    });
  }

  #message(data: RawData, isBinary: boolean): void {
    if (this.#closed !== undefined) return;
    this.#unanswered = 0;
    const bytes = Buffer.isBuffer(data)
      ? data
      : Buffer.concat(Array.isArray(data) ? data : [Buffer.from(data)]);
    if (!isBinary) {
      if (bytes.length > LIMITS.tunnel.control) this.#broken("over_limit");
      else this.#handlers.onControl?.(bytes.toString("utf8"));
      return;
    }
    const decoded = decodeFrames(bytes);
    if (!decoded.ok) return this.#broken(decoded.error);
    for (const frame of decoded.value) {
      const received = receiveFrame(this.#tunnel, frame);
      if (!received.ok) return this.#broken(received.error);
      if (received.value !== undefined) this.#dispatch(received.value);
    }
  }

  #dispatch(frame: Frame): void {
    if (frame.kind === "open") {
      const channel = this.#newChannel(frame.channel);
      if (this.#handlers.onOpen === undefined)
        channel.close({ code: "request_invalid", message: "nothing can be opened here" });
      else this.#handlers.onOpen(channel, frame.payload);
      return;
    }
    this.#channels.get(frame.channel)?.receive(frame);
    if (frame.kind === "close") this.#channels.delete(frame.channel);
  }

  #ping(): void {
    if (this.#unanswered >= 3) {
      this.#socket.terminate();
      this.#ended({ code: "tunnel_lost", message: "the gateway does not answer" });
      return;
    }
    this.#unanswered += 1;
    this.#socket.ping();
  }

  /** The peer broke the protocol. */
  #broken(error: string): void {
    this.#socket.close(PROTOCOL_ERROR, error);
    this.#ended({
      code: "protocol_violation",
      message: `the gateway broke the tunnel's protocol: ${error}`,
    });
  }

  #ended(reason: CloseReason): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    clearInterval(this.#keepAlive);
    // A peer that does not answer our close frame must not keep the process.
    setTimeout(() => this.#socket.terminate(), 2000).unref();
    for (const channel of this.#channels.values())
      channel.receive({ kind: "close", channel: channel.number, ...reason });
    this.#channels.clear();
    this.#handlers.onClosed?.(reason);
  }
}

function closeText(code: number, reason: Buffer): string {
  const text = reason.toString("utf8");
  return text === ""
    ? `the gateway closed the connection (${code})`
    : `the gateway closed the connection (${code} ${text})`;
}
