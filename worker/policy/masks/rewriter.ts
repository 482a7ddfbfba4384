/**
 * Rewrites one statement so that it cannot depend on what is masked: every place that reads a relation with
 * masked columns reads a subquery instead, `FROM customers c` → `FROM (SELECT …, <mask> AS ssn FROM
 * public.customers) c`. The walk goes over the whole tree and refuses what it does not know.
 */
import type { CatalogueRelation } from "../../../wire/postgres/catalogue.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import type { SqlParser } from "../sql/parser.ts";
import {
  fieldsOf,
  forEachChild,
  list,
  object,
  strings,
  tagged,
  text,
  UNKNOWN_TAG,
  type Fields,
} from "../sql/walk.ts";
import { Edit, standIn, type Tree } from "./edit.ts";
import { callProblem } from "./calls.ts";
import type { TrustedNames } from "./functions.ts";
import { cannotFail } from "./cannot-fail.ts";
import { completeGroupBy } from "./group-by.ts";
import type { RelationNames, Resolved, Scope } from "./names.ts";
import type { SessionNames } from "./session-names.ts";
import {
  leavesAlone,
  mentionsOf,
  quote,
  type Applied,
  type Mentions,
  type Shape,
  type View,
} from "./view.ts";
import { walkWrite } from "./writes.ts";

export type Surroundings = {
  readonly view: View;
  readonly names: RelationNames;
  readonly trusted: TrustedNames;
  readonly parser: SqlParser;
  readonly session: SessionNames;
  /** The relation is masked for the principal, or a view over one that is. */
  readonly sensitive: (relation: CatalogueRelation) => boolean;
  /** What stands in for a view, or undefined when it can be read as it is. */
  readonly viewShape: (
    relation: CatalogueRelation,
    constants: boolean,
    fence: boolean,
  ) => Result<Shape | undefined, Refusal>;
};

/** A relation whose place in FROM a subquery took. */
export type Replaced = { readonly relation: CatalogueRelation; readonly qualifier: string };

const SELECT_HANDLED = new Set(["withClause", "larg", "rarg", "fromClause", "intoClause", "lockingClause"]);

const SYSTEM_COLUMNS = new Set(["xmin", "xmax", "cmin", "cmax", "tableoid"]);

/** Refusals travel up the walk as this; `Rewriter.run` is the only place that catches it. */
class Refused extends Error {
  readonly refusal: Refusal;
  constructor(refused: Refusal) {
    super(refused.code);
    this.refusal = refused;
  }
}

export class Rewriter {
  readonly around: Surroundings;
  readonly edit: Edit;
  readonly notes: string[] = [];
  /** EXPLAIN: masked columns are not read at all. */
  constants = false;
  /** A masked relation is read or written. */
  touches = false;
  /** INTO of the statement itself, which was looked at. */
  intoClause: unknown;
  /** How many places read a subquery now. */
  replacements = 0;
  /** An error of this statement could hold a value. */
  errorsTell = false;
  errorMeanings: { readonly sqlstate: string; readonly refusal: Refusal }[] = [];
  readonly #mentions: Mentions;
  readonly #replaced = new Set<string>();
  readonly #longReferences: Tree[] = [];
  readonly #original: unknown;
  #simple: boolean | undefined;

  /** @param node the statement's tree, which is edited in place; its locations count from the start of `sql` */
  constructor(around: Surroundings, sql: string, node: unknown) {
    this.around = around;
    this.edit = new Edit(sql);
    this.#mentions = mentionsOf(node);
    this.#original = node;
  }

  /** Runs `walk` over the tree and gives the edited text, or undefined when nothing had to change. */
  run(node: unknown, walk: () => void): Result<string | undefined, Refusal> {
    try {
      walk();
      for (const reference of this.#longReferences) this.#shorten(reference);
    } catch (error) {
      if (error instanceof Refused) return err(error.refusal);
      throw error;
    }
    if (!this.edit.changed)
      return this.edit.lost ? this.edit.finish(this.around.parser, node) : ok(undefined);
    return this.edit.finish(this.around.parser, node);
  }

  refuse(refused: Refusal): never {
    // A refusal, not an error: it is caught in `run` and becomes a Result there.
    throw new Refused(refused);
  }

  cannot(message: string, hint?: string): never {
    return this.refuse(refusal("mask_cannot_rewrite", message, hint === undefined ? {} : { hint }));
  }

  note(line: string): void {
    if (!this.notes.includes(line)) this.notes.push(line);
  }

  get mentions(): Mentions {
    return this.#mentions;
  }

  resolve(rangeVar: Fields, scope: Scope): Resolved {
    const resolved = this.around.names.resolve(rangeVar, scope, this.around.session, this.around.sensitive);
    if (!resolved.ok) return this.refuse(resolved.error);
    if (resolved.value.kind === "relation") this.checkLost(resolved.value.relation);
    return resolved.value;
  }

  checkLost(relation: CatalogueRelation): void {
    const { lost } = this.around.view;
    if (lost === undefined || relation.schema === "pg_catalog") return;
    this.cannot(
      `the mask ${lost.relation}.${lost.column} names a relation that does not exist, so nothing is known to be unmasked`,
      "it may have been renamed or dropped; an administrator has to correct the resource",
    );
  }

  /** Any node that can hold expressions or queries. */
  visit(tag: string, fields: Fields, scope: Scope): void {
    switch (tag) {
      case "SelectStmt":
        this.select(fields, scope);
        return;
      case "InsertStmt":
      case "UpdateStmt":
      case "DeleteStmt":
      case "MergeStmt":
        walkWrite(this, tag, fields, scope);
        return;
      case "RangeVar":
        this.cannot(`${text(fields["relname"]) ?? "a relation"} is named in a place that cannot be masked`);
        return;
      case UNKNOWN_TAG:
        this.cannot("the statement has a part that is not known");
        return;
      case "LockingClause":
        return; // names aliases of FROM
      case "ColumnRef":
        if (list(fields["fields"]).length >= 3) this.#longReferences.push(fields);
        break;
      default:
        break;
    }
    const problem = callProblem(tag, fields, this.around.trusted);
    if (problem !== undefined) this.refuse(notAllowed(problem));
    this.children(tag, fields, scope);
  }

  /** Visits what is below a node, in the fields that `which` names. */
  children(tag: string, fields: Fields, scope: Scope, which?: (field: string) => boolean): void {
    forEachChild(tag, fields, (childTag, childFields, field) => {
      if (which === undefined || which(field)) this.visit(childTag, childFields, scope);
    });
  }

  /** The names that a WITH clause adds, after its queries were visited. */
  withClause(fields: Fields, scope: Scope): Scope {
    const clause = object(fields["withClause"]);
    if (clause === undefined) return scope;
    const expressions = list(clause["ctes"]).map((cte) => fieldsOf(cte, "CommonTableExpr") ?? {});
    const all = new Set(expressions.map((cte) => text(cte["ctename"]) ?? ""));
    const seen = new Set<string>();
    for (const cte of expressions) {
      // With RECURSIVE every name of the clause is visible in all of it, else only the earlier ones.
      const inner = [...scope, clause["recursive"] === true ? all : new Set(seen)];
      this.children("CommonTableExpr", cte, inner);
      seen.add(text(cte["ctename"]) ?? "");
    }
    return [...scope, all];
  }

  select(fields: Tree, outer: Scope): void {
    const scope = this.withClause(fields, outer);
    if (fields["intoClause"] !== undefined && fields["intoClause"] !== this.intoClause)
      this.cannot("SELECT INTO is not possible in this place");
    for (const side of ["larg", "rarg"]) {
      const query = object(fields[side]);
      if (query !== undefined) this.select(query, scope);
    }
    const replaced: Replaced[] = [];
    for (const item of list(fields["fromClause"])) this.fromItem(item, scope, replaced);
    this.children("SelectStmt", fields, scope, (field) => !SELECT_HANDLED.has(field));
    completeGroupBy(this, fields, replaced);
  }

  fromItem(item: unknown, scope: Scope, replaced: Replaced[]): void {
    const node = tagged(item);
    if (node === undefined) return;
    switch (node.tag) {
      case "RangeVar":
        this.#readRelation(item as Tree, node.fields, scope, replaced);
        return;
      case "JoinExpr":
        this.fromItem(node.fields["larg"], scope, replaced);
        this.fromItem(node.fields["rarg"], scope, replaced);
        this.children("JoinExpr", node.fields, scope, (field) => field !== "larg" && field !== "rarg");
        return;
      case "RangeTableSample": {
        const relation = fieldsOf(node.fields["relation"], "RangeVar") ?? {};
        const resolved = this.resolve(relation, scope);
        if (resolved.kind === "relation" && this.around.sensitive(resolved.relation)) {
          this.cannot(
            `TABLESAMPLE over ${nameOf(resolved.relation)} depends on the length of masked values`,
            "take a sample with WHERE random() < 0.01 instead",
          );
        }
        this.children("RangeTableSample", node.fields, scope, (field) => field !== "relation");
        return;
      }
      default:
        this.visit(node.tag, node.fields, scope);
    }
  }

  #readRelation(wrapper: Tree, fields: Tree, scope: Scope, replaced: Replaced[]): void {
    const resolved = this.resolve(fields, scope);
    if (resolved.kind !== "relation") return;
    const { relation } = resolved;
    const shape = this.shapeFor(relation, fields["inh"] !== true);
    if (shape === undefined) return;
    const alias = object(fields["alias"]);
    const proof = standIn(this.replacements);
    this.#replaceInText(fields, shape.text, proof.text);
    delete wrapper["RangeVar"];
    const name = text(fields["relname"]) ?? "";
    wrapper["RangeSubselect"] = { subquery: proof.tree, alias: alias ?? { aliasname: name } };
    this.replacements++;
    this.#replaced.add(`${relation.schema}\0${relation.name}`);
    replaced.push({ relation, qualifier: text(alias?.["aliasname"]) ?? name });
  }

  /**
   * What a read of the relation reads instead; undefined when it can be read as it is.
   * @param always also when the statement names no masked column
   */
  shapeFor(relation: CatalogueRelation, only: boolean, always = false): Shape | undefined {
    const { view, sensitive } = this.around;
    if (relation.kind === "S") this.#checkSequence(relation);
    if (relation.kind === "v" || relation.kind === "m") {
      const shape = this.around.viewShape(relation, this.constants, !this.simple);
      if (!shape.ok) return this.refuse(shape.error);
      if (shape.value !== undefined) {
        this.touches = true;
        if (shape.value.tells === true) this.errorsTell = true;
        this.note(`${nameOf(relation)}: read through its definition, with what it reads masked`);
      }
      return shape.value;
    }
    const applied = view.applied(relation.oid);
    if (applied === undefined || !sensitive(relation)) return undefined;
    if (applied.closed !== undefined) this.cannot(`${nameOf(relation)} cannot be read: ${applied.closed}`);
    this.touches = true;
    if (relation.kind === "f") this.errorsTell = true;
    if (this.mentions.columns.has("ctid")) {
      this.cannot(
        `the column ctid of ${nameOf(relation)} depends on the length of masked values`,
        "name rows by their key",
      );
    }
    if (!always && leavesAlone(this.mentions, applied)) {
      this.note(`${nameOf(relation)}: left as it is, no masked column of it can be meant`);
      return undefined;
    }
    const shape = view.shape(applied, {
      only,
      system: this.#systemColumns(applied),
      constants: this.constants,
      fence: !this.simple,
    });
    if (!shape.ok) return this.refuse(shape.error);
    this.#explain(applied);
    return shape.value;
  }

  #explain(applied: Applied): void {
    for (const [column, { mask, origins }] of applied.columns) {
      if (mask.mayFail && origins.length > 0) this.errorsTell = true;
      const from = origins.filter(
        (origin) => origin.relation !== nameOf(applied.relation) || origin.column !== column,
      );
      const because =
        from.length === 0
          ? ""
          : `, because it holds values of ${from.map((o) => `${o.relation}.${o.column}`).join(", ")}`;
      this.note(`${nameOf(applied.relation)}.${column}: ${mask.says}${because}`);
    }
    for (const filter of applied.filters) {
      this.errorsTell = true;
      this.note(`${nameOf(applied.relation)}: only rows where ${filter}`);
    }
  }

  /** System columns that the statement names; a subquery with them shows them to `*` too, so not with that. */
  #systemColumns(applied: Applied): readonly string[] {
    const wanted = [...this.mentions.columns].filter((name) => SYSTEM_COLUMNS.has(name));
    if (wanted.length === 0) return [];
    if (this.mentions.unnamed) {
      this.cannot(
        `system columns of ${nameOf(applied.relation)} cannot be read together with *, NATURAL or renamed columns`,
        "name the columns",
      );
    }
    return wanted.toSorted();
  }

  #checkSequence(relation: CatalogueRelation): void {
    if (this.around.trusted.sequencesTell) {
      this.cannot(`${nameOf(relation)} can tell of a masked column that takes its values from a sequence`);
    }
  }

  #replaceInText(fields: Tree, subquery: string, proof: string): void {
    const { edit } = this;
    const index = edit.tokenAt(fields["location"]);
    let first = index;
    let after = edit.afterName(index);
    if (fields["inh"] !== true) {
      if (edit.is(first - 1, "(") && edit.is(first - 2, "only")) {
        first -= 2;
        after += 1;
      } else if (edit.is(first - 1, "only")) first -= 1;
      else edit.lost = true;
    } else if (edit.is(after, "*")) after += 1;
    const alias = object(fields["alias"]) === undefined ? ` AS ${quote(text(fields["relname"]) ?? "")}` : "";
    // TABLE t is SELECT * FROM t.
    const command = edit.is(first - 1, "table");
    if (command) first -= 1;
    const around = (query: string): string => `${command ? "SELECT * FROM " : ""}(${query})${alias}`;
    edit.replace(first, after, around(subquery), around(proof));
  }

  /** `public.customers.ssn` has no meaning once a subquery named customers stands there. */
  #shorten(reference: Tree): void {
    const parts = list(reference["fields"]);
    const names = strings(parts);
    const star = names.length < parts.length;
    const schema = star ? names.at(-2) : names.at(-3);
    const relation = star ? names.at(-1) : names.at(-2);
    if (!this.#replaced.has(`${schema ?? ""}\0${relation ?? ""}`)) return;
    const drop = parts.length - 2;
    const first = this.edit.tokenAt(reference["location"]);
    let at = first;
    for (let part = 0; part < drop; part++) {
      at += this.edit.is(at + 1, "uescape") ? 4 : 2;
    }
    this.edit.replace(first, at, "");
    reference["fields"] = parts.slice(drop);
  }

  /** May expressions of the statement be evaluated on rows that it does not deliver, without telling of them? */
  get simple(): boolean {
    return (this.#simple ??= cannotFail(this.#original));
  }
}

export function nameOf(relation: CatalogueRelation): string {
  return `${relation.schema}.${relation.name}`;
}

function notAllowed(problem: string): Refusal {
  return refusal("function_not_allowed", problem, {
    hint: "an administrator can list it under trustedFunctions of the resource if it tells nothing of masked columns",
  });
}
