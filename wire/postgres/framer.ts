/**
 * Cuts one direction of a PostgreSQL connection into messages (PostgreSQL docs 54.1) without trusting the
 * lengths in it: the caller looks at type and length with `peekHeader` before a byte of the body is waited for,
 * and then takes the message whole, passes its body on as pieces, or drops it.
 *
 * Bytes are kept as the chunks they came in. What is handed out is a view of a chunk wherever the message lies
 * in one, and a copy only where it spans several. Small chunks that have to wait are packed together, so that a
 * peer which sends single bytes cannot cost an object for each.
 */
import { EMPTY, readUint32 } from "../bytes.ts";
import { HEADER } from "./messages.ts";

/** Chunks at least this long are kept as they are while they wait; shorter ones are packed. */
const PACK_BELOW = 2048;
const PACK_SIZE = 16 << 10;

export type Framer = {
  chunks: Uint8Array[];
  /** Index of the first chunk that still has bytes, and the offset in it. */
  first: number;
  at: number;
  /** Bytes not taken yet. */
  buffered: number;
  /** Buffer behind the last chunk when that is a packed one. */
  pack: Uint8Array | undefined;
  /** Bytes of a message body still to come that are passed on or dropped as pieces. */
  passing: number;
};

export function newFramer(): Framer {
  return { chunks: [], first: 0, at: 0, buffered: 0, pack: undefined, passing: 0 };
}

/** Takes over `bytes`: the caller must not change them afterwards. */
export function push(framer: Framer, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  if (framer.buffered === 0) {
    framer.chunks = [bytes];
    framer.first = 0;
    framer.at = 0;
    framer.pack = undefined;
  } else if (bytes.length < PACK_BELOW) {
    const last = framer.chunks.length - 1;
    const used = framer.pack === undefined ? 0 : (framer.chunks[last]?.length ?? 0);
    if (framer.pack !== undefined && used + bytes.length <= PACK_SIZE) {
      framer.pack.set(bytes, used);
      framer.chunks[last] = framer.pack.subarray(0, used + bytes.length);
    } else {
      framer.pack = new Uint8Array(PACK_SIZE);
      framer.pack.set(bytes);
      framer.chunks.push(framer.pack.subarray(0, bytes.length));
    }
  } else {
    framer.chunks.push(bytes);
    framer.pack = undefined;
  }
  framer.buffered += bytes.length;
}

/** The byte at `offset` from the front; the caller has checked that it is buffered. */
function byteAt(framer: Framer, offset: number): number {
  let at = framer.at + offset;
  for (let i = framer.first; i < framer.chunks.length; i++) {
    const chunk = framer.chunks[i] ?? EMPTY;
    if (at < chunk.length) return chunk[at] ?? 0;
    at -= chunk.length;
  }
  return 0;
}

/** Type byte at the front; needs one buffered byte. */
export function peekType(framer: Framer): number {
  return byteAt(framer, 0);
}

/** The unsigned 32-bit integer at `offset` from the front; needs its four bytes buffered. */
export function peekUint32(framer: Framer, offset: number): number {
  const chunk = framer.chunks[framer.first] ?? EMPTY;
  if (framer.at + offset + 4 <= chunk.length) return readUint32(chunk, framer.at + offset);
  return (
    ((byteAt(framer, offset) << 24) |
      (byteAt(framer, offset + 1) << 16) |
      (byteAt(framer, offset + 2) << 8) |
      byteAt(framer, offset + 3)) >>>
    0
  );
}

/** Takes `length` bytes off the front; they must be buffered. A view unless they span chunks. */
export function take(framer: Framer, length: number): Uint8Array {
  const chunk = framer.chunks[framer.first] ?? EMPTY;
  if (framer.at + length <= chunk.length) {
    const taken = chunk.subarray(framer.at, framer.at + length);
    advance(framer, length);
    return taken;
  }
  const whole = new Uint8Array(length);
  for (let filled = 0; filled < length;) {
    const part = takePart(framer, length - filled);
    whole.set(part, filled);
    filled += part.length;
  }
  return whole;
}

/** Takes at most `limit` bytes that lie in one chunk. */
export function takePart(framer: Framer, limit: number): Uint8Array {
  const chunk = framer.chunks[framer.first] ?? EMPTY;
  const length = Math.min(limit, chunk.length - framer.at);
  const taken = chunk.subarray(framer.at, framer.at + length);
  advance(framer, length);
  return taken;
}

function advance(framer: Framer, length: number): void {
  framer.at += length;
  framer.buffered -= length;
  const chunk = framer.chunks[framer.first];
  if (chunk === undefined || framer.at < chunk.length) return;
  framer.at = 0;
  framer.first++;
  if (framer.first === framer.chunks.length) {
    framer.chunks = [];
    framer.first = 0;
    framer.pack = undefined;
  } else if (framer.first > 64) {
    framer.chunks = framer.chunks.slice(framer.first);
    framer.first = 0;
  }
}

/**
 * Takes the run of whole messages of one type that lies at the front of the first chunk, as one view.
 * Stops before a message whose length is outside `minimum` to `maximum` (length word, which counts itself).
 * The count is left in `runCount` of the result; an empty view means that there is none.
 */
export function takeRun(
  framer: Framer,
  type: number,
  minimum: number,
  maximum: number,
): { bytes: Uint8Array; count: number } {
  const chunk = framer.chunks[framer.first] ?? EMPTY;
  const end = chunk.length;
  let at = framer.at;
  let count = 0;
  while (at + HEADER <= end && chunk[at] === type) {
    const length = readUint32(chunk, at + 1);
    if (length < minimum || length > maximum || at + 1 + length > end) break;
    at += 1 + length;
    count++;
  }
  if (count === 0) return { bytes: EMPTY, count };
  const bytes = chunk.subarray(framer.at, at);
  advance(framer, bytes.length);
  return { bytes, count };
}
