/**
 * What masking has to know of a database: its relations, what they are derived from, and what code of its own
 * it runs (DESIGN section 5). The connector runs `CATALOGUE_BEFORE`, every query of `CATALOGUE_QUERIES` and
 * `CATALOGUE_AFTER` on a connection of its own, in text format, and hands the rows to `decodeCatalogue`; the
 * gateway receives the outcome and checks it again with `catalogueSchema`.
 *
 * Every query names its relations in full and runs with an empty search_path, in one snapshot. They are
 * written for PostgreSQL 14 to 18.
 */
import { z } from "zod";
import { err, ok } from "../result.ts";
import type { Result } from "../result.ts";

const oid = z.number().int().min(0).max(0xffff_ffff);
const attribute = z.number().int().min(-6).max(1_700);
const attributes = z.array(attribute).readonly();
const name = z.string().min(1).max(255);

export const catalogueColumnSchema = z.object({
  attribute,
  name,
  /** format_type(atttypid, atttypmod): fully qualified where it is not in pg_catalog. */
  type: z.string().min(1),
  /** pg_type.oid of the type, and of its base type for a domain (else equal). */
  typeOid: oid,
  baseTypeOid: oid,
  /** For a domain, format_type of the innermost base type with its modifier; else equal to `type`. */
  baseType: z.string().min(1),
  /** pg_type.typcategory of the base type, and pg_type.typtype of the type itself. */
  category: z.string().length(1),
  typeKind: z.string().length(1),
  notNull: z.boolean(),
  /** GENERATED ALWAYS AS (expression). */
  generated: z.boolean(),
  /** The columns of the same relation that the generation expression reads. */
  generatedFrom: attributes,
  /** The default takes its value from a sequence, or the column is an identity column. */
  sequence: z.boolean(),
});
export type CatalogueColumn = z.infer<typeof catalogueColumnSchema>;

/** A key or check of a relation, or a unique index without a constraint. */
export const catalogueConstraintSchema = z.object({
  name,
  /** p primary key, u unique, x exclusion, c check, f foreign key, i unique index. */
  kind: z.enum(["p", "u", "x", "c", "f", "i"]),
  /** Columns read, in key order for keys. */
  attributes,
  deferrable: z.boolean(),
  /** Foreign keys: the relation and columns referred to. */
  references: z.object({ oid, attributes }).optional(),
});
export type CatalogueConstraint = z.infer<typeof catalogueConstraintSchema>;

/** Any index, as far as the order of its entries can tell of a column. */
export const catalogueIndexSchema = z.object({
  /** Every column of the relation that a key, an included column, an expression or the predicate reads. */
  attributes,
  partial: z.boolean(),
});
export type CatalogueIndex = z.infer<typeof catalogueIndexSchema>;

const dependency = z.object({ oid, attribute });

export const catalogueRelationSchema = z.object({
  oid,
  schema: name,
  name,
  /** pg_class.relkind: r table, p partitioned, v view, m materialised view, f foreign, S sequence, c composite type. */
  kind: z.string().length(1),
  /** In a temporary schema (of any session). */
  temporary: z.boolean(),
  /** Live columns in attnum order (dropped ones are left out, their numbers stay unused). */
  columns: z.array(catalogueColumnSchema).readonly(),
  /** OIDs of direct parents (pg_inherits): inheritance and partitioning. */
  parents: z.array(oid).readonly(),
  constraints: z.array(catalogueConstraintSchema).readonly(),
  /** Indexes that a plain index scan can follow (all but GIN and BRIN). */
  indexes: z.array(catalogueIndexSchema).readonly(),
  /** Columns that decide the partition of a row. */
  partitionKey: attributes,
  /** Columns (0: the relation as a whole) that the SELECT rule of a view or materialised view reads. */
  dependsOn: z.array(dependency).readonly(),
  /** The same for other rules (ON INSERT, UPDATE, DELETE), and whether there are any. */
  rulesDependOn: z.array(dependency).readonly(),
  rules: z.boolean(),
  /** Has triggers that a user made. */
  triggers: z.boolean(),
  /** OIDs of functions outside the server's own that the rules of this relation call. */
  functions: z.array(oid).readonly(),
  /** pg_get_viewdef of a view or materialised view, every name in full. */
  definition: z.string().optional(),
  securityBarrier: z.boolean(),
  /** The extension that made it. */
  extension: z.string().optional(),
});
export type CatalogueRelation = z.infer<typeof catalogueRelationSchema>;

export const catalogueFunctionSchema = z.object({
  oid,
  schema: name,
  name,
  /** One argument that can be a row: `t.name` in SQL may then call it. */
  takesRow: z.boolean(),
  extension: z.string().optional(),
});

/** An operator whose function is not the server's own. */
export const catalogueOperatorSchema = z.object({ schema: name, name, function: oid });
/** A cast whose function is not the server's own; the types as format_type gives them, and their bare names. */
export const catalogueCastSchema = z.object({ source: name, target: name, function: oid });
/** A type whose input, output or check calls a function that is not the server's own. */
export const catalogueTypeSchema = z.object({ schema: name, name, function: oid });

export const catalogueSchema = z.object({
  /** Increases with every reading of one resource. */
  version: z.number().int().min(0),
  /** server_version_num, for example 180004. */
  serverVersion: z.number().int().min(0),
  database: name,
  relations: z.array(catalogueRelationSchema).readonly(),
  /** Functions that are not the server's own (oid >= 16384), wherever they live. */
  functions: z.array(catalogueFunctionSchema).readonly(),
  operators: z.array(catalogueOperatorSchema).readonly(),
  casts: z.array(catalogueCastSchema).readonly(),
  types: z.array(catalogueTypeSchema).readonly(),
});
/** Object identifiers are decimal strings in the rows but numbers here (they fit 32 bits). */
export type Catalogue = z.infer<typeof catalogueSchema>;

/**
 * System relations that are shown with some columns masked (worker/policy/masks/system-relations.ts), so their
 * columns have to be known.
 */
export const SYSTEM_RELATIONS_READ = [
  "pg_class",
  "pg_attribute",
  "pg_sequences",
  "pg_stat_activity",
] as const;

export type CatalogueQuery = { readonly name: CatalogueQueryName; readonly sql: string };
export type CatalogueQueryName =
  | "server"
  | "relations"
  | "columns"
  | "generated"
  | "parents"
  | "constraints"
  | "indexes"
  | "orders"
  | "partitions"
  | "dependencies"
  | "functions"
  | "operators"
  | "casts"
  | "types";

/** Rows as they come in text format, one array of cells for each row. */
export type CatalogueRows = Readonly<Record<CatalogueQueryName, readonly (readonly (string | null)[])[]>>;

/** One snapshot, and no name of ours can be captured by an object of the database. */
export const CATALOGUE_BEFORE: readonly string[] = [
  "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
  "SET LOCAL search_path = ''",
  "SET LOCAL client_encoding = 'UTF8'",
  "SET LOCAL quote_all_identifiers = off",
];
export const CATALOGUE_AFTER: readonly string[] = ["COMMIT"];

const SYSTEM_NAMES = SYSTEM_RELATIONS_READ.map((relation) => `'${relation}'`).join(", ");
/** First OID of objects that initdb did not make (FirstNormalObjectId). */
const FIRST_USER_OID = 16_384;
const USER_RELATION = `(n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_toast'
    OR n.nspname = 'pg_catalog' AND c.relname IN (${SYSTEM_NAMES}))
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')`;

export const CATALOGUE_QUERIES: readonly CatalogueQuery[] = [
  {
    name: "server",
    sql: "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_database()",
  },
  {
    name: "relations",
    sql: `SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence = 't',
  CASE WHEN c.relkind IN ('v', 'm') AND n.nspname <> 'pg_catalog' THEN pg_catalog.pg_get_viewdef(c.oid) END,
  COALESCE('security_barrier=true' = ANY (c.reloptions) OR 'security_barrier=on' = ANY (c.reloptions)
    OR 'security_barrier=1' = ANY (c.reloptions) OR 'security_barrier' = ANY (c.reloptions), false),
  EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1'),
  EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
  (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' LIMIT 1)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE ${USER_RELATION}
ORDER BY c.oid`,
  },
  {
    name: "columns",
    // A domain can stand over another: the innermost base type is found by walking down.
    sql: `WITH RECURSIVE base (oid, base, typmod) AS (
  SELECT t.oid, t.typbasetype, t.typtypmod FROM pg_catalog.pg_type t WHERE t.typtype = 'd'
  UNION ALL
  SELECT b.oid, t.typbasetype, t.typtypmod FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.base AND t.typtype = 'd'
), innermost AS (
  SELECT DISTINCT ON (b.oid) b.oid, b.base, b.typmod FROM base b JOIN pg_catalog.pg_type t ON t.oid = b.base AND t.typtype <> 'd'
)
SELECT a.attrelid, a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid,
  COALESCE(i.base, a.atttypid), pg_catalog.format_type(COALESCE(i.base, a.atttypid), CASE WHEN i.oid IS NULL THEN a.atttypmod ELSE i.typmod END),
  b.typcategory, t.typtype, a.attnotnull, a.attgenerated <> '',
  a.attidentity <> '' OR EXISTS (
    SELECT FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_depend d
      ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
    WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum)
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN innermost i ON i.oid = a.atttypid
JOIN pg_catalog.pg_type b ON b.oid = COALESCE(i.base, a.atttypid)
WHERE a.attnum > 0 AND NOT a.attisdropped AND ${USER_RELATION}
ORDER BY a.attrelid, a.attnum`,
  },
  {
    name: "generated",
    sql: `SELECT DISTINCT f.adrelid, f.adnum, d.refobjsubid
FROM pg_catalog.pg_attrdef f
JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum AND a.attgenerated <> ''
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = f.adrelid
  AND d.refobjsubid <> 0 AND (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
    OR d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = f.adrelid AND d.objsubid = f.adnum)
WHERE d.refobjsubid <> f.adnum
ORDER BY 1, 2, 3`,
  },
  {
    name: "parents",
    sql: "SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i ORDER BY i.inhrelid, i.inhseqno",
  },
  {
    name: "constraints",
    sql: `SELECT k.conrelid, k.conname, k.contype, pg_catalog.array_to_string(k.conkey, ' '), k.condeferrable,
  k.confrelid, pg_catalog.array_to_string(k.confkey, ' ')
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype IN ('p', 'u', 'x', 'c', 'f') AND ${USER_RELATION}
ORDER BY k.conrelid, k.oid`,
  },
  {
    name: "indexes",
    // What an expression or a predicate reads is in pg_depend; the key columns are there too.
    sql: `SELECT x.indrelid, i.relname, pg_catalog.array_to_string(ARRAY(
    SELECT DISTINCT d.refobjsubid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = x.indrelid AND d.refobjsubid > 0
    ORDER BY 1), ' ')
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (x.indisunique OR x.indisexclusion) AND ${USER_RELATION}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x'))
ORDER BY x.indrelid, i.oid`,
  },
  {
    name: "orders",
    sql: `SELECT x.indrelid, pg_catalog.array_to_string(ARRAY(
    SELECT k FROM pg_catalog.unnest(x.indkey) k WHERE k > 0
    UNION SELECT d.refobjsubid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = x.indexrelid
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = x.indrelid AND d.refobjsubid > 0
    ORDER BY 1), ' '), x.indpred IS NOT NULL
FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
JOIN pg_catalog.pg_am a ON a.oid = i.relam
JOIN pg_catalog.pg_class c ON c.oid = x.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE a.amname NOT IN ('gin', 'brin') AND n.nspname <> 'pg_catalog' AND ${USER_RELATION}
ORDER BY x.indrelid, i.oid`,
  },
  {
    name: "partitions",
    sql: `SELECT p.partrelid, pg_catalog.array_to_string(ARRAY(
    SELECT k FROM pg_catalog.unnest(p.partattrs) k WHERE k > 0
    UNION SELECT d.refobjsubid FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = p.partrelid AND d.objsubid = 0
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = p.partrelid AND d.refobjsubid > 0
    ORDER BY 1), ' ')
FROM pg_catalog.pg_partitioned_table p ORDER BY 1`,
  },
  {
    name: "dependencies",
    // Rules depend on what they read: relations and columns (r), and functions that are not the server's own (f).
    sql: `SELECT DISTINCT r.ev_class, r.ev_type, CASE WHEN d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass THEN 'f' ELSE 'r' END,
  d.refobjid, d.refobjsubid
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r
  ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
WHERE d.deptype = 'n' AND d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)
  AND r.ev_class >= ${FIRST_USER_OID}
  AND NOT (d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.ev_class AND r.ev_type = '1')
ORDER BY 1, 2, 3, 4, 5`,
  },
  {
    name: "functions",
    sql: `SELECT p.oid, n.nspname, p.proname,
  p.pronargs = 1 AND EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = p.proargtypes[0]
    AND (t.typtype IN ('c', 'p') OR t.typtype = 'd')),
  (SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e' LIMIT 1)
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE p.oid >= ${FIRST_USER_OID}
ORDER BY p.oid`,
  },
  {
    name: "operators",
    sql: `SELECT n.nspname, o.oprname, o.oprcode::pg_catalog.oid
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oid >= ${FIRST_USER_OID}
ORDER BY o.oid`,
  },
  {
    name: "casts",
    sql: `SELECT s.typname, t.typname, c.castfunc
FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_type s ON s.oid = c.castsource JOIN pg_catalog.pg_type t ON t.oid = c.casttarget
WHERE c.castfunc >= ${FIRST_USER_OID}
ORDER BY c.oid`,
  },
  {
    name: "types",
    // Domains whose checks or defaults call functions; input and output functions are C and belong to the type.
    sql: `SELECT DISTINCT n.nspname, t.typname, d.refobjid
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_type t ON t.oid = k.contypid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass AND d.objid = k.oid
  AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid >= ${FIRST_USER_OID}
WHERE k.contypid <> 0
ORDER BY 1, 2, 3`,
  },
];

/** What was wrong with the rows: a bug or a server that is not PostgreSQL, never something a client can cause. */
export type CatalogueError = { readonly query: CatalogueQueryName; readonly problem: string };

type Row = readonly (string | null)[];
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Building = Omit<
  Mutable<CatalogueRelation>,
  | "columns"
  | "parents"
  | "constraints"
  | "indexes"
  | "partitionKey"
  | "dependsOn"
  | "rulesDependOn"
  | "functions"
> & {
  columns: (Omit<CatalogueColumn, "generatedFrom"> & { generatedFrom: number[] })[];
  parents: number[];
  constraints: CatalogueConstraint[];
  indexes: CatalogueIndex[];
  partitionKey: readonly number[];
  dependsOn: { oid: number; attribute: number }[];
  rulesDependOn: { oid: number; attribute: number }[];
  functions: number[];
};

/**
 * Builds the catalogue from the rows of `CATALOGUE_QUERIES`.
 * @param version the number that this reading gets; later readings of a resource have higher ones
 */
export function decodeCatalogue(rows: CatalogueRows, version: number): Result<Catalogue, CatalogueError> {
  const server = rows.server[0];
  if (server === undefined) return err({ query: "server", problem: "no row" });
  const relations = new Map<string, Building>();
  for (const row of rows.relations) relations.set(text(row, 0), relation(row));
  addColumns(relations, rows);
  addParentsAndKeys(relations, rows);
  addOrders(relations, rows);
  addDependencies(relations, rows);
  const checked = catalogueSchema.safeParse({
    version,
    serverVersion: number(server, 0),
    database: text(server, 1),
    relations: [...relations.values()],
    functions: rows.functions.map((row) => ({
      oid: number(row, 0),
      schema: text(row, 1),
      name: text(row, 2),
      takesRow: row[3] === "t",
      ...optional("extension", row[4]),
    })),
    operators: rows.operators.map((row) => ({
      schema: text(row, 0),
      name: text(row, 1),
      function: number(row, 2),
    })),
    casts: rows.casts.map((row) => ({
      source: text(row, 0),
      target: text(row, 1),
      function: number(row, 2),
    })),
    types: rows.types.map((row) => ({ schema: text(row, 0), name: text(row, 1), function: number(row, 2) })),
  });
  if (checked.success) return ok(checked.data);
  const issue = checked.error.issues[0];
  return err({
    query: "relations",
    problem: `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "invalid"}`,
  });
}

function relation(row: Row): Building {
  return {
    oid: number(row, 0),
    schema: text(row, 1),
    name: text(row, 2),
    kind: text(row, 3),
    temporary: row[4] === "t",
    ...optional("definition", row[5]),
    securityBarrier: row[6] === "t",
    rules: row[7] === "t",
    triggers: row[8] === "t",
    ...optional("extension", row[9]),
    columns: [],
    parents: [],
    constraints: [],
    indexes: [],
    partitionKey: [],
    dependsOn: [],
    rulesDependOn: [],
    functions: [],
  };
}

function addColumns(relations: Map<string, Building>, rows: CatalogueRows): void {
  const columns = new Map<string, { generatedFrom: number[] }>();
  for (const row of rows.columns) {
    const column = {
      attribute: number(row, 1),
      name: text(row, 2),
      type: text(row, 3),
      typeOid: number(row, 4),
      baseTypeOid: number(row, 5),
      baseType: text(row, 6),
      category: text(row, 7),
      typeKind: text(row, 8),
      notNull: row[9] === "t",
      generated: row[10] === "t",
      sequence: row[11] === "t",
      generatedFrom: [],
    };
    relations.get(text(row, 0))?.columns.push(column);
    columns.set(`${text(row, 0)}:${text(row, 1)}`, column);
  }
  for (const row of rows.generated)
    columns.get(`${text(row, 0)}:${text(row, 1)}`)?.generatedFrom.push(number(row, 2));
}

function addParentsAndKeys(relations: Map<string, Building>, rows: CatalogueRows): void {
  for (const row of rows.parents) relations.get(text(row, 0))?.parents.push(number(row, 1));
  for (const row of rows.constraints) {
    const kind = text(row, 2);
    relations.get(text(row, 0))?.constraints.push({
      name: text(row, 1),
      kind: kind as CatalogueConstraint["kind"], // the schema checks it
      attributes: numbers(row[3]),
      deferrable: row[4] === "t",
      ...(kind === "f" ? { references: { oid: number(row, 5), attributes: numbers(row[6]) } } : {}),
    });
  }
  for (const row of rows.indexes) {
    const constraint = {
      name: text(row, 1),
      kind: "i",
      attributes: numbers(row[2]),
      deferrable: false,
    } as const;
    relations.get(text(row, 0))?.constraints.push(constraint);
  }
}

function addOrders(relations: Map<string, Building>, rows: CatalogueRows): void {
  for (const row of rows.orders) {
    relations.get(text(row, 0))?.indexes.push({ attributes: numbers(row[1]), partial: row[2] === "t" });
  }
  for (const row of rows.partitions) {
    const partitioned = relations.get(text(row, 0));
    if (partitioned !== undefined) partitioned.partitionKey = numbers(row[1]);
  }
}

function addDependencies(relations: Map<string, Building>, rows: CatalogueRows): void {
  for (const row of rows.dependencies) {
    const dependent = relations.get(text(row, 0));
    if (dependent === undefined) continue;
    if (row[2] === "f") dependent.functions.push(number(row, 3));
    else
      (row[1] === "1" ? dependent.dependsOn : dependent.rulesDependOn).push({
        oid: number(row, 3),
        attribute: number(row, 4),
      });
  }
}

/** A missing cell becomes the empty string, which no field of the schema accepts. */
function text(row: Row, index: number): string {
  return row[index] ?? "";
}

function number(row: Row, index: number): number {
  const cell = row[index];
  return cell === null || cell === undefined || cell === "" ? Number.NaN : Number(cell);
}

function numbers(cell: string | null | undefined): number[] {
  return cell === null || cell === undefined || cell === "" ? [] : cell.split(" ").map(Number);
}

function optional<K extends string>(key: K, cell: string | null | undefined): { [key in K]?: string } {
  return cell === null || cell === undefined ? {} : ({ [key]: cell } as { [key in K]?: string });
}
