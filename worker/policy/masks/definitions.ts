/** Definitions (DDL) over masked relations: what could carry values or open a way around the masks is refused. */
import { refusal } from "../../../wire/refusals.ts";
import { fieldsOf, list, object, strings, tagged, text, type Fields } from "../sql/walk.ts";
import { nameOf, type Rewriter } from "./rewriter.ts";

/** A new relation must not take the name of a masked one: an unqualified name would mean it. */
export function creates(rewriter: Rewriter, rangeVar: Fields | undefined): void {
  const name = text(rangeVar?.["relname"]) ?? "";
  const { names, sensitive } = rewriter.around;
  if (names.named(name).some(sensitive) || name.startsWith("pg_")) {
    rewriter.cannot(`a relation named ${name} could be taken for one that is masked`, "choose another name");
  }
}

/** Refuses when the relation is masked. */
export function refuseSensitive(rewriter: Rewriter, rangeVar: Fields, why: string): void {
  const resolved = rewriter.resolve(rangeVar, []);
  if (resolved.kind === "relation" && rewriter.around.sensitive(resolved.relation)) {
    rewriter.cannot(`${nameOf(resolved.relation)} ${why}`);
  }
}

export function createTable(rewriter: Rewriter, fields: Fields): void {
  creates(rewriter, object(fields["relation"]));
  for (const parent of list(fields["inhRelations"])) {
    refuseSensitive(
      rewriter,
      fieldsOf(parent, "RangeVar") ?? {},
      "cannot get another child or partition, which would hold its values under another name",
    );
  }
  for (const element of list(fields["tableElts"])) tableElement(rewriter, element);
  for (const clause of ["partbound", "partspec"]) {
    const part = object(fields[clause]);
    if (part !== undefined)
      rewriter.children(clause === "partbound" ? "PartitionBoundSpec" : "PartitionSpec", part, []);
  }
}

/** A column, a constraint or LIKE; expressions in them are visited, relations are looked at. */
function tableElement(rewriter: Rewriter, element: unknown): void {
  const node = tagged(element);
  if (node === undefined) return;
  if (node.tag === "TableLikeClause") return; // structure only
  if (node.tag === "Constraint") {
    constraint(rewriter, node.fields);
    return;
  }
  for (const one of list(node.fields["constraints"])) constraint(rewriter, fieldsOf(one, "Constraint") ?? {});
  rewriter.children(
    node.tag,
    node.fields,
    [],
    (field) => field !== "constraints" && field !== "identitySequence",
  );
}

function constraint(rewriter: Rewriter, fields: Fields): void {
  const referred = object(fields["pktable"]);
  if (referred !== undefined) {
    const resolved = rewriter.resolve(referred, []);
    if (resolved.kind === "relation" && rewriter.around.sensitive(resolved.relation)) {
      const columns = strings(fields["pk_attrs"]);
      const masked = rewriter.around.view.applied(resolved.relation.oid)?.columns;
      const column = columns.find((name) => masked?.has(name));
      if (column !== undefined) {
        rewriter.cannot(
          `a foreign key to ${column} of ${nameOf(resolved.relation)} would tell which values exist`,
          "refer to a key that is not masked",
        );
      }
    }
  }
  rewriter.children("Constraint", fields, [], (field) => field !== "pktable");
}

export function createIndex(rewriter: Rewriter, fields: Fields): void {
  const rangeVar = object(fields["relation"]) ?? {};
  const resolved = rewriter.resolve(rangeVar, []);
  rewriter.children("IndexStmt", fields, [], (field) => field !== "relation");
  if (resolved.kind !== "relation" || !rewriter.around.sensitive(resolved.relation)) return;
  rewriter.touches = true;
  rewriter.errorsTell = true;
  const masked = rewriter.around.view.applied(resolved.relation.oid)?.columns;
  for (const name of [...rewriter.mentions.columns, ...indexNames(fields)]) {
    if (masked?.has(name) !== true) continue;
    rewriter.refuse(
      refusal(
        "mask_reads_column",
        `an index on ${name} of ${nameOf(resolved.relation)} would read what is masked`,
      ),
    );
  }
}

function indexNames(fields: Fields): string[] {
  return ["indexParams", "indexIncludingParams"].flatMap((clause) =>
    list(fields[clause]).flatMap((item) => text(fieldsOf(item, "IndexElem")?.["name"]) ?? []),
  );
}

/** A view is only possible over what is not masked: it would keep masks, or values, for everybody. */
export function definesView(rewriter: Rewriter, fields: Fields): void {
  creates(rewriter, object(fields["view"]));
  const before = rewriter.replacements;
  const query = tagged(fields["query"]);
  if (query !== undefined) rewriter.visit(query.tag, query.fields, []);
  if (rewriter.replacements > before) {
    rewriter.cannot(
      "a view over masked columns would keep the masks for everybody",
      "use CREATE TEMP TABLE … AS for a copy of your own",
    );
  }
}

/** Changes of a masked table that read none of its rows. */
const ALLOWED_CHANGES = new Set([
  ...[
    "AT_AddColumn",
    "AT_ColumnDefault",
    "AT_DropNotNull",
    "AT_SetStorage",
    "AT_SetCompression",
    "AT_SetRelOptions",
  ],
  ...["AT_ResetRelOptions", "AT_DropConstraint", "AT_SetLogged", "AT_SetUnLogged", "AT_SetTableSpace"],
]);

export function alterTable(rewriter: Rewriter, fields: Fields): void {
  const resolved = rewriter.resolve(object(fields["relation"]) ?? {}, []);
  const masked = resolved.kind === "relation" && rewriter.around.sensitive(resolved.relation);
  rewriter.errorsTell = true;
  for (const item of list(fields["cmds"])) {
    const command = fieldsOf(item, "AlterTableCmd") ?? {};
    const kind = text(command["subtype"]) ?? "";
    if (masked && !ALLOWED_CHANGES.has(kind)) {
      rewriter.cannot(
        `this change of ${nameOf(resolved.relation)} could read or uncover masked columns (${kind.replace(/^AT_/, "")})`,
      );
    }
    if (kind === "AT_AddInherit")
      refuseSensitive(
        rewriter,
        fieldsOf(command["def"], "RangeVar") ?? {},
        "cannot be a parent of another table",
      );
    else if (kind === "AT_AttachPartition" || kind === "AT_DetachPartition") {
      refuseSensitive(
        rewriter,
        object(fieldsOf(command["def"], "PartitionCmd")?.["name"]) ?? {},
        "cannot be a partition of another table",
      );
    } else if (fieldsOf(command["def"], "Constraint") !== undefined)
      constraint(rewriter, fieldsOf(command["def"], "Constraint") ?? {});
    else if (fieldsOf(command["def"], "ColumnDef") !== undefined) {
      tableElement(rewriter, command["def"]);
      if (masked && list(fieldsOf(command["def"], "ColumnDef")?.["constraints"]).some(reads)) {
        rewriter.cannot(
          `a column of ${nameOf(resolved.relation)} that is generated or checked could read masked columns`,
        );
      }
    } else rewriter.children("AlterTableCmd", command, []);
  }
}

function reads(item: unknown): boolean {
  const kind = text(fieldsOf(item, "Constraint")?.["contype"]);
  return kind === "CONSTR_GENERATED" || kind === "CONSTR_CHECK";
}
