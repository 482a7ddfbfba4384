/**
 * From SQL text to what is to happen with it: parsed and analysed by PostgreSQL's grammar, decided by policy,
 * rewritten where columns are masked. Nothing here sends, holds or records.
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type Guard, OPEN_GUARD } from "../../../wire/postgres/machine-types.ts";
import type { Masker, Rewritten } from "../../policy/masks/types.ts";
import type { SessionNames } from "../../policy/masks/session-names.ts";
import { type AnalysedStatement, analyse } from "../../policy/sql/analyse.ts";
import {
  type Change,
  type PreparedState,
  type Resolution,
  changesOf,
  resolve,
  unknownName,
} from "../../policy/sql/prepared.ts";
import type { Action, Decision, Operation, PostgresFacts } from "../../policy/types.ts";
import { sqlParser } from "../engines.ts";

/** What the session keeps of a statement that was prepared or declared. Plain data. */
export type Kept = {
  /** The client's own text of the statement. */
  readonly text: string;
  /** A whole message that came by Parse; else the inner statement of PREPARE or DECLARE, whose text `text` is. */
  readonly whole: boolean;
  readonly actions: readonly Action[];
  /** The text that the server has of it where masks changed it. */
  readonly sent: string | undefined;
  readonly guard: Guard;
  readonly ddl: boolean;
};

/** What masks mean for this principal now; undefined where nothing is hidden from them. */
export type Masking = {
  readonly masker: Masker;
  readonly reveals: (relation: string, column: string) => boolean;
  readonly names: SessionNames;
};

/** A message of one or more statements, decided. */
export type Judged = {
  readonly operation: Operation;
  readonly decision: Decision;
  /** Undefined: the client's own text goes. */
  readonly sql: string | undefined;
  readonly guard: Guard;
  readonly notes: readonly string[];
  readonly changes: readonly Change<Kept>[];
  /** The catalogue may be another afterwards. */
  readonly ddl: boolean;
};

export type Judge = {
  readonly decide: (operation: Operation) => Decision;
  readonly prepared: PreparedState<Kept>;
  readonly masking: Masking | undefined;
  readonly inspectRows: boolean;
};

const CACHED_TEXTS = 2000;
const CACHED_LENGTH = 16 << 10;
const analysed = new Map<string, Result<readonly AnalysedStatement[], Refusal>>();

/** Parses and analyses, cached by text: the same text always means the same. */
export function analyseText(sql: string): Result<readonly AnalysedStatement[], Refusal> {
  const cached = analysed.get(sql);
  if (cached !== undefined) return cached;
  const result = analyseUncached(sql);
  if (sql.length <= CACHED_LENGTH) remember(analysed, sql, result);
  return result;
}

function analyseUncached(sql: string): Result<readonly AnalysedStatement[], Refusal> {
  const parsed = sqlParser.parse(sql);
  if (!parsed.ok) return parsed;
  const statements: AnalysedStatement[] = [];
  for (const statement of parsed.value) {
    const one = analyse(statement);
    if (!one.ok) return one;
    statements.push(one.value);
  }
  return ok(statements);
}

/** What a message does, before policy has said anything. */
type Gathered = Omit<Judged, "operation" | "decision" | "guard"> & {
  readonly actions: readonly Action[];
  readonly guards: readonly Guard[];
  /** Masks do not let it pass; said only of what policy permits. */
  readonly unmaskable: Refusal | undefined;
};

/**
 * Judges a Query or Parse message. Refusals are what no policy could permit; `decision` is policy's answer
 * over every action of every statement.
 */
export function judgeMessage(
  sql: string,
  statements: readonly AnalysedStatement[],
  judge: Judge,
): Result<Judged, Refusal> {
  const gathered = gatherMessage(sql, statements, judge, 0);
  return gathered.ok ? decide(sql, gathered.value, judge) : gathered;
}

/**
 * Judges the use of a kept statement by Bind or Execute. Where the principal's masks give another text than
 * the server has, the statement has to be prepared again.
 */
export function judgeKept(kept: Kept, judge: Judge): Result<Judged, Refusal> {
  const gathered = gatherKept(kept, judge, 0);
  return gathered.ok ? decide(kept.text, gathered.value, judge) : gathered;
}

/** What is kept of a message that Parse prepares. */
export function keepMessage(sql: string, judged: Judged): Kept {
  return {
    text: sql,
    whole: true,
    actions: judged.operation.actions,
    sent: judged.sql,
    guard: judged.guard,
    ddl: judged.ddl,
  };
}

function decide(text: string, gathered: Gathered, judge: Judge): Result<Judged, Refusal> {
  const { actions, guards, unmaskable, ...rest } = gathered;
  const operation: Operation = { actions, text };
  const decision = judge.decide(operation);
  if (unmaskable !== undefined && decision.effect !== "deny") return err(unmaskable);
  return ok({ ...rest, operation, decision, guard: mergeGuards(guards, judge.inspectRows) });
}

function gatherMessage(
  sql: string,
  statements: readonly AnalysedStatement[],
  judge: Judge,
  depth: number,
): Result<Gathered, Refusal> {
  const actions: Action[] = [];
  const guards: Guard[] = [];
  const notes: string[] = [];
  const replacements: { start: number; end: number; text: string }[] = [];
  const changes: Change<Kept>[] = [];
  let ddl = false;
  let unmaskable: Refusal | undefined;
  for (const [index, statement] of statements.entries()) {
    const uses = gatherUses(statement, judge, changes, depth);
    if (!uses.ok) return uses;
    const masked = rewrite(statement.statement.text, judge.masking);
    if (!masked.ok) unmaskable ??= masked.error;
    unmaskable ??= uses.value?.unmaskable;
    const rewritten = masked.ok ? masked.value : UNTOUCHED;
    actions.push(...statement.actions, ...(uses.value?.actions ?? []));
    guards.push(rewritten.guard, ...(uses.value?.guards ?? []));
    notes.push(...rewritten.notes);
    ddl ||= statement.ddl || statement.opaque || (uses.value?.ddl ?? false);
    if (rewritten.sql !== undefined) {
      const { start, end } = statement.statement;
      replacements.push({ start, end, text: rewritten.sql });
    }
    const made = changesOf([statement], (inner) => keepInner(statement, inner, rewritten));
    changes.push(...made.map((change) => ({ ...change, index })));
  }
  const text = replacements.length === 0 ? undefined : replace(sql, replacements);
  return ok({ actions, guards, notes, changes, ddl, sql: text, unmaskable });
}

/** How deep a prepared EXECUTE of a prepared EXECUTE … is followed. */
const MAX_DEPTH = 4;

function gatherKept(kept: Kept, judge: Judge, depth: number): Result<Gathered, Refusal> {
  if (depth > MAX_DEPTH) {
    return err(refusal("statement_over_limit", "prepared statements execute each other too deeply"));
  }
  if (kept.whole) {
    // The message may itself use names (EXECUTE, FETCH), which mean what they mean now.
    const statements = analyseText(kept.text);
    if (!statements.ok) return statements;
    const gathered = gatherMessage(kept.text, statements.value, judge, depth);
    if (!gathered.ok || gathered.value.unmaskable !== undefined) return gathered;
    return isStale(kept, gathered.value.sql, judge.masking)
      ? err(STALE)
      : ok({ ...gathered.value, sql: undefined });
  }
  const rewritten = rewrite(kept.text, judge.masking);
  const base = { actions: kept.actions, notes: [], changes: [], ddl: kept.ddl, sql: undefined };
  if (!rewritten.ok) return ok({ ...base, guards: [], unmaskable: rewritten.error });
  if (isStale(kept, rewritten.value.sql, judge.masking)) return err(STALE);
  return ok({ ...base, guards: [kept.guard, rewritten.value.guard], unmaskable: undefined });
}

const STALE = refusal(
  "prepared_statement_stale",
  "the statement was prepared under other masks than those in force now",
  {
    hint: "prepare it again",
  },
);

function isStale(kept: Kept, sql: string | undefined, masking: Masking | undefined): boolean {
  return masking !== undefined && sql !== kept.sent;
}

/** What EXECUTE, FETCH and MOVE run: the statement that the name stands for. */
function gatherUses(
  statement: AnalysedStatement,
  judge: Judge,
  earlier: readonly Change<Kept>[],
  depth: number,
): Result<Gathered | undefined, Refusal> {
  const { execute, cursor } = statement;
  const fetched = cursor?.op === "fetch" || cursor?.op === "move" ? cursor.name : undefined;
  const space = execute === undefined ? "cursors" : "statements";
  const name = execute?.name ?? fetched;
  if (name === undefined) return ok(undefined);
  const found: Resolution<Kept> = resolve(judge.prepared, space, name, earlier);
  if (found.state !== "known") return err(unknownName(space, name, found.state));
  const used = gatherKept(found.value, judge, depth + 1);
  if (!used.ok || execute?.explainOnly !== true) return used;
  return ok({ ...used.value, actions: explainedActions(used.value.actions), ddl: false });
}

/** A plain EXPLAIN runs nothing of the statement, but its plan tells of every relation that it names. */
function explainedActions(actions: readonly Action[]): readonly Action[] {
  const facts = actions.flatMap((action) =>
    action.action.startsWith("postgres:") ? [action.facts as PostgresFacts] : [],
  );
  const reads = [...new Set(facts.flatMap((fact) => [...fact.reads, ...fact.writes]))];
  const functions = [...new Set(facts.flatMap((fact) => fact.functions))];
  return [{ action: "postgres:select", facts: { reads, writes: [], hasWhere: true, functions } }];
}

function keepInner(statement: AnalysedStatement, inner: AnalysedStatement, rewritten: Rewritten): Kept {
  return {
    text: statement.statement.text,
    whole: false,
    actions: inner.actions,
    sent: rewritten.sql,
    guard: rewritten.guard,
    ddl: inner.ddl || inner.opaque,
  };
}

const UNTOUCHED: Rewritten = { sql: undefined, guard: OPEN_GUARD, notes: [] };
function rewrite(text: string, masking: Masking | undefined): Result<Rewritten, Refusal> {
  if (masking === undefined) return ok(UNTOUCHED);
  return masking.masker.rewrite({ text }, masking.reveals, masking.names);
}

function replace(sql: string, replacements: readonly { start: number; end: number; text: string }[]): string {
  let out = "";
  let from = 0;
  for (const { start, end, text } of replacements) {
    out += sql.slice(from, start) + text;
    from = end;
  }
  return out + sql.slice(from);
}

/** The strictest of several guards. */
export function mergeGuards(guards: readonly Guard[], inspectRows: boolean): Guard {
  const relevant = guards.filter((guard) => guard !== OPEN_GUARD);
  const [only] = relevant;
  if (only === undefined) return inspectRows ? INSPECTED : OPEN_GUARD;
  const errorMeanings = relevant.flatMap((guard) => guard.errorMeanings ?? []);
  return {
    withheldAttributes: [...new Set(relevant.flatMap((guard) => guard.withheldAttributes))],
    hideErrorDetail: relevant.some((guard) => guard.hideErrorDetail),
    inspectRows: inspectRows || relevant.some((guard) => guard.inspectRows),
    ...(errorMeanings.length === 0 ? {} : { errorMeanings }),
  };
}

const INSPECTED: Guard = { ...OPEN_GUARD, inspectRows: true };

/** A bounded cache: the oldest entry makes room. */
function remember<T>(cache: Map<string, T>, key: string, value: T): void {
  if (cache.size >= CACHED_TEXTS) {
    const oldest = cache.keys().next().value;
    if (oldest !== undefined) cache.delete(oldest);
  }
  cache.set(key, value);
}
