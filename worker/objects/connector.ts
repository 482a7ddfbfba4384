/**
 * The Connector object, one per connector name: the hibernating control sockets of that connector's
 * processes. It carries control only: "open resource R for session S with ticket T"; the process then dials
 * the Session object directly.
 */
import { DurableObject } from "cloudflare:workers";
import { FromConnector, type ToConnector, WEBSOCKET_PROTOCOL, parseControl } from "../../wire/control.ts";
import { type Refusal, isRefusalCode, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type Bindings, controlOf, sessionOf } from "../env.ts";

/** What a control socket is, kept in its attachment while the object hibernates. */
type Process = {
  readonly process: string;
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
  /** Network address that it dialled from, where the platform says it. */
  readonly source?: string;
  readonly resources: readonly string[];
};

export type ProcessStatus = Process;

/** Attachments may have 16 KiB; the names of more resources than fit are kept in SQLite. */
const ATTACHED_RESOURCES = 100;

export class ConnectorObject extends DurableObject<Bindings> {
  #turn = 0;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    ctx.storage.sql.exec(`
      CREATE TABLE IF NOT EXISTS seen_tokens (id TEXT PRIMARY KEY, forget_at INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS served (process TEXT NOT NULL, resource TEXT NOT NULL, PRIMARY KEY (process, resource));
    `);
    ctx.setWebSocketAutoResponse(
      new WebSocketRequestResponsePair(JSON.stringify({ type: "ping" }), JSON.stringify({ type: "pong" })),
    );
  }

  /** The control socket's upgrade; the Worker has verified the connector's token. */
  override fetch(request: Request): Response {
    const tokenId = request.headers.get("sally-token-id") ?? "";
    const forgetAt = Number(request.headers.get("sally-forget-at"));
    if (!this.#firstUse(tokenId, forgetAt)) return new Response("the token has been used", { status: 401 });
    const { 0: client, 1: server } = new WebSocketPair();
    const source = request.headers.get("sally-source");
    this.ctx.acceptWebSocket(server, source === null ? [] : [source.slice(0, 64)]);
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: { "sec-websocket-protocol": WEBSOCKET_PROTOCOL },
    });
  }

  /**
   * Asks a process that serves the resource to dial back. `not` names processes that have failed to. Whatever
   * a connector says that it serves, it gets only what is configured for it.
   */
  async open(
    session: string,
    resource: string,
    ticket: string,
    not: readonly string[],
  ): Promise<Result<string, Refusal>> {
    if ((await controlOf(this.env).connectorFor(resource)) !== this.ctx.id.name) {
      return err(refusal("resource_unknown", `${resource} is not configured for this connector`));
    }
    const serving = this.#processes().filter(({ status }) => this.#serves(status, resource));
    const candidates = serving.filter(({ status }) => !not.includes(status.process));
    const chosen = candidates[this.#turn++ % Math.max(candidates.length, 1)];
    if (chosen === undefined) {
      const hint = "its connector is not running or cannot reach the gateway; sally ls shows what is online";
      return err(refusal("connector_offline", `no connector serves ${resource} now`, { hint }));
    }
    send(chosen.socket, { type: "open", session, resource, ticket });
    return ok(chosen.status.process);
  }

  /** The processes that are connected now. */
  status(): ProcessStatus[] {
    return this.#processes().map(({ status }) => ({ ...status, resources: this.#resourcesOf(status) }));
  }

  /** Names of the resources that some process serves now. */
  online(): string[] {
    return [...new Set(this.status().flatMap(({ resources }) => resources))];
  }

  /** The key is not trusted any more: tells every process so and cuts it off. */
  revoke(): void {
    for (const socket of this.ctx.getWebSockets()) {
      send(socket, { type: "revoked" });
      socket.close(4001, "revoked");
    }
  }

  /** The name has a new key: its processes have to show that they have it. */
  replaced(): void {
    for (const socket of this.ctx.getWebSockets()) socket.close(4002, "the connector has a new key");
  }

  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    const parsed = typeof message === "string" ? parseControl(FromConnector, message) : undefined;
    if (parsed === undefined || !parsed.ok) {
      socket.close(1008, "not a control message");
      return;
    }
    const control = parsed.value;
    switch (control.type) {
      case "hello":
        this.#hello(socket, control);
        return;
      case "ping":
        send(socket, { type: "pong" });
        return;
      case "cannot_open": {
        const code = isRefusalCode(control.code) ? control.code : "upstream_unreachable";
        const process = (socket.deserializeAttachment() as Process | null)?.process ?? "";
        await sessionOf(this.env, control.session).connectorCannotOpen(
          process,
          refusal(code, control.message),
        );
        return;
      }
    }
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    this.#forget(socket);
    // Completes the closing handshake where the platform does not do so itself.
    try {
      socket.close(code === 1005 || code === 1006 ? 1000 : code);
    } catch {
      // Closed already.
    }
  }

  override webSocketError(socket: WebSocket): void {
    this.#forget(socket);
  }

  #hello(socket: WebSocket, hello: Extract<FromConnector, { type: "hello" }>): void {
    const [source] = this.ctx.getTags(socket);
    const resources = hello.resources.map(({ name }) => name);
    const fits = resources.length <= ATTACHED_RESOURCES;
    if (!fits) {
      for (const resource of resources) {
        this.ctx.storage.sql.exec("INSERT OR IGNORE INTO served VALUES (?, ?)", hello.process, resource);
      }
    }
    const status: Process = {
      process: hello.process,
      version: hello.version,
      since: Date.now(),
      ...(source === undefined ? {} : { source }),
      resources: fits ? resources : [],
    };
    socket.serializeAttachment(status);
    this.#tellControl();
  }

  /** Whoever looks at the console sees what is online. Nothing depends on it. */
  #tellControl(): void {
    const told = controlOf(this.env).connectorChanged(this.ctx.id.name ?? "", this.online());
    this.ctx.waitUntil(told.catch(() => undefined));
  }

  #processes(): { socket: WebSocket; status: Process }[] {
    return this.ctx.getWebSockets().flatMap((socket) => {
      const status = socket.deserializeAttachment() as Process | null;
      return status === null || socket.readyState !== WebSocket.OPEN ? [] : [{ socket, status }];
    });
  }

  #serves(status: Process, resource: string): boolean {
    if (status.resources.length > 0) return status.resources.includes(resource);
    return (
      this.ctx.storage.sql
        .exec("SELECT 1 FROM served WHERE process = ? AND resource = ?", status.process, resource)
        .toArray().length > 0
    );
  }

  #resourcesOf(status: Process): readonly string[] {
    if (status.resources.length > 0) return status.resources;
    return this.ctx.storage.sql
      .exec<{ resource: string }>("SELECT resource FROM served WHERE process = ?", status.process)
      .toArray()
      .map(({ resource }) => resource);
  }

  #forget(socket: WebSocket): void {
    const status = socket.deserializeAttachment() as Process | null;
    if (status === null) return;
    this.ctx.storage.sql.exec("DELETE FROM served WHERE process = ?", status.process);
    this.#tellControl();
  }

  /** A connector's token opens one control socket: a copied one opens none. */
  #firstUse(tokenId: string, forgetAt: number): boolean {
    const { sql } = this.ctx.storage;
    sql.exec("DELETE FROM seen_tokens WHERE forget_at < ?", Date.now());
    return sql.exec("INSERT OR IGNORE INTO seen_tokens VALUES (?, ?)", tokenId, forgetAt).rowsWritten > 0;
  }
}

function send(socket: WebSocket, message: ToConnector): void {
  try {
    socket.send(JSON.stringify(message));
  } catch {
    // The socket is closing; the process will connect anew.
  }
}
