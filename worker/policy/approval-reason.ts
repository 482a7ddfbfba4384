/** The requester's own words for reviewers. They decide nothing. */
import { LIMITS } from "../../wire/limits.ts";

const OPENING = /^\s*\/\*+\s*reason:\s*/i;
const CONTROL = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu;

/** What a statement's leading comment says after `reason:`, as in `/* reason: ticket 4711 *\/ delete …`. */
export function reasonIn(text: string): string | undefined {
  const opening = OPENING.exec(text);
  if (opening === null) return undefined;
  const end = text.indexOf("*/", opening[0].length);
  const reason = text
    .slice(opening[0].length, end === -1 ? opening[0].length : end)
    .replace(CONTROL, " ")
    .trim()
    .slice(0, LIMITS.http.reason);
  return reason === "" ? undefined : reason;
}
