/**
 * The sessions of this process: for each `open` one WebSocket straight to the Session object, on which the
 * gateway opens channels to the one resource that the open named.
 */
import { z } from "zod";
import { type FromConnector, PATHS, type ToConnector } from "../../wire/control.ts";
import { type CloseReason, type TunnelChannel, TunnelSocket } from "../lib/tunnel-socket.ts";
import { dial, webSocketUrl } from "../lib/web-socket.ts";
import type { Resource } from "./config.ts";
import { failureFields } from "./control.ts";
import type { Log } from "./log.ts";
import type { OpenToGateway } from "./upstream.ts";

type Open = Extract<ToConnector, { type: "open" }>;

export type SessionsOptions = {
  readonly gateway: string;
  readonly resources: ReadonlyMap<string, Resource>;
  readonly log: Log;
  /** Tells the gateway that a session will not come. */
  readonly cannotOpen: (message: Extract<FromConnector, { type: "cannot_open" }>) => void;
};

/** What every OPEN payload says, whatever its protocol. */
const AnyOpen = z.looseObject({ protocol: z.string().max(64), resource: z.string().max(128) });

/** Sessions that one process serves at once. */
const MAX_SESSIONS = 10_000;
/** Tries of one dial-back; the ticket is spent only when the gateway has answered. */
const DIAL_TRIES = 3;
const DIAL_TIMEOUT = 8_000;

export class Sessions {
  readonly #options: SessionsOptions;
  readonly #live = new Map<string, TunnelSocket | undefined>();
  readonly #idle: (() => void)[] = [];
  #draining = false;

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#live.size;
  }

  /** Dials back for one session; never rejects. */
  async open(open: Open): Promise<void> {
    const { resources, gateway } = this.#options;
    const log = this.#options.log.with({ session: open.session, resource: open.resource });
    const resource = resources.get(open.resource);
    const refuse = (code: string, message: string) => {
      log.warn("open refused", { code });
      this.#options.cannotOpen({ type: "cannot_open", session: open.session, code, message });
    };
    // Whatever the gateway asks: only what the config lists.
    if (resource === undefined)
      return refuse("resource_unknown", `the connector does not serve ${open.resource}`);
    if (this.#draining) return refuse("connector_offline", "the connector is shutting down");
    if (this.#live.has(open.session)) return refuse("request_invalid", "the session is open already");
    if (this.#live.size >= MAX_SESSIONS)
      return refuse("over_limit", "the connector serves as many sessions as it can");
    this.#live.set(open.session, undefined);
    const url = webSocketUrl(gateway, `${PATHS.dialBack}/${encodeURIComponent(open.session)}`);
    const dialled = await this.#dial(url, open.ticket, log);
    if (!dialled.ok) {
      this.#ended(open.session);
      log.error("dial-back failed", failureFields(dialled.error));
      return refuse("connector_offline", "the connector could not dial back to the gateway");
    }
    log.info("session open", { sessions: this.#live.size });
    const tunnel = new TunnelSocket(dialled.value, {
      batches: true,
      onOpen: (channel, payload) =>
        void this.#serve(resource, channel, payload, log, (opened, onOpened) =>
          tunnel.open(opened, onOpened),
        ),
      onClosed: (reason) => {
        log.info("session gone", { reason: reason.code, detail: reason.message });
        this.#ended(open.session);
      },
    });
    if (tunnel.closed === undefined) this.#live.set(open.session, tunnel);
  }

  /** Takes no more opens; resolves when the last session has ended or `grace` milliseconds have passed. */
  async drain(grace: number): Promise<void> {
    this.#draining = true;
    if (this.#live.size === 0) return;
    this.#options.log.info("draining", { sessions: this.#live.size, milliseconds: grace });
    let timer: NodeJS.Timeout | undefined;
    const timeUp = new Promise<void>((resolve) => (timer = setTimeout(resolve, grace)));
    await Promise.race([timeUp, new Promise<void>((resolve) => this.#idle.push(resolve))]);
    clearTimeout(timer);
  }

  /** Ends what is left. */
  close(reason: CloseReason): void {
    this.#draining = true;
    for (const tunnel of this.#live.values()) tunnel?.close(reason);
  }

  async #dial(url: string, ticket: string, log: Log): ReturnType<typeof dial> {
    for (let attempt = 1; ; attempt += 1) {
      const dialled = await dial(url, {
        headers: { authorization: `Ticket ${ticket}` },
        timeout: DIAL_TIMEOUT,
      });
      if (dialled.ok || dialled.error.reason === "refused" || attempt === DIAL_TRIES) return dialled;
      log.warn("dial-back not answered", { attempt, reason: dialled.error.message });
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 500 * attempt));
    }
  }

  async #serve(
    resource: Resource,
    channel: TunnelChannel,
    payload: unknown,
    log: Log,
    openToGateway: OpenToGateway,
  ): Promise<void> {
    const open = AnyOpen.safeParse(payload);
    if (!open.success)
      return channel.close({ code: "request_invalid", message: "the request to open is malformed" });
    // The ticket was for one resource; another one on the same socket would be a confused or hostile gateway.
    if (open.data.resource !== resource.name) {
      log.error("channel refused", { code: "resource_unknown" });
      return channel.close({ code: "resource_unknown", message: "the session is for another resource" });
    }
    const channels = resource.upstream.channels;
    const serve = Object.hasOwn(channels, open.data.protocol) ? channels[open.data.protocol] : undefined;
    if (serve === undefined) {
      log.error("channel refused", { code: "feature_not_supported" });
      return channel.close({
        code: "feature_not_supported",
        message: `${resource.name} is not reached by that protocol`,
      });
    }
    try {
      const about = log.with({ channel: channel.number, protocol: open.data.protocol });
      await serve(channel, payload, about, openToGateway);
    } catch (error) {
      // A bug of ours ends one channel, not the sessions of others.
      log.error("channel failed", {
        reason: error instanceof Error ? (error.stack ?? error.message) : "unknown",
      });
      channel.close({ code: "internal", message: "the connector failed" });
    }
  }

  #ended(session: string): void {
    this.#live.delete(session);
    if (this.#live.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }
}
