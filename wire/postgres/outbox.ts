/**
 * Collects the effects of one step in order. Bytes for one side that lie next to each other in memory become
 * one effect, so that a chunk of a thousand untouched rows leaves as the one view that it came as. What is
 * reported about delivered bytes follows the `toClient` that delivers them.
 */
import type { Effect } from "./machine-types.ts";

export type Outbox = {
  readonly effects: Effect[];
  /** Reports that follow the bytes of the run. */
  reports: Effect[];
  run: { buffer: ArrayBufferLike; start: number; end: number } | undefined;
};

export function newOutbox(): Outbox {
  return { effects: [], reports: [], run: undefined };
}

export function toClient(out: Outbox, bytes: Uint8Array): void {
  const run = out.run;
  if (run !== undefined && run.buffer === bytes.buffer && run.end === bytes.byteOffset) {
    run.end += bytes.length;
    return;
  }
  flush(out);
  out.run = { buffer: bytes.buffer, start: bytes.byteOffset, end: bytes.byteOffset + bytes.length };
}

/** A report about what the client was given (or not), after the bytes given so far. */
export function report(out: Outbox, effect: Effect): void {
  out.reports.push(effect);
}

export function toServer(out: Outbox, bytes: Uint8Array): void {
  const last = out.effects.at(-1);
  if (
    last?.kind === "toServer" &&
    last.bytes.buffer === bytes.buffer &&
    last.bytes.byteOffset + last.bytes.length === bytes.byteOffset &&
    out.run === undefined &&
    out.reports.length === 0
  ) {
    const joined = new Uint8Array(bytes.buffer, last.bytes.byteOffset, last.bytes.length + bytes.length);
    out.effects[out.effects.length - 1] = { kind: "toServer", bytes: joined };
    return;
  }
  effect(out, { kind: "toServer", bytes });
}

/** Any other effect, after everything so far. */
export function effect(out: Outbox, made: Effect): void {
  flush(out);
  out.effects.push(made);
}

export function flush(out: Outbox): void {
  if (out.run !== undefined) {
    const { buffer, start, end } = out.run;
    out.effects.push({ kind: "toClient", bytes: new Uint8Array(buffer, start, end - start) });
    out.run = undefined;
  }
  if (out.reports.length > 0) {
    for (const made of out.reports) out.effects.push(made);
    out.reports = [];
  }
}
