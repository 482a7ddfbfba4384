/**
 * What a session tells the index of its operations (control/operations.ts), read from its recording's events as
 * they are written. Sent at most once a second, with a bounded number of lines, so that a busy session costs the
 * Control object one call.
 */
import type { Effect, OperationLine, OperationReport } from "../control/operations.ts";
import type { EventBody } from "../recording/chain.ts";

/** Events in which an operation begins or is refused. */
const BEGINS: ReadonlySet<string> = new Set(["statement", "operation", "hold", "refusal"]);
const TEXT = 1_000;
const MOST_LINES = 200;
const MOST_RELATIONS = 200;

export class IndexFeed {
  /** By the operation's number, lines that are not sent yet. */
  #lines = new Map<unknown, OperationLine>();
  /** Operations that were sent and whose rows are not known yet, so that they can be sent again with them. */
  #sent = new Map<unknown, OperationLine>();
  /** Operations that were counted as held; each begins once more when it runs or is refused. */
  readonly #held = new Set<unknown>();
  #effects: Record<Effect, number> = { allow: 0, hold: 0, deny: 0 };
  #relations = new Map<string, [number, number]>();

  add(seq: number, at: number, body: EventBody): void {
    const { type, operation = `seq ${seq}` } = body;
    if (type === "result" || type === "error") {
      const known = this.#lines.get(operation) ?? this.#sent.get(operation);
      const rows = body["rowCount"];
      if (known === undefined || typeof rows !== "number") return;
      this.#sent.delete(operation);
      this.#lines.set(operation, { ...known, rows: (known.rows ?? 0) + rows });
      return;
    }
    const text = body["text"];
    if (!BEGINS.has(type) || typeof text !== "string") return;
    if (this.#held.delete(operation)) return;
    const effect = effectOf(type, body["decision"]);
    if (type === "hold" && this.#held.size < MOST_LINES) this.#held.add(operation);
    const [reads, writes] = [names(body["reads"]), names(body["writes"])];
    this.#effects[effect]++;
    for (const relation of reads) this.#touch(relation, 0);
    for (const relation of writes) this.#touch(relation, 1);
    if (this.#lines.size >= MOST_LINES) return;
    const relations = [...new Set([...reads, ...writes])].slice(0, MOST_RELATIONS);
    const actions = names(body["actions"]);
    this.#lines.set(operation, { seq, at, text: text.slice(0, TEXT), actions, relations, effect });
  }

  /** What is to be sent now; undefined when nothing happened. */
  take(): OperationReport | undefined {
    const { allow, hold, deny } = this.#effects;
    if (this.#lines.size === 0 && allow + hold + deny === 0) return undefined;
    const report: OperationReport = {
      lines: [...this.#lines.values()],
      effects: this.#effects,
      relations: Object.fromEntries(this.#relations),
    };
    // Only the last ones can still get rows.
    this.#sent = new Map([...this.#lines].filter(([, { rows }]) => rows === undefined).slice(-MOST_LINES));
    this.#lines = new Map();
    this.#effects = { allow: 0, hold: 0, deny: 0 };
    this.#relations = new Map();
    return report;
  }

  #touch(relation: string, index: 0 | 1): void {
    const counts = this.#relations.get(relation) ?? [0, 0];
    if (!this.#relations.has(relation) && this.#relations.size >= MOST_RELATIONS) return;
    counts[index]++;
    this.#relations.set(relation, counts);
  }
}

function effectOf(type: string, decision: unknown): Effect {
  if (type === "hold") return "hold";
  const effect = (decision as { readonly effect?: unknown } | undefined)?.effect;
  if (type === "refusal") return effect === "hold" ? "hold" : "deny";
  return effect === "hold" || effect === "deny" ? effect : "allow";
}

function names(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item): item is string => typeof item === "string") : [];
}
