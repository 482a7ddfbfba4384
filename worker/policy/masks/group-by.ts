/**
 * `GROUP BY c.id` with `c.name` in the list is right because id is the primary key; through a subquery the
 * server no longer sees that. So the other columns in use are added to GROUP BY, which changes no group.
 */
import { fieldsOf, list, strings, tagged, text, walk, type Fields } from "../sql/walk.ts";
import type { Tree } from "./edit.ts";
import type { Replaced, Rewriter } from "./rewriter.ts";
import { quote } from "./view.ts";

export function completeGroupBy(rewriter: Rewriter, select: Tree, replaced: readonly Replaced[]): void {
  const groups = list(select["groupClause"]);
  if (groups.length === 0 || replaced.length === 0) return;
  const grouped = groups.map((group) => groupedColumn(group, select));
  const added: unknown[] = [];
  let words = "";
  let before: number | undefined;
  for (const { relation, qualifier } of replaced) {
    const key = relation.constraints.find((one) => one.kind === "p" && !one.deferrable);
    if (key === undefined) continue;
    const keyNames = key.attributes.map(
      (attribute) => relation.columns.find((one) => one.attribute === attribute)?.name,
    );
    const places = keyNames.map((name) =>
      grouped.findIndex(
        (one) => one !== undefined && name !== undefined && matches(one.name, qualifier, name),
      ),
    );
    if (places.includes(-1)) continue;
    before ??= grouped[places[0] ?? 0]?.location;
    for (const name of usedColumns(
      select,
      qualifier,
      relation.columns.map((column) => column.name),
    )) {
      if (
        keyNames.includes(name) ||
        grouped.some((one) => one !== undefined && matches(one.name, qualifier, name))
      )
        continue;
      words += `${quote(qualifier)}.${quote(name)}, `;
      added.push({ ColumnRef: { fields: [{ String: { sval: qualifier } }, { String: { sval: name } }] } });
    }
    if (usesRow(select, qualifier) && !relation.columns.some((column) => column.name === qualifier)) {
      words += `${quote(qualifier)}, `;
      added.push({ ColumnRef: { fields: [{ String: { sval: qualifier } }] } });
    }
  }
  if (added.length === 0 || before === undefined) return;
  const index = groups.findIndex((_, at) => grouped[at]?.location === before);
  rewriter.edit.insert(rewriter.edit.tokenAt(before), words);
  select["groupClause"] = [...groups.slice(0, index), ...added, ...groups.slice(index)];
  rewriter.note(
    "GROUP BY: the columns that the primary key determines are named, since a subquery has no key",
  );
}

/** Is the row itself used, as in `row_to_json(c)`? */
function usesRow(select: Tree, qualifier: string): boolean {
  let used = false;
  for (const clause of USING_CLAUSES) {
    for (const item of Array.isArray(select[clause]) ? list(select[clause]) : [select[clause]]) {
      const node = tagged(item);
      if (node === undefined) continue;
      walk(node.tag, node.fields, (tag, fields) => {
        if (tag !== "ColumnRef") return;
        const parts = list(fields["fields"]);
        const names = strings(parts);
        if (names.length === 1 && parts.length === 1 && names[0] === qualifier) used = true;
      });
    }
  }
  return used;
}

/** The column that an item of GROUP BY names, itself or by its place in the select list, and where the item stands. */
function groupedColumn(
  group: unknown,
  select: Tree,
): { readonly name: readonly string[]; readonly location: number } | undefined {
  const column = fieldsOf(group, "ColumnRef");
  if (column !== undefined) return { name: strings(column["fields"]), location: locationOf(column) };
  const constant = fieldsOf(group, "A_Const");
  const ordinal = (constant?.["ival"] as { readonly ival?: number } | undefined)?.ival;
  if (constant === undefined || ordinal === undefined) return undefined;
  const target = fieldsOf(list(select["targetList"])[ordinal - 1], "ResTarget");
  const meant = fieldsOf(target?.["val"], "ColumnRef");
  return meant === undefined ? undefined : { name: strings(meant["fields"]), location: locationOf(constant) };
}

function locationOf(fields: Fields): number {
  return typeof fields["location"] === "number" ? fields["location"] : 0;
}

function matches(name: readonly string[], qualifier: string, column: string): boolean {
  if (name.at(-1) !== column) return false;
  return name.length === 1 || name.at(-2) === qualifier;
}

const USING_CLAUSES = ["targetList", "havingClause", "sortClause", "distinctClause", "windowClause"];

/** Columns of the relation that are used outside GROUP BY; naming one too many changes nothing. */
function usedColumns(select: Tree, qualifier: string, columns: readonly string[]): readonly string[] {
  const used = new Set<string>();
  for (const clause of USING_CLAUSES) {
    for (const item of Array.isArray(select[clause]) ? list(select[clause]) : [select[clause]]) {
      const node = tagged(item);
      if (node === undefined) continue;
      walk(node.tag, node.fields, (tag, fields) => {
        // Inside an aggregate a column need not be grouped; adding it is still right, as the key determines it.
        if (tag !== "ColumnRef") return;
        const parts = list(fields["fields"]);
        const names = strings(parts);
        const star = names.length < parts.length;
        const ofRelation = star
          ? names.length === 0 || names.at(-1) === qualifier
          : names.length === 1 || names.at(-2) === qualifier;
        if (!ofRelation) return;
        for (const column of columns) if (star || column === text(names.at(-1))) used.add(column);
      });
    }
  }
  return [...used];
}
