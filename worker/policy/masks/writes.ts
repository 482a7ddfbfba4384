/**
 * Writes to masked relations. They are allowed where they do not read a masked column: what a WHERE, a SET or
 * an ON CONFLICT reads of one would answer questions about it. RETURNING shows masks, as SELECT does.
 */
import type { CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { fieldsOf, list, object, strings, tagged, text, type Fields } from "../sql/walk.ts";
import { guardAssignment, looksMasked } from "./assignments.ts";
import type { Tree } from "./edit.ts";
import type { Scope } from "./names.ts";
import { nameOf, type Replaced, type Rewriter } from "./rewriter.ts";
import { maskReturning } from "./returning.ts";
import { checkOrder } from "./write-order.ts";
import type { Applied } from "./view.ts";

/** The relation that a statement writes, as far as it is masked. */
export type Target = {
  readonly applied: Applied;
  /** The name by which the statement refers to its rows. */
  readonly qualifier: string;
  readonly aliased: boolean;
};

export function walkWrite(rewriter: Rewriter, tag: string, fields: Tree, outer: Scope): void {
  const scope = rewriter.withClause(fields, outer);
  const target = targetOf(rewriter, fields);
  if (target !== undefined) {
    rewriter.touches = true;
    rewriter.errorsTell = true;
    checkTarget(rewriter, tag, fields, target);
  }
  const before = rewriter.replacements;
  const replaced: Replaced[] = [];
  for (const clause of ["fromClause", "usingClause"]) {
    for (const item of list(fields[clause])) rewriter.fromItem(item, scope, replaced);
  }
  if (fields["sourceRelation"] !== undefined) rewriter.fromItem(fields["sourceRelation"], scope, replaced);
  rewriter.children(tag, fields, scope, (field) => VALUES.has(field));
  const valuesReadMasks = rewriter.replacements > before;
  rewriter.children(tag, fields, scope, (field) => !VALUES.has(field) && !HANDLED.has(field));
  if (target === undefined) return;
  if (valuesReadMasks) refuseMasksAsValues(rewriter, tag, fields, target);
  guardAssignments(rewriter, tag, fields, target);
  maskReturning(rewriter, tag, fields, target);
}

/** What is written comes from here. */
const VALUES = new Set(["targetList", "selectStmt", "mergeWhenClauses"]);
const HANDLED = new Set(["relation", "withClause", "fromClause", "usingClause", "sourceRelation"]);

function targetOf(rewriter: Rewriter, fields: Tree): Target | undefined {
  const rangeVar = object(fields["relation"]) ?? {};
  // The target of a write is never a common table expression.
  const resolved = rewriter.resolve(rangeVar, []);
  if (resolved.kind !== "relation") return undefined;
  const { relation } = resolved;
  if (relation.schema === "pg_catalog")
    rewriter.cannot("system catalogues cannot be written where columns are masked");
  if (rewriter.around.names.withDescendants(relation).some((one) => one.triggers)) rewriter.errorsTell = true;
  checkRules(rewriter, relation);
  if (!rewriter.around.sensitive(relation)) return undefined;
  const applied = rewriter.around.view.applied(relation.oid);
  if (relation.kind === "v" || applied === undefined) {
    return rewriter.cannot(
      `writes through the view ${nameOf(relation)} cannot be masked`,
      "write to the table itself",
    );
  }
  const alias = text(object(rangeVar["alias"])?.["aliasname"]);
  return { applied, qualifier: alias ?? relation.name, aliased: alias !== undefined };
}

function checkRules(rewriter: Rewriter, relation: CatalogueRelation): void {
  if (!relation.rules) return;
  const { names, sensitive, trusted } = rewriter.around;
  const reads = relation.rulesDependOn.some(({ oid }) => {
    const read = names.byOid.get(oid);
    return read !== undefined && sensitive(read);
  });
  if (reads || relation.functions.some((oid) => trusted.untrustedOids.has(oid))) {
    rewriter.cannot(`a rule of ${nameOf(relation)} reads masked columns, so it cannot be written`);
  }
}

function checkTarget(rewriter: Rewriter, tag: string, fields: Tree, target: Target): void {
  const { applied } = target;
  const name = nameOf(applied.relation);
  if (applied.closed !== undefined) rewriter.cannot(`${name} cannot be written: ${applied.closed}`);
  if (rewriter.mentions.columns.has("ctid")) {
    rewriter.cannot(
      `the column ctid of ${name} depends on the length of masked values`,
      "name rows by their key",
    );
  }
  if (tag === "InsertStmt") {
    checkConflict(rewriter, fields, target);
    return;
  }
  if (applied.filters.length > 0) limitRows(rewriter, tag, fields, target);
  for (const clause of [
    "whereClause",
    "joinCondition",
    "targetList",
    "mergeWhenClauses",
    "fromClause",
    "usingClause",
    "sourceRelation",
  ]) {
    refuseReads(rewriter, fields[clause], target, clause === "targetList" ? "SET" : "WHERE");
  }
  checkConstraints(rewriter, assigned(fields["targetList"]), target);
  for (const clause of list(fields["mergeWhenClauses"])) {
    const when = fieldsOf(clause, "MergeWhenClause");
    // A row that MERGE inserts is wholly the client's own.
    if (text(when?.["commandType"]) === "CMD_UPDATE")
      checkConstraints(rewriter, assigned(when?.["targetList"]), target);
  }
  if (applied.order === "sort") checkOrder(rewriter, tag, fields, target);
}

/** Refuses every reference that could read a masked column of the target. */
export function refuseReads(
  rewriter: Rewriter,
  node: unknown,
  target: Target,
  where: string,
  extra: ReadonlySet<string> = NONE,
): void {
  if (Array.isArray(node)) {
    for (const item of node) refuseReads(rewriter, item, target, where, extra);
    return;
  }
  if (typeof node !== "object" || node === null) return;
  for (const key in node) {
    const value = (node as Tree)[key];
    if (key === "ColumnRef") {
      const read = readColumn(value as Fields, target, extra);
      if (read !== undefined) refuseRead(rewriter, read, target, where);
    } else refuseReads(rewriter, value, target, where, extra);
  }
}

const NONE: ReadonlySet<string> = new Set();

export function refuseRead(rewriter: Rewriter, column: string, target: Target, where: string): never {
  const name = nameOf(target.applied.relation);
  return rewriter.refuse(
    refusal(
      "mask_reads_column",
      `${where} reads ${column === "*" ? "whole rows" : column} of ${name}, which is masked`,
      {
        hint:
          where === "SET" || where === "WHERE"
            ? `find rows of ${name} by columns that are not masked; in a subquery, write table.${column === "*" ? "column" : column}`
            : "name the columns that are not masked",
      },
    ),
  );
}

/** The masked column that a reference can mean, "*" for a whole row; undefined when it means none. */
export function readColumn(
  reference: Fields,
  target: Target,
  extra: ReadonlySet<string>,
): string | undefined {
  const parts = list(reference["fields"]);
  const names = strings(parts);
  const star = names.length < parts.length;
  const { relation, columns } = target.applied;
  const ofTarget = (qualifier: readonly string[]): boolean => {
    const last = qualifier.at(-1) ?? "";
    if (extra.has(last)) return true;
    if (qualifier.length === 1) return last === target.qualifier;
    return !target.aliased && last === relation.name && qualifier.at(-2) === relation.schema;
  };
  if (star) return names.length === 0 || ofTarget(names) ? "*" : undefined;
  const column = names.at(-1) ?? "";
  const known = relation.columns.some((one) => one.name === column);
  if (names.length === 1) {
    if (columns.has(column)) return column;
    return !known && (column === target.qualifier || extra.has(column)) ? "*" : undefined;
  }
  if (!ofTarget(names.slice(0, -1))) return undefined;
  // `row.f` where f is no column is a function of the whole row.
  return columns.has(column) ? column : known || SYSTEM.has(column) ? undefined : "*";
}

const SYSTEM = new Set(["xmin", "xmax", "cmin", "cmax", "tableoid"]);

function assigned(targets: unknown): readonly string[] {
  return list(targets).flatMap((target) => text(fieldsOf(target, "ResTarget")?.["name"]) ?? []);
}

/** A constraint over a changed column and a masked one that is not changed would answer for the masked one. */
function checkConstraints(rewriter: Rewriter, changed: readonly string[], target: Target): void {
  const { relation, columns } = target.applied;
  for (const constraint of relation.constraints) {
    const names = constraint.attributes.flatMap(
      (attribute) => relation.columns.find((one) => one.attribute === attribute)?.name ?? [],
    );
    const masked = names.find((name) => columns.has(name) && !changed.includes(name));
    if (masked !== undefined && names.some((name) => changed.includes(name))) {
      rewriter.refuse(
        refusal(
          "mask_reads_column",
          `the constraint ${constraint.name} compares what is set with ${masked} of ${nameOf(relation)}, which is masked`,
        ),
      );
    }
  }
}

function checkConflict(rewriter: Rewriter, fields: Tree, target: Target): void {
  const clause = object(fields["onConflictClause"]);
  if (clause === undefined) return;
  const { relation, columns } = target.applied;
  const masked = (attributes: readonly number[]): string | undefined =>
    relation.columns.find((one) => columns.has(one.name) && attributes.includes(one.attribute))?.name;
  const infer = object(clause["infer"]);
  const tells = (column: string): never =>
    rewriter.refuse(
      refusal(
        "mask_reads_column",
        `ON CONFLICT would tell whether a value of ${column} exists in ${nameOf(relation)}, which is masked`,
        {
          hint: "name a key that is not masked, such as ON CONFLICT (id)",
        },
      ),
    );
  const constraintName = text(infer?.["conname"]);
  if (infer === undefined) {
    for (const constraint of relation.constraints) {
      const column =
        constraint.kind === "c" || constraint.kind === "f" ? undefined : masked(constraint.attributes);
      if (column !== undefined) tells(column);
    }
  } else if (constraintName !== undefined) {
    const constraint = relation.constraints.find((one) => one.name === constraintName);
    const column = constraint === undefined ? "a column" : masked(constraint.attributes);
    if (column !== undefined) tells(column);
  } else {
    for (const element of list(infer["indexElems"])) {
      const column = text(fieldsOf(element, "IndexElem")?.["name"]);
      if (column !== undefined && columns.has(column)) tells(column);
    }
    refuseReads(rewriter, infer, target, "ON CONFLICT");
  }
  refuseReads(rewriter, clause["targetList"], target, "SET");
  refuseReads(rewriter, clause["whereClause"], target, "WHERE");
  if (target.applied.filters.length > 0 && list(clause["targetList"]).length > 0) {
    rewriter.cannot(`ON CONFLICT DO UPDATE could change rows of ${nameOf(relation)} that are hidden`);
  }
  checkConstraints(rewriter, assigned(clause["targetList"]), target);
}

/** UPDATE and DELETE reach only rows that the principal may see; CASE keeps the statement's own condition off the others. */
function limitRows(rewriter: Rewriter, tag: string, fields: Tree, target: Target): void {
  const { relation, filters } = target.applied;
  const clauses = [...list(fields["fromClause"]), ...list(fields["usingClause"])];
  if (tag === "MergeStmt" || clauses.length > 0) {
    rewriter.cannot(
      `some rows of ${nameOf(relation)} are hidden, so it can only be changed by a plain UPDATE or DELETE`,
    );
  }
  const condition = filters.map((filter) => `(${filter})`).join(" AND ");
  const where = tagged(fields["whereClause"]);
  if (where === undefined) {
    rewriter.cannot(
      `some rows of ${nameOf(relation)} are hidden; UPDATE and DELETE need a WHERE`,
      "WHERE true changes every row that is shown",
    );
  }
  const { edit } = rewriter;
  const index = edit.endOfClause(edit.tokenAt(object(fields["relation"])?.["location"]), ["where"]);
  if (!edit.is(index, "where")) edit.lost = true;
  const after = edit.endOfClause(index + 1, ["returning"]);
  // The condition was parsed when the resource was configured; in the proof a plain bracket stands for all of it.
  const head = ` (${condition}) AND CASE WHEN ${condition} THEN (`;
  const tail = `) ELSE false END`;
  edit.insert(index + 1, head, " COALESCE(");
  edit.insertAfter(after, tail, ")");
  fields["whereClause"] = { CoalesceExpr: { args: [fields["whereClause"]] } };
  rewriter.note(`${nameOf(relation)}: only rows where ${condition}`);
}

/** What was read masked would be stored as if it were the value. */
function refuseMasksAsValues(rewriter: Rewriter, tag: string, fields: Tree, target: Target): void {
  const names = tag === "InsertStmt" ? insertColumns(fields, target) : assigned(fields["targetList"]);
  const column = names.find((name) => target.applied.columns.has(name));
  if (column !== undefined) refuseWrittenBack(rewriter, column, target);
}

function refuseWrittenBack(rewriter: Rewriter, column: string, target: Target): never {
  return rewriter.refuse(writtenBack(column, target));
}

export function writtenBack(column: string, target: Target): Refusal {
  return refusal(
    "mask_written_back",
    `${column} of ${nameOf(target.applied.relation)} would be overwritten with its own mask`,
    {
      hint: "leave the column out of the statement; what you were shown is not its value",
    },
  );
}

function insertColumns(fields: Tree, target: Target): readonly string[] {
  const named = assigned(fields["cols"]);
  return named.length > 0 ? named : target.applied.relation.columns.map(({ name }) => name);
}

function guardAssignments(rewriter: Rewriter, tag: string, fields: Tree, target: Target): void {
  if (tag === "MergeStmt") {
    for (const clause of list(fields["mergeWhenClauses"])) {
      for (const item of list(fieldsOf(clause, "MergeWhenClause")?.["targetList"])) {
        const column = text(fieldsOf(item, "ResTarget")?.["name"]);
        if (column !== undefined && target.applied.columns.has(column))
          refuseWrittenBack(rewriter, column, target);
      }
    }
    return;
  }
  const sets =
    tag === "InsertStmt"
      ? list(object(fields["onConflictClause"])?.["targetList"])
      : list(fields["targetList"]);
  if (tag !== "DeleteStmt") for (const item of sets) guardAssignment(rewriter, item, target);
  if (tag === "InsertStmt") refuseMaskLiterals(rewriter, fields, target);
}

function refuseMaskLiterals(rewriter: Rewriter, fields: Tree, target: Target): void {
  const columns = insertColumns(fields, target);
  for (const row of list(fieldsOf(fields["selectStmt"], "SelectStmt")?.["valuesLists"])) {
    for (const [index, value] of list(fieldsOf(row, "List")?.["items"]).entries()) {
      const column = target.applied.columns.get(columns[index] ?? "");
      if (column !== undefined && looksMasked(column.mask, value))
        refuseWrittenBack(rewriter, column.column.name, target);
    }
  }
}
