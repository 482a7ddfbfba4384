/**
 * From a parsed statement to what policy decides on: actions and facts. Exhaustive over the statements of
 * PostgreSQL 18's grammar; a kind that is not known is refused.
 *
 * How a statement becomes actions:
 * - Each INSERT, UPDATE, DELETE and MERGE, wherever it stands (WITH items too), is an action with its own
 *   reads, writes and `hasWhere`. A MERGE is `merge` and an action for each kind of change in it. ON CONFLICT
 *   DO UPDATE is an `update` besides the `insert`.
 * - A SELECT is a `select` that reads every relation anywhere in the statement. A change that delivers or
 *   copies rows (INSERT ... SELECT, FROM, USING, subqueries, RETURNING) is a `select` of them besides. A WHERE
 *   or SET over the changed relation itself only puts it into that action's `reads`.
 * - SELECT INTO, CREATE TABLE AS, CREATE VIEW and CREATE MATERIALIZED VIEW are `schema` and `select`.
 * - COPY is what it copies; with PROGRAM or a server's file it is `copy_program` too.
 * - EXPLAIN ANALYZE is the statement it runs; plain EXPLAIN is a `select` of all that the statement names,
 *   as the plan tells of their statistics.
 * - A function with an effect of its own (functions.ts) is that action besides.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import type { Action, RelationName } from "../types.ts";
import { Collector, type Effect, required } from "./collect.ts";
import { isOptionOn } from "./conditions.ts";
import { namedRelations } from "./objects.ts";
import type { Node, ParsedStatement } from "./parser.ts";
import { readSetting, type Setting } from "./settings.ts";
import {
  DEFINES_LATER,
  TRANSACTION_KINDS,
  type Transaction,
  UTILITY,
  type UtilityRule,
} from "./statements.ts";
import { type Fields, fieldsOf, list, object, tagged, text } from "./walk.ts";

export type AnalysedStatement = {
  /** Tag of the statement's node, such as "SelectStmt". */
  readonly kind: string;
  /** At least one; every one has to be permitted. */
  readonly actions: readonly Action[];
  /** All relations that the statement reads, and that it changes. */
  readonly reads: readonly RelationName[];
  readonly writes: readonly RelationName[];
  readonly functions: readonly string[];
  readonly statement: ParsedStatement;
  /** The catalogue may be another afterwards (in a transaction: after its COMMIT). */
  readonly ddl: boolean;
  /** Code runs that this analysis has not seen: DO, CALL, SQL given to a function as text. */
  readonly opaque: boolean;
  /** PREPARE. The inner statement has this statement's text. Its actions are decided at EXECUTE. */
  readonly prepare?: { readonly name: string; readonly inner: AnalysedStatement };
  /**
   * EXECUTE, also inside EXPLAIN and CREATE TABLE AS: the prepared statement's actions belong to this
   * statement too: see `withPrepared`.
   */
  readonly execute?: { readonly name: string; readonly node: Node; readonly explainOnly: boolean };
  /** DEALLOCATE; no name means ALL. */
  readonly deallocate?: { readonly name: string | undefined };
  /** Cursors; no name means ALL (CLOSE only). FETCH and MOVE run the declared statement: see `withPrepared`. */
  readonly cursor?: {
    readonly op: "declare" | "fetch" | "move" | "close";
    readonly name: string | undefined;
    readonly inner?: AnalysedStatement;
    /** DECLARE ... WITH HOLD: outlives its transaction. */
    readonly hold?: boolean;
  };
  readonly setting?: Setting;
  readonly transaction?: Transaction;
};

type Extra = Partial<
  Pick<AnalysedStatement, "prepare" | "execute" | "deallocate" | "cursor" | "setting" | "transaction">
>;

/**
 * Analyses one statement. Refusals: unknown_operation, setting_not_allowed, function_not_allowed,
 * statement_over_limit. Never throws for a tree that the parser gave.
 */
export function analyse(statement: ParsedStatement): Result<AnalysedStatement, Refusal> {
  return analyseNode(statement.node, statement, 0);
}

/**
 * EXECUTE, FETCH or MOVE together with the statement that its name stands for: what it does as a whole. The
 * same goes for EXECUTE inside EXPLAIN and CREATE TABLE AS.
 */
export function withPrepared(use: AnalysedStatement, prepared: AnalysedStatement): AnalysedStatement {
  if (use.execute?.explainOnly !== true) return union(use, prepared);
  const reads = [...new Set([...prepared.reads, ...prepared.writes])];
  return union(use, { ...prepared, actions: explained(prepared), reads, writes: [], ddl: false });
}

/**
 * The actions of a plain EXPLAIN of a statement: it changes nothing, but its plan tells of what it names, and
 * planning may call functions, whose own effects therefore stay.
 */
export function explained(inner: AnalysedStatement): Action[] {
  const reads = [...new Set([...inner.reads, ...inner.writes])];
  return [
    { action: "postgres:select", facts: { reads, writes: [], hasWhere: true, functions: inner.functions } },
    ...inner.actions.filter((action) => EFFECTS_OF_FUNCTIONS.has(action.action)),
  ];
}

const EFFECTS_OF_FUNCTIONS: ReadonlySet<string> = new Set([
  "postgres:call",
  "postgres:copy_program",
  "postgres:maintenance",
  "postgres:session",
]);

function analyseNode(
  node: Node,
  statement: ParsedStatement,
  depth: number,
): Result<AnalysedStatement, Refusal> {
  const found = tagged(node);
  if (found === undefined) return err(unknown("this statement"));
  if (depth > LIMITS.sql.depth) return err(refusal("statement_over_limit", "the statement nests too deep"));
  const { tag, fields } = found;
  const inner = (child: unknown): Result<AnalysedStatement, Refusal> =>
    analyseNode(child as Node, { ...statement, node: child as Node }, depth + 1);

  switch (tag) {
    case "SelectStmt":
    case "InsertStmt":
    case "UpdateStmt":
    case "DeleteStmt":
    case "MergeStmt":
      return finish(tag, statement, query(tag, fields), { ddl: false });
    case "ExplainStmt":
      return explain(fields, statement, inner);
    case "CopyStmt":
      return finish(tag, statement, copy(fields), { ddl: false });
    case "CreateTableAsStmt":
      return createTableAs(fields, statement, inner);
    case "PrepareStmt": {
      const prepared = inner(fields["query"]);
      if (!prepared.ok) return prepared;
      const prepare = { name: text(fields["name"]) ?? "", inner: prepared.value };
      return finish(
        tag,
        statement,
        utility(tag, { argtypes: fields["argtypes"] }, SESSION),
        { ddl: false },
        { prepare },
      );
    }
    case "DeclareCursorStmt": {
      const declared = inner(fields["query"]);
      if (!declared.ok) return declared;
      const cursor = {
        op: "declare" as const,
        name: text(fields["portalname"]) ?? "",
        inner: declared.value,
        hold: (Number(fields["options"] ?? 0) & CURSOR_OPT_HOLD) !== 0,
      };
      const own = finish(tag, statement, utility(tag, {}, SESSION), { ddl: false }, { cursor });
      return own.ok ? ok(union(own.value, declared.value)) : own;
    }
    case "CreateSchemaStmt": {
      const rule =
        UTILITY.get(object(fields["authrole"]) === undefined ? "CreateStmt" : "AlterOwnerStmt") ?? SESSION;
      let whole = finish(tag, statement, utility(tag, {}, rule), rule);
      for (const element of list(fields["schemaElts"])) {
        const part = inner(element);
        if (!part.ok || !whole.ok) return part.ok ? whole : part;
        whole = ok(union(whole.value, part.value));
      }
      return whole;
    }
    case "LoadStmt":
      return err(refusal("function_not_allowed", "LOAD is not allowed through the gateway"));
    default: {
      const rule = ruleFor(tag, fields);
      if (rule === undefined) return err(unknown(tag));
      return finish(tag, statement, utility(tag, fields, rule), rule, extra(tag, fields, node));
    }
  }
}

/** parsenodes.h. */
const CURSOR_OPT_HOLD = 0x0020;

const SESSION: UtilityRule = { verbs: ["session"], ddl: false };

function unknown(what: string): Refusal {
  return refusal("unknown_operation", `the gateway does not know ${what}, so it cannot be decided`);
}

function query(tag: string, fields: Fields): Collector {
  const collector = new Collector();
  if (tag === "SelectStmt") collector.effect("select", true, () => collector.visit(tag, fields));
  else {
    collector.visit(tag, fields);
    addSelect(collector);
  }
  return collector;
}

/** The select that a change, a definition or a COPY is besides, when it reads rows that it delivers or copies. */
function addSelect(collector: Collector): void {
  if (collector.sources.size === 0) return;
  collector.effect("select", true, (effect) => {
    for (const name of collector.sources) effect.reads.add(name);
    for (const name of collector.functions) effect.functions.add(name);
  });
}

function utility(tag: string, fields: Fields, rule: UtilityRule): Collector {
  const collector = new Collector({ defines: DEFINES_LATER.has(tag) });
  const [first = "session", ...others] = rule.verbs;
  collector.effect(first, true, (effect) => {
    for (const name of namedRelations(tag, fields)) effect.writes.add(name);
    for (const field of ["funcname", "handler_name", "plhandler", "plinline", "plvalidator"]) {
      const called = list(fields[field]);
      if (called.length > 0 && tag !== "CreateFunctionStmt") collector.call(namesOf(called));
    }
    collector.visit(tag, fields);
    for (const verb of others) {
      collector.effects.push({ ...effect, verb });
    }
  });
  addSelect(collector);
  return collector;
}

function namesOf(names: readonly unknown[]): string[] {
  return names.flatMap((name) => text(fieldsOf(name, "String")?.["sval"]) ?? []);
}

/** What a utility statement is, where its tag alone does not say. */
function ruleFor(tag: string, fields: Fields): UtilityRule | undefined {
  const rule = UTILITY.get(tag);
  if (rule === undefined) return undefined;
  switch (tag) {
    case "AlterTableStmt": {
      const guards = list(fields["cmds"]).some((item) =>
        GUARDING_COMMANDS.has(fieldsOf(item, "AlterTableCmd")?.["subtype"]),
      );
      return guards ? { ...rule, verbs: ["schema", "grant"] } : rule;
    }
    case "DropStmt":
      return fields["removeType"] === "OBJECT_POLICY" ? { ...rule, verbs: ["grant"] } : rule;
    case "RenameStmt":
      return fields["renameType"] === "OBJECT_ROLE" || fields["renameType"] === "OBJECT_POLICY"
        ? { ...rule, verbs: ["grant"] }
        : rule;
    case "VariableSetStmt": {
      const name = fields["kind"] === "VAR_SET_MULTI" ? text(fields["name"]) : undefined;
      return name?.startsWith("TRANSACTION") === true ? { ...rule, verbs: ["transaction"] } : rule;
    }
    default:
      return rule;
  }
}

/** ALTER TABLE commands about who may see or change rows. */
const GUARDING_COMMANDS: ReadonlySet<unknown> = new Set([
  "AT_ChangeOwner",
  "AT_EnableRowSecurity",
  "AT_DisableRowSecurity",
  "AT_ForceRowSecurity",
  "AT_NoForceRowSecurity",
]);

function extra(tag: string, fields: Fields, node: Node): Extra {
  switch (tag) {
    case "ExecuteStmt":
      return { execute: { name: text(fields["name"]) ?? "", node, explainOnly: false } };
    case "DeallocateStmt":
      return { deallocate: { name: fields["isall"] === true ? undefined : (text(fields["name"]) ?? "") } };
    case "FetchStmt":
      return {
        cursor: { op: fields["ismove"] === true ? "move" : "fetch", name: text(fields["portalname"]) ?? "" },
      };
    case "ClosePortalStmt":
      return { cursor: { op: "close", name: text(fields["portalname"]) } };
    case "DiscardStmt":
      return fields["target"] === "DISCARD_ALL"
        ? {
            deallocate: { name: undefined },
            cursor: { op: "close", name: undefined },
            setting: { op: "reset", name: "all" },
          }
        : {};
    case "VariableSetStmt":
      return { setting: readSetting(fields).setting };
    case "VariableShowStmt":
      return { setting: { op: "show", name: text(fields["name"]) ?? "" } };
    case "TransactionStmt": {
      const transaction = TRANSACTION_KINDS.get(fields["kind"]);
      return transaction === undefined ? {} : { transaction };
    }
    default:
      return {};
  }
}

function copy(fields: Fields): Collector {
  const collector = new Collector();
  const relation = object(fields["relation"]);
  if (relation === undefined) {
    const { tag, fields: inner } = required(fields["query"]);
    if (tag === "SelectStmt") collector.effect("select", true, () => collector.visit(tag, inner));
    else {
      collector.visit(tag, inner);
      addSelect(collector);
    }
  } else if (fields["is_from"] === true) {
    collector.effect("insert", true, () => {
      collector.visit("CopyStmt", fields);
    });
    addSelect(collector);
  } else {
    const target = { fromClause: [{ RangeVar: relation }] };
    collector.effect("select", true, () => collector.visit("SelectStmt", target));
  }
  // A file of the server or a program; absent for STDIN and STDOUT.
  if (text(fields["filename"]) !== undefined || fields["is_program"] === true) {
    const parts = [...collector.effects];
    collector.effect("copy_program", true, (effect) => {
      for (const part of parts) {
        for (const name of part.reads) effect.reads.add(name);
        for (const name of part.writes) effect.writes.add(name);
      }
      for (const name of collector.functions) effect.functions.add(name);
    });
  }
  return collector;
}

type Inner = (child: unknown) => Result<AnalysedStatement, Refusal>;

function createTableAs(
  fields: Fields,
  statement: ParsedStatement,
  inner: Inner,
): Result<AnalysedStatement, Refusal> {
  const source = inner(fields["query"]);
  if (!source.ok) return source;
  const own = finish(
    "CreateTableAsStmt",
    statement,
    utility("CreateTableAsStmt", { into: fields["into"] }, { verbs: ["schema"], ddl: true }),
    { ddl: true },
    source.value.execute === undefined ? {} : { execute: source.value.execute },
  );
  return own.ok ? ok(union(own.value, source.value)) : own;
}

function explain(
  fields: Fields,
  statement: ParsedStatement,
  inner: Inner,
): Result<AnalysedStatement, Refusal> {
  const explainedStatement = inner(fields["query"]);
  if (!explainedStatement.ok) return explainedStatement;
  const { execute, ...value } = explainedStatement.value;
  const runs = list(fields["options"]).some((item) => {
    const option = fieldsOf(item, "DefElem") ?? {};
    return option["defname"] === "analyze" && isOptionOn(option);
  });
  return ok({
    kind: "ExplainStmt",
    actions: runs ? value.actions : explained(value),
    reads: runs ? value.reads : [...new Set([...value.reads, ...value.writes])],
    writes: runs ? value.writes : [],
    functions: value.functions,
    statement,
    ddl: runs && value.ddl,
    opaque: value.opaque,
    ...(execute === undefined ? {} : { execute: { ...execute, explainOnly: !runs } }),
  });
}

/** Joins what a part does into the whole. */
function union(whole: AnalysedStatement, part: AnalysedStatement): AnalysedStatement {
  const join = (a: readonly string[], b: readonly string[]): string[] => [...new Set([...a, ...b])];
  return {
    ...whole,
    actions: [...whole.actions, ...part.actions],
    reads: join(whole.reads, part.reads),
    writes: join(whole.writes, part.writes),
    functions: join(whole.functions, part.functions),
    ddl: whole.ddl || part.ddl,
    opaque: whole.opaque || part.opaque,
  };
}

function finish(
  kind: string,
  statement: ParsedStatement,
  collector: Collector,
  rule: { readonly ddl: boolean },
  more: Extra = {},
): Result<AnalysedStatement, Refusal> {
  if (collector.refusal !== undefined) return err(collector.refusal);
  const reads = new Set<string>();
  const writes = new Set<string>();
  const actions: Action[] = [];
  const seen = new Set<string>();
  for (const effect of collector.effects) {
    for (const name of effect.reads) reads.add(name);
    for (const name of effect.writes) writes.add(name);
    const action = actionOf(effect);
    const key = JSON.stringify(action);
    if (!seen.has(key)) actions.push(action);
    seen.add(key);
  }
  if (Math.max(reads.size, writes.size, collector.functions.size) > LIMITS.policy.contextSet) {
    return err(
      refusal(
        "statement_over_limit",
        `the statement names more than ${LIMITS.policy.contextSet} relations or functions`,
      ),
    );
  }
  return ok({
    kind,
    actions,
    reads: [...reads],
    writes: [...writes],
    functions: [...collector.functions],
    statement,
    ddl: rule.ddl || collector.effects.some((effect) => effect.verb === "schema"),
    opaque: collector.opaque || kind === "DoStmt" || kind === "CallStmt",
    ...more,
  });
}

function actionOf(effect: Effect): Action {
  return {
    action: `postgres:${effect.verb}`,
    facts: {
      reads: [...effect.reads],
      writes: [...effect.writes],
      hasWhere: effect.hasWhere,
      functions: [...effect.functions],
    },
  };
}
