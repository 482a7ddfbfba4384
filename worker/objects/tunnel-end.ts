/**
 * The Session object's end of one tunnel: the pure `wire/tunnel.ts` with a WebSocket and the queues of what
 * credit does not let out yet. Everything sent is queued first and leaves in `flush`, which the object calls
 * after it has written the turn's events to the recording.
 */
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import {
  type Frame,
  type Tunnel,
  type TunnelError,
  acceptChannel,
  addChannel,
  batchFrames,
  closeChannel,
  consume,
  decodeFrame,
  decodeFrames,
  encodeFrame,
  endChannel,
  isOpening,
  newTunnel,
  nextChannel,
  receiveFrame,
  sendable,
  spend,
} from "../../wire/tunnel.ts";

type Outgoing = { chunks: Uint8Array[]; head: number; bytes: number; end: boolean };

/** Plain data that a hibernating object stores; only an end with nothing queued can be frozen. */
export type FrozenTunnel = Tunnel;

export class TunnelEnd {
  readonly #socket: WebSocket;
  readonly #tunnel: Tunnel;
  readonly #outgoing = new Map<number, Outgoing>();
  #control: (string | Uint8Array)[] = [];

  constructor(socket: WebSocket, tunnel: Tunnel = newTunnel("gateway")) {
    this.#socket = socket;
    this.#tunnel = tunnel;
  }

  /** The shim's socket: channel 0 is open from the start. */
  static client(socket: WebSocket): TunnelEnd {
    const end = new TunnelEnd(socket);
    addChannel(end.#tunnel, 0, "open");
    return end;
  }

  /** Decodes and checks the one frame of a client's. `undefined`: its channel is closed already. */
  receive(message: ArrayBuffer): Result<Frame | undefined, TunnelError> {
    const frame = decodeFrame(new Uint8Array(message));
    return frame.ok ? this.#apply(frame.value) : frame;
  }

  /** Decodes a connector's message and gives each of its frames, checked, to `take`, up to the first bad one. */
  receiveBatch(message: ArrayBuffer, take: (frame: Frame) => void): Result<void, TunnelError> {
    const frames = decodeFrames(new Uint8Array(message));
    if (!frames.ok) return frames;
    for (const frame of frames.value) {
      const received = this.#apply(frame);
      if (!received.ok) return received;
      if (received.value !== undefined) take(received.value);
    }
    return ok(undefined);
  }

  #apply(frame: Frame): Result<Frame | undefined, TunnelError> {
    const received = receiveFrame(this.#tunnel, frame);
    if (received.ok && received.value?.kind === "close") this.#outgoing.delete(received.value.channel);
    return received;
  }

  /** Opens a channel of ours and returns its number. */
  open(payload: unknown): Result<number, TunnelError> {
    const channel = nextChannel(this.#tunnel);
    const added = addChannel(this.#tunnel, channel, "opening");
    if (!added.ok) return err(added.error);
    this.#control.push(encodeFrame({ kind: "open", channel, payload }));
    return ok(channel);
  }

  /** Whether the channel is one of ours, open or closed. */
  hasOpened(channel: number): boolean {
    return channel % 2 === 1 && channel <= this.#tunnel.highest.odd;
  }

  /** Answers the peer's OPEN; nothing happens when the channel is gone meanwhile. */
  accept(channel: number): void {
    if (acceptChannel(this.#tunnel, channel))
      this.#control.push(encodeFrame({ kind: "opened", channel, payload: {} }));
  }

  data(channel: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    const queue = this.#queue(channel);
    queue.chunks.push(bytes);
    queue.bytes += bytes.length;
  }

  /** No more data after what is queued. */
  end(channel: number): void {
    this.#queue(channel).end = true;
  }

  signal(channel: number, payload: unknown): void {
    this.#control.push(encodeFrame({ kind: "signal", channel, payload }));
  }

  /** Closes a channel at once; what is queued on it is dropped. */
  close(channel: number, code: string, message: string): void {
    this.#outgoing.delete(channel);
    if (closeChannel(this.#tunnel, channel))
      this.#control.push(encodeFrame({ kind: "close", channel, code, message }));
  }

  /** A text control message (`wire/control.ts`). */
  text(message: unknown): void {
    this.#control.push(JSON.stringify(message));
  }

  /** Bytes waiting for credit on the channel. */
  queued(channel: number): number {
    return this.#outgoing.get(channel)?.bytes ?? 0;
  }

  /** We have consumed `amount` bytes of the channel; gives them back as credit once it is worth a frame. */
  consumed(channel: number, amount: number): void {
    const credit = consume(this.#tunnel, channel, amount);
    if (credit > 0) this.#control.push(encodeFrame({ kind: "credit", channel, amount: credit }));
  }

  /** Sends everything that may go. `batched`: to a connector, several frames in one message. */
  flush(batched = false): void {
    if (this.#control.length === 0 && this.#outgoing.size === 0) return;
    const frames: Uint8Array[] = [];
    for (const message of this.#control) {
      if (typeof message === "string") this.#send(message);
      else frames.push(message);
    }
    this.#control = [];
    for (const [channel, queue] of this.#outgoing) this.#flushChannel(channel, queue, frames);
    for (const message of batched ? batchFrames(frames) : frames) this.#send(message);
  }

  /** Drops everything that has not been sent. */
  discard(): void {
    this.#control = [];
    this.#outgoing.clear();
  }

  get idle(): boolean {
    return this.#control.length === 0 && this.#outgoing.size === 0;
  }

  freeze(): FrozenTunnel {
    return this.#tunnel;
  }

  closeSocket(code: number, reason: string): void {
    try {
      this.#socket.close(code, reason.slice(0, 120));
    } catch {
      // Closed already: what we wanted.
    }
  }

  #queue(channel: number): Outgoing {
    let queue = this.#outgoing.get(channel);
    if (queue === undefined) {
      queue = { chunks: [], head: 0, bytes: 0, end: false };
      this.#outgoing.set(channel, queue);
    }
    return queue;
  }

  #flushChannel(channel: number, queue: Outgoing, frames: Uint8Array[]): void {
    while (queue.bytes > 0) {
      const allowed = sendable(this.#tunnel, channel);
      if (allowed === 0) return;
      const bytes = take(queue, allowed);
      spend(this.#tunnel, channel, bytes.length);
      frames.push(encodeFrame({ kind: "data", channel, bytes }));
    }
    // The end of what has no bytes waits for OPENED, too.
    if (queue.end && isOpening(this.#tunnel, channel)) return;
    if (queue.end && endChannel(this.#tunnel, channel)) frames.push(encodeFrame({ kind: "end", channel }));
    this.#outgoing.delete(channel);
  }

  #send(message: string | Uint8Array): void {
    try {
      this.#socket.send(message);
    } catch {
      // The socket is closing; its close event ends the session.
    }
  }
}

/** Takes up to `length` bytes off the front, several small pieces joined into one. */
function take(queue: Outgoing, length: number): Uint8Array {
  const wanted = Math.min(length, queue.bytes, LIMITS.tunnel.chunk);
  const first = queue.chunks[0];
  if (first !== undefined && first.length - queue.head >= wanted) {
    const piece = first.subarray(queue.head, queue.head + wanted);
    advance(queue, wanted);
    return piece;
  }
  const whole = new Uint8Array(wanted);
  let at = 0;
  let index = 0;
  let head = queue.head;
  while (at < wanted) {
    const chunk = queue.chunks[index];
    if (chunk === undefined) break;
    const piece = chunk.subarray(head, head + wanted - at);
    whole.set(piece, at);
    at += piece.length;
    head = 0;
    index++;
  }
  advance(queue, wanted);
  return whole;
}

function advance(queue: Outgoing, length: number): void {
  queue.bytes -= length;
  let left = length;
  let gone = 0;
  for (const chunk of queue.chunks) {
    const rest = chunk.length - queue.head;
    if (left < rest) {
      queue.head += left;
      break;
    }
    left -= rest;
    queue.head = 0;
    gone++;
  }
  queue.chunks.splice(0, gone);
}
