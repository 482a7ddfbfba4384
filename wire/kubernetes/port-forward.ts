/**
 * What the gateway looks at in a port-forward: SPDY/3 (draft-mbelshe-httpbis-spdy-00) inside the binary messages of a
 * WebSocket with the subprotocol `SPDY/3.1+portforward.k8s.io`. Each forwarded connection is two streams, one for
 * errors and one for data. Frames are counted and limited; what is in them passes unread, the headers that name the
 * port too, because they are compressed.
 *
 *   control   1 | version (15) | type (16)     data   0 | stream (31)
 *             flags (8) | length (24)                 flags (8) | length (24)
 */
import { readUint32 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { type Result, err, ok } from "../result.ts";

export const PORT_FORWARD_PROTOCOL = "SPDY/3.1+portforward.k8s.io";

const VERSION = 3;
const TYPES = {
  synStream: 1,
  synReply: 2,
  rstStream: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
};
const KNOWN = new Set(Object.values(TYPES));
const FIN = 0x01;
/** Streams of one forwarded connection. */
const STREAMS = 2;
/** A frame's header and the stream that a control frame is about. */
const HEAD = 12;

type Direction = "client" | "server";

type Reader = {
  /** Beginning of a frame that is not whole yet. */
  readonly head: Uint8Array;
  /** Bytes of `head` that are there, and bytes of the frame that pass unread. */
  filled: number;
  skip: number;
};

export class PortForwardMeter {
  readonly #readers: Readonly<Record<Direction, Reader>> = { client: newReader(), server: newReader() };
  /** Sides of each stream that are still open. */
  readonly #open = new Map<number, Set<Direction>>();
  #streams = 0;
  readonly #bytes: Record<Direction, number> = { client: 0, server: 0 };

  /** Connections that were forwarded, and bytes of data in each direction. */
  get summary(): { readonly connections: number; readonly sent: number; readonly received: number } {
    return {
      connections: Math.ceil(this.#streams / STREAMS),
      sent: this.#bytes.client,
      received: this.#bytes.server,
    };
  }

  /** Follows what one side sent, however it was cut. After an error the tunnel is of no use any more. */
  push(from: Direction, bytes: Uint8Array): Result<void, "malformed" | "over_limit"> {
    const reader = this.#readers[from];
    let at = 0;
    while (at < bytes.length) {
      if (reader.skip > 0) {
        const taken = Math.min(reader.skip, bytes.length - at);
        reader.skip -= taken;
        at += taken;
        continue;
      }
      // A frame's head is eight bytes; of those about a stream its number follows.
      const wanted = reader.filled < 8 ? 8 : headLength(reader.head);
      if (reader.filled < wanted) {
        const piece = bytes.subarray(at, at + wanted - reader.filled);
        reader.head.set(piece, reader.filled);
        reader.filled += piece.length;
        at += piece.length;
      }
      if (reader.filled < 8 || reader.filled < headLength(reader.head)) continue;
      const taken = this.#frame(from, reader);
      if (!taken.ok) return taken;
    }
    return ok(undefined);
  }

  #frame(from: Direction, reader: Reader): Result<void, "malformed" | "over_limit"> {
    const { head } = reader;
    const first = readUint32(head, 0);
    const flags = head[4] ?? 0;
    const length = frameLength(head);
    if (length > LIMITS.kubernetes.frame) return err("over_limit");
    reader.skip = length - (reader.filled - 8);
    reader.filled = 0;
    if (first < 0x80000000) {
      this.#bytes[from] += length;
      if (flags & FIN) this.#close(first, from);
      return ok(undefined);
    }
    const type = first & 0xffff;
    if (((first >>> 16) & 0x7fff) !== VERSION || !KNOWN.has(type)) return err("malformed");
    const stream = readUint32(head, 8) & 0x7fffffff;
    // Both name a stream, and it was read above.
    const least = type === TYPES.synStream ? 10 : type === TYPES.rstStream ? 8 : 0;
    if (length < least) return err("malformed");
    if (type === TYPES.synStream) {
      if (from === "server" || this.#open.has(stream)) return err("malformed");
      if (this.#open.size >= LIMITS.kubernetes.connections * STREAMS) return err("over_limit");
      this.#streams++;
      this.#open.set(stream, new Set(["client", "server"]));
    }
    if (type === TYPES.rstStream) this.#open.delete(stream);
    else if ((type === TYPES.synStream || type === TYPES.synReply || type === TYPES.headers) && flags & FIN)
      this.#close(stream, from);
    return ok(undefined);
  }

  #close(stream: number, side: Direction): void {
    const sides = this.#open.get(stream);
    sides?.delete(side);
    if (sides?.size === 0) this.#open.delete(stream);
  }
}

function newReader(): Reader {
  return { head: new Uint8Array(HEAD), filled: 0, skip: 0 };
}

function frameLength(head: Uint8Array): number {
  return readUint32(head, 4) & 0xffffff;
}

/** Of a control frame with four bytes and more these say which stream it is about. */
function headLength(head: Uint8Array): number {
  const control = (head[0] ?? 0) >= 0x80;
  return control && frameLength(head) >= 4 ? HEAD : 8;
}
