/**
 * Putting an idle session down, so that the platform may hibernate it, and finding it again. A session with a
 * client is written down whole once it is idle; whatever happens then first deletes what was written, so that
 * nothing is ever taken up as it was before. A session of requests only lets its connector go.
 */
import type { Tunnel } from "../../../wire/tunnel.ts";
import type { Grant } from "../../policy/grant.ts";
import type { SessionCounts } from "../control/types.ts";
import type { Meta } from "../meta.ts";

/** What survives hibernation, one JSON row. */
export type Frozen = {
  readonly grant: Grant;
  readonly counts: SessionCounts;
  readonly driver: string;
  readonly client: Tunnel;
  readonly connector: Tunnel | undefined;
};

/** An idle session is written down after this many milliseconds, and may then hibernate. */
export const IDLE_MS = 2000;

/** What is to be kept of the session; `rests`: nothing; `busy`: it cannot be put down yet. */
export type PutDown = (idleFor: number) => Frozen | "rests" | "busy";

export class Hibernation {
  readonly #meta: Meta;
  readonly #putDown: PutDown;
  #active = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Storage has this session as it was when it was last idle. */
  #stored = false;

  constructor(meta: Meta, putDown: PutDown) {
    this.#meta = meta;
    this.#putDown = putDown;
  }

  /** Something happens: the session must not be taken up as it was before. Without the row it ends instead. */
  disturb(): void {
    if (this.#stored) this.#meta.delete("frozen");
    this.#stored = false;
  }

  /** A turn is over; the session may be idle now. */
  rest(): void {
    this.#active = Date.now();
    if (this.#timer === undefined) this.#timer = setTimeout(() => this.#tryPutDown(), IDLE_MS);
  }

  #tryPutDown(): void {
    this.#timer = undefined;
    const kept = this.#putDown(Date.now() - this.#active);
    if (kept === "rests") return;
    if (kept === "busy") {
      // A timer also keeps the object in memory while an operation runs or is held.
      this.#timer = setTimeout(() => this.#tryPutDown(), IDLE_MS);
      return;
    }
    this.#meta.set("frozen", JSON.stringify(kept));
    this.#stored = true;
  }

  /** What was written down; undefined when the session was not idle: what it knew is lost. */
  stored(): Frozen | undefined {
    const text = this.#meta.get("frozen");
    if (text === undefined) return undefined;
    this.#stored = true;
    return JSON.parse(text) as Frozen;
  }
}
