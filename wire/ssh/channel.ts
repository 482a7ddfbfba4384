/**
 * One channel of an SSH connection as the gateway sees it: the windows in both directions, what waits for them,
 * and the order in which a channel may end (RFC 4254 sections 5 and 6).
 *
 *   waiting ──exec/shell/subsystem──► asked ──allowed──► opening ──► open ──► closed
 *      (sessions only)                  └────refused────────┴──────────┴────────┘
 *
 * `window` is what the client may still send. It grows again only for bytes that have left for the connector,
 * so a connector that does not read stops the client, and nothing piles up here. In the other direction output
 * waits in `queue` until the client's window and its transport have room; its credit goes back to the connector
 * only then.
 */
import { LIMITS } from "../limits.ts";
import { type SshMessage, EXTENDED_DATA_STDERR, type Terminal, encodeMessage } from "./messages.ts";
import type { SshEffect, SshTarget, Stream } from "./machine-types.ts";
import { type SftpMachine, heldFromClient } from "./sftp-machine.ts";

type Queued =
  | { readonly kind: "data"; readonly stream: Stream; bytes: Uint8Array; readonly recorded: boolean }
  | { readonly kind: "message"; readonly message: SshMessage }
  | { readonly kind: "close" };

export type SshChannel = {
  /** Our number, which is also the tunnel's. */
  readonly id: number;
  /** The client's number. */
  peer: number;
  /** `listener` is a remote forward: a channel of the tunnel that the client knows by its address alone. */
  readonly kind: "session" | "forward" | "forwarded" | "listener";
  phase: "waiting" | "asked" | "opening" | "open" | "closed";
  /** The ask that this channel's start waits for. */
  ask: number | undefined;
  /** A hold was announced on the channel. */
  held: boolean;
  target: SshTarget | undefined;
  /** The client waits for the answer to its exec, shell or subsystem request. */
  startReplyDue: boolean;
  /** Requests that came after it and will be refused, in order, once it is answered. */
  laterReplies: number;
  requests: number;
  terminal: Terminal | undefined;
  environment: [string, string][];
  /** Lines for standard error that wait for the start (agent forwarding refused, ...). */
  remarks: string[];
  window: number;
  unadjusted: number;
  parked: Uint8Array[];
  parkedBytes: number;
  backlog: number;
  clientEnded: boolean;
  peerWindow: number;
  peerPacket: number;
  queue: Queued[];
  queuedBytes: number;
  /** Tunnel credit not yet given back. */
  owed: number;
  upstream: "none" | "opening" | "open" | "closed";
  exit: { readonly status: number } | { readonly signal: string } | undefined;
  /** CHANNEL_EOF is sent or waits in the queue. */
  endQueued: boolean;
  sentClose: boolean;
  sftp: SftpMachine | undefined;
};

export function newChannel(
  id: number,
  kind: SshChannel["kind"],
  peer: number,
  peerWindow: number,
  peerPacket: number,
): SshChannel {
  return {
    id,
    peer,
    kind,
    phase: "waiting",
    ask: undefined,
    held: false,
    target: undefined,
    startReplyDue: false,
    laterReplies: 0,
    requests: 0,
    terminal: undefined,
    environment: [],
    remarks: [],
    window: LIMITS.ssh.window,
    unadjusted: 0,
    parked: [],
    parkedBytes: 0,
    backlog: 0,
    clientEnded: false,
    peerWindow,
    // A client that takes only tiny packets would make us send one for every few bytes.
    peerPacket: Math.min(peerPacket, LIMITS.ssh.channelPacket),
    queue: [],
    queuedBytes: 0,
    owed: 0,
    upstream: "none",
    exit: undefined,
    endQueued: false,
    sentClose: false,
    sftp: undefined,
  };
}

export function send(message: SshMessage): SshEffect {
  return { kind: "send", payload: encodeMessage(message) };
}

/** Queues output. `recorded` is false for our own remarks, which are no output of the program. */
export function queueData(channel: SshChannel, stream: Stream, bytes: Uint8Array, recorded: boolean): void {
  if (bytes.length === 0 || channel.sentClose || channel.endQueued) return;
  channel.queue.push({ kind: "data", stream, bytes, recorded });
  channel.queuedBytes += bytes.length;
}

export function queueMessage(channel: SshChannel, message: SshMessage): void {
  if (channel.sentClose) return;
  if (message.kind === "channelEof") {
    // RFC 4254 section 5.3: no data after it, and only one.
    if (channel.endQueued) return;
    channel.endQueued = true;
  }
  channel.queue.push({ kind: "message", message });
}

/** Queues the end of the channel; nothing that is queued later is sent. */
export function queueClose(channel: SshChannel): void {
  if (!channel.queue.some((item) => item.kind === "close")) channel.queue.push({ kind: "close" });
}

/**
 * Sends at most one chunk of data and every message up to the next data that cannot go.
 *
 * @param room bytes that the client's transport takes now
 * @returns bytes of data sent; 0 when nothing can move
 */
export function flushOne(channel: SshChannel, room: number, effects: SshEffect[]): number {
  for (;;) {
    const item = channel.queue[0];
    if (item === undefined) return 0;
    if (item.kind === "data") {
      const length = Math.min(item.bytes.length, channel.peerWindow, channel.peerPacket, room);
      if (length <= 0) return 0;
      const bytes = item.bytes.subarray(0, length);
      if (item.recorded) effects.push({ kind: "delivered", channel: channel.id, stream: item.stream, bytes });
      effects.push(
        send(
          item.stream === 0
            ? { kind: "channelData", recipient: channel.peer, data: bytes }
            : {
                kind: "channelExtendedData",
                recipient: channel.peer,
                type: EXTENDED_DATA_STDERR,
                data: bytes,
              },
        ),
      );
      channel.peerWindow -= length;
      channel.queuedBytes -= length;
      if (length === item.bytes.length) channel.queue.shift();
      else item.bytes = item.bytes.subarray(length);
      giveCreditBack(channel, effects);
      return length;
    }
    channel.queue.shift();
    if (item.kind === "close") {
      channel.queue = [];
      channel.queuedBytes = 0;
      sendClose(channel, effects);
      return 0;
    }
    effects.push(send(item.message));
  }
}

/** Gives the connector back the credit of what no longer waits here. */
export function giveCreditBack(channel: SshChannel, effects: SshEffect[]): void {
  const credit = channel.owed - channel.queuedBytes;
  // In larger steps: a CREDIT frame for every keystroke would cost more than it gives.
  if (credit < LIMITS.tunnel.window / 16 || channel.upstream !== "open") return;
  channel.owed -= credit;
  effects.push({ kind: "consumed", channel: channel.id, credit });
}

export function sendClose(channel: SshChannel, effects: SshEffect[]): void {
  if (channel.sentClose) return;
  channel.sentClose = true;
  channel.phase = "closed";
  effects.push(send({ kind: "channelClose", recipient: channel.peer }));
  closeUpstream(channel, effects);
}

export function closeUpstream(channel: SshChannel, effects: SshEffect[]): void {
  if (channel.upstream === "none" || channel.upstream === "closed") return;
  channel.upstream = "closed";
  effects.push({ kind: "closeUpstream", channel: channel.id });
}

/** Lets the client send again as much as has left for the connector. */
export function adjustWindow(channel: SshChannel, effects: SshEffect[]): void {
  if (channel.clientEnded || channel.sentClose) return;
  const waiting =
    channel.parkedBytes + channel.backlog + (channel.sftp === undefined ? 0 : heldFromClient(channel.sftp));
  const amount = channel.unadjusted - waiting;
  if (amount < LIMITS.ssh.window / 4) return;
  channel.unadjusted -= amount;
  channel.window += amount;
  effects.push(send({ kind: "channelWindowAdjust", recipient: channel.peer, amount }));
}

/** Answers the request that started the program, and those that had to wait for that answer. */
export function answerStart(channel: SshChannel, effects: SshEffect[]): void {
  if (channel.startReplyDue) effects.push(send({ kind: "channelSuccess", recipient: channel.peer }));
  channel.startReplyDue = false;
  for (; channel.laterReplies > 0; channel.laterReplies--)
    effects.push(send({ kind: "channelFailure", recipient: channel.peer }));
}
