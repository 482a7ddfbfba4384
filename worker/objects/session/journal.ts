/**
 * What a session has done: its recording, its counts, what the index is told of both, and who waits to read
 * more. Events gather during a turn; `flush` writes them before anything of the turn leaves the object.
 */
import type { SessionCounts } from "../control/types.ts";
import type { OperationReport } from "../control/operations.ts";
import type { ChainedEvent, ChainHead, EventBody } from "../recording/chain.ts";
import { Recorder } from "../recording/recorder.ts";
import { IndexFeed } from "./index-feed.ts";

/** The index is told of what was done after this many milliseconds. */
const FEED_MS = 1000;

/** The index of sessions in the Control object. Neither call may reject. */
export type JournalIndex = {
  readonly add: (counts: SessionCounts, report: OperationReport) => void;
  readonly end: (at: number, reason: string, counts: SessionCounts) => void;
};

export type ReadEvents = {
  readonly events: ChainedEvent[];
  readonly head: ChainHead | undefined;
  readonly more: boolean;
};

export class Journal {
  readonly #sql: SqlStorage;
  readonly #index: JournalIndex;
  readonly #feed = new IndexFeed();
  /** Who waits for the recording to go on. */
  readonly #waiting = new Set<() => void>();
  #recorder: Recorder | undefined;
  #counts: SessionCounts = { operations: 0, denied: 0, held: 0, rows: 0 };
  #feedTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(sql: SqlStorage, index: JournalIndex) {
    this.#sql = sql;
    this.#index = index;
  }

  /** Begins the recording of the session of this name, or takes it up where it was. */
  open(session: string): void {
    this.#recorder = new Recorder(this.#sql, session);
  }

  /** Events of the recording by now. */
  get length(): number {
    return this.#recorder?.head.seq ?? 0;
  }

  get counts(): SessionCounts {
    return this.#counts;
  }

  set counts(counts: SessionCounts) {
    this.#counts = counts;
  }

  count(what: keyof SessionCounts, by: number): void {
    this.#counts = { ...this.#counts, [what]: this.#counts[what] + by };
  }

  record(body: EventBody): void {
    if (this.#recorder === undefined) throw new Error("nothing may happen before the session has started");
    const at = new Date();
    this.#recorder.record(at, body);
    this.#feed.add(this.#recorder.head.seq, at.getTime(), body);
  }

  /** Writes this turn's events. @throws when it cannot: then nothing of the turn may take effect. */
  flush(): void {
    this.#recorder?.flush();
  }

  /** What was flushed may be told: to who waits for it at once, to the index soon. */
  tell(): void {
    if (this.#waiting.size > 0) for (const wake of [...this.#waiting]) wake();
    this.#feedTimer ??= setTimeout(() => this.#feedIndex(), FEED_MS);
  }

  /** Tells the index what it does not know yet, and that the session is over. */
  tellEnd(reason: string): void {
    clearTimeout(this.#feedTimer);
    this.#feedIndex();
    this.#index.end(Date.now(), reason, this.#counts);
  }

  /** The last events that are written, oldest first. */
  recent(limit: number): ChainedEvent[] {
    return this.#recorder?.recent(limit) ?? [];
  }

  /** Events after `after`; where there are none, waits up to `wait` milliseconds for one while `goesOn`. */
  async read(after: number, limit: number, wait: number, goesOn: () => boolean): Promise<ReadEvents> {
    const until = Date.now() + wait;
    for (let left = wait; left > 0 && goesOn(); left = until - Date.now()) {
      if (this.length > after) break;
      await this.#somethingHappens(left);
    }
    const read = this.#recorder?.read(after, limit) ?? { events: [], more: false };
    return { ...read, head: this.#recorder?.head };
  }

  /** Resolves when a turn has ended, in which something may have been recorded, or after that many milliseconds. */
  #somethingHappens(wait: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, wait);
      this.#waiting.add(wake);
    });
  }

  #feedIndex(): void {
    this.#feedTimer = undefined;
    const report = this.#feed.take();
    if (report !== undefined) this.#index.add(this.#counts, report);
  }
}
