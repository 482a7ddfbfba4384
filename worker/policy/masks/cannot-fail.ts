/**
 * Row filters and security barriers hide rows, but the planner may evaluate an expression of the statement on a
 * hidden row before the filter, and its error would tell of that row (`1 / (id - 7)`). A statement whose
 * expressions cannot fail needs no fence against that, and keeps its index scans.
 */
import { fieldsOf, strings, text, type Fields } from "../sql/walk.ts";

/** Operators that compare and never fail; of LIKE a pattern can be wrong. */
const COMPARISONS = new Set(["=", "<>", "<", ">", "<=", ">="]);
const AGGREGATES = new Set(["count", "sum", "min", "max", "avg"]);
const HARMLESS_KINDS = new Set([
  "AEXPR_OP",
  "AEXPR_IN",
  "AEXPR_BETWEEN",
  "AEXPR_NOT_BETWEEN",
  "AEXPR_DISTINCT",
  "AEXPR_NOT_DISTINCT",
]);

/** Does no expression of the statement fail depending on the row that it is evaluated on? */
export function cannotFail(node: unknown): boolean {
  if (Array.isArray(node)) return node.every(cannotFail);
  if (typeof node !== "object" || node === null) return true;
  return Object.entries(node).every(([tag, value]) => {
    const fields = (value ?? {}) as Fields;
    if (tag === "FuncCall") {
      const name = strings(fields["funcname"]);
      if (name.length !== 1 || !AGGREGATES.has(name[0] ?? "")) return false;
    }
    if (tag === "A_Expr" && !(HARMLESS_KINDS.has(text(fields["kind"]) ?? "") && comparison(fields["name"])))
      return false;
    if (tag === "TypeCast" && fieldsOf(fields["arg"], "A_Const") === undefined) return false;
    const first = tag.charCodeAt(0);
    if (first >= 0x41 && first <= 0x5a && !HARMLESS.has(tag)) return false;
    return cannotFail(value);
  });
}

function comparison(name: unknown): boolean {
  const [operator, ...more] = strings(name);
  return (
    more.length === 0 &&
    (COMPARISONS.has(operator ?? "") || operator === "BETWEEN" || operator === "NOT BETWEEN")
  );
}

const HARMLESS = new Set(
  `SelectStmt ResTarget ColumnRef A_Star A_Const ParamRef RangeVar RangeSubselect JoinExpr BoolExpr NullTest BooleanTest
  A_Expr TypeCast TypeName String Integer List SortBy FuncCall CoalesceExpr CaseExpr CaseWhen Alias WithClause CommonTableExpr
  LockingClause`.match(/\S+/g),
);
