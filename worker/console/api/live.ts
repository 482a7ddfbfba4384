/**
 * What happens, as it happens: the stream of the gateway kept in signals. A lost connection is taken up again
 * by itself, with pauses that grow, and at once when the browser says that it is online.
 */
import { signal } from "@preact/signals";
import { identity, loadIdentity, loggedOut, sameGroups } from "./client.ts";
import type { Approval, Session, StreamFrame } from "./types.ts";

export const approvals = signal<ReadonlyMap<string, Approval>>(new Map());
export const sessions = signal<ReadonlyMap<string, Session>>(new Map());
/** Online resources of each connector, as far as the stream has said so. */
export const online = signal<ReadonlyMap<string, readonly string[]>>(new Map());
/** The running configuration, once it has changed under this page. */
export const configVersion = signal<number | undefined>(undefined);

/** `forbidden`: policy lets the viewer see nothing of it. */
export type Connection = "connecting" | "live" | "lost" | "forbidden";
export const connection = signal<Connection>("connecting");

const PAUSES = [500, 1000, 2000, 5000, 10_000];
const PING_EVERY = 25_000;
const UNAUTHENTICATED = 4401;
const FORBIDDEN = 4403;

let socket: WebSocket | undefined;
let attempts = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

/** Opens the stream and keeps it open until `disconnect`. */
export function connect(): void {
  if (socket !== undefined) return;
  clearTimeout(timer);
  const opened = new WebSocket(`${location.origin.replace(/^http/, "ws")}/v1/stream`);
  socket = opened;
  let answered = true;
  const heartbeat = setInterval(() => {
    // A connection that died without a word shows by an unanswered ping.
    if (!answered) return opened.close();
    answered = false;
    if (opened.readyState === WebSocket.OPEN) opened.send("ping");
  }, PING_EVERY);
  opened.addEventListener("message", ({ data }) => {
    answered = true;
    if (typeof data === "string" && data !== "pong") receive(data);
  });
  opened.addEventListener("close", ({ code, reason }) => {
    clearInterval(heartbeat);
    if (socket !== opened) return;
    socket = undefined;
    if (code === UNAUTHENTICATED) {
      loggedOut.value = reason;
      identity.value = null;
      return;
    }
    connection.value = code === FORBIDDEN ? "forbidden" : "lost";
    const pause = code === FORBIDDEN ? 60_000 : (PAUSES[Math.min(attempts, PAUSES.length - 1)] ?? 10_000);
    attempts++;
    timer = setTimeout(connect, pause);
  });
}

export function disconnect(): void {
  clearTimeout(timer);
  const open = socket;
  socket = undefined;
  open?.close();
}

addEventListener("online", () => {
  if (identity.peek() && connection.peek() === "lost") connect();
});

function receive(text: string): void {
  const frame = JSON.parse(text) as StreamFrame;
  switch (frame.type) {
    case "hello":
      attempts = 0;
      connection.value = "live";
      approvals.value = new Map(frame.approvals.map((each) => [each.id, each]));
      sessions.value = new Map(frame.sessions.map((each) => [each.id, each]));
      // Other groups, other rights: ask which.
      if (!sameGroups(frame.groups, identity.peek()?.principal.groups ?? frame.groups)) void loadIdentity();
      return;
    case "approval":
      return keep(frame.approval);
    case "session":
      sessions.value = new Map(sessions.peek()).set(frame.session.id, frame.session);
      return;
    case "removed":
      if (frame.approval !== undefined) approvals.value = without(approvals.peek(), frame.approval);
      if (frame.session !== undefined) sessions.value = without(sessions.peek(), frame.session);
      return;
    case "config":
      configVersion.value = frame.version;
      return;
    case "connector":
      online.value = new Map(online.peek()).set(frame.name, frame.online);
      return;
    default:
      // A newer gateway may say more than this page knows.
      frame satisfies never;
  }
}

/** Takes in an approval as it is now, whether the stream or the answer to a decision told it. */
export function keep(approval: Approval): void {
  approvals.value = new Map(approvals.peek()).set(approval.id, approval);
}

function without<T>(map: ReadonlyMap<string, T>, key: string): ReadonlyMap<string, T> {
  const copy = new Map(map);
  copy.delete(key);
  return copy;
}
