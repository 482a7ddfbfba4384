/** What goes over the channels of an SSH session: a terminal's to be played, everything else's as text. */
import {
  type TerminalEvent,
  type TerminalHeader,
  asciicastEvent,
  asciicastHeader,
  newAsciicastClock,
} from "../../../wire/ssh/asciicast.ts";

/** Bytes of one direction as text; a character may be cut between two events. */
export class Decoder {
  readonly #decoder = new TextDecoder();

  take(text: unknown, base64: unknown): string {
    if (typeof base64 === "string") return this.#decoder.decode(bytesOf(base64), { stream: true });
    return typeof text === "string"
      ? this.#decoder.decode(new TextEncoder().encode(text), { stream: true })
      : "";
  }
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return new Uint8Array();
  }
}

/** One terminal of a session. */
export class Terminal {
  readonly channel: number;
  readonly header: TerminalHeader;
  readonly #events: TerminalEvent[] = [];
  readonly #output = new Decoder();

  constructor(channel: number, header: TerminalHeader) {
    this.channel = channel;
    this.header = header;
  }

  output(at: number, given: unknown, base64: unknown): void {
    const text = this.#output.take(given, base64);
    if (text !== "") this.#events.push({ kind: "output", at, text });
  }

  resize(at: number, columns: number, rows: number): void {
    this.#events.push({ kind: "resize", at, columns, rows });
  }

  /** How many events there are, to see that there are more. */
  get length(): number {
    return this.#events.length;
  }

  /** As an asciicast, version 2, for the player. What was typed is not in it: the terminal shows it itself. */
  cast(): string {
    const clock = newAsciicastClock(this.header.startedAt);
    return [
      asciicastHeader(2, this.header),
      ...this.#events.map((event) => asciicastEvent(2, clock, event)),
    ].join("");
  }
}
