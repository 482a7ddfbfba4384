/**
 * The server's side of SPDY/3.1 as Kubernetes still uses it: streams that the client opens, headers once, data both
 * ways, FIN. No flow control, as in the client's implementation (moby/spdystream): the connection below has it.
 */
import { Duplex } from "node:stream";
import { HeaderCodec, type Headers } from "./spdy-headers.ts";

const CONTROL = 0x8000_0000;
const VERSION = 3;
const SYN_STREAM = 1;
const SYN_REPLY = 2;
const RST_STREAM = 3;
const PING = 6;
const GOAWAY = 7;
const FIN = 0x01;
const CANCEL = 5;
/** Bytes of one frame's payload that are taken. */
const MAX_FRAME = 1 << 20;
/** Bytes of one frame's payload that are sent. */
const CHUNK = 32 << 10;

export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: Headers;
  readonly #connection: SpdyConnection;

  constructor(connection: SpdyConnection, id: number, headers: Headers) {
    super({ allowHalfOpen: true, emitClose: true });
    this.#connection = connection;
    this.id = id;
    this.headers = headers;
    // A stream that was reset is closed; its other end needs no news of it.
    this.on("error", () => undefined);
  }

  override _read(): void {
    this.#connection.resume(this);
  }

  override _write(chunk: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    for (let at = 0; at < chunk.length; at += CHUNK)
      this.#connection.sendData(this.id, chunk.subarray(at, at + CHUNK), 0);
    this.#connection.afterDrain(done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#connection.sendData(this.id, Buffer.alloc(0), FIN);
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#connection.forget(this.id, !(this.writableFinished && this.readableEnded));
    done(error);
  }
}

export class SpdyConnection {
  readonly #socket: Duplex;
  readonly #headers = new HeaderCodec();
  readonly #streams = new Map<number, SpdyStream>();
  readonly #onStream: (stream: SpdyStream) => void;
  #received = Buffer.alloc(0);
  #work: Promise<void> = Promise.resolve();
  readonly #full = new Set<SpdyStream>();

  /** Every stream is accepted with an empty reply before `onStream` sees it. */
  constructor(socket: Duplex, onStream: (stream: SpdyStream) => void) {
    this.#socket = socket;
    this.#onStream = onStream;
    socket.on("data", (chunk: Buffer) => this.#enqueue(chunk));
    socket.on("error", () => undefined);
    socket.once("end", () => void this.#work.finally(() => socket.end()));
    socket.once("close", () => {
      for (const stream of this.#streams.values()) stream.destroy();
      this.#headers.close();
    });
  }

  close(): void {
    if (!this.#socket.writable) return;
    this.#socket.end(control(GOAWAY, 0, Buffer.alloc(8)));
  }

  sendData(id: number, data: Buffer, flags: number): void {
    if (!this.#socket.writable) return;
    const head = Buffer.alloc(8);
    head.writeUInt32BE(id, 0);
    head.writeUInt32BE(((flags << 24) | data.length) >>> 0, 4);
    this.#socket.write(head);
    if (data.length > 0) this.#socket.write(data);
  }

  afterDrain(done: () => void): void {
    if (!this.#socket.writableNeedDrain) return done();
    const go = (): void => {
      this.#socket.off("drain", go).off("close", go);
      done();
    };
    this.#socket.on("drain", go).on("close", go);
  }

  /** A stream's reader wants more. */
  resume(stream: SpdyStream): void {
    if (this.#full.delete(stream) && this.#full.size === 0) this.#socket.resume();
  }

  forget(id: number, reset: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#streams.delete(id);
    this.resume(stream);
    if (!reset || !this.#socket.writable) return;
    const body = Buffer.alloc(8);
    body.writeUInt32BE(id, 0);
    body.writeUInt32BE(CANCEL, 4);
    this.#socket.write(control(RST_STREAM, 0, body));
  }

  #enqueue(chunk: Buffer): void {
    this.#work = this.#work
      .then(() => this.#take(chunk))
      .catch(() => {
        this.#socket.destroy();
      });
  }

  async #take(chunk: Buffer): Promise<void> {
    let rest = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk]);
    while (rest.length >= 8) {
      const length = rest.readUInt32BE(4) & 0xff_ffff;
      if (length > MAX_FRAME) throw new Error("a frame is too long");
      if (rest.length < 8 + length) break;
      await this.#frame(rest.readUInt32BE(0), rest.readUInt8(4), rest.subarray(8, 8 + length));
      rest = rest.subarray(8 + length);
    }
    this.#received = Buffer.from(rest);
  }

  async #frame(word: number, flags: number, body: Buffer): Promise<void> {
    if ((word & CONTROL) === 0) return this.#data(word, flags, body);
    if (((word >>> 16) & 0x7fff) !== VERSION) throw new Error("not SPDY/3");
    switch (word & 0xffff) {
      case SYN_STREAM:
        return this.#open(body, flags);
      case RST_STREAM:
        this.#streams.get(body.readUInt32BE(0))?.destroy();
        return;
      case PING:
        this.#socket.write(control(PING, 0, body));
        return;
      // Settings, priorities, windows and the client's farewell change nothing here.
      default:
    }
  }

  #data(id: number, flags: number, body: Buffer): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    if (body.length > 0 && !stream.push(Buffer.from(body))) {
      this.#full.add(stream);
      this.#socket.pause();
    }
    if ((flags & FIN) !== 0) stream.push(null);
  }

  async #open(body: Buffer, flags: number): Promise<void> {
    const id = body.readUInt32BE(0) & 0x7fff_ffff;
    const headers = await this.#headers.unpack(body.subarray(10));
    if (this.#streams.has(id)) throw new Error("a stream is opened twice");
    const stream = new SpdyStream(this, id, headers);
    this.#streams.set(id, stream);
    const reply = Buffer.alloc(4);
    reply.writeUInt32BE(id);
    this.#socket.write(control(SYN_REPLY, 0, Buffer.concat([reply, await this.#headers.pack({})])));
    if ((flags & FIN) !== 0) stream.push(null);
    this.#onStream(stream);
  }
}

function control(type: number, flags: number, body: Buffer): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE((CONTROL | (VERSION << 16) | type) >>> 0, 0);
  head.writeUInt32BE(((flags << 24) | body.length) >>> 0, 4);
  return Buffer.concat([head, body]);
}
