/** A WebSocket to the resource, its messages on the channel (wire/http/web-socket-frame.ts). */
import type { IncomingMessage } from "node:http";
import { type RawData, WebSocket } from "ws";
import type { HttpOpen } from "../../../wire/http/open.ts";
import { WebSocketReader, encodeWebSocketMessage } from "../../../wire/http/web-socket-frame.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { DONE, type TunnelChannel } from "../../lib/tunnel-socket.ts";
import { networkReason } from "../../lib/web-socket.ts";
import type { Log } from "../log.ts";
import type { OutgoingRequest } from "./credential.ts";
import { failed, rawFields, safeReason, sendAnswer } from "./answer.ts";
import type { HttpTarget } from "./upstream.ts";

/** Opens the WebSocket and joins it with the channel; an answer that is no upgrade is handed on as it is. */
export function serveWebSocket(
  resource: string,
  target: HttpTarget,
  channel: TunnelChannel,
  open: HttpOpen,
  request: OutgoingRequest,
  signal: AbortSignal,
  log: Log,
): void {
  const { address } = target;
  const headers: Record<string, string[]> = {};
  for (const [name, value] of request.headers)
    if (name !== "sec-websocket-protocol") (headers[name] ??= []).push(value);
  const url = `${request.origin.replace(/^http/, "ws")}${request.target}`;
  const offered = open.webSocket ?? [];
  const socket = new WebSocket(url, offered.map(standIn), {
    headers,
    finishRequest: (handshake) => {
      if (offered.length > 0) handshake.setHeader("sec-websocket-protocol", offered.join(", "));
      handshake.end();
    },
    handshakeTimeout: LIMITS.time.upstreamOpen,
    maxPayload: LIMITS.http.webSocketMessage,
    perMessageDeflate: false,
    followRedirects: false,
    ...target.tls,
  });
  signal.addEventListener("abort", () => socket.terminate(), { once: true });
  let upgraded: IncomingMessage | undefined;
  let chosen: string | undefined;
  // Before the library checks what the service chose.
  socket.on("upgrade", (response: IncomingMessage) => {
    upgraded = response;
    chosen = offered.find((protocol) => protocol === response.headers["sec-websocket-protocol"]);
    if (chosen !== undefined) response.headers["sec-websocket-protocol"] = standIn(chosen);
  });
  socket.on("unexpected-response", (_request, response: IncomingMessage) => {
    if (response.statusCode === 401) target.credential.forget();
    sendAnswer(channel, open, address, response.statusCode ?? 502, rawFields(response.rawHeaders), response);
  });
  socket.on("error", (error) => {
    if (upgraded !== undefined || channel.destroyed) return;
    log.warn("no web socket", { reason: networkReason(error) });
    channel.close(failed(resource, `did not open a WebSocket: ${safeReason(error)}`));
  });
  socket.on("open", () => {
    channel.signal({
      type: "head",
      status: 101,
      headers: rawFields(upgraded?.rawHeaders ?? []),
      ...(chosen === undefined ? {} : { subprotocol: chosen }),
    });
    void toService(channel, socket);
  });
  socket.on("message", (data: RawData, isBinary: boolean) => {
    const bytes = Buffer.isBuffer(data)
      ? data
      : Buffer.concat(Array.isArray(data) ? data : [Buffer.from(data)]);
    write(encodeWebSocketMessage({ kind: isBinary ? "binary" : "text", bytes }));
  });
  socket.on("close", (code, reason) => {
    if (channel.destroyed || upgraded === undefined) return;
    write(encodeWebSocketMessage({ kind: "close", code, reason: reason.toString("utf8") }));
    channel.finish(DONE);
  });

  /** The service waits while the channel has no credit. */
  function write(bytes: Uint8Array): void {
    if (channel.write(bytes) || channel.destroyed) return;
    socket.pause();
    channel.once("drain", () => socket.resume());
  }
}

/**
 * Subprotocols are tokens (RFC 6455 section 4.1), and the library holds to that; Kubernetes has one with a slash in
 * it, `SPDY/3.1+portforward.k8s.io`. It goes over the wire as it is and by another name through the library.
 */
function standIn(protocol: string): string {
  return protocol.replaceAll("/", "~");
}

async function toService(channel: TunnelChannel, socket: WebSocket): Promise<void> {
  const reader = new WebSocketReader();
  try {
    for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
      const messages = reader.push(chunk as Buffer);
      if (!messages.ok) return socket.terminate();
      for (const message of messages.value) {
        if (message.kind === "close") socket.close(closeCode(message.code), message.reason);
        else
          await new Promise<void>((sent) =>
            socket.send(message.bytes, { binary: message.kind === "binary" }, () => sent()),
          );
      }
    }
    if (socket.readyState === WebSocket.OPEN) socket.close(1001, "");
  } catch {
    socket.terminate();
  }
}

/** Codes that stand for an ending without a close frame cannot be sent (RFC 6455 section 7.4.1). */
function closeCode(code: number): number {
  return code === 1005 || code === 1006 || code === 1015 || code < 1000 ? 1000 : code;
}
