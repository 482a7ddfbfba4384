/** Filters (RFC 7644 section 3.4.2.2), as far as identity providers ask: equality, joined by `and`. Pure. */
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type ScimError, scimError } from "./messages.ts";

export type Condition = { readonly attribute: string; readonly value: string | boolean };

const CONDITION =
  /^\s*(?:urn:ietf:params:scim:schemas:core:2\.0:(?:User|Group):)?([A-Za-z][\w$-]*(?:\.[A-Za-z]+)?)\s+eq\s+("(?:[^"\\]|\\.)*"|true|false)/i;
const AND = /^\s+and\s+/i;

/** Every condition has to hold. Only these attributes may be asked for; they come back as they are written here. */
export function parseFilter(
  text: string,
  attributes: readonly string[],
): Result<readonly Condition[], ScimError> {
  const conditions: Condition[] = [];
  let rest = text;
  if (text.length > LIMITS.scim.filter) return err(bad(attributes));
  for (;;) {
    const match = CONDITION.exec(rest);
    const named = match?.[1]?.toLowerCase();
    const attribute = attributes.find((one) => one.toLowerCase() === named);
    const value = readValue(match?.[2] ?? "");
    if (match === null || attribute === undefined || value === undefined) return err(bad(attributes));
    conditions.push({ attribute, value });
    rest = rest.slice(match[0].length);
    if (rest.trim() === "") return ok(conditions);
    const and = AND.exec(rest);
    if (and === null) return err(bad(attributes));
    rest = rest.slice(and[0].length);
  }
}

function readValue(text: string): string | boolean | undefined {
  try {
    const value: unknown = JSON.parse(text.startsWith('"') ? text : text.toLowerCase());
    return typeof value === "string" || typeof value === "boolean" ? value : undefined;
  } catch {
    return undefined;
  }
}

function bad(attributes: readonly string[]): ScimError {
  const known = attributes.map((one) => `${one} eq "…"`).join(", ");
  return scimError(400, `a filter may be ${known}, joined by and`, "invalidFilter");
}
