/** A WebSocket of the client's, joined with the one that the connector has opened to the service. */
import { fromUtf8, utf8 } from "../../../wire/bytes.ts";
import { SESSION_HEADER } from "../../../wire/control.ts";
import type { HttpHead } from "../../../wire/http/open.ts";
import {
  type WebSocketMessage,
  WebSocketReader,
  encodeWebSocketMessage,
} from "../../../wire/http/web-socket-frame.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import type { SessionHost } from "./driver.ts";
import type { HttpExchange } from "./http-exchange.ts";
import type { Logs } from "./http.ts";

/** A client that does not read is asked again this often whether it has. */
const CONGESTION_MS = 50;

export type WatchOptions = {
  readonly host: SessionHost;
  /** Number of the operation that opened the connection. */
  readonly operation: number;
  /** Something was hidden, for the recording. */
  readonly masked: (what: string) => void;
  /** Sends the client what the watch had kept back; within a turn. */
  readonly deliver: (messages: readonly WebSocketMessage[]) => void;
  /** Ends the connection; within a turn. */
  readonly fail: (why: Refusal) => void;
};

/** Looks into an upgraded connection: records what it means, changes or refuses what may not pass. */
export type MessageWatch = {
  /** What goes on in place of a message; a refusal ends the connection. */
  fromClient(message: WebSocketMessage): Result<readonly WebSocketMessage[], Refusal>;
  fromService(message: WebSocketMessage): Result<readonly WebSocketMessage[], Refusal>;
  /** Records what has gathered; before anything of this turn leaves. */
  flush(): void;
  /** What the client is told last where the gateway ends the connection. */
  farewell(why: Refusal): readonly WebSocketMessage[];
  /** Nothing more comes; records the totals. Called once, within a turn. */
  close(): void;
};

/** The answer to the client's upgrade. */
export function joinWebSocket(
  host: SessionHost,
  exchange: HttpExchange,
  head: HttpHead,
  logs: Logs,
  watching: (io: Pick<WatchOptions, "deliver" | "fail">) => MessageWatch | undefined,
): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  server.accept();
  server.binaryType = "arraybuffer";
  let closed = false;
  const close = (code: number, reason: string): void => {
    if (closed) return;
    closed = true;
    try {
      server.close(code, reason);
    } catch {
      // Closed already: what we wanted.
    }
  };
  const deliver = (message: WebSocketMessage): void => {
    if (closed) return;
    if (message.kind === "close") close(sendable(message.code), message.reason);
    else if (message.kind === "binary") server.send(message.bytes);
    else server.send(fromUtf8(message.bytes) ?? "");
  };
  const watch = watching({
    deliver: (messages) => {
      for (const message of messages) exchange.later(() => deliver(message));
    },
    fail: (why) => exchange.fail(why),
  });
  logs.watch = watch;
  exchange.onOver((why) => {
    if (why === undefined) return close(1000, "");
    const last = watch?.farewell(why) ?? [];
    for (const message of last) deliver(message);
    if (last.length > 0) close(1000, "");
    else close(why.code === "upstream_lost" ? 1011 : 1008, why.code);
  });

  const toService = (message: WebSocketMessage): void => {
    host.turn(() => {
      const passed = watch?.fromClient(message) ?? pass(message, logs.request);
      if (!passed.ok) return exchange.fail(passed.error);
      watch?.flush();
      for (const each of passed.value) exchange.sendRaw(encodeWebSocketMessage(each));
      // Workers give no back-pressure on what a client sends: one that sends faster than the service reads is cut.
      if (exchange.queued > LIMITS.http.webSocketBacklog)
        exchange.fail(refusal("over_limit", "the service reads slower than the client sends"));
    });
  };
  server.addEventListener("message", ({ data }) => {
    const text = typeof data === "string";
    const bytes = text ? utf8(data) : new Uint8Array(data as ArrayBuffer);
    if (bytes.length > LIMITS.http.webSocketMessage) {
      host.turn(() => exchange.fail(refusal("over_limit", "a message of the WebSocket is too long")));
      return;
    }
    toService({ kind: text ? "text" : "binary", bytes });
  });
  server.addEventListener("close", ({ code, reason }) => {
    toService({ kind: "close", code, reason });
    host.turn(() => exchange.close());
  });
  server.addEventListener("error", () =>
    host.turn(() => exchange.fail(refusal("approval_withdrawn", "the client went away"))),
  );

  /** Gives credit back once what was sent has left. */
  const acknowledge = (length: number): void => {
    if (closed || bufferedAmount(server) < LIMITS.tunnel.window) exchange.consumedRaw(length);
    else setTimeout(() => host.turn(() => acknowledge(length)), CONGESTION_MS);
  };

  const reader = new WebSocketReader();
  const fromService = (bytes: Uint8Array): void => {
    const messages = reader.push(bytes);
    if (!messages.ok)
      return exchange.fail(refusal("upstream_lost", "the connector's messages are malformed"));
    for (const message of messages.value) {
      const passed = watch?.fromService(message) ?? pass(message, logs.response);
      if (!passed.ok) return exchange.fail(passed.error);
      for (const each of passed.value) exchange.later(() => deliver(each));
    }
    watch?.flush();
    acknowledge(bytes.length);
  };
  // What has come since the head is taken at once.
  host.turn(() => exchange.takeRaw(fromService));

  return new Response(null, {
    status: 101,
    webSocket: client,
    headers: {
      [SESSION_HEADER]: host.grant.session,
      ...(head.subprotocol === undefined ? {} : { "sec-websocket-protocol": head.subprotocol }),
    },
  });
}

/** A message that nobody looks into. */
function pass(message: WebSocketMessage, log: Logs["request"]): Result<readonly WebSocketMessage[], Refusal> {
  if (message.kind !== "close") log.add(message.bytes);
  return { ok: true, value: [message] };
}

/** In workerd, not yet in its types. */
function bufferedAmount(socket: WebSocket): number {
  return (socket as { bufferedAmount?: number }).bufferedAmount ?? 0;
}

/** Codes that stand for an ending without a close frame cannot be sent (RFC 6455 section 7.4.1). */
function sendable(code: number): number {
  return code === 1005 || code === 1006 || code === 1015 || code < 1000 ? 1000 : code;
}
