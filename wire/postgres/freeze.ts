/**
 * An idle session as text, so that it can be put down and taken up where it was (DESIGN section 9, rule 5).
 * Guards repeat themselves from statement to statement, so each is written once.
 */
import type { Field, Guard } from "./machine-types.ts";
import { type Portal, type PostgresState, type Statement, newPostgresState, owedCount } from "./state.ts";

type FrozenStatement = {
  readonly name: string;
  readonly id: number;
  readonly guard: number;
  readonly fields: readonly Field[] | undefined;
};
type FrozenPortal = FrozenStatement & { readonly statement: number | undefined; readonly executed: boolean };

type Frozen = {
  readonly version: 1;
  readonly minor: number;
  readonly lastId: number;
  readonly segment: number;
  readonly status: PostgresState["status"];
  readonly guards: readonly Guard[];
  readonly statements: readonly FrozenStatement[];
  readonly portals: readonly FrozenPortal[];
};

/** Is the session between a ReadyForQuery that ended everything and the client's next message? */
export function isIdle(state: PostgresState): boolean {
  return (
    state.phase === "ready" &&
    state.settled &&
    state.pending === undefined &&
    state.stalled === undefined &&
    !state.waiting &&
    !state.skipping &&
    !state.serverFatal &&
    state.strayReady === 0 &&
    owedCount(state) === 0 &&
    state.client.buffered === 0 &&
    state.client.passing === 0 &&
    state.server.buffered === 0 &&
    state.server.passing === 0 &&
    state.notices.length === 0
  );
}

/** The state as JSON, or undefined when the session is not idle. */
export function freeze(state: PostgresState): string | undefined {
  if (!isIdle(state)) return undefined;
  const guards: Guard[] = [];
  const indexes = new Map<string, number>();
  const guardIndex = (guard: Guard): number => {
    const key = JSON.stringify(guard);
    const known = indexes.get(key);
    if (known !== undefined) return known;
    indexes.set(key, guards.length);
    return guards.push(guard) - 1;
  };
  const statements: FrozenStatement[] = [];
  for (const [name, { id, guard, fields }] of state.statements.confirmed) {
    statements.push({ name, id, guard: guardIndex(guard), fields });
  }
  const portals: FrozenPortal[] = [];
  for (const [name, { id, guard, fields, statement, executed }] of state.portals.confirmed) {
    portals.push({ name, id, guard: guardIndex(guard), fields, statement: statement?.id, executed });
  }
  const { minor, lastId, segment, status } = state;
  const frozen: Frozen = { version: 1, minor, lastId, segment, status, guards, statements, portals };
  return JSON.stringify(frozen);
}

/** Takes a session up again from what `freeze` gave; the text is the caller's own and trusted. */
export function thaw(text: string): PostgresState {
  const frozen = JSON.parse(text) as Frozen;
  const state = newPostgresState();
  state.phase = "ready";
  state.settled = true;
  state.minor = frozen.minor;
  state.lastId = frozen.lastId;
  state.segment = frozen.segment;
  state.status = frozen.status;
  const guardOf = (index: number): Guard => {
    const guard = frozen.guards[index];
    if (guard === undefined) throw new Error("frozen session names a guard that it does not hold");
    return guard;
  };
  const byId = new Map<number, Statement>();
  for (const { name, id, guard, fields } of frozen.statements) {
    const statement: Statement = { id, guard: guardOf(guard), fields, describedIn: 0 };
    state.rememberedFields += fields?.length ?? 0;
    state.statements.confirmed.set(name, statement);
    byId.set(id, statement);
  }
  for (const { name, id, guard, fields, statement, executed } of frozen.portals) {
    const known = statement === undefined ? undefined : byId.get(statement);
    const portal: Portal = { id, guard: guardOf(guard), statement: known, fields, describedIn: 0, executed };
    state.rememberedFields += fields?.length ?? 0;
    state.portals.confirmed.set(name, portal);
  }
  return state;
}
