/**
 * What the platform can do at best: a Durable Object that copies frames between two WebSockets and does nothing
 * else. The benchmark compares the gateway with it. `/<session>/client` and `/<session>/upstream` meet in the
 * object of that session.
 */
import { DurableObject } from "cloudflare:workers";

type Side = "client" | "upstream";

export class SessionObject extends DurableObject {
  readonly #sockets = new Map<Side, WebSocket>();
  readonly #waiting = new Map<Side, ArrayBuffer[]>();

  override async fetch(request: Request): Promise<Response> {
    const side: Side = request.url.endsWith("/upstream") ? "upstream" : "client";
    const other: Side = side === "client" ? "upstream" : "client";
    const { 0: theirs, 1: ours } = new WebSocketPair();
    ours.accept();
    ours.binaryType = "arraybuffer";
    ours.addEventListener("message", ({ data }) => {
      if (typeof data === "string") return;
      const socket = this.#sockets.get(other);
      if (socket === undefined)
        this.#waiting.set(other, [...(this.#waiting.get(other) ?? []), data as ArrayBuffer]);
      else socket.send(data);
    });
    ours.addEventListener("close", () => this.#sockets.get(other)?.close());
    this.#sockets.set(side, ours);
    for (const frame of this.#waiting.get(side) ?? []) ours.send(frame);
    this.#waiting.delete(side);
    return new Response(null, { status: 101, webSocket: theirs });
  }
}

/** Bound because the gateway's configuration binds them; never used here. */
export class ConnectorObject extends DurableObject {}
export class ControlObject extends DurableObject {}

type Env = { readonly SESSION: DurableObjectNamespace };

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const [, session = "", side] = new URL(request.url).pathname.split("/");
    if (side !== "client" && side !== "upstream") return new Response("ok");
    return env.SESSION.get(env.SESSION.idFromName(session)).fetch(request);
  },
} satisfies ExportedHandler<Env>;
