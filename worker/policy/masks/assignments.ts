/**
 * A client that reads a masked row and saves it whole writes the mask over the value. So what is assigned to a
 * masked column is compared with what the column is shown as, and the statement fails if they are the same.
 * The comparison runs in the server, since the value may be a parameter.
 */
import { fieldsOf, text } from "../sql/walk.ts";
import type { Tree } from "./edit.ts";
import { bareType, type BuiltMask } from "./expressions.ts";
import type { Rewriter } from "./rewriter.ts";
import { constantText } from "./settings.ts";
import { quote } from "./view.ts";
import { writtenBack, type Target } from "./writes.ts";

/** invalid_argument_for_width_bucket_function: what `raise` fails with, and hardly anything else ever. */
const RAISED = "2201G";

/** Fails whenever it runs; `random` keeps the planner from running it early. */
function raise(type: string): string {
  const fails =
    "pg_catalog.width_bucket(0, 0, 1, CAST(pg_catalog.random() OPERATOR(pg_catalog.*) 0 AS integer))";
  return `CAST(CASE WHEN ${fails} OPERATOR(pg_catalog.>) 0 THEN NULL END AS ${type})`;
}

/** Guards one item of SET, if it assigns to a masked column. */
export function guardAssignment(rewriter: Rewriter, item: unknown, target: Target): void {
  const fields: Tree | undefined = fieldsOf(item, "ResTarget");
  const column = text(fields?.["name"]);
  const protection = column === undefined ? undefined : target.applied.columns.get(column);
  if (fields === undefined || column === undefined || protection === undefined) return;
  const value = fields["val"];
  if (fieldsOf(value, "SetToDefault") !== undefined) return;
  if (fields["indirection"] !== undefined || fieldsOf(value, "MultiAssignRef") !== undefined) {
    rewriter.cannot(`${column} is masked, so it can only be set on its own: SET ${column} = value`);
  }
  const type = castType(protection.column.baseType);
  const shown = protection.mask.expression(`${quote(target.qualifier)}.${quote(column)}`);
  const comparable = INCOMPARABLE.has(type)
    ? `CAST("v" AS text) IS NOT DISTINCT FROM CAST(${shown} AS text)`
    : `"v" IS NOT DISTINCT FROM ${shown}`;
  const head = `(SELECT CASE WHEN ${comparable} THEN ${raise(type)} ELSE "v" END FROM (SELECT CAST((`;
  const tail = `) AS ${type}) AS "v") AS "new_value")`;
  const { edit } = rewriter;
  const equals = edit.afterName(edit.tokenAt(fields["location"]));
  if (!edit.is(equals, "=")) edit.lost = true;
  const after = edit.endOfClause(equals + 1, [",", "from", "where", "returning"]);
  // In the proof a plain bracket stands around the value, which is all that could be misjudged.
  edit.insert(equals + 1, head, "COALESCE(");
  edit.insertAfter(after, tail, ")");
  fields["val"] = { CoalesceExpr: { args: [value] } };
  rewriter.errorMeanings.push({ sqlstate: RAISED, refusal: writtenBack(column, target) });
  rewriter.note(`SET ${column}: fails if the new value is what the column is shown as`);
}

/** Types without an equality operator. */
const INCOMPARABLE = new Set(["json", "xml", "point", "box", "line", "lseg", "path", "polygon", "circle"]);

/** The type without its modifier; `character` and `bit` alone would mean a length of one. */
function castType(type: string): string {
  const bare = bareType(type);
  if (bare === "character") return "pg_catalog.bpchar";
  if (bare === "character[]") return "pg_catalog.bpchar[]";
  return bare === "bit" ? "bit varying" : bare;
}

/** Is this constant what the mask gives? */
export function looksMasked(mask: BuiltMask, value: unknown): boolean {
  const constant = constantText(value);
  if (constant === undefined) return false;
  switch (mask.looksLike) {
    case "stars":
      return constant !== "" && "****".startsWith(constant);
    case "last4":
      return constant.startsWith("****") && constant.length <= 8;
    case "first1":
      return constant.endsWith("***") && [...constant].length <= 4;
    case "email":
      return constant === "***" || constant.includes("***@");
    default:
      return false;
  }
}
