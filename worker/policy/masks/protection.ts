/**
 * From "these columns are masked" to everything that holds their values: partitions and other children, their
 * parents, columns that a foreign key ties to them, and columns generated from them. Computed once for each
 * catalogue and resource; who may see what is asked later (view.ts).
 */
import type { Catalogue, CatalogueColumn, CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import type { SqlParser } from "../sql/parser.ts";
import type { ColumnMask, Resource } from "../types.ts";
import { buildCustomMask, checkCondition, type TrustedNames } from "./custom.ts";
import { buildMask, type BuiltMask } from "./expressions.ts";
import { SYSTEM_MASKS } from "./system-relations.ts";
import type { MaskConfigError } from "./types.ts";

/** A configured mask or filter, as `reveal` names it. */
export type Origin = { readonly relation: string; readonly column: string };

export type ColumnProtection = {
  readonly column: CatalogueColumn;
  readonly mask: BuiltMask;
  /** The configured masks whose values the column holds; all have to be revealed for it to be shown. Empty: never shown. */
  readonly origins: readonly Origin[];
};

export type RelationProtection = {
  readonly relation: CatalogueRelation;
  readonly columns: ReadonlyMap<number, ColumnProtection>;
  readonly filters: readonly { readonly condition: string; readonly origin: Origin }[];
  /** Why the relation cannot be read at all by whom an origin is hidden from. */
  readonly closed: readonly { readonly because: string; readonly origin: Origin }[];
};

export type Protection = {
  readonly relations: ReadonlyMap<number, RelationProtection>;
  readonly origins: readonly Origin[];
  /** Masks that name a relation that is not there: it may have been renamed, so nothing can be trusted to be unmasked. */
  readonly lost: readonly Origin[];
};

type Building = {
  relation: CatalogueRelation;
  columns: Map<
    number,
    { column: CatalogueColumn; mask: ColumnMask; derived: boolean; origins: Map<string, Origin> }
  >;
  filters: Map<string, { condition: string; origin: Origin }>;
  closed: Map<string, { because: string; origin: Origin }>;
};

export function protect(
  catalogue: Catalogue,
  resource: Resource,
  parser: SqlParser,
  trusted: TrustedNames,
): Result<Protection, MaskConfigError[]> {
  const errors: MaskConfigError[] = [];
  const byOid = new Map(catalogue.relations.map((relation) => [relation.oid, relation]));
  const byName = new Map(
    catalogue.relations.map((relation) => [`${relation.schema}\0${relation.name}`, relation]),
  );
  const building = new Map<number, Building>();
  const of = (relation: CatalogueRelation): Building => {
    let found = building.get(relation.oid);
    if (found === undefined) {
      found = { relation, columns: new Map(), filters: new Map(), closed: new Map() };
      building.set(relation.oid, found);
    }
    return found;
  };
  const origins: Origin[] = [];
  const lost: Origin[] = [];
  const custom = new Map<ColumnMask, BuiltMask>();
  for (const mask of resource.masks) {
    const origin = { relation: `${mask.schema}.${mask.relation}`, column: mask.column };
    const at = `${origin.relation}.${origin.column}`;
    if (origins.some((one) => one.relation === origin.relation && one.column === origin.column)) {
      errors.push({ reason: "duplicate", at, message: `${at} is masked twice` });
      continue;
    }
    origins.push(origin);
    const relation = byName.get(`${mask.schema}\0${mask.relation}`);
    const column = relation?.columns.find((one) => one.name === mask.column);
    if (relation === undefined) lost.push(origin);
    else if (column === undefined) {
      of(relation).closed.set(at, { because: `the mask ${at} names a column that it does not have`, origin });
    } else {
      const problem =
        mask.mask === "sql" ? buildCustomMask(column, mask, parser, trusted) : buildMask(column, mask);
      if (problem.ok) {
        if (mask.mask === "sql") custom.set(mask, problem.value);
        of(relation).columns.set(column.attribute, {
          column,
          mask,
          derived: false,
          origins: new Map([[at, origin]]),
        });
      } else {
        errors.push({
          reason:
            mask.mask === "sql"
              ? "expression_invalid"
              : mask.mask === "round"
                ? "step_invalid"
                : "type_not_suited",
          at,
          message: problem.error,
        });
      }
    }
  }
  for (const filter of resource.rows) {
    const origin = { relation: `${filter.schema}.${filter.relation}`, column: "*" };
    origins.push(origin);
    const relation = byName.get(`${filter.schema}\0${filter.relation}`);
    if (relation === undefined) {
      lost.push(origin);
      continue;
    }
    const checked = checkCondition(relation, filter.condition, parser, trusted);
    if (!checked.ok)
      errors.push({ reason: "expression_invalid", at: origin.relation, message: checked.error });
    else
      of(relation).filters.set(origin.relation + filter.condition, { condition: filter.condition, origin });
  }
  if (errors.length > 0) return err(errors);
  propagate(catalogue, byOid, building, of);
  closePartitioned(catalogue, building, of);
  addSystemMasks(catalogue, of);
  return ok({ relations: finish(building, custom), origins, lost });
}

function propagate(
  catalogue: Catalogue,
  byOid: ReadonlyMap<number, CatalogueRelation>,
  building: ReadonlyMap<number, Building>,
  of: (relation: CatalogueRelation) => Building,
): void {
  const children = new Map<number, CatalogueRelation[]>();
  const referring = new Map<number, CatalogueRelation[]>();
  for (const relation of catalogue.relations) {
    for (const parent of relation.parents) append(children, parent, relation);
    for (const key of relation.constraints) {
      if (key.references) append(referring, key.references.oid, relation);
    }
  }
  const work = [...building.keys()];
  for (let oid = work.pop(); oid !== undefined; oid = work.pop()) {
    const from = building.get(oid);
    if (from === undefined) continue;
    const parents = from.relation.parents.flatMap((parent) => byOid.get(parent) ?? []);
    const family = [...(children.get(oid) ?? []), ...parents];
    for (const [attribute, entry] of from.columns) {
      for (const relation of family) {
        const column = relation.columns.find((one) => one.name === entry.column.name);
        if (column && spread(of(relation), column, entry, false)) work.push(relation.oid);
      }
      for (const relation of referring.get(oid) ?? []) {
        for (const key of relation.constraints) {
          const index = key.references?.oid === oid ? key.references.attributes.indexOf(attribute) : -1;
          const column =
            index === -1
              ? undefined
              : relation.columns.find((one) => one.attribute === key.attributes[index]);
          if (column && spread(of(relation), column, entry, false)) work.push(relation.oid);
        }
      }
      for (const column of from.relation.columns) {
        if (column.generatedFrom.includes(attribute) && spread(from, column, entry, true)) work.push(oid);
      }
    }
    if (spreadRows(from, children.get(oid) ?? [], parents, of))
      work.push(...family.map((relation) => relation.oid));
  }
}

function append<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}

/** Gives `column` the mask and the origins of `entry`; a column with a mask of its own keeps it. Returns whether anything is new. */
function spread(
  to: Building,
  column: CatalogueColumn,
  entry: { mask: ColumnMask; origins: Map<string, Origin> },
  generated: boolean,
): boolean {
  const existing = to.columns.get(column.attribute);
  if (existing !== undefined) {
    const before = existing.origins.size;
    for (const [at, origin] of entry.origins) existing.origins.set(at, origin);
    return existing.origins.size > before;
  }
  // What a generation expression makes of a value is not known, so nothing of it is shown.
  const mask: ColumnMask = generated ? { ...entry.mask, mask: "full" } : entry.mask;
  to.columns.set(column.attribute, { column, mask, derived: true, origins: new Map(entry.origins) });
  return true;
}

/** Marks what closes parents only: a child with a filter can be read, through its filter. */
const UP = "parent of ";

function spreadRows(
  from: Building,
  children: readonly CatalogueRelation[],
  parents: readonly CatalogueRelation[],
  of: (relation: CatalogueRelation) => Building,
): boolean {
  let changed = false;
  const add = <T>(map: Map<string, T>, key: string, value: T): void => {
    if (map.has(key)) return;
    map.set(key, value);
    changed = true;
  };
  for (const child of children) {
    for (const [key, filter] of from.filters) add(of(child).filters, key, filter);
    for (const [key, closed] of from.closed) if (!key.startsWith(UP)) add(of(child).closed, key, closed);
  }
  for (const parent of parents) {
    for (const [key, filter] of from.filters) {
      // A filter came down from this very parent, or it hides rows that the parent would show.
      if (!of(parent).filters.has(key)) {
        const because = `rows of its child ${filter.origin.relation} are hidden by a filter that the parent does not have`;
        add(of(parent).closed, UP + key, { because, origin: filter.origin });
      }
    }
    for (const [key, closed] of from.closed) add(of(parent).closed, key, closed);
  }
  return changed;
}

/** Which partition holds a row says what its key is, and so do the partitions' names and order. */
function closePartitioned(
  catalogue: Catalogue,
  building: ReadonlyMap<number, Building>,
  of: (relation: CatalogueRelation) => Building,
): void {
  for (const entry of [...building.values()]) {
    for (const attribute of entry.relation.partitionKey) {
      const key = entry.columns.get(attribute);
      if (key === undefined) continue;
      const because = `it is partitioned by ${key.column.name}, which is masked, and a row's partition tells of it`;
      const family = new Set([entry.relation.oid]);
      for (const oid of family) {
        for (const one of catalogue.relations) if (one.parents.includes(oid)) family.add(one.oid);
      }
      for (const one of catalogue.relations) {
        if (!family.has(one.oid)) continue;
        for (const [at, origin] of key.origins) of(one).closed.set(`${at} partition`, { because, origin });
      }
    }
  }
}

function addSystemMasks(catalogue: Catalogue, of: (relation: CatalogueRelation) => Building): void {
  for (const relation of catalogue.relations) {
    if (relation.schema !== "pg_catalog") continue;
    for (const column of relation.columns) {
      const expression = SYSTEM_MASKS[relation.name]?.[column.name];
      if (expression === undefined) continue;
      const mask: ColumnMask = {
        schema: relation.schema,
        relation: relation.name,
        column: column.name,
        mask: "sql",
        expression,
      };
      of(relation).columns.set(column.attribute, { column, mask, derived: false, origins: new Map() });
    }
  }
}

function finish(
  building: ReadonlyMap<number, Building>,
  custom: ReadonlyMap<ColumnMask, BuiltMask>,
): Map<number, RelationProtection> {
  const relations = new Map<number, RelationProtection>();
  for (const [oid, entry] of building) {
    const columns = new Map<number, ColumnProtection>();
    for (const [attribute, { column, mask, origins }] of entry.columns) {
      columns.set(attribute, {
        column,
        mask: built(column, mask, custom, origins.size === 0),
        origins: [...origins.values()],
      });
    }
    relations.set(oid, {
      relation: entry.relation,
      columns,
      filters: [...entry.filters.values()],
      closed: [...entry.closed.values()],
    });
  }
  return relations;
}

/** A mask that came from elsewhere may not suit this column's type; then nothing is shown of it. */
function built(
  column: CatalogueColumn,
  mask: ColumnMask,
  custom: ReadonlyMap<ColumnMask, BuiltMask>,
  system: boolean,
): BuiltMask {
  if (system) {
    const expression = mask.expression ?? "NULL";
    return {
      expression: () => expression,
      says: "hidden, because it tells of data",
      reads: true,
      mayFail: false,
    };
  }
  const own = custom.get(mask);
  if (own !== undefined) return own;
  const first = buildMask(column, mask);
  if (first.ok) return first.value;
  const none = buildMask(column, { ...mask, mask: "null" });
  if (none.ok) return none.value;
  throw new Error("a NULL of any type can be built");
}
