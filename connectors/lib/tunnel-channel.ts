/**
 * One channel of a tunnel as a Node stream. It knows its tunnel only as a ChannelPort: where frames go, and how
 * much may be sent now.
 */
import { Duplex } from "node:stream";
import { LIMITS } from "../../wire/limits.ts";
import type { Frame } from "../../wire/tunnel.ts";

/** Why a channel or the whole tunnel is over. `done` is the code of an orderly end. */
export type CloseReason = { readonly code: string; readonly message: string };

export const DONE: CloseReason = { code: "done", message: "" };

/** The error of a channel's stream that did not end in an orderly way. */
export class ChannelClosed extends Error {
  readonly code: string;
  constructor(reason: CloseReason) {
    super(reason.message);
    this.name = "ChannelClosed";
    this.code = reason.code;
  }
}

/** What a channel needs of its tunnel. */
export type ChannelPort = {
  send(frame: Frame): void;
  sendable(): number;
  sendData(bytes: Uint8Array): void;
  consumed(length: number): void;
  accept(): boolean;
  end(): boolean;
  forget(): boolean;
  opened(payload: unknown): void;
};

export type ChannelEvents = {
  /** Out-of-band message of the protocol. */
  onSignal?: (payload: unknown) => void;
  /** The peer closed the channel, or the tunnel is gone. Comes at once; what it sent before can still be read. */
  onRemoteClose?: (reason: CloseReason) => void;
};

/** Frames smaller than this are gathered when the reader is behind, so that a window of tiny ones stays small. */
const TINY = 1 << 10;
const GATHER = 16 << 10;

/**
 * One channel as a Duplex. `end()` sends END; the stream's end is the peer's END or an orderly CLOSE. Any other
 * CLOSE destroys it with a ChannelClosed error once what came before has been read. `destroy()` sends CLOSE.
 */
export class TunnelChannel extends Duplex {
  readonly number: number;
  readonly #port: ChannelPort;
  #events: ChannelEvents = {};
  #incoming: Uint8Array[] = [];
  /** Bytes used of the gathering buffer that is last in `#incoming`; undefined when the last is not one. */
  #gathered: number | undefined;
  #theyEnded = false;
  #remoteClose: CloseReason | undefined;
  #reported: CloseReason = { code: "internal", message: "the channel was given up" };
  #closeAtEnd = false;
  #outgoing: Uint8Array[] = [];
  #written: ((error?: Error | null) => void) | undefined;
  #wantsData = false;
  #finished: ((error?: Error | null) => void) | undefined;

  constructor(number: number, port: ChannelPort) {
    super({ highWaterMark: LIMITS.tunnel.chunk, allowHalfOpen: true });
    this.number = number;
    this.#port = port;
    // `onRemoteClose` tells the same; a channel that nobody reads any more must not end the process.
    this.on("error", () => undefined);
  }

  /** Sets who hears of signals and of the peer's close. */
  listen(events: ChannelEvents): this {
    this.#events = events;
    if (this.#remoteClose !== undefined) events.onRemoteClose?.(this.#remoteClose);
    return this;
  }

  /** Answers the peer's OPEN: bytes may flow. `payload` at most LIMITS.tunnel.json as JSON. */
  accept(payload: unknown): void {
    if (!this.#port.accept()) return;
    this.#port.send({ kind: "opened", channel: this.number, payload });
    this.pump();
  }

  /** Sends an out-of-band message. */
  signal(payload: unknown): void {
    if (this.#remoteClose === undefined && !this.destroyed)
      this.#port.send({ kind: "signal", channel: this.number, payload });
  }

  /** Closes the channel at once and tells the peer why. What was written before and has not gone is dropped. */
  close(reason: CloseReason): void {
    this.#reported = reason;
    this.destroy();
  }

  /** Sends what has been written, then CLOSE with the reason in place of END. */
  finish(reason: CloseReason): void {
    this.#reported = reason;
    this.#closeAtEnd = true;
    this.end();
  }

  /** A frame for this channel, already checked by the machine. */
  receive(frame: Frame): void {
    switch (frame.kind) {
      case "opened":
        this.#port.opened(frame.payload);
        this.pump();
        return;
      case "data":
        this.#enqueue(frame.bytes);
        this.#deliver();
        return;
      case "credit":
        this.pump();
        return;
      case "end":
        this.#theyEnded = true;
        this.#deliver();
        return;
      case "signal":
        this.#events.onSignal?.(frame.payload);
        return;
      case "close":
        this.#remoteClose = { code: frame.code, message: frame.message };
        // Nobody will take what is still to be written.
        this.#outgoing = [];
        this.#finishWrite();
        this.#sendEnd();
        this.#events.onRemoteClose?.(this.#remoteClose);
        this.#deliver();
        return;
      case "open":
        return;
    }
  }

  /** Sends what credit and the WebSocket's buffer allow. */
  pump(): void {
    for (;;) {
      const first = this.#outgoing[0];
      if (first === undefined) break;
      const room = this.#port.sendable();
      if (room === 0) return;
      const bytes = this.#take(first, room);
      this.#port.sendData(bytes);
    }
    this.#finishWrite();
    this.#sendEnd();
  }

  /** Takes up to `room` bytes off the queue, joining small writes into one frame. */
  #take(first: Uint8Array, room: number): Uint8Array {
    if (first.length >= room || this.#outgoing.length === 1) {
      if (first.length > room) this.#outgoing[0] = first.subarray(room);
      else this.#outgoing.shift();
      return first.subarray(0, room);
    }
    const joined = Buffer.allocUnsafe(Math.min(room, total(this.#outgoing)));
    let at = 0;
    let index = 0;
    for (; at < joined.length; index += 1) {
      const part = this.#outgoing[index];
      if (part === undefined) break;
      const taken = Math.min(part.length, joined.length - at);
      joined.set(part.subarray(0, taken), at);
      at += taken;
      if (taken < part.length) {
        this.#outgoing[index] = part.subarray(taken);
        break;
      }
    }
    this.#outgoing.splice(0, index);
    return joined;
  }

  #finishWrite(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  #enqueue(bytes: Uint8Array): void {
    const last = this.#incoming.at(-1);
    if (bytes.length >= TINY || last === undefined) {
      this.#incoming.push(bytes);
      this.#gathered = undefined;
      return;
    }
    if (this.#gathered !== undefined && this.#gathered + bytes.length <= GATHER) {
      const whole = new Uint8Array(last.buffer, last.byteOffset, GATHER);
      whole.set(bytes, this.#gathered);
      this.#gathered += bytes.length;
      this.#incoming[this.#incoming.length - 1] = whole.subarray(0, this.#gathered);
      return;
    }
    const fresh = new Uint8Array(GATHER);
    fresh.set(bytes);
    this.#gathered = bytes.length;
    this.#incoming.push(fresh.subarray(0, bytes.length));
  }

  #deliver(): void {
    while (this.#wantsData) {
      const bytes = this.#incoming.shift();
      if (bytes === undefined) break;
      if (this.#incoming.length === 0) this.#gathered = undefined;
      this.#port.consumed(bytes.length);
      this.#wantsData = this.push(bytes);
    }
    if (this.#incoming.length > 0 || this.readableEnded) return;
    if (this.#remoteClose !== undefined && this.#remoteClose.code !== DONE.code) {
      this.#fail();
      return;
    }
    if (this.#theyEnded || this.#remoteClose !== undefined) {
      this.#wantsData = false;
      this.push(null);
    }
  }

  /** Destroys the stream after a CLOSE that tells of a failure, once the reader has taken what came before it. */
  #fail(): void {
    const reason = this.#remoteClose;
    if (reason === undefined || reason.code === DONE.code || this.destroyed) return;
    if (this.#incoming.length === 0 && this.readableLength === 0) this.destroy(new ChannelClosed(reason));
  }

  /** Destroying drops the stream's own buffer, and nothing else tells that the reader has emptied it. */
  override read(size?: number): unknown {
    const chunk: unknown = super.read(size);
    if (this.#remoteClose !== undefined) this.#fail();
    return chunk;
  }

  override _read(): void {
    this.#wantsData = true;
    this.#deliver();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, written: (error?: Error | null) => void): void {
    this.#queue([chunk], written);
  }

  override _writev(chunks: { chunk: Buffer }[], written: (error?: Error | null) => void): void {
    this.#queue(
      chunks.map((each) => each.chunk),
      written,
    );
  }

  #queue(chunks: Uint8Array[], written: (error?: Error | null) => void): void {
    if (this.#remoteClose !== undefined) return written();
    this.#outgoing.push(...chunks.filter((chunk) => chunk.length > 0));
    this.#written = written;
    this.pump();
  }

  override _final(finished: (error?: Error | null) => void): void {
    this.#finished = finished;
    this.#sendEnd();
  }

  /** The stream has nothing more to write: END, which has to wait while the channel is still opening. */
  #sendEnd(): void {
    const finished = this.#finished;
    if (finished === undefined) return;
    if (this.#closeAtEnd) {
      this.#finished = undefined;
      finished();
      this.destroy();
      return;
    }
    if (this.#port.end()) this.#port.send({ kind: "end", channel: this.number });
    else if (this.#remoteClose === undefined) return;
    this.#finished = undefined;
    finished();
  }

  override _destroy(error: Error | null, destroyed: (error?: Error | null) => void): void {
    const orderly = this.readableEnded && this.writableFinished && !this.#closeAtEnd;
    const reason = orderly
      ? DONE
      : error instanceof Error
        ? { code: "internal", message: "the channel failed" }
        : this.#reported;
    this.#outgoing = [];
    this.#incoming = [];
    this.#written = undefined;
    if (this.#port.forget()) this.#port.send({ kind: "close", channel: this.number, ...reason });
    destroyed(error);
  }
}

function total(parts: readonly Uint8Array[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}
