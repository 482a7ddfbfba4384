/**
 * The shim: a byte pipe from one local connection to one session at the gateway. It is in the client's
 * hands, so it enforces nothing; it carries bytes, says what the gateway says, and keeps the session's token
 * fresh.
 *
 *   native client ── local stream ── shim ══ WebSocket, channel 0 ══ Session object
 */
import type { Readable, Writable } from "node:stream";
import type { WebSocket } from "ws";
import { CONNECT_HEADERS, ClientNotice, PATHS, parseControl } from "../../wire/control.ts";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type CloseReason, TunnelSocket } from "../lib/tunnel-socket.ts";
import { type DialFailure, dial, webSocketUrl } from "../lib/web-socket.ts";
import { type Failure, exitFor } from "./failure.ts";
import type { Outcome } from "./outcome.ts";
import { RENEWAL_RETRY_MS, type SessionTokens, renewalDelay } from "./session-token.ts";

export type ShimOptions = {
  readonly gateway: string;
  readonly resource: string;
  readonly tokens: SessionTokens;
  readonly noWait: boolean;
  readonly reason: string | undefined;
  readonly outcome: Outcome;
  /** Tells the native client, in its own protocol, why it gets no session; it then ends the stream. */
  readonly refuse: (readable: Readable, writable: Writable, failure: Failure) => Promise<void>;
  /** A refusal for a client whose startup has gone to the gateway and that has not been answered. */
  readonly refuseUnanswered: (failure: Failure) => Uint8Array | undefined;
};

/** The two directions of a local connection: a socket twice, or stdin and stdout. */
export type Local = { readonly readable: Readable; readonly writable: Writable };

/** Carries one local connection until both of its sides are done. Never rejects. */
export async function carry(local: Local, options: ShimOptions): Promise<void> {
  // Errors of a local stream are its end; without a listener they would end the process.
  local.readable.on("error", () => undefined);
  local.writable.on("error", () => undefined);
  const socket = await openSocket(options);
  if (!socket.ok) {
    options.outcome.failed(socket.error);
    await options.refuse(local.readable, local.writable, socket.error);
    return;
  }
  await pump(local, socket.value, options);
}

async function openSocket(options: ShimOptions): Promise<Result<WebSocket, Failure>> {
  const token = await options.tokens.get();
  if (!token.ok) return token;
  const path = `${PATHS.connect}/${encodeURIComponent(options.resource)}`;
  const url = webSocketUrl(options.gateway, path);
  const socket = await dial(url, {
    headers: {
      ...options.tokens.headers(token.value, "GET", path),
      ...(options.noWait ? { [CONNECT_HEADERS.noWait]: "1" } : {}),
      ...(options.reason === undefined
        ? {}
        : { [CONNECT_HEADERS.reason]: encodeURIComponent(options.reason) }),
    },
  });
  return socket.ok ? ok(socket.value) : err(dialFailure(options, socket.error));
}

function dialFailure(options: ShimOptions, failure: DialFailure): Failure {
  if (failure.reason === "unreachable") {
    return {
      exit: EXIT.unreachable,
      message: `the gateway ${options.gateway} is not reachable: ${failure.message}`,
    };
  }
  const exit =
    failure.code !== undefined
      ? exitFor(failure.code)
      : failure.status === 401
        ? EXIT.unauthenticated
        : EXIT.unreachable;
  return {
    exit,
    message: failure.message,
    ...(failure.code === undefined ? {} : { code: failure.code }),
    ...(failure.hint === undefined ? {} : { hint: failure.hint }),
  };
}

type Attached = {
  readonly tunnel: TunnelSocket;
  readonly closed: Promise<CloseReason>;
  /** Whether the gateway closed the WebSocket as one that has said all (RFC 6455 section 7.4.1, 1000). */
  readonly orderly: () => boolean;
};

function attach(socket: WebSocket, onNotice: (notice: ClientNotice) => void): Attached {
  let onClosed: (reason: CloseReason) => void = () => undefined;
  const closed = new Promise<CloseReason>((resolve) => (onClosed = resolve));
  let orderly = false;
  socket.once("close", (code) => (orderly = code === 1000));
  const tunnel = new TunnelSocket(socket, {
    side: "connector",
    onClosed: (reason) => onClosed(reason),
    onControl: (text) => {
      // A notice that this version does not know is not worth a session.
      const notice = parseControl(ClientNotice, text);
      if (notice.ok) onNotice(notice.value);
    },
  });
  return { tunnel, closed, orderly: () => orderly };
}

async function pump(local: Local, socket: WebSocket, options: ShimOptions): Promise<void> {
  let ended: { code: string; message: string } | undefined;
  let notRenewed: Failure | undefined;
  const { tunnel, closed, orderly } = attach(socket, (notice) => {
    if (notice.type === "ended") ended = notice;
    options.outcome.notice(notice);
    // That the token has expired says nothing of why there was no other.
    if (notice.type === "ended" && notice.code === "token_expired" && notRenewed !== undefined)
      options.outcome.failed(notRenewed);
  });
  const stopRenewing = renewToken(tunnel, options.tokens, (failure) => (notRenewed = failure));
  const channel = tunnel.attach();
  let answered = false;
  let asked = false;
  channel.once("data", () => (answered = true));
  local.readable.once("data", () => (asked = true));
  // pipe() ends the other side when one ends: half-close passes through.
  local.readable.pipe(channel);
  channel.pipe(local.writable);
  channel.on("error", () => undefined);

  const localGone = new Promise<"local">((resolve) => {
    // `close` without `end` before it is a reset: whatever is under way is pointless.
    local.readable.once("close", () => !local.readable.readableEnded && resolve("local"));
    local.writable.once("close", () => !local.writable.writableFinished && resolve("local"));
  });
  const channelDone = new Promise<CloseReason>((resolve) => {
    channel.listen({ onRemoteClose: resolve });
    // Both directions have ended and been flushed.
    channel.once("close", () => resolve({ code: "done", message: "" }));
  });
  const how = await Promise.race([localGone, channelDone, closed]);
  stopRenewing();
  if (how === "local") {
    channel.destroy();
  } else {
    // What came before the close is still to be read by the client.
    if (!channel.readableEnded && !channel.destroyed) {
      await new Promise((resolve) => channel.once("end", resolve).once("close", resolve));
    }
    // A client that has left, or whose CancelRequest is never answered, misses nothing.
    const lost = how.code !== "done" && !orderly() && !local.readable.readableEnded;
    if (ended === undefined && lost) options.outcome.failed(lostFailure(how));
    if (!answered && asked && (ended !== undefined || lost) && local.writable.writable) {
      const refusal = options.refuseUnanswered(ended === undefined ? lostFailure(how) : endedFailure(ended));
      if (refusal !== undefined) local.writable.write(refusal);
    }
    local.writable.end();
  }
  tunnel.close();
  await closed;
}

function endedFailure({ code, message }: { code: string; message: string }): Failure {
  return { exit: exitFor(code), message, code };
}

function lostFailure({ code, message }: CloseReason): Failure {
  if (code !== "tunnel_lost") return { exit: exitFor(code), message, code };
  return {
    exit: EXIT.unreachable,
    message: "the connection to the gateway was lost",
    hint: "whether the last statement took effect is for the database to say",
  };
}

/** Sends a fresh token before the session's own ends. Returns what stops it. */
function renewToken(
  tunnel: TunnelSocket,
  tokens: SessionTokens,
  onResult: (failure: Failure | undefined) => void,
): () => void {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  let expiresAt = 0;
  const schedule = (delay: number): void => {
    if (stopped) return;
    timer = setTimeout(() => void renew(), Math.max(delay, 1000)).unref();
  };
  const renew = async (): Promise<void> => {
    const fresh = await tokens.renew();
    if (stopped) return;
    onResult(fresh.ok ? undefined : fresh.error);
    if (!fresh.ok) return schedule(Math.min(RENEWAL_RETRY_MS, renewalDelay(expiresAt - Date.now())));
    tunnel.control({ type: "renew", token: fresh.value.token });
    expiresAt = fresh.value.expiresAt;
    schedule(renewalDelay(expiresAt - Date.now()));
  };
  void tokens.get().then((token) => {
    if (!token.ok) return;
    ({ expiresAt } = token.value);
    schedule(renewalDelay(expiresAt - Date.now()));
  });
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
