/** Which relation a name in a statement means. */
import type { Catalogue, CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import { text, type Fields } from "../sql/walk.ts";
import { createdName, type SessionNames } from "./session-names.ts";
import { SYSTEM_RELATIONS } from "./system-relations.ts";

export type Resolved =
  | { readonly kind: "cte" }
  /** Made by this session, so it can hold nothing that the session was not shown. */
  | { readonly kind: "created" }
  /** A relation of the system's that is not masked. */
  | { readonly kind: "system" }
  | { readonly kind: "relation"; readonly relation: CatalogueRelation };

/** Names of common table expressions in scope, innermost last. */
export type Scope = readonly ReadonlySet<string>[];

export class RelationNames {
  readonly byOid: ReadonlyMap<number, CatalogueRelation>;
  readonly #byName = new Map<string, CatalogueRelation[]>();
  readonly #children = new Map<number, CatalogueRelation[]>();
  readonly #database: string;

  constructor(catalogue: Catalogue) {
    this.#database = catalogue.database;
    this.byOid = new Map(catalogue.relations.map((relation) => [relation.oid, relation]));
    for (const relation of catalogue.relations) {
      const same = this.#byName.get(relation.name);
      if (same === undefined) this.#byName.set(relation.name, [relation]);
      else same.push(relation);
      for (const parent of relation.parents) {
        const siblings = this.#children.get(parent);
        if (siblings === undefined) this.#children.set(parent, [relation]);
        else siblings.push(relation);
      }
    }
  }

  /** The relation, its partitions and other children, and theirs. */
  withDescendants(relation: CatalogueRelation): readonly CatalogueRelation[] {
    const found = new Set([relation]);
    for (const one of found) for (const child of this.#children.get(one.oid) ?? []) found.add(child);
    return [...found];
  }

  /** All relations of this bare name, in whatever schema. */
  named(name: string): readonly CatalogueRelation[] {
    return this.#byName.get(name) ?? [];
  }

  /**
   * @param rangeVar the fields of a RangeVar
   * @param masked tells of a relation whether it is masked; among several of one name only those matter
   */
  resolve(
    rangeVar: Fields,
    scope: Scope,
    session: SessionNames,
    masked: (relation: CatalogueRelation) => boolean,
  ): Result<Resolved, Refusal> {
    const name = text(rangeVar["relname"]) ?? "";
    const schema = text(rangeVar["schemaname"]);
    const database = text(rangeVar["catalogname"]);
    if (database !== undefined && database !== this.#database) {
      return err(refusal("relation_unknown", `cross-database references are not implemented: ${database}`));
    }
    if (schema === undefined) {
      if (scope.some((names) => names.has(name))) return ok({ kind: "cte" });
      return this.#unqualified(name, session, masked);
    }
    if (schema === "information_schema") return ok({ kind: "system" });
    const relation = this.named(name).find((one) => one.schema === schema);
    if (schema === "pg_catalog")
      return relation === undefined ? systemRelation(name) : ok({ kind: "relation", relation });
    if (schema.startsWith("pg_toast")) return err(dataOfSystem(`${schema}.${name}`));
    if (schema === "pg_temp") return this.#temporary(name, session);
    if (relation !== undefined) return ok({ kind: "relation", relation });
    if (session.created.includes(createdName(schema, name))) return ok({ kind: "created" });
    return err(unknown(`${schema}.${name}`));
  }

  #temporary(name: string, session: SessionNames): Result<Resolved, Refusal> {
    if (session.created.includes(createdName(undefined, name))) return ok({ kind: "created" });
    const relation = this.named(name).find((one) => one.temporary);
    return relation === undefined ? err(unknown(`pg_temp.${name}`)) : ok({ kind: "relation", relation });
  }

  #unqualified(
    name: string,
    session: SessionNames,
    masked: (relation: CatalogueRelation) => boolean,
  ): Result<Resolved, Refusal> {
    // A relation of the database's own with such a name would still be hidden by the system's.
    if (name.startsWith("pg_")) {
      const system = this.named(name).find((relation) => relation.schema === "pg_catalog");
      return system === undefined ? systemRelation(name) : ok({ kind: "relation", relation: system });
    }
    const candidates = this.named(name);
    const hidden = candidates.filter(masked);
    if (hidden.length === 0) {
      if (session.created.includes(createdName(undefined, name))) return ok({ kind: "created" });
      const [first] = candidates;
      return first === undefined ? err(unknown(name)) : ok({ kind: "relation", relation: first });
    }
    const [first] = hidden;
    if (first !== undefined && candidates.length === 1) return ok({ kind: "relation", relation: first });
    const schemas = candidates.map((relation) => relation.schema).join(", ");
    return err(
      refusal(
        "mask_cannot_rewrite",
        `${name} can be a relation of several schemas (${schemas}), and not all are masked alike`,
        {
          hint: `write the schema: ${first?.schema ?? "schema"}.${name}`,
        },
      ),
    );
  }
}

function systemRelation(name: string): Result<Resolved, Refusal> {
  return SYSTEM_RELATIONS.has(name) ? ok({ kind: "system" }) : err(dataOfSystem(name));
}

function dataOfSystem(name: string): Refusal {
  return refusal("mask_cannot_rewrite", `${name} can tell of values in masked columns`, {
    hint: "definitions are in the other system catalogues and in information_schema; for data a reveal permission is needed",
  });
}

function unknown(name: string): Refusal {
  return refusal("relation_unknown", `relation "${name}" does not exist`, {
    hint: "the gateway's picture of the database does not have it either",
  });
}
