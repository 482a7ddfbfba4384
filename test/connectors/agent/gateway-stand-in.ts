/**
 * A gateway for the connector's tests: the three endpoints that the connector knows, over the real tunnel, with
 * the connector's signature really checked. It stands in for the worker so that these tests need no workerd; the
 * whole way is tested in test/conformance.
 */
import { once } from "node:events";
import { type IncomingMessage, type Server, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type JWK, importJWK, jwtVerify } from "jose";
import { type WebSocket, WebSocketServer } from "ws";
import { type CloseReason, type TunnelChannel, TunnelSocket } from "../../../connectors/lib/tunnel-socket.ts";
import type { FromConnector, ToConnector } from "../../../wire/control.ts";
import { LIMITS } from "../../../wire/limits.ts";

export type OpenedChannel = { readonly channel: TunnelChannel; readonly opened: Record<string, unknown> };

export class GatewayStandIn {
  readonly joinToken = "join-token-for-tests";
  readonly controls: WebSocket[] = [];
  readonly messages: FromConnector[] = [];
  readonly tunnels: TunnelSocket[] = [];
  /** Every value that arrived at an enrolment. */
  readonly enrolled: { name: string; publicKey: JWK }[] = [];
  /** When set, the control endpoint answers so. */
  refuseControl: { status: number; body: unknown } | undefined;
  /** Attempts at the control endpoint, by arrival time. */
  readonly attempts: number[] = [];
  readonly tokens: Record<string, unknown>[] = [];
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.tunnel.frame,
    perMessageDeflate: false,
  });
  readonly #tickets = new Map<string, { session: string; resolve: (tunnel: TunnelSocket) => void }>();
  #next = 1;
  #changed: (() => void)[] = [];

  constructor(server: Server) {
    this.#server = server;
    server.on("request", (request, response) => {
      void readBody(request).then((body) => {
        const answer = request.url === "/connector/enroll" ? this.#enrol(body) : { status: 404, body: {} };
        response
          .writeHead(answer.status, { "content-type": "application/json" })
          .end(JSON.stringify(answer.body));
      });
    });
    server.on("upgrade", (request, socket, head) => void this.#upgrade(request, socket, head));
  }

  static async start(): Promise<GatewayStandIn> {
    const server = createServer();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new GatewayStandIn(server);
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Waits until a condition over what the stand-in has seen holds. */
  async until(condition: () => boolean, milliseconds = 10_000): Promise<void> {
    const deadline = Date.now() + milliseconds;
    while (!condition()) {
      const left = deadline - Date.now();
      if (left <= 0) throw new Error("waited too long for the connector");
      await Promise.race([
        new Promise<void>((resolve) => this.#changed.push(resolve)),
        new Promise((r) => setTimeout(r, Math.min(left, 50))),
      ]);
    }
  }

  async connected(): Promise<void> {
    await this.until(
      () => this.messages.some((message) => message.type === "hello") && this.controls.length > 0,
    );
  }

  send(message: ToConnector): void {
    this.controls.at(-1)?.send(JSON.stringify(message));
  }

  /** Asks the connector to dial back; resolves with the tunnel, rejects with what `cannot_open` said. */
  async session(resource: string): Promise<TunnelSocket> {
    const session = `session-${this.#next}`;
    const ticket = `ticket-${this.#next}`;
    this.#next += 1;
    const before = this.messages.length;
    let tunnel: TunnelSocket | undefined;
    this.#tickets.set(ticket, { session, resolve: (value) => (tunnel = value) });
    this.send({ type: "open", session, resource, ticket });
    const refused = () =>
      this.messages
        .slice(before)
        .find((message) => message.type === "cannot_open" && message.session === session);
    await this.until(() => tunnel !== undefined || refused() !== undefined);
    const refusal = refused();
    if (refusal?.type === "cannot_open")
      throw Object.assign(new Error(refusal.message), { code: refusal.code });
    if (tunnel === undefined) throw new Error("no tunnel");
    return tunnel;
  }

  /** A session with one channel opened on it. Rejects with the CloseReason when the connector closes it instead. */
  async channel(
    resource: string,
    payload: Record<string, unknown>,
  ): Promise<OpenedChannel & { tunnel: TunnelSocket }> {
    const tunnel = await this.session(resource);
    try {
      return { tunnel, ...(await openChannel(tunnel, payload)) };
    } catch (error) {
      tunnel.close();
      throw error;
    }
  }

  #enrol(body: string): { status: number; body: unknown } {
    const { token, name, publicKey } = JSON.parse(body) as { token: string; name: string; publicKey: JWK };
    if (token !== this.joinToken) {
      return {
        status: 401,
        body: { title: "the join token is not valid", code: "ticket_invalid", status: 401 },
      };
    }
    this.enrolled.push({ name, publicKey });
    return { status: 200, body: { name } };
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const path = request.url ?? "";
    if (path === "/connector/control") {
      this.attempts.push(Date.now());
      if (this.refuseControl !== undefined)
        return refuse(socket, this.refuseControl.status, this.refuseControl.body);
      const key = this.enrolled.at(-1)?.publicKey;
      try {
        if (key === undefined) throw new Error("nobody has enrolled");
        const token = (request.headers.authorization ?? "").replace(/^Bearer /, "");
        const verified = await jwtVerify(token, await importJWK(key, "EdDSA"), {
          algorithms: ["EdDSA"],
          audience: this.url,
          maxTokenAge: 60,
        });
        this.tokens.push(verified.payload);
      } catch {
        return refuse(socket, 401, { title: "the connector's token is not valid", code: "token_invalid" });
      }
      this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#control(webSocket));
      return;
    }
    const ticket = (request.headers.authorization ?? "").replace(/^Ticket /, "");
    const waiting = this.#tickets.get(ticket);
    if (waiting === undefined || path !== `/dial-back/${waiting.session}`) {
      return refuse(socket, 401, { title: "the ticket is not valid", code: "ticket_invalid" });
    }
    this.#tickets.delete(ticket);
    this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
      const tunnel = new TunnelSocket(webSocket, { side: "gateway", onClosed: () => this.#notify() });
      this.tunnels.push(tunnel);
      waiting.resolve(tunnel);
      this.#notify();
    });
  }

  #control(webSocket: WebSocket): void {
    this.controls.push(webSocket);
    webSocket.on("message", (data) => {
      const text = (data as Buffer).toString("utf8");
      if (text === '{"type":"ping"}') webSocket.send('{"type":"pong"}');
      this.messages.push(JSON.parse(text) as FromConnector);
      this.#notify();
    });
    this.#notify();
  }

  #notify(): void {
    for (const resolve of this.#changed.splice(0)) resolve();
  }
}

/** Opens a channel and waits for OPENED; rejects with the CloseReason. */
export function openChannel(tunnel: TunnelSocket, payload: Record<string, unknown>): Promise<OpenedChannel> {
  return new Promise((resolve, reject) => {
    const channel = tunnel.open(payload, (opened) =>
      resolve({ channel: made, opened: opened as Record<string, unknown> }),
    );
    if (channel === undefined) return reject(new Error("no channel"));
    const made = channel;
    channel.listen({
      onRemoteClose: (reason: CloseReason) => reject(Object.assign(new Error(reason.message), reason)),
    });
  });
}

function refuse(socket: Duplex, status: number, body: unknown): void {
  const text = JSON.stringify(body);
  socket.end(
    `HTTP/1.1 ${status} Refused\r\ncontent-type: application/problem+json\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
  );
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts).toString("utf8");
}
