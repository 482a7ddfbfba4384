/** exec, attach and port-forward into a pod: the connection becomes WebSocket messages or SPDY streams. */
import { STATUS_CODES, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import type { Pods } from "./pods.ts";
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
import { StatusError, badRequest, noSuchPath } from "./status.ts";

const MAX_MESSAGE = 4 << 20;

export type StreamTarget = {
  readonly namespace: string;
  readonly name: string;
  /** `exec`, `attach` or `portforward`. */
  readonly subresource: string;
};

export type Connection = {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
};

/** How the connection goes on once everything has been checked. */
type Way = {
  /** Subprotocols, best first. */
  readonly protocols: readonly string[];
  readonly webSocket: (socket: WebSocket, protocol: string) => void;
  readonly spdy: (socket: Duplex) => void;
};

export class PodStreams {
  readonly #open = new Set<Duplex>();
  readonly #chosen = new WeakMap<IncomingMessage, string>();
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE,
    // Never compressed, as in the real one.
    perMessageDeflate: false,
  });

  constructor() {
    this.#sockets.on("headers", (headers, request) =>
      headers.push(`Sec-WebSocket-Protocol: ${this.#chosen.get(request) ?? ""}`),
    );
  }

  /** Throws a StatusError while the connection can still be answered with one. */
  accept(pods: Pods, target: StreamTarget, query: URLSearchParams, connection: Connection): void {
    const { request, socket, head } = connection;
    const way = wayInto(pods, target, query);
    this.#open.add(socket);
    socket.once("close", () => this.#open.delete(socket));
    if (/^spdy\/3\.1$/i.test(request.headers.upgrade ?? "")) return acceptSpdy(connection, way);
    const offered = (request.headers["sec-websocket-protocol"] ?? "").split(",").map((each) => each.trim());
    const protocol = way.protocols.find((each) => offered.includes(each));
    if (protocol === undefined) {
      const why = `unable to negotiate a protocol: client supports [${offered.join(" ")}], server supports [${way.protocols.join(" ")}]`;
      throw new StatusError(403, "Forbidden", why);
    }
    // `SPDY/3.1+portforward.k8s.io` is no token (RFC 6455 section 4.1): ws refuses the header that names it.
    delete request.headers["sec-websocket-protocol"];
    this.#chosen.set(request, protocol);
    this.#sockets.handleUpgrade(request, socket, head, (accepted) => way.webSocket(accepted, protocol));
  }

  /** Upgraded connections are no longer the server's to close. */
  closeAll(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

function wayInto(pods: Pods, target: StreamTarget, query: URLSearchParams): Way {
  const { namespace, name, subresource } = target;
  if (subresource === "portforward") {
    const ports = query
      .getAll("ports")
      .flatMap((each) => each.split(","))
      .map(Number);
    return portForward(name, ports, dialer(name, pods.containers(namespace, name)));
  }
  if (subresource !== "exec" && subresource !== "attach") throw noSuchPath();
  const options = commandOptions(query);
  if (!options.stdin && !options.stdout && !options.stderr)
    throw badRequest("you must specify at least 1 of stdin, stdout, stderr");
  if (subresource === "exec" && options.command.length === 0)
    throw badRequest("you must specify at least one command for the container");
  const container = pods.runningContainer(namespace, name, query.get("container") ?? undefined);
  const go = (streams: RemoteStreams): void =>
    subresource === "exec" ? execute(container, options, streams) : attach(container, options, streams);
  return {
    protocols: PROTOCOLS,
    webSocket: (socket, protocol) => go(webSocketStreams(socket, protocol, options)),
    spdy: (socket) => void spdyStreams(socket, options).then(go, () => socket.destroy()),
  };
}

function portForward(pod: string, ports: readonly number[], dial: Dial): Way {
  return {
    protocols: ports.length === 0 ? [TUNNEL] : [TUNNEL, CHANNELS],
    webSocket: (socket, protocol) => {
      if (protocol === TUNNEL) forwardSpdy(webSocketBytes(socket), pod, dial);
      else forwardChannels(socket, pod, ports, dial);
    },
    spdy: (socket) => forwardSpdy(socket, pod, dial),
  };
}

/** `X-Stream-Protocol-Version` is to SPDY what the subprotocol is to WebSockets. */
function acceptSpdy({ request, socket, head }: Connection, way: Way): void {
  const offered = (request.headersDistinct["x-stream-protocol-version"] ?? []).flatMap((each) =>
    each.split(",").map((protocol) => protocol.trim()),
  );
  const known = [...PROTOCOLS, "portforward.k8s.io"];
  const protocol = known.find((each) => offered.includes(each));
  if (protocol === undefined) {
    const why = `unable to upgrade: unable to negotiate protocol: ${offered.join(" ")}`;
    throw new StatusError(403, "Forbidden", why);
  }
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  if (head.length > 0) socket.unshift(head);
  way.spdy(socket);
}

/** Answers an upgrade that is not to be, as any other request. */
export function refuseUpgrade(socket: Duplex, { status }: StatusError): void {
  const body = JSON.stringify(status);
  socket.end(
    `HTTP/1.1 ${status.code} ${STATUS_CODES[status.code] ?? ""}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
