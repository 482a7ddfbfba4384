/**
 * The control socket: one hibernating WebSocket to the Connector object, kept up as long as the process lives.
 * It carries control only; sessions dial back on sockets of their own.
 *
 *   connecting ──► up ──► waiting (exponential back-off, full jitter) ──► connecting …
 *        └── refused for good, or `revoked` ──► ended
 */
import type { WebSocket } from "ws";
import { type FromConnector, PATHS, ToConnector, parseControl } from "../../wire/control.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type DialFailure, dial, webSocketUrl } from "../lib/web-socket.ts";
import { type Identity, controlToken } from "./identity.ts";
import type { Log } from "./log.ts";

export type ControlOptions = {
  readonly identity: Identity;
  /** Another identity to go on with when the gateway does not trust this one any more. */
  readonly otherIdentity?: (refused: Identity) => Promise<Identity | undefined>;
  readonly hello: Extract<FromConnector, { type: "hello" }>;
  readonly onOpen: (message: Extract<ToConnector, { type: "open" }>) => void;
  readonly log: Log;
  readonly timing?: Partial<ControlTiming>;
};

/** Milliseconds. */
export type ControlTiming = {
  readonly ping: number;
  /** Silence after which the socket counts as lost. */
  readonly silence: number;
  readonly firstDelay: number;
  readonly longestDelay: number;
  /** A socket that stayed up this long starts the back-off anew. */
  readonly settled: number;
};

const TIMING: ControlTiming = {
  ping: 20_000,
  silence: 50_000,
  firstDelay: 500,
  longestDelay: 30_000,
  settled: 10_000,
};

/** Answers in a row that the key is not trusted after which it ends: a wrong clock or a restart may give some. */
const DISTRUSTED = 5;

/** Why the control socket will not come back. */
export type ControlEnd = { readonly reason: "stopped" | "revoked" | "not_trusted"; readonly message: string };

export class ControlSocket {
  readonly #options: ControlOptions;
  readonly #timing: ControlTiming;
  readonly #stopping = new AbortController();
  #socket: WebSocket | undefined;
  #identity: Identity;
  #revoked = false;

  constructor(options: ControlOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#timing = { ...TIMING, ...options.timing };
  }

  /** Runs until it is stopped or the gateway no longer trusts this connector. */
  async run(): Promise<ControlEnd> {
    const { log } = this.#options;
    let failures = 0;
    let distrusted = 0;
    while (!this.#stopping.signal.aborted) {
      const dialled = await this.#dial();
      if (dialled.ok) {
        const started = performance.now();
        distrusted = 0;
        log.info("control socket up");
        const why = await this.#serve(dialled.value);
        if (this.#revoked) return { reason: "revoked", message: "the gateway has revoked this connector" };
        if (this.#stopping.signal.aborted) break;
        if (performance.now() - started >= this.#timing.settled) failures = 0;
        log.warn("control socket lost", { reason: why });
      } else {
        if (this.#stopping.signal.aborted) break;
        const untrusted = dialled.error.code === "connector_not_trusted";
        const other = untrusted ? await this.#options.otherIdentity?.(this.#identity) : undefined;
        if (other !== undefined) {
          this.#identity = other;
          continue;
        }
        distrusted = untrusted ? distrusted + 1 : 0;
        if (distrusted === DISTRUSTED) return { reason: "not_trusted", message: dialled.error.message };
        log.warn("control socket refused", failureFields(dialled.error));
      }
      const delay = this.#delay(failures, dialled.ok ? undefined : dialled.error.retryAfter);
      failures += 1;
      log.info("reconnecting", { milliseconds: delay });
      await sleep(delay, this.#stopping.signal);
    }
    return { reason: "stopped", message: "stopped" };
  }

  /** Sends a message when the socket is up; a lost one takes its sessions' opens with it. */
  send(message: FromConnector): void {
    if (this.#socket?.readyState === this.#socket?.OPEN) this.#socket?.send(JSON.stringify(message));
  }

  /** The identity that the next socket is opened with. */
  get identity(): Identity {
    return this.#identity;
  }

  set identity(identity: Identity) {
    this.#identity = identity;
  }

  /** Closes the socket for good: no opens arrive any more. */
  stop(): void {
    this.#stopping.abort();
    this.#socket?.close(1000, "stopping");
    const socket = this.#socket;
    setTimeout(() => socket?.terminate(), 1000).unref();
  }

  async #dial(): ReturnType<typeof dial> {
    const token = await controlToken(this.#identity, Date.now());
    return dial(webSocketUrl(this.#identity.gateway, PATHS.connectorControl), {
      headers: { authorization: `Bearer ${token}` },
      signal: this.#stopping.signal,
    });
  }

  /** Resolves with why the socket ended. */
  #serve(socket: WebSocket): Promise<string> {
    this.#socket = socket;
    return new Promise((resolve) => {
      let heard = performance.now();
      let why: string | undefined;
      const timer = setInterval(() => {
        if (performance.now() - heard > this.#timing.silence) {
          why = "the gateway does not answer";
          socket.terminate();
          // The exact text that the gateway answers without waking the object.
        } else socket.send('{"type":"ping"}');
      }, this.#timing.ping);
      socket.on("error", () => undefined);
      socket.on("message", (data, isBinary) => {
        heard = performance.now();
        const text =
          isBinary || !Buffer.isBuffer(data) || data.length > LIMITS.tunnel.control
            ? undefined
            : data.toString("utf8");
        if (text === undefined || !this.#receive(text)) {
          why = "the gateway sent something that is not a control message";
          socket.close(1002);
        }
      });
      socket.once("close", (code, reason) => {
        clearInterval(timer);
        this.#socket = undefined;
        resolve(
          why ??
            `closed with ${code}${reason.length > 0 ? ` (${reason.toString("utf8").slice(0, 100)})` : ""}`,
        );
      });
      this.send(this.#options.hello);
      socket.resume();
      if (this.#stopping.signal.aborted) this.stop();
    });
  }

  #receive(text: string): boolean {
    const message = parseControl(ToConnector, text);
    if (!message.ok) return false;
    switch (message.value.type) {
      case "pong":
        return true;
      case "open":
        if (!this.#stopping.signal.aborted) this.#options.onOpen(message.value);
        return true;
      case "revoked":
        this.#revoked = true;
        this.#socket?.close(1000, "revoked");
        return true;
    }
  }

  /** Full jitter: anywhere between nothing and the back-off, so that many connectors do not return at once. */
  #delay(failures: number, retryAfter: number | undefined): number {
    const longest = Math.min(
      this.#timing.longestDelay,
      this.#timing.firstDelay * 2 ** Math.min(failures, 20),
    );
    const wait = Math.round(Math.random() * longest);
    return retryAfter === undefined ? wait : Math.min(this.#timing.longestDelay, retryAfter * 1000) + wait;
  }
}

export function failureFields(failure: DialFailure): Record<string, string | number | undefined> {
  return { reason: failure.message, status: failure.status, code: failure.code, hint: failure.hint };
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, milliseconds);
    function done(): void {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    }
    if (signal.aborted) done();
    else signal.addEventListener("abort", done, { once: true });
  });
}
