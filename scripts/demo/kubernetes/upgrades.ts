/** Requests that become streams: exec, attach and port-forward. */
import { STATUS_CODES, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { authenticate, type Authenticated } from "./authorization.ts";
import { authorize } from "./handler.ts";
import { kindNamed } from "./kinds.ts";
import type { Pod } from "./objects.ts";
import {
  CHANNELS,
  type Dial,
  TUNNEL,
  dialer,
  forwardChannels,
  forwardSpdy,
  webSocketBytes,
} from "./port-forward.ts";
import {
  PROTOCOLS,
  type RemoteStreams,
  attach,
  commandOptions,
  execute,
  spdyStreams,
  webSocketStreams,
} from "./remote-command.ts";
import { type Target, parseTarget } from "./request.ts";
import type { Cluster } from "./server.ts";
import { StatusError, badRequest, noSuchPath } from "./status.ts";

const POD = kindNamed("Pod");
const MAX_MESSAGE = 4 << 20;

/** How the connection goes on once everything has been checked. */
type Accept = {
  /** Subprotocols, best first. */
  readonly protocols: readonly string[];
  readonly webSocket: (socket: WebSocket) => void;
  readonly spdy: (socket: Duplex) => void;
};

export type Upgrades = {
  handle(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Upgraded connections are no longer the server's to close. */
  closeAll(): void;
};

export function acceptUpgrades(cluster: Cluster): Upgrades {
  const open = new Set<Duplex>();
  const sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE,
    // Never compressed, as in the real one.
    perMessageDeflate: false,
    handleProtocols: (offered, request) => chosen(request)?.find((each) => offered.has(each)) ?? false,
  });
  const wanted = new WeakMap<IncomingMessage, readonly string[]>();
  const chosen = (request: IncomingMessage): readonly string[] | undefined => wanted.get(request);
  const handle: Upgrades["handle"] = (request, socket, head) => {
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    socket.on("error", () => undefined);
    const url = new URL(request.url ?? "/", "https://cluster");
    const target = parseTarget(url.pathname);
    let authenticated: Authenticated | undefined;
    const note = (code: number): void =>
      cluster.audit.note({
        authenticated,
        verb: request.method === "POST" ? "create" : "get",
        uri: request.url ?? "",
        target,
        code,
        started: code === 101,
        userAgent: request.headers["user-agent"],
      });
    try {
      authenticated = authenticate(request, cluster.token, cluster.holder);
      if (target === undefined || target.kind !== POD) throw noSuchPath();
      authorize(cluster, authenticated.user, request.method === "POST" ? "create" : "get", target);
      const accept = prepare(cluster, target, url.searchParams);
      if (/^spdy\/3\.1$/i.test(request.headers.upgrade ?? "")) acceptSpdy(request, socket, head, accept);
      else {
        const offered = (request.headers["sec-websocket-protocol"] ?? "")
          .split(",")
          .map((each) => each.trim());
        if (!accept.protocols.some((each) => offered.includes(each))) {
          const why = `unable to negotiate a protocol: client supports [${offered.join(" ")}], server supports [${accept.protocols.join(" ")}]`;
          throw new StatusError(403, "Forbidden", why);
        }
        wanted.set(request, accept.protocols);
        sockets.handleUpgrade(request, socket, head, accept.webSocket);
      }
      note(101);
    } catch (error) {
      const refused =
        error instanceof StatusError
          ? error
          : new StatusError(500, "InternalError", `Internal error occurred: ${String(error)}`);
      note(refused.status.code);
      refuse(socket, refused);
    }
  };
  return {
    handle,
    closeAll: () => {
      for (const socket of open) socket.destroy();
    },
  };
}

function prepare(cluster: Cluster, target: Target, query: URLSearchParams): Accept {
  const { namespace, name, subresource } = target;
  if (subresource === "portforward") {
    const pod = cluster.store.get(POD, namespace, name) as Pod;
    const containers = pod.spec.containers.map((each) => cluster.pods.container(namespace, name, each.name));
    const dial = dialer(name, containers);
    const ports = query
      .getAll("ports")
      .flatMap((each) => each.split(","))
      .map(Number);
    return acceptPortForward(name, ports, dial);
  }
  if (subresource !== "exec" && subresource !== "attach") throw noSuchPath();
  const options = commandOptions(query);
  if (!options.stdin && !options.stdout && !options.stderr)
    throw badRequest("you must specify at least 1 of stdin, stdout, stderr");
  if (subresource === "exec" && options.command.length === 0)
    throw badRequest("you must specify at least one command for the container");
  const container = cluster.pods.runningContainer(namespace, name, query.get("container") ?? undefined);
  const go = (streams: RemoteStreams): void =>
    subresource === "exec" ? execute(container, options, streams) : attach(container, options, streams);
  return {
    protocols: PROTOCOLS,
    webSocket: (socket) => go(webSocketStreams(socket, options)),
    spdy: (socket) => void spdyStreams(socket, options).then(go, () => socket.destroy()),
  };
}

function acceptPortForward(pod: string, ports: readonly number[], dial: Dial): Accept {
  return {
    protocols: ports.length === 0 ? [TUNNEL] : [TUNNEL, CHANNELS],
    webSocket: (socket) => {
      if (socket.protocol === TUNNEL) forwardSpdy(webSocketBytes(socket), pod, dial);
      else forwardChannels(socket, pod, ports, dial);
    },
    spdy: (socket) => forwardSpdy(socket, pod, dial),
  };
}

/** `X-Stream-Protocol-Version` is to SPDY what the subprotocol is to WebSockets. */
function acceptSpdy(request: IncomingMessage, socket: Duplex, head: Buffer, accept: Accept): void {
  const offered = request.headersDistinct["x-stream-protocol-version"] ?? [];
  const known = [...PROTOCOLS, "portforward.k8s.io"];
  const protocol = known.find((each) => offered.includes(each));
  if (protocol === undefined)
    throw new StatusError(
      403,
      "Forbidden",
      `unable to upgrade: unable to negotiate protocol: ${offered.join(" ")}`,
    );
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  if (head.length > 0) socket.unshift(head);
  accept.spdy(socket);
}

function refuse(socket: Duplex, { status }: StatusError): void {
  const body = JSON.stringify(status);
  socket.end(
    `HTTP/1.1 ${status.code} ${STATUS_CODES[status.code] ?? ""}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
