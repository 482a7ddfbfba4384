/** What a WHERE clause is worth: whether it can leave a row out. */
import { type Fields, fieldsOf, list, tagged, walk } from "./walk.ts";

/**
 * Does this condition depend on a row? `WHERE true`, `WHERE 1 = 1`, `WHERE now() > $1` and any disjunction
 * with such an arm do not: they take every row or none. A condition that names a column counts, whatever it
 * says of it (`id = id`): this guards against mistakes, while policy over relations guards against intent.
 */
export function restrictsRows(condition: unknown): boolean {
  const node = tagged(condition);
  if (node === undefined) return false;
  const { tag, fields } = node;
  if (tag === "BoolExpr") {
    const args = list(fields["args"]);
    return fields["boolop"] === "OR_EXPR" ? args.every(restrictsRows) : args.some(restrictsRows);
  }
  return namesColumn(tag, fields);
}

/** Does any expression below name a column, or the row that a cursor is on? */
export function namesColumn(tag: string, fields: Fields): boolean {
  let found = false;
  const within = walk(tag, fields, (childTag) => {
    if (childTag === "ColumnRef" || childTag === "CurrentOfExpr") found = true;
    return !found;
  });
  return found && within;
}

/** Is an option such as EXPLAIN's ANALYZE on? Only a plain "no" is off (defGetBoolean in PostgreSQL). */
export function isOptionOn(option: Fields): boolean {
  const arg = option["arg"];
  if (arg === undefined) return true;
  const integer = fieldsOf(arg, "Integer");
  if (integer !== undefined) return (integer["ival"] ?? 0) !== 0;
  const value =
    fieldsOf(arg, "String")?.["sval"] ??
    (fieldsOf(arg, "Boolean")?.["boolval"] === true ? "true" : undefined);
  if (fieldsOf(arg, "Boolean") !== undefined) return value === "true";
  return typeof value !== "string" || (value.toLowerCase() !== "false" && value.toLowerCase() !== "off");
}
