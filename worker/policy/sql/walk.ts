/**
 * Walking PostgreSQL's syntax tree as libpg-query prints it: a node is an object with its tag as the only
 * key, `{ RangeVar: { relname: "t" } }`, except where a field always holds one kind of node, which is printed
 * without a tag: `{ UpdateStmt: { relation: { relname: "t" } } }`. Here both look the same: a tag and fields.
 */
import { LIMITS } from "../../../wire/limits.ts";

/** A node's fields. Absent means the grammar's zero: null, 0, false, "" or an empty list. */
export type Fields = Readonly<Record<string, unknown>>;

/** The tag of an untagged object in a place that this file does not know. No node of the grammar has it. */
export const UNKNOWN_TAG = "?";

/** Tags of the nodes that are printed without one: by parent's tag, then field. From libpg_query's pg_query.proto. */
const UNTAGGED: ReadonlyMap<string, ReadonlyMap<string, string>> = new Map(
  Object.entries({
    A_Const: { ival: "Integer", fval: "Float", boolval: "Boolean", sval: "String", bsval: "BitString" },
    RangeVar: { alias: "Alias" },
    IntoClause: { rel: "RangeVar" },
    JsonReturning: { format: "JsonFormat" },
    JsonValueExpr: { format: "JsonFormat" },
    JsonIsPredicate: { format: "JsonFormat" },
    JoinExpr: { join_using_alias: "Alias", alias: "Alias" },
    TypeCast: { typeName: "TypeName" },
    FuncCall: { over: "WindowDef" },
    RangeSubselect: { alias: "Alias" },
    RangeFunction: { alias: "Alias" },
    RangeTableFunc: { alias: "Alias" },
    RangeTableFuncCol: { typeName: "TypeName" },
    ColumnDef: { typeName: "TypeName", identitySequence: "RangeVar", collClause: "CollateClause" },
    TableLikeClause: { relation: "RangeVar" },
    XmlSerialize: { typeName: "TypeName" },
    PartitionCmd: { name: "RangeVar", bound: "PartitionBoundSpec" },
    OnConflictClause: { infer: "InferClause" },
    CommonTableExpr: { search_clause: "CTESearchClause", cycle_clause: "CTECycleClause" },
    JsonOutput: { typeName: "TypeName", returning: "JsonReturning" },
    JsonArgument: { val: "JsonValueExpr" },
    JsonFuncExpr: {
      context_item: "JsonValueExpr",
      output: "JsonOutput",
      on_empty: "JsonBehavior",
      on_error: "JsonBehavior",
    },
    JsonTable: {
      context_item: "JsonValueExpr",
      pathspec: "JsonTablePathSpec",
      on_error: "JsonBehavior",
      alias: "Alias",
    },
    JsonTableColumn: {
      typeName: "TypeName",
      pathspec: "JsonTablePathSpec",
      format: "JsonFormat",
      on_empty: "JsonBehavior",
      on_error: "JsonBehavior",
    },
    JsonKeyValue: { value: "JsonValueExpr" },
    JsonParseExpr: { expr: "JsonValueExpr", output: "JsonOutput" },
    JsonScalarExpr: { output: "JsonOutput" },
    JsonSerializeExpr: { expr: "JsonValueExpr", output: "JsonOutput" },
    JsonObjectConstructor: { output: "JsonOutput" },
    JsonArrayConstructor: { output: "JsonOutput" },
    JsonArrayQueryConstructor: { output: "JsonOutput", format: "JsonFormat" },
    JsonAggConstructor: { output: "JsonOutput", over: "WindowDef" },
    JsonObjectAgg: { constructor: "JsonAggConstructor", arg: "JsonKeyValue" },
    JsonArrayAgg: { constructor: "JsonAggConstructor", arg: "JsonValueExpr" },
    InsertStmt: {
      relation: "RangeVar",
      onConflictClause: "OnConflictClause",
      returningClause: "ReturningClause",
      withClause: "WithClause",
    },
    DeleteStmt: { relation: "RangeVar", returningClause: "ReturningClause", withClause: "WithClause" },
    UpdateStmt: { relation: "RangeVar", returningClause: "ReturningClause", withClause: "WithClause" },
    MergeStmt: { relation: "RangeVar", returningClause: "ReturningClause", withClause: "WithClause" },
    SelectStmt: {
      intoClause: "IntoClause",
      withClause: "WithClause",
      larg: "SelectStmt",
      rarg: "SelectStmt",
    },
    CreateSchemaStmt: { authrole: "RoleSpec" },
    AlterTableStmt: { relation: "RangeVar" },
    AlterTableCmd: { newowner: "RoleSpec" },
    GrantStmt: { grantor: "RoleSpec" },
    GrantRoleStmt: { grantor: "RoleSpec" },
    AlterDefaultPrivilegesStmt: { action: "GrantStmt" },
    CopyStmt: { relation: "RangeVar" },
    CreateStmt: {
      relation: "RangeVar",
      partbound: "PartitionBoundSpec",
      partspec: "PartitionSpec",
      ofTypename: "TypeName",
    },
    Constraint: { pktable: "RangeVar" },
    CreateTableSpaceStmt: { owner: "RoleSpec" },
    CreateForeignTableStmt: { base: "CreateStmt" },
    CreateUserMappingStmt: { user: "RoleSpec" },
    AlterUserMappingStmt: { user: "RoleSpec" },
    DropUserMappingStmt: { user: "RoleSpec" },
    CreatePolicyStmt: { table: "RangeVar" },
    AlterPolicyStmt: { table: "RangeVar" },
    CreateTrigStmt: { relation: "RangeVar", constrrel: "RangeVar" },
    AlterRoleStmt: { role: "RoleSpec" },
    AlterRoleSetStmt: { role: "RoleSpec", setstmt: "VariableSetStmt" },
    CreateSeqStmt: { sequence: "RangeVar" },
    AlterSeqStmt: { sequence: "RangeVar" },
    CreateDomainStmt: { typeName: "TypeName", collClause: "CollateClause" },
    CreateOpClassStmt: { datatype: "TypeName" },
    CreateOpClassItem: { name: "ObjectWithArgs", storedtype: "TypeName" },
    IndexStmt: { relation: "RangeVar" },
    CreateFunctionStmt: { returnType: "TypeName" },
    FunctionParameter: { argType: "TypeName" },
    AlterFunctionStmt: { func: "ObjectWithArgs" },
    CallStmt: { funccall: "FuncCall" },
    RenameStmt: { relation: "RangeVar" },
    AlterObjectDependsStmt: { relation: "RangeVar", extname: "String" },
    AlterObjectSchemaStmt: { relation: "RangeVar" },
    AlterOwnerStmt: { relation: "RangeVar", newowner: "RoleSpec" },
    AlterOperatorStmt: { opername: "ObjectWithArgs" },
    RuleStmt: { relation: "RangeVar" },
    CompositeTypeStmt: { typevar: "RangeVar" },
    ViewStmt: { view: "RangeVar" },
    AlterDatabaseSetStmt: { setstmt: "VariableSetStmt" },
    AlterSystemStmt: { setstmt: "VariableSetStmt" },
    ClusterStmt: { relation: "RangeVar" },
    VacuumRelation: { relation: "RangeVar" },
    CreateTableAsStmt: { into: "IntoClause" },
    RefreshMatViewStmt: { relation: "RangeVar" },
    ReindexStmt: { relation: "RangeVar" },
    CreateCastStmt: { sourcetype: "TypeName", targettype: "TypeName", func: "ObjectWithArgs" },
    CreateTransformStmt: { type_name: "TypeName", fromsql: "ObjectWithArgs", tosql: "ObjectWithArgs" },
    ReassignOwnedStmt: { newrole: "RoleSpec" },
    PublicationTable: { relation: "RangeVar" },
    PublicationObjSpec: { pubtable: "PublicationTable" },
  }).map(([tag, fields]) => [tag, new Map<string, string>(Object.entries(fields))]),
);

/** Called with each node: its tag, its fields, and the parent's field that holds it. */
export type Visit = (tag: string, fields: Fields, field: string) => void;

/** Splits a tagged node, or gives undefined for what is not one (a null in a list is printed as `{}`). */
export function tagged(node: unknown): { readonly tag: string; readonly fields: Fields } | undefined {
  if (typeof node !== "object" || node === null) return undefined;
  for (const key in node) {
    if (!startsUpperCase(key)) return undefined;
    return { tag: key, fields: (node as Record<string, Fields>)[key] ?? {} };
  }
  return undefined;
}

/** The fields of a node if it has this tag. */
export function fieldsOf(node: unknown, tag: string): Fields | undefined {
  if (typeof node !== "object" || node === null || !Object.hasOwn(node, tag)) return undefined;
  return (node as Record<string, Fields>)[tag];
}

/** An object in an untagged field, or undefined. */
export function object(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

export function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as unknown[]) : [];
}

export function text(value: unknown): string | undefined {
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** The strings of a list of String nodes: a qualified name. */
export function strings(value: unknown): string[] {
  const found: string[] = [];
  for (const item of list(value)) {
    const sval = text(fieldsOf(item, "String")?.["sval"]);
    if (sval !== undefined) found.push(sval);
  }
  return found;
}

/** Visits the children of a node, not their children. Constants have none worth visiting. */
export function forEachChild(tag: string, fields: Fields, visit: Visit): void {
  if (tag === "A_Const") return;
  for (const field in fields) {
    const value = fields[field];
    if (typeof value !== "object" || value === null) continue;
    if (Array.isArray(value)) {
      for (const item of value as unknown[]) visitChild(tag, item, field, visit);
    } else visitChild(tag, value, field, visit);
  }
}

function visitChild(parent: string, value: unknown, field: string, visit: Visit): void {
  if (typeof value !== "object" || value === null) return;
  for (const key in value) {
    if (startsUpperCase(key)) visit(key, (value as Record<string, Fields>)[key] ?? {}, field);
    else visit(UNTAGGED.get(parent)?.get(field) ?? UNKNOWN_TAG, value as Fields, field);
    return;
  }
}

function startsUpperCase(key: string): boolean {
  const first = key.charCodeAt(0);
  return first >= 0x41 && first <= 0x5a;
}

/**
 * Visits a node and all below it, parents first. `visit` answers false to leave out what is below a node.
 * Returns false, having stopped, when the tree is deeper than `LIMITS.sql.depth`.
 */
export function walk(
  tag: string,
  fields: Fields,
  visit: (tag: string, fields: Fields, field: string) => boolean | void,
  depth: number = LIMITS.sql.depth,
): boolean {
  let within = true;
  const descend = (childTag: string, childFields: Fields, field: string, left: number): void => {
    if (left === 0) within = false;
    if (!within || visit(childTag, childFields, field) === false) return;
    forEachChild(childTag, childFields, (t, f, name) => descend(t, f, name, left - 1));
  };
  descend(tag, fields, "", depth);
  return within;
}
