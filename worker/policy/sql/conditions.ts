/** What a WHERE clause is worth: whether it can leave a row out. */
import { asciiLowerCase } from "./names.ts";
import { type Fields, fieldsOf, list, tagged, text, walk } from "./walk.ts";

/**
 * Does this condition depend on a row? `WHERE true`, `WHERE 1 = 1`, `WHERE now() > $1` and any disjunction
 * with such an arm do not: they may take every row. A condition that names a column counts, whatever it says
 * of it (`id = id`): this guards against mistakes, while policy over relations guards against intent.
 */
export function restrictsRows(condition: unknown, negated = false): boolean {
  const node = tagged(condition);
  if (node === undefined) return false;
  const { tag, fields } = node;
  if (tag !== "BoolExpr") return namesColumn(tag, fields);
  const args = list(fields["args"]);
  const restricts = (arg: unknown): boolean => restrictsRows(arg, negated);
  switch (fields["boolop"]) {
    case "NOT_EXPR":
      return args.every((arg) => restrictsRows(arg, !negated));
    case "OR_EXPR":
      return negated ? args.some(restricts) : args.every(restricts);
    default:
      return negated ? args.every(restricts) : args.some(restricts);
  }
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
  const value = text(fieldsOf(arg, "String")?.["sval"]);
  return value === undefined || !["false", "off"].includes(asciiLowerCase(value));
}
