/**
 * A session's link to its connector: asking for a dial-back, the ticket that admits it, the tunnel and whose
 * each of its channels is.
 *
 *   none ─ dialBack ─► asked ─ the ticket is shown ─► linked ─ socket gone, protocol broken ─► none
 *                        └─ 5 s, cannot_open: another process is asked, until LIMITS.time.upstreamOpen
 */
import { z } from "zod";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, isRefusalCode, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Frame, Tunnel } from "../../../wire/tunnel.ts";
import { SECRET_BYTES, type TicketRecord, newTicket, useTicket } from "../../identity/secrets.ts";
import { randomBytes } from "../identifiers.ts";
import { TunnelEnd } from "../tunnel-end.ts";
import type { ChannelHandler } from "./driver.ts";

export const LOST: Refusal = refusal(
  "upstream_lost",
  "the connection between the connector and the gateway was lost",
  { hint: "connect again; whether the last statement took effect is for the database to say" },
);

const Incoming = z.looseObject({ forward: z.number().int().min(0).max(0xffffffff) });

/** How long one connector process has to dial back before another is asked. */
const DIAL_BACK_MS = 5000;

/** Asks a process of the connector to dial back with this ticket; not one of `not`. Its name is the answer. */
export type AskToDialBack = (ticket: string, not: readonly string[]) => Promise<Result<string, Refusal>>;

export class ConnectorLink {
  #tunnel: TunnelEnd | undefined;
  /** Which of the connector's sockets is the current one; "" for any. */
  #tag = "";
  readonly #handlers = new Map<number, ChannelHandler>();
  #ticket: TicketRecord | undefined;
  #dialing: PromiseWithResolvers<Result<void, Refusal>> | undefined;
  readonly #failed: string[] = [];
  #process = "";

  /** Asks processes in turn until one has dialled back, the time is up, or `over` says to stop. */
  async dialBack(ask: AskToDialBack, over: () => boolean): Promise<Result<void, Refusal>> {
    if (this.#tunnel !== undefined) return ok(undefined);
    const deadline = Date.now() + LIMITS.time.upstreamOpen;
    let last: Refusal | undefined;
    while (Date.now() < deadline && !over()) {
      const { ticket, record } = await newTicket(randomBytes(SECRET_BYTES), Date.now());
      this.#ticket = record;
      this.#dialing = Promise.withResolvers();
      const asked = await ask(ticket, this.#failed);
      if (!asked.ok) return err(last ?? asked.error);
      this.#process = asked.value;
      const late = refusal("connector_offline", "the connector did not dial back in time");
      const timer = setTimeout(() => this.#dialing?.resolve(err(late)), DIAL_BACK_MS);
      const dialed = await this.#dialing.promise;
      clearTimeout(timer);
      this.#dialing = undefined;
      if (dialed.ok) return dialed;
      last = dialed.error;
      if (this.#failed.includes(asked.value)) break;
      this.#failed.push(asked.value);
    }
    return err(last ?? LOST);
  }

  /** The process that was asked will not dial back. */
  cannotOpen(process: string, why: Refusal): void {
    if (process === this.#process) this.#dialing?.resolve(err(why));
  }

  /** The session is over: whoever waits for a dial-back waits no longer. */
  stopDialing(why: Refusal): void {
    this.#dialing?.resolve(err(why));
  }

  /** Uses the ticket up. Answers a tag for the socket that it admits, undefined when it admits none. */
  async admit(ticket: string): Promise<string | undefined> {
    const used = await useTicket(this.#ticket, ticket, Date.now());
    // Between reading the ticket and here another request may have used it.
    if (!used.ok || this.#ticket?.used === true || this.#ticket?.hash !== used.value.hash) return undefined;
    this.#ticket = used.value;
    return used.value.hash;
  }

  attach(socket: WebSocket, tag: string): void {
    this.#tag = tag;
    this.#tunnel = new TunnelEnd(socket);
    this.#dialing?.resolve(ok(undefined));
  }

  /** After hibernation: the same socket with the tunnel as it was. */
  takeUp(socket: WebSocket, tunnel: Tunnel): void {
    this.#tunnel = new TunnelEnd(socket, tunnel);
  }

  /** Whether a socket with this tag is the current one, not one that was let go when it was idle. */
  isCurrent(tag: string | undefined): boolean {
    return this.#tag === "" || tag === this.#tag;
  }

  /** Frames from the connector. A refusal means that it broke the protocol: call `lost`. */
  receive(message: ArrayBuffer): Result<void, Refusal> {
    let taken: Result<void, Refusal> = ok(undefined);
    const received = this.#tunnel?.receiveBatch(message, (frame) => {
      if (taken.ok) taken = this.#take(frame);
    });
    if (received === undefined || !received.ok) {
      const what = received === undefined ? "no socket" : received.error;
      return err(refusal("upstream_lost", `the connector's tunnel broke its protocol: ${what}`));
    }
    return taken;
  }

  #take(frame: Frame): Result<void, Refusal> {
    if (frame.kind === "open") return this.#incoming(frame.channel, frame.payload);
    this.#dispatch(frame);
    return ok(undefined);
  }

  /** The socket is gone, or has to go: every channel hears of it. */
  lost(why: Refusal): void {
    this.#tunnel?.closeSocket(1011, why.code);
    this.#tunnel = undefined;
    const handlers = [...this.#handlers.values()];
    this.#handlers.clear();
    for (const handler of handlers) handler.closed(why, false);
  }

  /** Nothing is under way: the socket goes, and another may come with the next dial-back. */
  letGo(): void {
    this.#tunnel?.closeSocket(1000, "idle");
    this.#tunnel = undefined;
    this.#tag = "none";
  }

  /** No more of any channel is heard. */
  forgetChannels(): void {
    this.#handlers.clear();
  }

  listen(channel: number, handler: ChannelHandler): void {
    this.#handlers.set(channel, handler);
  }

  open(payload: unknown, handler: ChannelHandler): Result<number, Refusal> {
    const opened = this.#tunnel?.open(payload);
    if (opened === undefined) return err(LOST);
    if (!opened.ok) return err(refusal("over_limit", "too many channels are open in this session"));
    this.#handlers.set(opened.value, handler);
    return opened;
  }

  accept(channel: number): void {
    this.#tunnel?.accept(channel);
  }

  data(channel: number, bytes: Uint8Array): void {
    this.#tunnel?.data(channel, bytes);
  }

  queued(channel: number): number {
    return this.#tunnel?.queued(channel) ?? 0;
  }

  consumed(channel: number, length: number): void {
    this.#tunnel?.consumed(channel, length);
  }

  signal(channel: number, payload: unknown): void {
    this.#tunnel?.signal(channel, payload);
  }

  end(channel: number): void {
    this.#tunnel?.end(channel);
  }

  close(channel: number): void {
    this.#handlers.delete(channel);
    this.#tunnel?.close(channel, "done", "");
  }

  flush(): void {
    this.#tunnel?.flush(true);
  }

  discard(): void {
    this.#tunnel?.discard();
  }

  closeSocket(): void {
    this.#tunnel?.closeSocket(1000, "done");
  }

  /** Whether the connector's socket is there. */
  get linked(): boolean {
    return this.#tunnel !== undefined;
  }

  get idle(): boolean {
    return this.#tunnel?.idle !== false;
  }

  /** The tunnel's state for hibernation; undefined when there is none. */
  freeze(): Tunnel | undefined {
    return this.#tunnel?.freeze();
  }

  /** The connector may open a channel only on one of ours that takes such, and names it as `forward`. */
  #incoming(channel: number, payload: unknown): Result<void, Refusal> {
    const on = Incoming.safeParse(payload);
    const handler = on.success ? this.#handlers.get(on.data.forward) : undefined;
    if (handler?.incoming !== undefined) handler.incoming(channel, payload);
    // One that we have closed: its CLOSE and this crossed on the wire.
    else if (on.success && handler === undefined && this.#tunnel?.hasOpened(on.data.forward) === true)
      this.close(channel);
    else return err(refusal("upstream_lost", "the connector opened a channel, which is not for it to do"));
    return ok(undefined);
  }

  #dispatch(frame: Frame): void {
    const handler = this.#handlers.get(frame.channel);
    if (handler === undefined) return;
    switch (frame.kind) {
      case "opened":
        handler.opened(frame.payload);
        return;
      case "data":
        handler.data(frame.bytes);
        return;
      case "signal":
        handler.signal(frame.payload);
        return;
      case "end":
        handler.ended();
        return;
      case "close":
        this.#handlers.delete(frame.channel);
        handler.closed(fromConnector(frame.code, frame.message), frame.code === "done");
        return;
      case "open":
      case "credit":
        return;
    }
  }
}

function fromConnector(code: string, message: string): Refusal {
  return code === "done" ? LOST : refusal(isRefusalCode(code) ? code : "upstream_lost", message);
}
