/** `schema.relation` and `schema.relation.column` in configuration, written as in SQL. */
import { type Result, err, ok } from "../../wire/result.ts";

const PART = /"((?:[^"]|"")+)"|([A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*)/y;
const MAX_IDENTIFIER_BYTES = 63;

/**
 * Splits at dots outside double quotes. An unquoted capital is refused instead of folded: who writes
 * `public.Customers` may mean either of two relations, and a mask on the wrong one protects nothing.
 */
export function parseQualifiedName(text: string): Result<readonly string[], string> {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    PART.lastIndex = at;
    const match = PART.exec(text);
    if (match === null) return err("is not a name as SQL writes it");
    const [whole, quoted, plain] = match;
    const part = quoted?.replaceAll('""', '"') ?? plain ?? "";
    if (plain !== undefined && plain !== plain.toLowerCase()) {
      return err(
        `has capitals: write ${plain.toLowerCase()}, or "${plain}" in double quotes if it is really named so`,
      );
    }
    if (new TextEncoder().encode(part).length > MAX_IDENTIFIER_BYTES) {
      return err(`has a part of more than ${MAX_IDENTIFIER_BYTES} bytes, which PostgreSQL would cut off`);
    }
    parts.push(part);
    at += whole.length;
    if (at === text.length) return ok(parts);
    if (text[at] !== ".") return err("is not a name as SQL writes it");
    at++;
  }
}
