/**
 * One allowed request between the client and the connector: a channel of the tunnel (wire/http/open.ts), the
 * request's body going out, the answer coming back through its filter. Credit goes back to the connector only when
 * the client has taken what came, so a slow client holds at most one window.
 *
 *   opening ──► waiting for the head ──► delivering ──► over
 */
import { EMPTY, concat } from "../../../wire/bytes.ts";
import { HttpHead, type HttpOpen } from "../../../wire/http/open.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { SessionHost } from "./driver.ts";
import type { BodyFilter, BodyLog } from "./http-body.ts";

export type ExchangeEnd = { readonly refusal: Refusal | undefined };

/** What leaves once this turn's recording is written, or never. */
export type Later = { readonly send: () => void; readonly drop: () => void };

export type ExchangeOptions = {
  readonly open: HttpOpen;
  /** Resolves when less than LIMITS.http.buffered bytes wait on the channel. */
  readonly room: (channel: number) => Promise<void>;
  /** Runs `send` once what this turn has recorded is written, `drop` when the session ends before that. */
  readonly later: (later: Later) => void;
  /** The exchange is over, called once, within a turn. */
  readonly over: (end: ExchangeEnd) => void;
};

type Sink = {
  readonly writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly filter: BodyFilter | undefined;
  readonly log: BodyLog;
};

export class HttpExchange {
  readonly #host: SessionHost;
  readonly #options: ExchangeOptions;
  readonly #head = Promise.withResolvers<Result<HttpHead, Refusal>>();
  #channel: number | undefined;
  #sink: Sink | undefined;
  /** What came before somebody asked for the body; at most one window. */
  #early: Uint8Array[] = [];
  #ended = false;
  #over = false;
  #inflater: Inflater | undefined;
  /** Takes a WebSocket's bytes in place of the sink. */
  #raw: ((bytes: Uint8Array) => void) | undefined;
  #then: ((why: Refusal | undefined) => void) | undefined;

  constructor(host: SessionHost, options: ExchangeOptions) {
    this.#host = host;
    this.#options = options;
  }

  /** Opens the channel; within a turn. */
  open(): Result<void, Refusal> {
    const opened = this.#host.openChannel(this.#options.open, {
      opened: () => undefined,
      signal: (payload) => {
        const head = HttpHead.safeParse(payload);
        if (head.success) this.#head.resolve(ok(head.data));
        else this.fail(refusal("upstream_lost", "the connector's answer was not understood"));
      },
      data: (bytes) => this.#data(bytes),
      ended: () => this.#end(),
      closed: (why, orderly) => {
        this.#channel = undefined;
        if (orderly) this.#end();
        else this.fail(why);
      },
    });
    if (!opened.ok) return opened;
    this.#channel = opened.value;
    return ok(undefined);
  }

  /** The answer's head, or why there is none. */
  head(): Promise<Result<HttpHead, Refusal>> {
    return this.#head.promise;
  }

  /** Sends the request's body and its end; resolves when it is sent or the exchange is over. */
  async sendBody(body: ReadableStream<Uint8Array> | Uint8Array | undefined, log: BodyLog): Promise<void> {
    const host = this.#host;
    if (body instanceof ReadableStream) {
      const reader = body.getReader();
      try {
        for (;;) {
          const { done, value } = await reader.read();
          if (done || this.#channel === undefined) break;
          host.turn(() => this.#send(value, log));
          if (host.channelQueued(this.#channel) >= LIMITS.http.buffered)
            await this.#options.room(this.#channel);
        }
        if (this.#channel === undefined) await reader.cancel();
      } catch {
        // The client broke off in the middle: the service must not take the half for the whole.
        host.turn(() => this.fail(refusal("request_invalid", "the request's body broke off")));
        return;
      }
    } else if (body === undefined) return;
    host.turn(() => {
      if (!(body instanceof ReadableStream)) this.#send(body, log);
      if (this.#channel !== undefined) host.endChannel(this.#channel);
    });
  }

  #send(bytes: Uint8Array, log: BodyLog): void {
    if (this.#channel === undefined || bytes.length === 0) return;
    log.add(bytes);
    this.#host.toChannel(this.#channel, bytes);
  }

  /**
   * The whole body, filtered and recorded, when it has come together with its head: what is small needs no stream.
   * Undefined when there is more to come; within a turn.
   */
  takeWhole(filter: BodyFilter | undefined, log: BodyLog): Result<Uint8Array, Refusal> | undefined {
    if (!this.#ended || this.#over) return undefined;
    const pieces: Uint8Array[] = [];
    for (const bytes of [...this.#early, undefined]) {
      const filtered: Result<Uint8Array, Refusal> =
        bytes === undefined ? (filter?.end() ?? ok(EMPTY)) : (filter?.push(bytes) ?? ok(bytes));
      if (!filtered.ok) {
        this.fail(filtered.error);
        return filtered;
      }
      log.add(filtered.value);
      pieces.push(filtered.value);
    }
    this.#finished(undefined);
    return ok(concat(pieces));
  }

  /** The answer's body goes to `writable` from now on; within a turn. */
  deliver(
    writable: WritableStream<Uint8Array>,
    filter: BodyFilter | undefined,
    decode: "identity" | "gzip" | "deflate",
    log: BodyLog,
  ): void {
    const writer = writable.getWriter();
    // The client went away: nothing more is asked of the service.
    writer.closed.catch(() => this.#host.turn(() => this.#clientGone()));
    this.#sink = { writer, filter, log };
    if (decode !== "identity") {
      this.#inflater = new Inflater(decode, {
        data: (bytes) => this.#host.turn(() => this.#forward(bytes, 0)),
        consumed: (credit) => this.#consumed(credit),
        end: () => this.#host.turn(() => this.#finish()),
        failed: (why) => this.#host.turn(() => this.fail(why)),
      });
    }
    const early = this.#early;
    this.#early = [];
    for (const bytes of early) this.#data(bytes);
    if (this.#ended) this.#end(true);
  }

  /** Every byte of the answer goes to `take` from now on, a WebSocket; the rest is the caller's business. */
  takeRaw(take: (bytes: Uint8Array) => void): void {
    this.#raw = take;
    const early = this.#early;
    this.#early = [];
    for (const bytes of early) take(bytes);
  }

  /** Called with why, once the exchange is over. */
  onOver(then: (why: Refusal | undefined) => void): void {
    this.#then = then;
  }

  /** Runs `send` once what this turn has recorded is written. */
  later(send: () => void): void {
    this.#options.later({ send, drop: () => undefined });
  }

  sendRaw(bytes: Uint8Array): void {
    if (this.#channel !== undefined) this.#host.toChannel(this.#channel, bytes);
  }

  get queued(): number {
    return this.#channel === undefined ? 0 : this.#host.channelQueued(this.#channel);
  }

  consumedRaw(length: number): void {
    if (this.#channel !== undefined) this.#host.consumed(this.#channel, length);
  }

  /** Nobody wants the answer any more, or must not have it; within a turn. */
  fail(why: Refusal): void {
    this.#finished(why);
  }

  /** The client is done with it; within a turn. */
  close(): void {
    this.#finished(undefined);
  }

  #clientGone(): void {
    if (!this.#over) this.#finished(refusal("approval_withdrawn", "the client went away"));
  }

  #data(bytes: Uint8Array): void {
    if (this.#over) return;
    if (this.#raw !== undefined) return this.#raw(bytes);
    if (this.#sink === undefined) this.#early.push(bytes);
    else if (this.#inflater !== undefined) this.#inflater.push(bytes);
    else this.#forward(bytes, bytes.length);
  }

  /** Filters, records and delivers; `credit` goes back when the client has taken it. */
  #forward(bytes: Uint8Array, credit: number): void {
    const sink = this.#sink;
    if (sink === undefined || this.#over) return;
    const filtered = sink.filter === undefined ? ok(bytes) : sink.filter.push(bytes);
    if (!filtered.ok) return this.fail(filtered.error);
    if (filtered.value.length === 0) return this.#consumed(credit, true);
    sink.log.add(filtered.value);
    const taken = Promise.withResolvers<void>();
    this.#inflater?.waitFor(taken.promise);
    this.#options.later({
      send: () => {
        sink.writer
          .write(filtered.value)
          .then(() => this.#consumed(credit))
          .catch(() => undefined)
          .finally(taken.resolve);
      },
      drop: () => breakOff(sink),
    });
  }

  #consumed(credit: number, within = false): void {
    const give = (): void => {
      if (this.#channel !== undefined && credit > 0) this.#host.consumed(this.#channel, credit);
    };
    if (within) give();
    else this.#host.turn(give);
  }

  #end(again = false): void {
    if (this.#over || (this.#ended && !again)) return;
    this.#ended = true;
    this.#head.resolve(err(refusal("upstream_lost", "the service ended without an answer")));
    if (this.#raw !== undefined) return this.#finished(undefined);
    if (this.#sink === undefined) return;
    if (this.#inflater === undefined) this.#finish();
    else this.#inflater.end();
  }

  /** The whole answer has come and been filtered. */
  #finish(): void {
    const sink = this.#sink;
    if (sink === undefined || this.#over) return;
    const rest = sink.filter?.end() ?? ok(EMPTY);
    if (!rest.ok) return this.fail(rest.error);
    sink.log.add(rest.value);
    this.#options.later({
      send: () => {
        if (rest.value.length > 0) sink.writer.write(rest.value).catch(() => undefined);
        sink.writer.close().catch(() => undefined);
      },
      drop: () => breakOff(sink),
    });
    this.#finished(undefined);
  }

  #finished(why: Refusal | undefined): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#channel !== undefined) this.#host.closeChannel(this.#channel);
    this.#channel = undefined;
    this.#early = [];
    this.#head.resolve(err(why ?? refusal("upstream_lost", "the service ended without an answer")));
    // A body that is broken off must not look like a whole one.
    if (why !== undefined) this.#sink?.writer.abort(new Error(why.code)).catch(() => undefined);
    this.#inflater?.cancel();
    this.#options.over({ refusal: why });
    if (why === undefined) this.later(() => this.#then?.(undefined));
    else this.#then?.(why);
  }
}

/** A body that is broken off must not look like a whole one. */
function breakOff({ writer }: Sink): void {
  writer.abort(new Error("session_ended")).catch(() => undefined);
}

type InflaterEvents = {
  readonly data: (bytes: Uint8Array) => void;
  readonly consumed: (credit: number) => void;
  readonly end: () => void;
  readonly failed: (why: Refusal) => void;
};

/** A compressed body, opened for inspection. What grows beyond all measure is broken off. */
class Inflater {
  readonly #events: InflaterEvents;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #tail: Promise<unknown> = Promise.resolve();
  #blocked: Promise<unknown> = Promise.resolve();
  #taken = 0;
  #given = 0;

  constructor(format: "gzip" | "deflate", events: InflaterEvents) {
    this.#events = events;
    const stream = new DecompressionStream(format);
    this.#writer = stream.writable.getWriter();
    this.#reader = stream.readable.getReader();
    void this.#read();
  }

  push(bytes: Uint8Array): void {
    this.#taken += bytes.length;
    // The stream keeps what it is given: it gets a copy of its own.
    const copy = bytes.slice();
    this.#tail = this.#tail
      .then(() => this.#writer.write(copy))
      .then(() => this.#events.consumed(bytes.length))
      .catch(() => undefined);
  }

  end(): void {
    this.#tail = this.#tail.then(() => this.#writer.close()).catch(() => undefined);
  }

  /** Reads no further before the client has taken this. */
  waitFor(written: Promise<void>): void {
    this.#blocked = written;
  }

  cancel(): void {
    this.#reader.cancel().catch(() => undefined);
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const { done, value } = await this.#reader.read();
        if (done) return this.#events.end();
        this.#given += value.length;
        if (this.#given > LIMITS.http.inflation * this.#taken + LIMITS.tunnel.window) {
          return this.#events.failed(
            refusal("over_limit", "the answer grows too much when it is decompressed"),
          );
        }
        this.#events.data(value);
        await this.#blocked;
      }
    } catch {
      this.#events.failed(refusal("mask_value_withheld", "the answer is not compressed as it says it is"));
    }
  }
}
