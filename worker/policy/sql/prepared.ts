/**
 * What the names of prepared statements and cursors stand for. SQL and the protocol share both namespaces:
 * PREPARE and Parse make statements that EXECUTE and Bind run, DECLARE and Bind make portals that FETCH and
 * Execute run (PostgreSQL docs 54.2.3). A name is decided on as the statement it stands for, so a wrong
 * meaning would let a statement run under another's decision. Therefore:
 *
 * - A change counts when the server has confirmed it (ParseComplete, CommandComplete), not before. A PREPARE
 *   that fails because the name is taken leaves the older statement there.
 * - Until then the name is unsettled, unless both outcomes are safe: in the same message a failing change
 *   keeps its use from running, and a name that stood for nothing would still stand for nothing.
 * - Prepared statements are not transactional: ROLLBACK neither undoes PREPARE nor DEALLOCATE.
 * - Nothing is evicted: a name that was forgotten here would still stand for something there.
 *
 * Code that the gateway does not see (DO, functions) can prepare too; who may run it may do the deed at once.
 * All state is plain data; `T` is what the caller needs to decide and record a use.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { err, ok, type Result } from "../../../wire/result.ts";
import { fromUtf8, utf8 } from "../../../wire/bytes.ts";
import type { AnalysedStatement } from "./analyse.ts";

/** Bytes of a name that PostgreSQL keeps: NAMEDATALEN - 1, in SQL and (as hash keys) in the protocol. */
const NAME_BYTES = 63;

type Space = "statements" | "cursors";

/** What one statement of a message will do to a name once it completes. No name: all names. */
export type Change<T> = {
  readonly space: Space;
  readonly op: "create" | "remove";
  readonly name: string | undefined;
  /** Which statement of the message, from 0: the server completes them in order. */
  readonly index: number;
  readonly value?: T;
  /** A cursor that outlives its transaction. */
  readonly hold?: boolean;
};

type Entry<T> = {
  readonly value: T;
  /** Ask id of the Parse that made it; undefined for SQL. */
  readonly parseId: number | undefined;
  readonly hold: boolean;
};

type Pending<T> = Change<T> & { readonly id: number; readonly parse: boolean };

export type PreparedState<T> = {
  readonly statements: Map<string, Entry<T>>;
  readonly cursors: Map<string, Entry<T>>;
  /** Forwarded and not confirmed, in the order of forwarding. */
  pending: Pending<T>[];
  /** Statements completed so far, by the ask id of a message with pending changes. */
  readonly completions: Map<number, number>;
};

export function newPreparedState<T>(): PreparedState<T> {
  return { statements: new Map(), cursors: new Map(), pending: [], completions: new Map() };
}

/** `unsettled`: the server's answer to an earlier message decides; the use has to wait for it or be refused. */
export type Resolution<T> =
  | { readonly state: "known"; readonly value: T }
  | { readonly state: "unknown" }
  | { readonly state: "unsettled" };

/**
 * The changes that a message of these statements makes when they complete. `value` makes what is kept for a
 * PREPARE (of the inner statement) or a DECLARE (of the declared query).
 */
export function changesOf<T>(
  statements: readonly AnalysedStatement[],
  value: (inner: AnalysedStatement) => T,
): Change<T>[] {
  return statements.flatMap((statement, index): Change<T>[] => {
    const changes: Change<T>[] = [];
    const { prepare, deallocate, cursor } = statement;
    if (prepare !== undefined) {
      changes.push({
        space: "statements",
        op: "create",
        name: prepare.name,
        index,
        value: value(prepare.inner),
      });
    }
    if (deallocate !== undefined)
      changes.push({ space: "statements", op: "remove", name: deallocate.name, index });
    if (cursor?.op === "close") changes.push({ space: "cursors", op: "remove", name: cursor.name, index });
    if (cursor?.inner !== undefined) {
      const hold = cursor.hold === true;
      changes.push({
        space: "cursors",
        op: "create",
        name: cursor.name,
        index,
        value: value(cursor.inner),
        hold,
      });
    }
    return changes;
  });
}

/** Refuses a message that would make more names than are kept. Ask before forwarding it. */
export function checkRoom(state: PreparedState<unknown>, creates: number): Result<undefined, Refusal> {
  if (
    state.statements.size + state.cursors.size + state.pending.length + creates <=
    LIMITS.postgres.prepared
  ) {
    return ok(undefined);
  }
  return err(
    refusal(
      "over_limit",
      `more than ${LIMITS.postgres.prepared} prepared statements and cursors in one session`,
      {
        hint: "close or deallocate some",
      },
    ),
  );
}

/** A Parse was forwarded under this ask id. */
export function parseForwarded<T>(state: PreparedState<T>, id: number, name: string, value: T): void {
  state.pending.push({ space: "statements", op: "create", name, index: 0, value, id, parse: true });
}

/** ParseComplete came for this ask id. */
export function parsed<T>(state: PreparedState<T>, id: number): void {
  for (const change of state.pending) {
    if (change.id === id && change.parse) apply(state, change, id);
  }
  settle(state, (change) => change.id === id);
}

/** The server closed a prepared statement (CloseComplete for Close 'S'), however it was made. */
export function statementClosed(state: PreparedState<unknown>, name: string): void {
  state.statements.delete(nameKey(name));
}

/** A Bind of a named portal was forwarded: a cursor of that name was over, or the Bind will fail. */
export function portalBound(state: PreparedState<unknown>, portal: string): void {
  state.cursors.delete(nameKey(portal));
}

/** A Query, or an Execute, whose statements make these changes was forwarded under this ask id. */
export function forwarded<T>(state: PreparedState<T>, id: number, changes: readonly Change<T>[]): void {
  for (const change of changes) state.pending.push({ ...change, id, parse: false });
  if (changes.length > 0) state.completions.set(id, 0);
}

/** One statement of the message with this ask id completed with this command tag. */
export function completed<T>(state: PreparedState<T>, id: number, tag: string): void {
  const index = state.completions.get(id);
  if (index === undefined) return;
  state.completions.set(id, index + 1);
  for (const change of state.pending) {
    if (change.id !== id || change.index !== index) continue;
    // Another tag would mean that we count statements differently from the server.
    if (change.op === "create" && tag !== CREATE_TAGS[change.space]) remove(state, change);
    else apply(state, change, undefined);
  }
  settle(state, (change) => change.id === id && change.index === index);
  if (!state.pending.some((change) => change.id === id)) state.completions.delete(id);
}

/**
 * Nothing more comes of this ask id: it failed, was skipped, or was refused. `unnamedDropped` says that it was
 * a Parse of the unnamed statement that reached the server, which drops the former one first.
 */
export function ended(state: PreparedState<unknown>, id: number, unnamedDropped = false): void {
  settle(state, (change) => change.id === id);
  state.completions.delete(id);
  if (unnamedDropped) state.statements.delete("");
}

/** ReadyForQuery told that no transaction is open: only cursors WITH HOLD are left. */
export function transactionEnded(state: PreparedState<unknown>): void {
  for (const [name, entry] of state.cursors) if (!entry.hold) state.cursors.delete(name);
}

/**
 * What EXECUTE (`statements`) or FETCH, MOVE and the Execute of a portal that SQL declared (`cursors`) run.
 *
 * @param earlier changes by earlier statements of the same message
 */
export function resolve<T>(
  state: PreparedState<T>,
  space: Space,
  name: string,
  earlier: readonly Change<T>[] = [],
): Resolution<T> {
  const key = nameKey(name);
  // If an earlier statement of the message fails, this one does not run.
  const last = earlier.findLast((change) => touches(change, space, key));
  if (last !== undefined) return last.op === "create" ? known(last.value as T) : { state: "unknown" };

  const pending = state.pending.filter((change) => touches(change, space, key));
  const confirmed = state[space].get(key);
  const [only] = pending;
  if (only === undefined) return confirmed === undefined ? { state: "unknown" } : known(confirmed.value);
  if (pending.length === 1 && only.op === "create" && confirmed === undefined) return known(only.value as T);
  return { state: "unsettled" };
}

/**
 * What a Bind of this statement name runs.
 *
 * @param parseId the Parse that the name stands for as far as Parse, Close and Sync tell (the machine's `bind`
 *   ask); it knows nothing of PREPARE, DEALLOCATE and DISCARD
 */
export function resolveBind<T>(
  state: PreparedState<T>,
  name: string,
  parseId: number | undefined,
): Resolution<T> {
  const key = nameKey(name);
  const sqlPending = state.pending.some((change) => !change.parse && touches(change, "statements", key));
  if (sqlPending) return { state: "unsettled" };
  const confirmed = state.statements.get(key);
  const parse =
    parseId === undefined ? undefined : state.pending.find((change) => change.parse && change.id === parseId);
  if (parse !== undefined) {
    // Over a statement that PREPARE made, this Parse fails, and after a Sync the Bind would run the other one.
    return confirmed !== undefined && confirmed.parseId === undefined
      ? { state: "unsettled" }
      : known(parse.value as T);
  }
  // SQL has taken the name from the Parse that the machine knows, or the Close of it is on its way.
  if (confirmed === undefined || (confirmed.parseId !== undefined && confirmed.parseId !== parseId)) {
    return { state: "unknown" };
  }
  return known(confirmed.value);
}

/** The refusal of a use whose meaning is not known. */
export function unknownName(space: Space, name: string, state: "unknown" | "unsettled"): Refusal {
  const [what, code] =
    space === "statements"
      ? (["prepared statement", "prepared_statement_unknown"] as const)
      : (["cursor", "cursor_unknown"] as const);
  // The server's own words: clients look for them.
  if (state === "unknown") {
    return refusal(code, `${what} "${name}" does not exist`, {
      hint:
        space === "statements"
          ? "prepare it in this session"
          : "declare it in this session; a cursor that a function opened cannot be fetched from",
    });
  }
  return refusal(code, `the ${what} "${name}" is being replaced by an earlier message`, {
    hint: "wait for the answer to that message first",
  });
}

/**
 * A name as the server tells names apart: its first 63 bytes. SQL identifiers come cut (at a whole character)
 * and folded from the parser; a protocol name is kept as sent and cut at the byte.
 */
export function nameKey(name: string): string {
  if (name.length * 3 <= NAME_BYTES) return name;
  const bytes = utf8(name);
  if (bytes.length <= NAME_BYTES) return name;
  const cut = bytes.subarray(0, NAME_BYTES);
  // Half a character at the end cannot be in a SQL name; NUL keeps the two apart.
  return fromUtf8(cut) ?? `\0${[...cut].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

const CREATE_TAGS = { statements: "PREPARE", cursors: "DECLARE CURSOR" } as const;

function known<T>(value: T): Resolution<T> {
  return { state: "known", value };
}

function touches(change: Change<unknown>, space: Space, key: string): boolean {
  return change.space === space && (change.name === undefined || nameKey(change.name) === key);
}

function apply<T>(state: PreparedState<T>, change: Pending<T>, parseId: number | undefined): void {
  if (change.op === "remove" || change.name === undefined) return remove(state, change);
  state[change.space].set(nameKey(change.name), {
    value: change.value as T,
    parseId,
    hold: change.hold === true,
  });
}

function remove(state: PreparedState<unknown>, change: Change<unknown>): void {
  if (change.name === undefined) state[change.space].clear();
  else state[change.space].delete(nameKey(change.name));
}

function settle<T>(state: PreparedState<T>, gone: (change: Pending<T>) => boolean): void {
  state.pending = state.pending.filter((change) => !gone(change));
}
