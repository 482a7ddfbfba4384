/**
 * The tunnel: one framing for every WebSocket that carries protocol bytes (shim <-> Session object,
 * connector <-> Session object). Each binary WebSocket message is one frame:
 *
 *   byte    kind
 *   uint32  channel
 *   rest    payload
 *
 *   OPEN    1  JSON        opener -> other side: what to reach
 *   OPENED  2  JSON        the other side has reached it; bytes may flow
 *   DATA    3  bytes       costs its length in credit
 *   CREDIT  4  uint32      the receiver has consumed this many bytes and takes as many more
 *   END     5  empty       no more DATA in this direction (half close)
 *   CLOSE   6  JSON        {code, message}: the channel is over in both directions
 *   SIGNAL  7  JSON        out-of-band message of the protocol (cancel, window change); costs no credit
 *
 * Channel 0 on the shim's socket is open from the start (no OPEN): it is the native client's byte stream.
 * Workers give no back-pressure of their own, so each direction of each channel has credit
 * (LIMITS.tunnel.window at first). A peer that sends more than its credit breaks the tunnel.
 *
 * States of one channel: opening -> open -> closed, with `ended` per direction. The machine is pure: it
 * holds plain data and returns values. Queueing what cannot be sent yet is the caller's business:
 * `sendable` says how much may go now.
 */
import { fromUtf8, readUint32, utf8, writeUint32, EMPTY } from "./bytes.ts";
import { LIMITS } from "./limits.ts";
import { type Result, err, ok } from "./result.ts";

export const FrameKind = {
  OPEN: 1,
  OPENED: 2,
  DATA: 3,
  CREDIT: 4,
  END: 5,
  CLOSE: 6,
  SIGNAL: 7,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

export type Frame =
  | { readonly kind: "open" | "opened" | "signal"; readonly channel: number; readonly payload: unknown }
  | { readonly kind: "data"; readonly channel: number; readonly bytes: Uint8Array }
  | { readonly kind: "credit"; readonly channel: number; readonly amount: number }
  | { readonly kind: "end"; readonly channel: number }
  | { readonly kind: "close"; readonly channel: number; readonly code: string; readonly message: string };

export type TunnelError =
  | "frame_too_short"
  | "frame_too_large"
  | "kind_unknown"
  | "payload_malformed"
  | "channel_unknown"
  | "channel_in_use"
  | "channels_over_limit"
  | "credit_overrun"
  | "credit_overflow"
  | "data_after_end"
  | "illegal_in_state";

const HEADER = 5;

/** Encodes one frame. JSON payloads over LIMITS.tunnel.json are a bug of the caller. */
export function encodeFrame(frame: Frame): Uint8Array {
  switch (frame.kind) {
    case "open":
      return withHeader(FrameKind.OPEN, frame.channel, utf8(JSON.stringify(frame.payload)));
    case "opened":
      return withHeader(FrameKind.OPENED, frame.channel, utf8(JSON.stringify(frame.payload)));
    case "signal":
      return withHeader(FrameKind.SIGNAL, frame.channel, utf8(JSON.stringify(frame.payload)));
    case "data":
      return withHeader(FrameKind.DATA, frame.channel, frame.bytes);
    case "credit": {
      const amount = new Uint8Array(4);
      writeUint32(amount, 0, frame.amount);
      return withHeader(FrameKind.CREDIT, frame.channel, amount);
    }
    case "end":
      return withHeader(FrameKind.END, frame.channel, EMPTY);
    case "close":
      return withHeader(FrameKind.CLOSE, frame.channel, utf8(JSON.stringify({ code: frame.code, message: frame.message })));
  }
}

function withHeader(kind: FrameKind, channel: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER + payload.length);
  bytes[0] = kind;
  writeUint32(bytes, 1, channel);
  bytes.set(payload, HEADER);
  return bytes;
}

/** Decodes one frame. DATA bytes are a view of `bytes`, not a copy. */
export function decodeFrame(bytes: Uint8Array): Result<Frame, TunnelError> {
  if (bytes.length < HEADER) return err("frame_too_short");
  if (bytes.length > LIMITS.tunnel.frame) return err("frame_too_large");
  const channel = readUint32(bytes, 1);
  const payload = bytes.subarray(HEADER);
  switch (bytes[0]) {
    case FrameKind.DATA:
      return payload.length === 0 ? err("payload_malformed") : ok({ kind: "data", channel, bytes: payload });
    case FrameKind.CREDIT: {
      if (payload.length !== 4) return err("payload_malformed");
      const amount = readUint32(payload, 0);
      return amount === 0 ? err("payload_malformed") : ok({ kind: "credit", channel, amount });
    }
    case FrameKind.END:
      return payload.length === 0 ? ok({ kind: "end", channel }) : err("payload_malformed");
    case FrameKind.OPEN:
    case FrameKind.OPENED:
    case FrameKind.SIGNAL: {
      const json = decodeJson(payload);
      if (!json.ok) return json;
      const kind = bytes[0] === FrameKind.OPEN ? "open" : bytes[0] === FrameKind.OPENED ? "opened" : "signal";
      return ok({ kind, channel, payload: json.value });
    }
    case FrameKind.CLOSE: {
      const json = decodeJson(payload);
      if (!json.ok) return json;
      const { code, message } = (json.value ?? {}) as { code?: unknown; message?: unknown };
      if (typeof code !== "string" || typeof message !== "string") return err("payload_malformed");
      return ok({ kind: "close", channel, code, message });
    }
    default:
      return err("kind_unknown");
  }
}

function decodeJson(payload: Uint8Array): Result<unknown, TunnelError> {
  if (payload.length > LIMITS.tunnel.json) return err("frame_too_large");
  const text = fromUtf8(payload);
  if (text === undefined) return err("payload_malformed");
  try {
    return ok(JSON.parse(text) as unknown);
  } catch {
    return err("payload_malformed");
  }
}

/** One end of one channel. Plain data. */
export type Channel = {
  phase: "opening" | "open" | "closed";
  /** Bytes that we may still send. */
  sendCredit: number;
  /** Bytes that the peer may still send. */
  receiveCredit: number;
  weEnded: boolean;
  theyEnded: boolean;
};

/** One end of a tunnel. Plain data, so that a hibernating object can store it. */
export type Tunnel = { channels: Record<number, Channel> };

const MAX_CREDIT = 0x7fffffff;

export function newTunnel(): Tunnel {
  return { channels: {} };
}

/** Registers a channel. `open` for channel 0 of the shim's socket and for an accepted OPEN, else `opening`. */
export function addChannel(tunnel: Tunnel, channel: number, phase: "opening" | "open"): Result<Channel, TunnelError> {
  if (tunnel.channels[channel] !== undefined) return err("channel_in_use");
  if (Object.keys(tunnel.channels).length >= LIMITS.tunnel.channels) return err("channels_over_limit");
  const window = LIMITS.tunnel.window;
  const added: Channel = { phase, sendCredit: window, receiveCredit: window, weEnded: false, theyEnded: false };
  tunnel.channels[channel] = added;
  return ok(added);
}

/**
 * Checks a frame that arrived against the channel's state and credit and applies it. An error means that
 * the peer broke the protocol: close the whole tunnel.
 */
export function receiveFrame(tunnel: Tunnel, frame: Frame): Result<Frame, TunnelError> {
  if (frame.kind === "open") {
    const added = addChannel(tunnel, frame.channel, "opening");
    return added.ok ? ok(frame) : added;
  }
  const channel = tunnel.channels[frame.channel];
  if (channel === undefined) {
    // A CREDIT or CLOSE may cross our own CLOSE on the wire.
    return frame.kind === "credit" || frame.kind === "close" || frame.kind === "data" || frame.kind === "end" || frame.kind === "signal"
      ? err("channel_unknown")
      : err("illegal_in_state");
  }
  switch (frame.kind) {
    case "opened":
      if (channel.phase !== "opening") return err("illegal_in_state");
      channel.phase = "open";
      return ok(frame);
    case "data":
      if (channel.phase === "closed") return ok(frame);
      if (channel.phase !== "open") return err("illegal_in_state");
      if (channel.theyEnded) return err("data_after_end");
      if (frame.bytes.length > channel.receiveCredit) return err("credit_overrun");
      channel.receiveCredit -= frame.bytes.length;
      return ok(frame);
    case "credit":
      if (channel.sendCredit + frame.amount > MAX_CREDIT) return err("credit_overflow");
      channel.sendCredit += frame.amount;
      return ok(frame);
    case "end":
      if (channel.phase === "opening") return err("illegal_in_state");
      channel.theyEnded = true;
      return ok(frame);
    case "close":
      delete tunnel.channels[frame.channel];
      return ok(frame);
    case "signal":
      return ok(frame);
  }
}

/** How many bytes may be sent on the channel now, at most one chunk. */
export function sendable(tunnel: Tunnel, channel: number): number {
  const state = tunnel.channels[channel];
  if (state === undefined || state.phase !== "open" || state.weEnded) return 0;
  return Math.min(state.sendCredit, LIMITS.tunnel.chunk);
}

/** Accounts for `length` bytes that we send; the caller asked `sendable` first. */
export function spend(tunnel: Tunnel, channel: number, length: number): void {
  const state = tunnel.channels[channel];
  if (state === undefined || length > state.sendCredit) throw new Error("spent more credit than there is");
  state.sendCredit -= length;
}

/** Accounts for `amount` bytes that we consumed and give the peer back as CREDIT. */
export function grantCredit(tunnel: Tunnel, channel: number, amount: number): void {
  const state = tunnel.channels[channel];
  if (state !== undefined) state.receiveCredit += amount;
}
