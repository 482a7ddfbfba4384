/**
 * The shape of a statement: what it has in common with the same statement with other values. Two texts have
 * the same shape only when PostgreSQL's grammar gives them the same tree but for constants in these places:
 *
 *   column = 5, column IN (5, 6), column BETWEEN 5 AND 6     compared with a column
 *   column + 5                                               calculated with a column
 *   VALUES (5, 'x'), SET column = 5                          put into a row
 *
 * Everything else is part of the shape: names, operators, `1 = 1`, TRUE, NULL, LIMIT, arguments of functions,
 * patterns of LIKE, keys of JSON, the number of values in a list. So a batch that was approved for
 * `DELETE … WHERE id = 5 OR false` never covers `… OR true`. Parameters of the protocol are values too.
 */
import { Offsets, type SqlParser } from "./parser.ts";
import { type Token, tokenize } from "../masks/tokens.ts";
import { type Fields, fieldsOf, strings, tagged } from "./walk.ts";

export type StatementShape = {
  /** The statement's text with `$n` in place of those constants, counted on after its own parameters. */
  readonly text: string;
  /** The tree without them, as text of one form: equal exactly for statements of the same shape. */
  readonly tree: string;
};

const SHAPED: ReadonlySet<string> = new Set(["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt"]);
const COMPARISONS: ReadonlySet<string> = new Set(["=", "<>", "!=", "<", "<=", ">", ">="]);
const ARITHMETIC: ReadonlySet<string> = new Set(["+", "-", "*", "/", "%"]);
const LISTS: ReadonlySet<string> = new Set([
  "AEXPR_IN",
  "AEXPR_BETWEEN",
  "AEXPR_NOT_BETWEEN",
  "AEXPR_BETWEEN_SYM",
  "AEXPR_NOT_BETWEEN_SYM",
]);
/** Where in the text nodes stand; says nothing about what they mean. */
const LOCATIONS: ReadonlySet<string> = new Set([
  "location",
  "stmt_location",
  "stmt_len",
  "name_location",
  "list_start",
  "list_end",
  "rexpr_list_start",
  "rexpr_list_end",
]);

type Constant = { readonly location: number; readonly kind: string };

/** The shape of one statement of these kinds; undefined where it has none that could be shown exactly. */
export function shapeOf(sql: string, parser: SqlParser): StatementShape | undefined {
  const parsed = parser.parse(sql);
  const [statement, ...others] = parsed.ok ? parsed.value : [];
  if (statement === undefined || others.length > 0) return undefined;
  const root = tagged(statement.node);
  if (root === undefined || !SHAPED.has(root.tag)) return undefined;
  const found: Constant[] = [];
  const tree = JSON.stringify(strip(statement.node, false, found));
  const text = splice(sql, found);
  return text === undefined || !means(text, tree, found, parser) ? undefined : { text, tree };
}

/** A copy of the node without locations and without the constants that are values, which go to `found`. */
function strip(value: unknown, isValue: boolean, found: Constant[]): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item: unknown) => strip(item, isValue, found));
  const constant = isValue ? valueOf(value) : undefined;
  if (constant !== undefined) {
    found.push(constant);
    return { Value: constant.kind };
  }
  const values = isValue ? heldValues(value) : valueFields(value);
  const copy: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(value as Record<string, unknown>)) {
    if (LOCATIONS.has(key)) continue;
    // One node is `{ Tag: fields }`: what is decided about the node goes for its fields.
    if (/^[A-Z]/.test(key)) copy[key] = stripFields(inner, values, found);
    else copy[key] = strip(inner, false, found);
  }
  return copy;
}

function stripFields(fields: unknown, values: ReadonlySet<string>, found: Constant[]): unknown {
  if (typeof fields !== "object" || fields === null || Array.isArray(fields))
    return strip(fields, false, found);
  const copy: Record<string, unknown> = {};
  for (const [key, inner] of Object.entries(fields as Record<string, unknown>)) {
    if (!LOCATIONS.has(key)) copy[key] = strip(inner, values.has(key), found);
  }
  return copy;
}

const NONE: ReadonlySet<string> = new Set();

/** The fields of this node in which a constant is a value. */
function valueFields(node: object): ReadonlySet<string> {
  const expression = fieldsOf(node, "A_Expr");
  if (expression !== undefined) {
    const { kind, name, lexpr, rexpr } = expression as Record<"kind" | "name" | "lexpr" | "rexpr", unknown>;
    const [operator = ""] = strings(name);
    const plain =
      kind === "AEXPR_OP" &&
      strings(name).length === 1 &&
      (COMPARISONS.has(operator) || ARITHMETIC.has(operator));
    if (!plain && !(typeof kind === "string" && LISTS.has(kind))) return NONE;
    if (isColumn(lexpr)) return new Set(["rexpr"]);
    return plain && isColumn(rexpr) ? new Set(["lexpr"]) : NONE;
  }
  if (fieldsOf(node, "SelectStmt") !== undefined) return new Set(["valuesLists"]);
  const update = fieldsOf(node, "UpdateStmt");
  return update === undefined ? NONE : new Set(["targetList"]);
}

/** Nodes that stand between a place for values and the constants: lists, assignments, casts. */
function heldValues(node: object): ReadonlySet<string> {
  if (fieldsOf(node, "List") !== undefined) return new Set(["items"]);
  if (fieldsOf(node, "ResTarget") !== undefined) return new Set(["val"]);
  const cast = fieldsOf(node, "TypeCast");
  // A constant of a reg… type is the name of an object.
  const named = strings((cast?.["typeName"] as Fields | undefined)?.["names"]);
  if (cast !== undefined) return named.some((name) => name.startsWith("reg")) ? NONE : new Set(["arg"]);
  return valueFields(node);
}

function isColumn(node: unknown): boolean {
  return fieldsOf(node, "ColumnRef") !== undefined;
}

/** The constant, also of a list (IN, VALUES) or an assignment, when it is one that can be a value. */
function valueOf(node: object): Constant | undefined {
  const constant = fieldsOf(node, "A_Const");
  if (constant === undefined) return undefined;
  const location = typeof constant["location"] === "number" ? constant["location"] : 0;
  if (constant["ival"] !== undefined || constant["fval"] !== undefined) return { location, kind: "number" };
  if (constant["sval"] !== undefined) return { location, kind: "string" };
  return undefined;
}

/** The text with `$n` for each constant; undefined when one of them cannot be found in it. */
function splice(sql: string, constants: readonly Constant[]): string | undefined {
  const offsets = new Offsets(sql);
  const tokens = tokenize(sql);
  const at = new Map(tokens.map((token, index) => [token.start, index]));
  let next = 1 + Math.max(0, ...tokens.map((token) => parameterNumber(sql, token)));
  let out = "";
  let from = 0;
  for (const { location } of constants.toSorted((a, b) => a.location - b.location)) {
    const index = at.get(offsets.index(location));
    const first = index === undefined ? undefined : tokens[index];
    if (index === undefined || first === undefined) return undefined;
    // The grammar folds a sign into the number: `- 5` is one constant.
    const last = first.kind === "operator" ? tokens[index + 1] : first;
    if (last === undefined || (last.kind !== "number" && last.kind !== "string")) return undefined;
    out += `${sql.slice(from, first.start)}$${next}`;
    next++;
    from = last.end;
  }
  return out + sql.slice(from);
}

function parameterNumber(sql: string, { start, end, kind }: Token): number {
  return kind === "number" && sql.charAt(start) === "$" ? Number(sql.slice(start + 1, end)) : 0;
}

/** Whether the text that reviewers are shown is what the tree says. */
function means(text: string, tree: string, constants: readonly Constant[], parser: SqlParser): boolean {
  const parsed = parser.parse(text);
  const [statement, ...others] = parsed.ok ? parsed.value : [];
  if (statement === undefined || others.length > 0) return false;
  const blank = (json: string): string => json.replace(/\{"Value":"[a-z]+"\}/g, '{"ParamRef":{}}');
  const shown = JSON.stringify(strip(statement.node, false, []));
  const anyNumber = (json: string): string =>
    json.replace(/\{"ParamRef":\{"number":\d+\}\}/g, '{"ParamRef":{}}');
  return constants.length === 0 ? shown === tree : anyNumber(shown) === anyNumber(blank(tree));
}
