/** Names of relations and functions as policy sees them. */
import { type Fields, strings, text } from "./walk.ts";

/**
 * `schema.name`, or the bare name. A catalogue (database) qualifier is left out: PostgreSQL takes no other
 * than the current one. A part with a dot or a quote in it is quoted, so that the relation "a.b" is not taken
 * for b in the schema a.
 */
export function qualifiedName(parts: readonly string[]): string {
  return parts.slice(-2).map(part).join(".");
}

function part(name: string): string {
  return name.includes(".") || name.includes('"') ? `"${name.replaceAll('"', '""')}"` : name;
}

/** The name in the fields of a RangeVar. */
export function relationName(rangeVar: Fields): string {
  const schema = text(rangeVar["schemaname"]);
  const name = text(rangeVar["relname"]) ?? "";
  return qualifiedName(schema === undefined ? [name] : [schema, name]);
}

/** The name in a list of String nodes. */
export function listName(names: unknown): string {
  return qualifiedName(strings(names));
}

/** ASCII letters to lower case, as PostgreSQL compares the names of settings (guc_name_compare). */
export function asciiLowerCase(value: string): string {
  let lower = "";
  for (const character of value)
    lower += character >= "A" && character <= "Z" ? character.toLowerCase() : character;
  return lower;
}
