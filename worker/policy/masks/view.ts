/** What one principal's `reveal`s leave masked, and the texts that stand in for masked relations. */
import type { CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import type { Refusal } from "../../../wire/refusals.ts";
import { ok, type Result } from "../../../wire/result.ts";
import { fieldsOf, list } from "../sql/walk.ts";
import type { SqlParser } from "../sql/parser.ts";
import type { Tree } from "./edit.ts";
import type { ColumnProtection, Origin, Protection } from "./protection.ts";

/** A relation as far as it is masked for the principal. */
export type Applied = {
  readonly relation: CatalogueRelation;
  /** By column name. */
  readonly columns: ReadonlyMap<string, ColumnProtection>;
  readonly filters: readonly string[];
  /** Why it cannot be read at all. */
  readonly closed: string | undefined;
  /** What keeps the order of rows from following an index over a masked column. */
  readonly order: OrderFence;
};

/**
 * An index scan delivers rows in the order of the index, which can be that of a masked column: the rows of one
 * city through an index on (city, ssn), or masked addresses through an index on them alone.
 * - `sort`: rows are sorted by something that is not masked before the statement sees them.
 * - `heap`: a condition on ctid keeps the planner from reading an index instead of the table.
 */
export type OrderFence = "none" | "heap" | "sort";

/** A subquery that stands in for a relation. */
export type Shape = {
  readonly text: string;
  readonly tree: unknown;
  /** An error while it is read could hold a value. */
  readonly tells?: boolean;
};

export type ShapeOptions = {
  readonly only: boolean;
  /** System columns to carry along, since a subquery has none of its own. */
  readonly system: readonly string[];
  /** For EXPLAIN: no masked column is read at all, so that no estimate depends on one. */
  readonly constants: boolean;
  /** Keep expressions of the statement from being evaluated on rows that a filter hides. */
  readonly fence: boolean;
};

export class View {
  /** Something is hidden from the principal, so every statement is looked at. */
  readonly restricted: boolean;
  /** A mask names a relation that is not there: nothing of the database's own can be read. */
  readonly lost: Origin | undefined;
  /** `tableOid:attribute` of everything that is masked. */
  readonly withheld: readonly string[];
  readonly #applied = new Map<number, Applied>();
  readonly #shapes = new Map<string, Shape>();
  readonly #parser: SqlParser;

  constructor(
    protection: Protection,
    hidden: (origin: Origin) => boolean,
    parser: SqlParser,
    descendants: (relation: CatalogueRelation) => readonly CatalogueRelation[],
  ) {
    this.#parser = parser;
    this.restricted = protection.origins.some(hidden);
    this.lost = protection.lost.find(hidden);
    const withheld: string[] = [];
    for (const [oid, { relation, columns, filters, closed }] of this.restricted ? protection.relations : []) {
      const masked = new Map<string, ColumnProtection>();
      for (const entry of columns.values()) {
        if (entry.origins.length > 0 && !entry.origins.some(hidden)) continue;
        masked.set(entry.column.name, entry);
        withheld.push(`${oid}:${entry.column.attribute}`);
      }
      const hiding = filters.filter(({ origin }) => hidden(origin)).map(({ condition }) => condition);
      const because = closed.find(({ origin }) => hidden(origin))?.because;
      if (masked.size > 0 || hiding.length > 0 || because !== undefined) {
        this.#applied.set(oid, {
          relation,
          columns: masked,
          filters: hiding,
          closed: because,
          order: "none",
        });
      }
    }
    for (const [oid, applied] of this.#applied) {
      const order = this.#orderOf(applied.relation, descendants);
      if (order !== "none") this.#applied.set(oid, { ...applied, order });
    }
    this.withheld = withheld;
  }

  #orderOf(
    relation: CatalogueRelation,
    descendants: (relation: CatalogueRelation) => readonly CatalogueRelation[],
  ): OrderFence {
    let order: OrderFence = "none";
    for (const one of descendants(relation)) {
      const masked = this.#applied.get(one.oid)?.columns ?? new Map<string, ColumnProtection>();
      const found = [...masked.values()].filter(({ origins }) => origins.length > 0);
      for (const { attributes, partial } of one.indexes) {
        const inIndex = found.filter(({ column }) => attributes.includes(column.attribute));
        if (inIndex.length === 0) continue;
        if (partial || attributes.length > inIndex.length) return "sort";
        if (inIndex.some(({ mask }) => mask.reads)) order = "heap";
      }
    }
    return order;
  }

  applied(oid: number): Applied | undefined {
    return this.#applied.get(oid);
  }

  /** The subquery for a relation of which something is masked. */
  shape(applied: Applied, options: ShapeOptions): Result<Shape, Refusal> {
    const { only, system, constants, fence } = options;
    const key = `${applied.relation.oid}|${only}|${system.join()}|${constants}|${fence}`;
    const known = this.#shapes.get(key);
    if (known !== undefined) return ok(known);
    const { relation } = applied;
    const from = `${only ? "ONLY " : ""}${quote(relation.schema)}.${quote(relation.name)}`;
    const text = shapeText(applied, from, options);
    const shape = parseShape(text, this.#parser);
    if (shape.ok && this.#shapes.size < 10_000) this.#shapes.set(key, shape.value);
    return shape;
  }

  /** The same for a view with masks of its own, over the rewritten text of its definition if it needs one. */
  shapeOver(applied: Applied, definition: string | undefined, parser: SqlParser): Result<Shape, Refusal> {
    const { relation } = applied;
    const from =
      definition === undefined
        ? `${quote(relation.schema)}.${quote(relation.name)}`
        : `(${definition}) AS ${quote(relation.name)}`;
    return parseShape(
      shapeText(applied, from, { only: false, system: [], constants: false, fence: true }),
      parser,
    );
  }
}

function shapeText(applied: Applied, from: string, options: ShapeOptions): string {
  const columns = applied.relation.columns.map(({ name }) => {
    const masked = applied.columns.get(name);
    if (masked === undefined) return quote(name);
    const constant = options.constants && masked.mask.reads;
    const expression = constant
      ? `CAST(NULL AS ${masked.column.baseType})`
      : masked.mask.expression(quote(name));
    return `${expression} AS ${quote(name)}`;
  });
  const { filters, order, relation } = applied;
  const conditions = filters.map((filter) => `(${filter})`);
  if (order === "heap") conditions.push("ctid OPERATOR(pg_catalog.<>) '(4294967295,65535)'");
  const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  const sort = order === "sort" ? ` ORDER BY ${orderColumns(relation, applied).join(", ")}` : "";
  const limit = options.fence && filters.length > 0 ? " OFFSET 0" : "";
  return `SELECT ${[...columns, ...options.system].join(", ")} FROM ${from}${where}${sort}${limit}`;
}

/** The primary key, or where the rows lie if there is none that can be shown. */
function orderColumns(relation: CatalogueRelation, applied: Applied): readonly string[] {
  const key = relation.constraints.find((one) => one.kind === "p");
  const names = key?.attributes.map(
    (attribute) => relation.columns.find((one) => one.attribute === attribute)?.name ?? "",
  );
  if (names === undefined || names.some((name) => name === "" || applied.columns.has(name))) return ["ctid"];
  return names.map(quote);
}

export function parseShape(text: string, parser: SqlParser): Result<Shape, Refusal> {
  const parsed = parser.parse(text);
  if (!parsed.ok) return parsed;
  return ok({ text, tree: parsed.value[0]?.node });
}

export function quote(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** What a statement mentions, to tell whether a masked column can be meant at all. */
export type Mentions = {
  /** Last names of column references, of fields taken from values, and of USING. */
  readonly columns: ReadonlySet<string>;
  /** Qualifier and last name of qualified references. */
  readonly qualified: readonly { readonly qualifier: string; readonly column: string }[];
  /** By a relation's bare name: the names by which its rows can be referred to, itself or its aliases. */
  readonly qualifiers: ReadonlyMap<string, ReadonlySet<string>>;
  /** `*`, NATURAL, or names given by an alias: columns are meant without being named. */
  readonly unnamed: boolean;
};

/** Reads a tree as it was parsed, before any edit. */
export function mentionsOf(tree: unknown): Mentions {
  const columns = new Set<string>();
  const qualifiers = new Map<string, Set<string>>();
  const qualified: { qualifier: string; column: string }[] = [];
  let unnamed = false;
  const names = (nodes: unknown): string[] => {
    const found: string[] = [];
    for (const node of list(nodes)) {
      const name = fieldsOf(node, "String")?.["sval"];
      if (typeof name === "string") found.push(name);
      else if (fieldsOf(node, "A_Star") !== undefined) unnamed = true;
    }
    return found;
  };
  const visit = (node: unknown): void => {
    if (Array.isArray(node)) {
      for (const item of node) visit(item);
      return;
    }
    if (typeof node !== "object" || node === null) return;
    const fields = node as Tree;
    for (const key in fields) {
      const value = fields[key];
      if (key === "ColumnRef") {
        const parts = names((value as Tree)["fields"]);
        const column = parts.at(-1);
        if (column !== undefined) columns.add(column);
        const qualifier = parts.at(-2);
        if (qualifier !== undefined && column !== undefined) qualified.push({ qualifier, column });
      } else if (key === "indirection") for (const name of names(value)) columns.add(name);
      else if (key === "usingClause") for (const name of names(value)) columns.add(name);
      else if (key === "relname") {
        const name = String(value);
        const alias = (fields["alias"] as Tree | undefined)?.["aliasname"];
        const known = qualifiers.get(name) ?? new Set<string>();
        qualifiers.set(name, known.add(typeof alias === "string" ? alias : name));
      } else if (key === "colnames" || key === "isNatural" || key === "aliascolnames") unnamed = true;
      else if (key === "JoinExpr" && (value as Tree)["alias"] !== undefined) unnamed = true;
      if (typeof value === "object") visit(value);
    }
  };
  visit(tree);
  return { columns, qualified, qualifiers, unnamed };
}

/**
 * Can a statement with these mentions not mean any masked column of the relation? Then it is left as it is. A
 * whole row (`SELECT c`, `row_to_json(c)`), and `c.f` where f is no column and so a function of the row, mean
 * every column.
 */
export function leavesAlone(mentions: Mentions, applied: Applied): boolean {
  if (mentions.unnamed || applied.filters.length > 0 || applied.order === "sort") return false;
  const names = new Set(applied.relation.columns.map(({ name }) => name));
  const qualifiers = mentions.qualifiers.get(applied.relation.name) ?? new Set<string>();
  for (const name of mentions.columns) {
    if (applied.columns.has(name) || (qualifiers.has(name) && !names.has(name))) return false;
  }
  return mentions.qualified.every(({ qualifier, column }) => names.has(column) || !qualifiers.has(qualifier));
}
