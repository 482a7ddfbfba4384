/**
 * Collects what a statement reads, writes and calls, with PostgreSQL's own scoping of WITH names
 * (parse_cte.c, parse_relation.c): a bare name is a CTE where one is in scope, else a relation. The target of
 * INSERT, UPDATE, DELETE and MERGE is always a relation, as CTEs do not hide it (setTargetTable).
 */
import { LIMITS } from "../../../wire/limits.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import type { PostgresVerb } from "../types.ts";
import { namesColumn, restrictsRows } from "./conditions.ts";
import { effectOf } from "./functions.ts";
import { qualifiedName, relationName } from "./names.ts";
import { checkCall, pgDumpSettingName, readSetting } from "./settings.ts";
import {
  type Fields,
  fieldsOf,
  forEachChild,
  list,
  object,
  strings,
  tagged,
  text,
  UNKNOWN_TAG,
} from "./walk.ts";

/** One effect of a statement; becomes one action. */
export type Effect = {
  readonly verb: PostgresVerb;
  readonly reads: Set<string>;
  readonly writes: Set<string>;
  readonly functions: Set<string>;
  readonly hasWhere: boolean;
};

/** WITH names in scope. The set of a plain WITH grows as its items are passed. */
type Scope = { readonly names: Set<string>; readonly parent: Scope | undefined };

type Where = { readonly scope: Scope | undefined; readonly depth: number };

export class Collector {
  readonly effects: Effect[] = [];
  /** Relations whose rows are delivered or copied, as opposed to only looked at by the WHERE of a change to them. */
  readonly sources = new Set<string>();
  readonly functions = new Set<string>();
  /** A function is called that runs SQL or reads relations which only its arguments name. */
  opaque = false;
  refusal: Refusal | undefined;

  /** Effects that what is being visited belongs to. */
  readonly #open: Effect[] = [];
  /** The nodes visited define something that runs later: their changes are not effects of this statement. */
  readonly #defines: boolean;
  /** A relation named outside any query is the object of the statement. */
  #inQuery = false;
  #settingName: string | undefined;

  constructor(options: { readonly defines: boolean } = { defines: false }) {
    this.#defines = options.defines;
  }

  /** Opens an effect, runs `inside` with everything found there belonging to it too, and closes it. */
  effect(verb: PostgresVerb, hasWhere: boolean, inside: (effect: Effect) => void): void {
    const effect: Effect = { verb, reads: new Set(), writes: new Set(), functions: new Set(), hasWhere };
    this.effects.push(effect);
    this.#open.push(effect);
    inside(effect);
    this.#open.pop();
  }

  /** Visits a statement or an expression in a scope without WITH names. */
  visit(tag: string, fields: Fields): void {
    this.#visit(tag, fields, { scope: undefined, depth: 0 });
  }

  /** Notes a relation that the statement is about. */
  write(name: string): void {
    for (const effect of this.#open) effect.writes.add(name);
  }

  /** Notes a function that the statement calls or names as one to be called. */
  call(parts: readonly string[]): void {
    const name = qualifiedName(parts);
    this.functions.add(name);
    for (const effect of this.#open) effect.functions.add(name);
    const effect = effectOf(parts.at(-1) ?? "");
    if (effect === undefined) return;
    this.opaque ||= effect.opaque;
    this.effect(effect.verb, true, (own) => own.functions.add(name));
  }

  #refuse(reason: Refusal | undefined): void {
    this.refusal ??= reason;
  }

  /** Notes a relation whose rows are read. */
  #read(name: string): void {
    this.sources.add(name);
    this.#look(name);
  }

  /** Notes a relation that is looked at: its definition, or rows that stay where they are. */
  #look(name: string): void {
    for (const effect of this.#open) effect.reads.add(name);
  }

  #visit(tag: string, fields: Fields, where: Where): void {
    if (this.refusal !== undefined) return;
    if (where.depth > LIMITS.sql.depth) {
      return this.#refuse(
        refusal("statement_over_limit", `the statement nests deeper than ${LIMITS.sql.depth}`),
      );
    }
    switch (tag) {
      case "SelectStmt":
        return this.#query(() => this.#select(fields, where));
      case "InsertStmt":
        return this.#query(() => this.#insert(fields, where));
      case "UpdateStmt":
      case "DeleteStmt":
        return this.#query(() => this.#change(tag, fields, where));
      case "MergeStmt":
        return this.#query(() => this.#merge(fields, where));
      case "RangeVar":
        return this.#relation(fields, where);
      case "TableLikeClause":
        return this.#look(relationName(object(fields["relation"]) ?? {}));
      case "IntoClause":
        return this.#into(fields);
      // FOR UPDATE OF names aliases.
      case "LockingClause":
        return;
      case "FuncCall":
        this.call(strings(fields["funcname"]));
        this.#refuse(checkCall(fields, this.#settingName));
        return this.#children(tag, fields, where);
      case "VariableSetStmt":
        return this.#refuse(readSetting(fields).refusal);
      case UNKNOWN_TAG:
        return this.#refuse(refusal("unknown_operation", "the statement has a part that is not known"));
      default:
        return this.#children(tag, fields, where);
    }
  }

  #children(tag: string, fields: Fields, where: Where, skip?: ReadonlySet<string>): void {
    const below = { scope: where.scope, depth: where.depth + 1 };
    forEachChild(tag, fields, (childTag, childFields, field) => {
      if (skip?.has(field) !== true) this.#visit(childTag, childFields, below);
    });
  }

  #query(inside: () => void): void {
    const before = this.#inQuery;
    this.#inQuery = true;
    inside();
    this.#inQuery = before;
  }

  #relation(fields: Fields, where: Where): void {
    if (!this.#inQuery) return this.write(relationName(fields));
    const name = text(fields["relname"]) ?? "";
    if (text(fields["schemaname"]) === undefined && isInScope(where.scope, name)) return;
    this.#read(relationName(fields));
  }

  /** SELECT INTO and CREATE TABLE AS: creates a relation. */
  #into(fields: Fields): void {
    const name = relationName(object(fields["rel"]) ?? {});
    if (this.#inQuery) this.effect("schema", true, (effect) => effect.writes.add(name));
    else this.write(name);
    this.#children("IntoClause", fields, { scope: undefined, depth: 0 }, INTO_HANDLED);
  }

  #select(fields: Fields, where: Where): void {
    const inner = this.#with(fields, where);
    const settingName = this.#settingName;
    this.#settingName = pgDumpSettingName(fields);
    this.#children("SelectStmt", fields, inner, WITH_HANDLED);
    this.#settingName = settingName;
  }

  #insert(fields: Fields, where: Where): void {
    const target = this.#target(fields);
    this.#changing("insert", target, true, (effect) => {
      const inner = this.#with(fields, where);
      this.#children("InsertStmt", fields, inner, INSERT_HANDLED);
      const conflict = object(fields["onConflictClause"]);
      if (conflict !== undefined) {
        const visitConflict = (): void => this.#children("OnConflictClause", conflict, inner);
        // The conflict itself picks the rows that DO UPDATE changes.
        if (conflict["action"] === "ONCONFLICT_UPDATE") {
          this.#changing("update", target, true, (update) => {
            visitConflict();
            if (namesColumn("OnConflictClause", conflict)) update.reads.add(target);
          });
        } else visitConflict();
      }
      this.#returning(fields, target, effect);
    });
  }

  #change(tag: "UpdateStmt" | "DeleteStmt", fields: Fields, where: Where): void {
    const target = this.#target(fields);
    const verb = tag === "UpdateStmt" ? "update" : "delete";
    this.#changing(verb, target, restrictsRows(fields["whereClause"]), (effect) => {
      this.#children(tag, fields, this.#with(fields, where), CHANGE_HANDLED);
      const looks = { whereClause: fields["whereClause"], targetList: fields["targetList"] };
      if (namesColumn(tag, looks)) effect.reads.add(target);
      this.#returning(fields, target, effect);
    });
  }

  #merge(fields: Fields, where: Where): void {
    const target = this.#target(fields);
    this.#changing("merge", target, true, (merge) => {
      const scope = this.#with(fields, where);
      this.#children("MergeStmt", fields, scope, MERGE_HANDLED);
      merge.reads.add(target);
      const joins = restrictsRows(fields["joinCondition"]);
      for (const item of list(fields["mergeWhenClauses"])) {
        const clause = fieldsOf(item, "MergeWhenClause") ?? {};
        const verb = MERGE_VERBS.get(clause["commandType"]);
        const visitClause = (): void => this.#children("MergeWhenClause", clause, scope);
        if (verb === undefined) {
          visitClause();
          continue;
        }
        // Rows that no source row matches are all rows but those: the join condition does not restrict them.
        const restricted =
          restrictsRows(clause["condition"]) ||
          (joins && clause["matchKind"] !== "MERGE_WHEN_NOT_MATCHED_BY_SOURCE");
        this.#changing(verb, target, verb === "insert" || restricted, (effect) => {
          visitClause();
          if (verb !== "insert") effect.reads.add(target);
        });
      }
      this.#returning(fields, target, merge);
    });
  }

  /** Visits RETURNING, which delivers rows of the target. */
  #returning(fields: Fields, target: string, effect: Effect): void {
    if (fields["returningClause"] === undefined) return;
    effect.reads.add(target);
    this.#read(target);
  }

  #target(fields: Fields): string {
    const relation = object(fields["relation"]) ?? {};
    const schema = text(relation["schemaname"]);
    if (relation["relname"] === "pg_settings" && (schema === undefined || schema === "pg_catalog")) {
      this.#refuse(
        refusal(
          "setting_not_allowed",
          "settings cannot be changed by writing to pg_settings through the gateway",
          {
            hint: "use SET",
          },
        ),
      );
    }
    return relationName(relation);
  }

  #changing(verb: PostgresVerb, target: string, hasWhere: boolean, inside: (effect: Effect) => void): void {
    const enclosing = this.#open.at(-1);
    if (this.#defines && enclosing !== undefined) {
      enclosing.writes.add(target);
      return inside(enclosing);
    }
    this.effect(verb, hasWhere, (effect) => {
      effect.writes.add(target);
      inside(effect);
    });
  }

  /** Visits a WITH clause; what follows is in the scope that is returned. */
  #with(fields: Fields, where: Where): Where {
    const clause = object(fields["withClause"]);
    if (clause === undefined) return where;
    const scope: Scope = { names: new Set(), parent: where.scope };
    const inner = { scope, depth: where.depth + 1 };
    const items = list(clause["ctes"]).map((item) => fieldsOf(item, "CommonTableExpr") ?? {});
    // RECURSIVE: every item sees every item, itself and later ones too. Otherwise an item sees those before it.
    if (clause["recursive"] === true) for (const item of items) scope.names.add(text(item["ctename"]) ?? "");
    for (const item of items) {
      this.#children("CommonTableExpr", item, inner);
      scope.names.add(text(item["ctename"]) ?? "");
    }
    return inner;
  }
}

const WITH_HANDLED: ReadonlySet<string> = new Set(["withClause"]);
const INTO_HANDLED: ReadonlySet<string> = new Set(["rel"]);
const CHANGE_HANDLED: ReadonlySet<string> = new Set(["withClause", "relation"]);
const INSERT_HANDLED: ReadonlySet<string> = new Set(["withClause", "relation", "onConflictClause"]);
const MERGE_HANDLED: ReadonlySet<string> = new Set(["withClause", "relation", "mergeWhenClauses"]);

const MERGE_VERBS: ReadonlyMap<unknown, "insert" | "update" | "delete"> = new Map([
  ["CMD_INSERT", "insert"],
  ["CMD_UPDATE", "update"],
  ["CMD_DELETE", "delete"],
] as const);

function isInScope(scope: Scope | undefined, name: string): boolean {
  for (let at = scope; at !== undefined; at = at.parent) if (at.names.has(name)) return true;
  return false;
}

/** Splits a node that must be there: a missing one has a tag that every caller refuses. */
export function required(node: unknown): { readonly tag: string; readonly fields: Fields } {
  return tagged(node) ?? { tag: UNKNOWN_TAG, fields: {} };
}
