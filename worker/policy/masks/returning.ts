/** RETURNING of a masked relation shows masks, as a SELECT of the same columns would. */
import { fieldsOf, list, object, strings, text } from "../sql/walk.ts";
import { standInExpression, type Tree } from "./edit.ts";
import type { Rewriter } from "./rewriter.ts";
import { quote } from "./view.ts";
import { readColumn, refuseRead, refuseReads, type Target } from "./writes.ts";

export function maskReturning(rewriter: Rewriter, tag: string, fields: Tree, target: Target): void {
  const clause = object(fields["returningClause"]);
  if (clause === undefined) return;
  // PostgreSQL 18: old and new stand for the row before and after, under these or other names.
  const rows = new Set(["old", "new"]);
  for (const option of list(clause["options"]))
    rows.add(text(fieldsOf(option, "ReturningOption")?.["value"]) ?? "");
  const alone =
    tag === "InsertStmt" ||
    (list(fields["fromClause"]).length === 0 &&
      list(fields["usingClause"]).length === 0 &&
      tag !== "MergeStmt");
  const out: unknown[] = [];
  for (const item of list(clause["exprs"])) out.push(...returned(rewriter, item, target, rows, alone));
  (clause as Tree)["exprs"] = out;
}

function returned(
  rewriter: Rewriter,
  item: unknown,
  target: Target,
  rows: ReadonlySet<string>,
  alone: boolean,
): unknown[] {
  const result = fieldsOf(item, "ResTarget");
  const reference = fieldsOf(result?.["val"], "ColumnRef");
  if (result === undefined || reference === undefined) {
    maskInside(rewriter, item, target, rows);
    return [item];
  }
  const read = readColumn(reference, target, rows);
  if (read === undefined) return [item];
  const names = strings(reference["fields"]);
  const star = names.length < list(reference["fields"]).length;
  const first = rewriter.edit.tokenAt(reference["location"]);
  if (read !== "*") {
    const name = text(result["name"]);
    const { words, proof, tree } = maskOf(rewriter, names, read, target);
    const named = name === undefined ? ` AS ${quote(read)}` : "";
    rewriter.edit.replace(first, rewriter.edit.afterName(first), words + named, proof + named);
    return [{ ResTarget: { ...result, name: name ?? read, val: tree } }];
  }
  // A whole row cannot be masked here, but `*` is a list of columns.
  if (!star || (names.length === 0 && !alone)) return refuseRead(rewriter, "*", target, "RETURNING");
  const items: unknown[] = [];
  const written: string[] = [];
  const proofs: string[] = [];
  for (const { name } of target.applied.relation.columns) {
    const qualified = [...names, name];
    if (target.applied.columns.has(name)) {
      const { words, proof, tree } = maskOf(rewriter, qualified, name, target);
      written.push(`${words} AS ${quote(name)}`);
      proofs.push(`${proof} AS ${quote(name)}`);
      items.push({ ResTarget: { name, val: tree } });
    } else {
      written.push(qualified.map(quote).join("."));
      proofs.push(qualified.map(quote).join("."));
      items.push({
        ResTarget: { val: { ColumnRef: { fields: qualified.map((sval) => ({ String: { sval } })) } } },
      });
    }
  }
  let after = first + 1;
  for (const _ of names) after += rewriter.edit.is(after, "uescape") ? 4 : 2;
  rewriter.edit.replace(first, after, written.join(", "), proofs.join(", "));
  return items;
}

function maskOf(
  rewriter: Rewriter,
  names: readonly string[],
  column: string,
  target: Target,
): { readonly words: string; readonly proof: string; readonly tree: Tree } {
  const words = target.applied.columns.get(column)?.mask.expression(names.map(quote).join(".")) ?? "NULL";
  rewriter.note(`RETURNING ${column}: ${target.applied.columns.get(column)?.mask.says ?? "hidden"}`);
  const proof = standInExpression(rewriter.replacements++);
  return { words, proof: proof.text, tree: proof.tree };
}

/** Inside an expression a masked column is replaced where it stands; inside a subquery it is refused. */
function maskInside(rewriter: Rewriter, node: unknown, target: Target, rows: ReadonlySet<string>): void {
  if (Array.isArray(node)) {
    for (const item of node) maskInside(rewriter, item, target, rows);
    return;
  }
  if (typeof node !== "object" || node === null) return;
  const holder = node as Tree;
  for (const key of Object.keys(holder)) {
    const value = holder[key];
    if (key === "SelectStmt") refuseReads(rewriter, value, target, "RETURNING", rows);
    else if (key === "ColumnRef") {
      const reference = value as Tree;
      const read = readColumn(reference, target, rows);
      if (read === undefined) continue;
      if (read === "*") refuseRead(rewriter, "*", target, "RETURNING");
      const { words, proof, tree } = maskOf(rewriter, strings(reference["fields"]), read, target);
      const first = rewriter.edit.tokenAt(reference["location"]);
      rewriter.edit.replace(first, rewriter.edit.afterName(first), words, proof);
      delete holder["ColumnRef"];
      Object.assign(holder, tree);
    } else maskInside(rewriter, value, target, rows);
  }
}
