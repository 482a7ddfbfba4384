/** What a session did just before something is held, read from its own recording, for reviewers. */
import { LIMITS } from "../../../wire/limits.ts";
import type { EarlierOperation } from "../../policy/approval.ts";
import type { ChainedEvent } from "../recording/chain.ts";

/** Events in which an operation of a protocol ran or was refused; each has its words in `text`. */
const OPERATIONS: ReadonlySet<string> = new Set(["statement", "refusal", "exec", "operation", "request"]);

type Read = {
  readonly type?: unknown;
  readonly text?: unknown;
  readonly operation?: unknown;
  readonly rowCount?: unknown;
  readonly decision?: { readonly effect?: unknown };
};

/** The last operations of these events, oldest first, at most LIMITS.approvals.before. */
export function earlierOperations(events: readonly ChainedEvent[]): EarlierOperation[] {
  const found = new Map<unknown, EarlierOperation>();
  for (const { at, json, seq } of events) {
    const { body } = JSON.parse(json) as { body: Read };
    const { type, text, operation = `seq ${seq}`, decision, rowCount } = body;
    if (typeof type !== "string") continue;
    if (OPERATIONS.has(type) && typeof text === "string") {
      const effect = decision?.effect;
      found.set(operation, {
        at: Date.parse(at),
        text: text.slice(0, LIMITS.approvals.beforeText),
        effect: effect === "hold" || effect === "deny" ? effect : "allow",
      });
    } else if (type === "result" && typeof rowCount === "number") {
      const earlier = found.get(operation);
      if (earlier !== undefined) found.set(operation, { ...earlier, rows: (earlier.rows ?? 0) + rowCount });
    }
  }
  return [...found.values()].slice(-LIMITS.approvals.before);
}
