/**
 * Rows are changed in the order of whatever index is used. Where that can be the order of a masked column, an
 * order that shows, by RETURNING or by numbers given out one after the other, is refused.
 */
import { fieldsOf, list, strings, tagged, text, walk } from "../sql/walk.ts";
import type { Tree } from "./edit.ts";
import { nameOf, type Rewriter } from "./rewriter.ts";
import type { Target } from "./writes.ts";

/** Functions whose values follow the order in which they are called. */
const ORDERED = new Set(["nextval", "currval", "lastval", "clock_timestamp", "timeofday", "uuidv7"]);

export function checkOrder(rewriter: Rewriter, tag: string, fields: Tree, target: Target): void {
  const name = nameOf(target.applied.relation);
  if (tag !== "MergeStmt" && namesOneRow(fields["whereClause"], target)) return;
  if (fields["returningClause"] !== undefined) {
    rewriter.cannot(
      `the order in which rows of ${name} are returned could be that of a masked column that an index holds`,
      "name one row by its primary key, or leave RETURNING out",
    );
  }
  for (const clause of ["targetList", "mergeWhenClauses"]) {
    for (const item of list(fields[clause])) {
      const node = tagged(item);
      if (node === undefined) continue;
      walk(node.tag, node.fields, (inner, call) => {
        const called = strings(call["funcname"]).at(-1) ?? "";
        if (inner === "SetToDefault" || (inner === "FuncCall" && ORDERED.has(called))) {
          rewriter.cannot(`the order in which rows of ${name} are numbered could be that of a masked column`);
        }
      });
    }
  }
}

/** Is every column of the primary key compared with a constant or parameter? */
function namesOneRow(where: unknown, target: Target): boolean {
  const { relation, columns } = target.applied;
  const key = relation.constraints.find((one) => one.kind === "p");
  if (key === undefined) return false;
  const all = fieldsOf(where, "BoolExpr");
  const terms = text(all?.["boolop"]) === "AND_EXPR" ? list(all?.["args"]) : [where];
  return key.attributes.every((attribute) => {
    const column = relation.columns.find((one) => one.attribute === attribute)?.name ?? "";
    return !columns.has(column) && terms.some((term) => comparesWithConstant(term, column));
  });
}

function comparesWithConstant(term: unknown, column: string): boolean {
  const comparison = fieldsOf(term, "A_Expr");
  if (text(comparison?.["kind"]) !== "AEXPR_OP" || strings(comparison?.["name"]).join(".") !== "=")
    return false;
  if (strings(fieldsOf(comparison?.["lexpr"], "ColumnRef")?.["fields"]).at(-1) !== column) return false;
  const value = tagged(comparison?.["rexpr"]);
  const constant = value?.tag === "TypeCast" ? tagged(value.fields["arg"]) : value;
  return constant?.tag === "A_Const" || constant?.tag === "ParamRef";
}
