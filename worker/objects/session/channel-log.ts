/**
 * What goes over one SSH channel, or one exec in a container, as it goes into the recording. A terminal is recorded
 * whole: it is the only account of what happened in it. Everything else is kept up to the resource's limit in each
 * direction; beyond it only its length and a digest over all of it.
 *
 * Events: `output` { channel, stream, text | base64 } and `input` { channel, text | base64 }, timed by their own
 * `at`; `channel` at the end with the totals.
 */
import { type Hash, createHash } from "node:crypto";
import { fromUtf8 } from "../../../wire/bytes.ts";
import type { EventBody } from "../recording/chain.ts";
import { toBase64 } from "./postgres-results.ts";

/** Pieces of one direction within one turn become one event of at most this many bytes. */
const EVENT_BYTES = 64 << 10;

type Direction = {
  readonly stream: 0 | 1 | "in";
  bytes: number;
  kept: number;
  digest: Hash | undefined;
  pending: Uint8Array[];
  pendingBytes: number;
};

export class ChannelLog {
  readonly #channel: number;
  readonly #keep: number;
  readonly #record: (body: EventBody) => void;
  readonly #directions: readonly Direction[];

  /** @param keep bytes of each direction that the recording takes; Infinity for a terminal */
  constructor(channel: number, keep: number, record: (body: EventBody) => void) {
    this.#channel = channel;
    this.#keep = keep;
    this.#record = record;
    this.#directions = ([0, 1, "in"] as const).map((stream) => ({
      stream,
      bytes: 0,
      kept: 0,
      digest: undefined,
      pending: [],
      pendingBytes: 0,
    }));
  }

  output(stream: 0 | 1, bytes: Uint8Array): void {
    this.#add(stream, bytes);
  }

  input(bytes: Uint8Array): void {
    this.#add("in", bytes);
  }

  /** Writes what has gathered; at the end of every turn, before anything leaves. */
  flush(): void {
    for (const direction of this.#directions) this.#write(direction);
  }

  /** Totals by direction. */
  summary(): Record<string, unknown> {
    const entries = this.#directions.flatMap((direction) => {
      if (direction.bytes === 0) return [];
      const name = direction.stream === "in" ? "input" : direction.stream === 0 ? "output" : "errorOutput";
      const sha256 = direction.digest?.copy().digest("hex");
      const truncated = direction.bytes > direction.kept ? { truncated: true } : {};
      return [
        [
          name,
          { bytes: direction.bytes, ...truncated, ...(sha256 === undefined ? {} : { sha256 }) },
        ] as const,
      ];
    });
    return Object.fromEntries(entries);
  }

  #add(stream: Direction["stream"], bytes: Uint8Array): void {
    const direction = this.#directions.find((each) => each.stream === stream);
    if (direction === undefined || bytes.length === 0) return;
    // What happened first is written first, whatever its direction.
    for (const other of this.#directions) if (other !== direction) this.#write(other);
    direction.bytes += bytes.length;
    direction.digest ??= createHash("sha256");
    direction.digest.update(bytes);
    const piece = bytes.subarray(0, Math.max(0, this.#keep - direction.kept));
    if (piece.length === 0) return;
    direction.kept += piece.length;
    direction.pending.push(piece);
    direction.pendingBytes += piece.length;
    if (direction.pendingBytes >= EVENT_BYTES) this.#write(direction);
  }

  #write(direction: Direction): void {
    if (direction.pendingBytes === 0) return;
    const bytes = direction.pending.length === 1 ? direction.pending[0] : Buffer.concat(direction.pending);
    direction.pending = [];
    direction.pendingBytes = 0;
    if (bytes === undefined) return;
    const text = fromUtf8(bytes);
    const content = text === undefined ? { base64: toBase64(bytes) } : { text };
    const { stream } = direction;
    this.#record(
      stream === "in"
        ? { type: "input", channel: this.#channel, ...content }
        : { type: "output", channel: this.#channel, stream, ...content },
    );
  }
}
