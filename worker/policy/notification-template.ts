/** JSON with `${name}` inside strings, for services that want a body of their own, such as one that sends e-mail. */
import { type Result, err, ok } from "../../wire/result.ts";

const PLACE = /\$\{([a-z]{1,32})\}/g;
const NAMES: ReadonlySet<string> = new Set([
  "event",
  "headline",
  "id",
  "url",
  "resource",
  "requester",
  "statement",
  "reason",
  "needs",
  "hash",
  "status",
  "expires",
  "comment",
]);

/**
 * Fills the places. What is put in can only ever be the content of a JSON string: the whole has to be JSON
 * afterwards, and a value cannot add to its structure.
 */
export function fillTemplate(template: string, value: (name: string) => string): Result<string, string> {
  const unknown = [...template.matchAll(PLACE)].find(([, name]) => name !== undefined && !NAMES.has(name));
  if (unknown !== undefined) {
    return err(`${unknown[0]} is not known; there are ${[...NAMES].map((name) => `\${${name}}`).join(", ")}`);
  }
  const filled = template.replace(PLACE, (_, name: string) => JSON.stringify(value(name)).slice(1, -1));
  try {
    JSON.parse(filled);
  } catch {
    return err("is not JSON; write ${…} inside its strings only");
  }
  return ok(filled);
}
