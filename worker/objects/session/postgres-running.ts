/** Operations that were forwarded and have not ended: their results on the way into the recording. */
import type { Ask, Field } from "../../../wire/postgres/machine-types.ts";
import type { EventBody } from "../recording/chain.ts";
import { OperationResult } from "./postgres-results.ts";
import type { Judged } from "./postgres-statements.ts";

/** Row bytes that gather before they become an event of their own; smaller results share the result's event. */
const ROWS_EVENT = 128 << 10;

export type RunningOperation = {
  readonly ask: Ask;
  readonly judged: Judged;
  readonly result: OperationResult;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  /** Statements of the message that have completed. */
  statements: number;
};

export class RunningOperations {
  readonly #running = new Map<number, RunningOperation>();

  get size(): number {
    return this.#running.size;
  }

  /** Whether the server may be running a statement, not only parsing one. */
  get executing(): boolean {
    return [...this.#running.values()].some(({ ask }) => ask.kind === "query" || ask.kind === "execute");
  }

  /** `keep`: bytes of rows that the recording takes at most. */
  start(ask: Ask, judged: Judged, keep: number, now: number): void {
    this.#running.set(ask.id, {
      ask,
      judged,
      result: new OperationResult(keep),
      startedAt: now,
      statements: 0,
    });
  }

  get(id: number): RunningOperation | undefined {
    return this.#running.get(id);
  }

  columns(id: number, fields: readonly Field[]): void {
    this.#running.get(id)?.result.columns(fields);
  }

  /** Rows that the client was given; an event when enough have gathered. */
  delivered(id: number, bytes: Uint8Array, rows: number): EventBody | undefined {
    const running = this.#running.get(id);
    running?.result.delivered(bytes, rows);
    const event = running?.result.takeRows(ROWS_EVENT);
    return event === undefined ? undefined : { ...event, operation: id };
  }

  /** One statement of the operation completed with this tag. */
  completed(id: number, tag: string, now: number): EventBody {
    const running = this.#running.get(id);
    if (running === undefined) return { type: "result", operation: id, tag };
    const { result, startedAt } = running;
    const rows = result.takeRows(1);
    const summary = result.summary();
    result.next();
    running.statements++;
    return { ...rows, type: "result", operation: id, tag, ...summary, milliseconds: now - startedAt };
  }

  /** The operation ended with an error of the server's, as the client was told it. */
  failed(id: number, sqlstate: string, message: string, now: number): EventBody {
    const running = this.#running.get(id);
    this.#running.delete(id);
    const rows = running?.result.takeRows(1);
    const time = running === undefined ? {} : { milliseconds: now - running.startedAt };
    return { ...rows, type: "error", operation: id, sqlstate, message, ...time };
  }

  end(id: number): void {
    this.#running.delete(id);
  }

  /** Operations up to this id have ended; a client that pipelines may have later ones under way. */
  endUpTo(id: number): void {
    for (const running of this.#running.keys()) if (running <= id) this.#running.delete(running);
  }
}
