/** A session's link to its client: one tunnel with one channel. Without a client of its own it does nothing. */
import type { ClientNotice } from "../../../wire/control.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Frame, Tunnel } from "../../../wire/tunnel.ts";
import { TunnelEnd } from "../tunnel-end.ts";

const CHANNEL = 0;
/** How long a client may take to read what is left when its session has ended. */
const LINGER_MS = 10_000;

export class ClientLink {
  #tunnel: TunnelEnd | undefined;
  #lingering: ReturnType<typeof setTimeout> | undefined;

  attach(socket: WebSocket): void {
    this.#tunnel = TunnelEnd.client(socket);
  }

  /** After hibernation: the same socket with the tunnel as it was. */
  takeUp(socket: WebSocket, tunnel: Tunnel): void {
    this.#tunnel = new TunnelEnd(socket, tunnel);
  }

  /** A frame from the client; undefined where it asks nothing more of us. A refusal: it broke the protocol. */
  receive(message: ArrayBuffer): Result<Extract<Frame, { kind: "data" }> | "ended" | undefined, Refusal> {
    const received = this.#tunnel?.receive(message);
    if (received === undefined || !received.ok) {
      const what = received === undefined ? "no socket" : received.error;
      return err(refusal("protocol_violation", `the client's tunnel broke its protocol: ${what}`));
    }
    const frame = received.value;
    if (frame?.kind === "open") {
      return err(refusal("protocol_violation", "the client's tunnel has one channel only"));
    }
    if (frame === undefined || frame.channel !== CHANNEL) return ok(undefined);
    if (frame.kind === "data") return ok(frame);
    return ok(frame.kind === "end" || frame.kind === "close" ? "ended" : undefined);
  }

  /** The session has ended: what the client has not read yet still goes out as its credit comes in. */
  receiveCredit(message: ArrayBuffer): void {
    this.#tunnel?.receive(message);
  }

  data(bytes: Uint8Array): void {
    this.#tunnel?.data(CHANNEL, bytes);
  }

  queued(): number {
    return this.#tunnel?.queued(CHANNEL) ?? 0;
  }

  consumed(length: number): void {
    this.#tunnel?.consumed(CHANNEL, length);
  }

  notify(notice: ClientNotice): void {
    this.#tunnel?.text(notice);
  }

  /** No more data after what is queued. */
  end(): void {
    this.#tunnel?.end(CHANNEL);
  }

  flush(): void {
    this.#tunnel?.flush();
  }

  discard(): void {
    this.#tunnel?.discard();
  }

  /** The tunnel's state for hibernation; undefined while something waits to be sent, or without a client. */
  freeze(): Tunnel | undefined {
    return this.#tunnel?.idle === true ? this.#tunnel.freeze() : undefined;
  }

  /** Closes the socket when everything has been sent, or the client has had its time to read it. */
  closeSocket(): void {
    const tunnel = this.#tunnel;
    if (tunnel === undefined) return;
    if (tunnel.idle) tunnel.closeSocket(1000, "done");
    else if (this.#lingering === undefined) {
      this.#lingering = setTimeout(() => tunnel.closeSocket(1000, "done"), LINGER_MS);
    }
  }
}
