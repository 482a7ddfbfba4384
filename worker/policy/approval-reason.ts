/** The requester's own words for reviewers. They decide nothing. */
import { LIMITS } from "../../wire/limits.ts";
import { blockComments } from "./masks/tokens.ts";

const OPENING = /^\**\s*reason:/i;
const CONTROL = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]+/gu;

/** What the first comment of an SQL statement that begins with `reason:` says after it: `/* reason: ticket 4711 *\/`. */
export function reasonIn(text: string): string | undefined {
  for (const comment of blockComments(text)) {
    const opening = OPENING.exec(comment);
    if (opening === null) continue;
    const reason = comment.slice(opening[0].length).replace(CONTROL, " ").trim().slice(0, LIMITS.http.reason);
    if (reason !== "") return reason;
  }
  return undefined;
}
