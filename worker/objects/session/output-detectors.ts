/**
 * Detectors over what a program prints, for a terminal or a command of any protocol (SSH, `kubectl exec`): each
 * stream (standard output, standard error) has its own, and each byte goes on in its place, overwritten or not.
 *
 *   push ──► what may go on now                      held: at most HOLD_BACK bytes, from where a match may
 *     └────► held ──► the next push, `end`, or HOLD_MS without either ──► `late`       have begun
 *
 * Ordinary output passes at once. What a person has just typed comes back as an echo: that passes at once, too,
 * and what completes a match is overwritten all the same.
 */
import type { DetectorKind } from "../../policy/masks/detectors.ts";
import {
  type Detected,
  type Detector,
  createDetector,
  flush,
  push,
  pushThrough,
} from "../../policy/masks/detectors.ts";

/** So long a byte that could begin a match waits for the next one. */
const HOLD_MS = 20;
/** And so long altogether, when what follows comes in drops. */
const HOLD_MOST_MS = 100;
/** An input of so many bytes is a keystroke (or a key's escape sequence), an output of so many its echo. */
const KEYSTROKE = 16;
const ECHO = 128;
/** Keystrokes whose echo has not come. */
const TYPED_AHEAD = 8;

export type OutputDetectorsOptions = {
  /** A turn of the session: what was held is recorded before it is sent. */
  readonly turn: (work: () => void) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Held bytes whose time is up, in a turn. */
  readonly late: (stream: number, bytes: Uint8Array) => void;
  /** Something was found in a stream, before what holds it goes on. Record it; to block, close the channel. */
  readonly found: (stream: number, kinds: readonly DetectorKind[]) => void;
};

type Stream = { detector: Detector; timer: ReturnType<typeof setTimeout> | undefined; since: number };

export class OutputDetectors {
  readonly #options: OutputDetectorsOptions;
  readonly #streams = new Map<number, Stream>();
  #typed = 0;
  #over = false;

  constructor(options: OutputDetectorsOptions) {
    this.#options = options;
  }

  /** Takes bytes of a stream and gives what may go on now, as long as they or shorter, with what was held before them. */
  push(number: number, bytes: Uint8Array): Uint8Array {
    if (this.#over) return new Uint8Array();
    const stream = this.#stream(number);
    const held = stream.detector.held.length;
    const echo = this.#typed > 0 && held === 0 && bytes.length <= ECHO;
    this.#typed = echo ? this.#typed - 1 : 0;
    const taken = (echo ? pushThrough : push)(stream.detector, bytes);
    const passed = this.#take(number, stream, taken);
    this.#wait(number, stream, passed.length >= held);
    return passed;
  }

  /** The client has sent so many bytes to a terminal. */
  typed(length: number): void {
    if (length <= KEYSTROKE) this.#typed = Math.min(TYPED_AHEAD, this.#typed + 1);
  }

  /** The output is complete: what is held of each stream. */
  end(): { readonly stream: number; readonly bytes: Uint8Array }[] {
    const rest: { readonly stream: number; readonly bytes: Uint8Array }[] = [];
    for (const [number, stream] of this.#streams) {
      clearTimeout(stream.timer);
      if (this.#over || stream.detector.held.length === 0) continue;
      rest.push({ stream: number, bytes: this.#take(number, stream, flush(stream.detector)) });
    }
    return this.#over ? [] : rest;
  }

  /** Nothing more goes on, and what is held never will. Call it when the channel is closed. */
  close(): void {
    this.#over = true;
    for (const { timer } of this.#streams.values()) clearTimeout(timer);
    this.#streams.clear();
  }

  #stream(number: number): Stream {
    let stream = this.#streams.get(number);
    if (stream === undefined) {
      stream = { detector: createDetector(undefined, "output"), timer: undefined, since: 0 };
      this.#streams.set(number, stream);
    }
    return stream;
  }

  #take(number: number, stream: Stream, { detector, bytes, found }: Detected): Uint8Array {
    stream.detector = detector;
    if (found.length > 0) this.#options.found(number, found);
    // Whoever was told may have closed this.
    return this.#over ? new Uint8Array() : bytes;
  }

  #wait(number: number, stream: Stream, anew: boolean): void {
    clearTimeout(stream.timer);
    if (this.#over || stream.detector.held.length === 0) return;
    const now = this.#options.now();
    if (anew) stream.since = now;
    const left = Math.max(0, Math.min(HOLD_MS, stream.since + HOLD_MOST_MS - now));
    stream.timer = setTimeout(() => {
      this.#options.turn(() => {
        if (this.#over || stream.detector.held.length === 0) return;
        const bytes = this.#take(number, stream, flush(stream.detector));
        if (bytes.length > 0) this.#options.late(number, bytes);
      });
    }, left);
  }
}
