/**
 * The tunnel: one framing for every WebSocket that carries protocol bytes (shim <-> Session object,
 * connector <-> Session object). Each binary WebSocket message is one frame, or a batch of them:
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
 *   BATCH   8  frames      several frames in their order, each after its length (uint32), none of them a batch;
 *                          its channel is 0. Between the connector and the gateway only: a WebSocket message
 *                          costs the gateway more than the frames in it.
 *
 * Channel 0 on the shim's socket is open from the start (no OPEN): it is the native client's byte stream.
 * The gateway's side opens odd channels, the other side even ones from 2 up, each in rising order and never
 * one twice. So a frame for a channel that is gone is known to have crossed a CLOSE on the wire and is
 * ignored, while one for a channel that never was breaks the tunnel.
 * Workers give no back-pressure of their own, so each direction of each channel has credit
 * (LIMITS.tunnel.window at first). A peer that sends more than its credit, or gives back more than it was
 * sent, breaks the tunnel.
 *
 *   (none) ── OPEN ──► opening ── OPENED ──► open, each direction until its END
 *                         │                    │
 *                         └────── CLOSE ───────┴──► gone        SIGNAL is legal in opening and open
 *
 * The machine is pure: it holds plain data and returns values. Queueing what cannot be sent yet is the
 * caller's business: `sendable` says how much may go now. Two ENDs do not close a channel, CLOSE does; when
 * both sides send it the second is ignored.
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
  BATCH: 8,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

export type Frame =
  | {
      readonly kind: "open" | "opened" | "signal";
      readonly channel: number;
      readonly payload: unknown;
    }
  | { readonly kind: "data"; readonly channel: number; readonly bytes: Uint8Array }
  | { readonly kind: "credit"; readonly channel: number; readonly amount: number }
  | { readonly kind: "end"; readonly channel: number }
  | {
      readonly kind: "close";
      readonly channel: number;
      readonly code: string;
      readonly message: string;
    };

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
/** Of the length before each frame of a batch. */
const LENGTH = 4;

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
      return withHeader(
        FrameKind.CLOSE,
        frame.channel,
        utf8(JSON.stringify({ code: frame.code, message: frame.message })),
      );
  }
}

function withHeader(kind: FrameKind, channel: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER + payload.length);
  bytes[0] = kind;
  writeUint32(bytes, 1, channel);
  bytes.set(payload, HEADER);
  return bytes;
}

/**
 * WebSocket messages that carry these encoded frames in their order: as few as LIMITS.tunnel.chunk allows, a
 * long frame and one that is alone as they are.
 */
export function batchFrames(frames: readonly Uint8Array[]): Uint8Array[] {
  const messages: Uint8Array[] = [];
  let run: Uint8Array[] = [];
  let size = HEADER;
  const close = (): void => {
    const [only] = run;
    if (only !== undefined) messages.push(run.length === 1 ? only : encodeBatch(run, size));
    run = [];
    size = HEADER;
  };
  for (const frame of frames) {
    if (size + LENGTH + frame.length > LIMITS.tunnel.chunk) close();
    run.push(frame);
    size += LENGTH + frame.length;
  }
  close();
  return messages;
}

function encodeBatch(frames: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  bytes[0] = FrameKind.BATCH;
  let at = HEADER;
  for (const frame of frames) {
    writeUint32(bytes, at, frame.length);
    bytes.set(frame, at + LENGTH);
    at += LENGTH + frame.length;
  }
  return bytes;
}

/** Decodes a WebSocket message that may be a batch. DATA bytes are views of `bytes`, not copies. */
export function decodeFrames(bytes: Uint8Array): Result<readonly Frame[], TunnelError> {
  if (bytes[0] !== FrameKind.BATCH) {
    const frame = decodeFrame(bytes);
    return frame.ok ? ok([frame.value]) : frame;
  }
  if (bytes.length < HEADER) return err("frame_too_short");
  if (bytes.length > LIMITS.tunnel.frame) return err("frame_too_large");
  if (readUint32(bytes, 1) !== 0 || bytes.length === HEADER) return err("payload_malformed");
  const frames: Frame[] = [];
  for (let at = HEADER; at < bytes.length;) {
    if (bytes.length - at < LENGTH) return err("frame_too_short");
    const length = readUint32(bytes, at);
    at += LENGTH;
    if (length > bytes.length - at) return err("frame_too_short");
    // A batch in a batch is a kind that `decodeFrame` does not know.
    const frame = decodeFrame(bytes.subarray(at, at + length));
    if (!frame.ok) return frame;
    frames.push(frame.value);
    at += length;
  }
  return ok(frames);
}

/** Decodes one frame that is no batch. DATA bytes are a view of `bytes`, not a copy. */
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
  phase: "opening" | "open";
  /** Whose OPEN it was; channel 0 is nobody's. Only the other side may answer OPENED. */
  openedBy: "us" | "peer" | undefined;
  /** Bytes that we may still send. */
  sendCredit: number;
  /** Bytes that the peer may still send. */
  receiveCredit: number;
  /** Bytes that we consumed and have not given back yet. */
  owed: number;
  weEnded: boolean;
  theyEnded: boolean;
};

export type TunnelSide = "gateway" | "connector";

/** One end of a tunnel. Plain data, so that a hibernating object can store it. */
export type Tunnel = {
  side: TunnelSide;
  channels: Record<number, Channel>;
  /** Highest channel number ever used, of the even and of the odd ones; -1 for none. */
  highest: { even: number; odd: number };
};

/** `gateway` for the Session object's end of any tunnel, `connector` for the connector's and the shim's. */
export function newTunnel(side: TunnelSide = "gateway"): Tunnel {
  return { side, channels: {}, highest: { even: -1, odd: -1 } };
}

function parity(channel: number): "even" | "odd" {
  return channel % 2 === 0 ? "even" : "odd";
}

function ours(tunnel: Tunnel, channel: number): boolean {
  return parity(channel) === (tunnel.side === "gateway" ? "odd" : "even");
}

/** The number for the next channel that we open. */
export function nextChannel(tunnel: Tunnel): number {
  return tunnel.side === "gateway"
    ? Math.max(tunnel.highest.odd, -1) + 2
    : Math.max(tunnel.highest.even, 0) + 2;
}

/** Registers a channel: `open` for channel 0, `opening` for one whose OPEN we send. */
export function addChannel(
  tunnel: Tunnel,
  channel: number,
  phase: "opening" | "open",
): Result<Channel, TunnelError> {
  return register(tunnel, channel, phase, phase === "open" ? undefined : "us");
}

function register(
  tunnel: Tunnel,
  channel: number,
  phase: "opening" | "open",
  openedBy: "us" | "peer" | undefined,
): Result<Channel, TunnelError> {
  if (channel <= tunnel.highest[parity(channel)]) return err("channel_in_use");
  if (Object.keys(tunnel.channels).length >= LIMITS.tunnel.channels) return err("channels_over_limit");
  const window = LIMITS.tunnel.window;
  const added: Channel = {
    phase,
    openedBy,
    sendCredit: window,
    receiveCredit: window,
    owed: 0,
    weEnded: false,
    theyEnded: false,
  };
  tunnel.channels[channel] = added;
  tunnel.highest[parity(channel)] = channel;
  return ok(added);
}

/** We send OPENED for a channel that the peer opened. False when the channel is gone meanwhile: send nothing. */
export function acceptChannel(tunnel: Tunnel, channel: number): boolean {
  const state = tunnel.channels[channel];
  if (state === undefined || state.phase !== "opening" || state.openedBy !== "peer") return false;
  state.phase = "open";
  return true;
}

/** Whether a channel waits for its OPENED. */
export function isOpening(tunnel: Tunnel, channel: number): boolean {
  return tunnel.channels[channel]?.phase === "opening";
}

/** We send END. False when the channel is gone or has ended already: send nothing. */
export function endChannel(tunnel: Tunnel, channel: number): boolean {
  const state = tunnel.channels[channel];
  if (state === undefined || state.phase !== "open" || state.weEnded) return false;
  state.weEnded = true;
  return true;
}

/** We send CLOSE, or forget a channel. False when it is gone already: send nothing. */
export function closeChannel(tunnel: Tunnel, channel: number): boolean {
  if (tunnel.channels[channel] === undefined) return false;
  delete tunnel.channels[channel];
  return true;
}

/**
 * Checks a frame that arrived against the channel's state and credit and applies it. `undefined` means that
 * the frame is for a channel that we closed: ignore it. An error means that the peer broke the protocol:
 * close the whole tunnel.
 */
export function receiveFrame(tunnel: Tunnel, frame: Frame): Result<Frame | undefined, TunnelError> {
  const number = frame.channel;
  if (frame.kind === "open") {
    if (number === 0 || ours(tunnel, number)) return err("illegal_in_state");
    const added = register(tunnel, number, "opening", "peer");
    return added.ok ? ok(frame) : added;
  }
  const channel = tunnel.channels[number];
  if (channel === undefined) {
    return number <= tunnel.highest[parity(number)] ? ok(undefined) : err("channel_unknown");
  }
  switch (frame.kind) {
    case "opened":
      if (channel.phase !== "opening" || channel.openedBy !== "us") return err("illegal_in_state");
      channel.phase = "open";
      return ok(frame);
    case "data":
      if (channel.phase !== "open") return err("illegal_in_state");
      if (channel.theyEnded) return err("data_after_end");
      if (frame.bytes.length > channel.receiveCredit) return err("credit_overrun");
      channel.receiveCredit -= frame.bytes.length;
      return ok(frame);
    case "credit":
      if (channel.phase !== "open") return err("illegal_in_state");
      if (channel.sendCredit + frame.amount > LIMITS.tunnel.window) return err("credit_overflow");
      channel.sendCredit += frame.amount;
      return ok(frame);
    case "end":
      if (channel.phase !== "open" || channel.theyEnded) return err("illegal_in_state");
      channel.theyEnded = true;
      return ok(frame);
    case "close":
      delete tunnel.channels[number];
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

/** Accounts for `amount` bytes that we consumed and give the peer back as CREDIT at once. */
export function grantCredit(tunnel: Tunnel, channel: number, amount: number): void {
  const state = tunnel.channels[channel];
  if (state === undefined) return;
  if (state.receiveCredit + state.owed + amount > LIMITS.tunnel.window)
    throw new Error("gave back more credit than was spent");
  state.receiveCredit += amount;
}

/**
 * Accounts for `amount` bytes that we consumed. Returns how much CREDIT to send now: 0 until a quarter of the
 * window has gathered, so that small reads do not cost a frame each.
 */
export function consume(tunnel: Tunnel, channel: number, amount: number): number {
  const state = tunnel.channels[channel];
  if (state === undefined || state.theyEnded) return 0;
  state.owed += amount;
  if (state.receiveCredit + state.owed > LIMITS.tunnel.window)
    throw new Error("gave back more credit than was spent");
  if (state.owed < LIMITS.tunnel.window / 4) return 0;
  const given = state.owed;
  state.owed = 0;
  state.receiveCredit += given;
  return given;
}
