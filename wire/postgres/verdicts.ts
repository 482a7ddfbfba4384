/** What becomes of a client message once it is decided: forwarded as the guard asks, or refused in its place. */
import type { Refusal } from "../refusals.ts";
import { assertNever } from "../result.ts";
import { encodeDescribePortal, encodeParse, encodeQuery } from "./encoder.ts";
import { withheldField } from "./guard.ts";
import { type Ask, type Guard, OPEN_GUARD, type Verdict } from "./machine-types.ts";
import { change } from "./names.ts";
import { type Outbox, report, toServer } from "./outbox.ts";
import {
  type PendingAsk,
  type Portal,
  type PostgresState,
  type Statement,
  needsFields,
  newEntry,
  owe,
} from "./state.ts";

/**
 * Sent in place of what is refused. It cannot be parsed in any state of the server, so the error comes in the
 * refusal's place in the pipeline, with all that an error entails: the implicit transaction is rolled back, the
 * rest is ignored up to Sync, and ReadyForQuery tells the true state. In an extended pipeline the statement has
 * a name, because Parse without one drops the unnamed statement before it looks at the text.
 */
const PROVOCATION = "sallyport refused this statement";
const PROVOKING_NAME = "sallyport";
const PROVOKING_QUERY = encodeQuery(PROVOCATION);
const PROVOKING_PARSE = encodeParse(PROVOKING_NAME, PROVOCATION, []);

/** Sync and Query end the pipeline's transaction, so deferred checks of its statements fail there. */
export function withPipelineGuard(state: PostgresState, guard: Guard): Guard {
  return state.hideAtSync && !guard.hideErrorDetail ? { ...guard, hideErrorDetail: true } : guard;
}

/** Refuses what the machine knows to refuse by itself; it has an id, so that the refusal can be recorded. */
export function refuseUnasked(
  state: PostgresState,
  out: Outbox,
  kind: "query" | "extended",
  why: Refusal,
): void {
  // After an error that is certain already the server would not even look at it.
  if (state.skipping) return;
  refuse(state, out, kind, ++state.lastId, why, PROVOKING_PARSE);
}

function refuse(
  state: PostgresState,
  out: Outbox,
  kind: "query" | "extended",
  id: number,
  why: Refusal,
  provoking: Uint8Array,
): void {
  if (kind === "query") {
    owe(state, newEntry("query", id, OPEN_GUARD, { refused: why, mark: state.lastId }));
    toServer(out, PROVOKING_QUERY);
    return;
  }
  owe(state, newEntry("parse", id, OPEN_GUARD, { refused: why }));
  toServer(out, provoking);
  state.skipping = true;
}

/** Makes the server fail up to Sync as well, when we failed the client's pipeline without it. */
export function provokeError(state: PostgresState, out: Outbox, told: Refusal): void {
  owe(state, newEntry("parse", 0, OPEN_GUARD, { refused: told, withheld: told }));
  toServer(out, PROVOKING_PARSE);
  state.skipping = true;
}

/** The answer to the ask that is parked; one for anything else is ignored. */
export function applyVerdict(state: PostgresState, out: Outbox, verdict: Verdict): void {
  const pending = state.pending;
  if (pending === undefined || pending.ask.id !== verdict.id) return;
  state.pending = undefined;
  // While it was parked, an earlier message of its pipeline failed.
  if (state.skipping) {
    report(out, { kind: "skipped", id: verdict.id });
    return;
  }
  if (verdict.effect === "refuse") refuseAsked(state, out, pending.ask, verdict.refusal);
  else forward(state, out, pending, verdict.guard, verdict.sql);
}

function refuseAsked(state: PostgresState, out: Outbox, asked: Ask, why: Refusal): void {
  // A failing Parse drops the unnamed statement just as the client's own, refused one would have.
  const provoking =
    asked.kind === "parse" && asked.name === "" ? encodeParse("", PROVOCATION, []) : PROVOKING_PARSE;
  refuse(state, out, asked.kind === "query" ? "query" : "extended", asked.id, why, provoking);
}

function forward(
  state: PostgresState,
  out: Outbox,
  pending: PendingAsk,
  guard: Guard,
  sql: string | undefined,
): void {
  const asked = pending.ask;
  const rewritten = sql !== undefined;
  if (asked.kind !== "query") {
    state.lastForwarded = asked.id;
    if (guard.hideErrorDetail) state.hideAtSync = true;
  }
  switch (asked.kind) {
    case "query":
      owe(
        state,
        newEntry("query", asked.id, withPipelineGuard(state, guard), { rewritten, mark: state.lastId }),
      );
      toServer(out, rewritten ? encodeQuery(sql) : pending.message);
      return;
    case "parse": {
      const statement: Statement = { id: asked.id, guard, fields: undefined, describedIn: 0 };
      const statementChange = change(state.statements, asked.name, state.segment, statement);
      owe(state, newEntry("parse", asked.id, guard, { rewritten, statementChange }));
      toServer(out, rewritten ? encodeParse(asked.name, sql, asked.parameterTypes) : pending.message);
      return;
    }
    case "bind": {
      const statement = pending.statement;
      const portal: Portal = {
        id: asked.id,
        guard,
        statement,
        fields: undefined,
        describedIn: 0,
        executed: false,
      };
      const portalChange = change(state.portals, asked.portal, state.segment, portal);
      owe(state, newEntry("bind", asked.id, guard, { portalChange }));
      toServer(out, pending.message);
      return;
    }
    case "execute":
      return forwardExecute(state, out, pending, asked, guard);
    default:
      assertNever(asked);
  }
}

function forwardExecute(
  state: PostgresState,
  out: Outbox,
  pending: PendingAsk,
  asked: Ask & { kind: "execute" },
  guard: Guard,
): void {
  const portal = pending.portal;
  // Formats are the portal's own, so only a Describe of the portal tells them.
  const fields = portal?.fields ?? (guard.inspectRows ? undefined : portal?.statement?.fields);
  if (fields !== undefined) {
    const hit = withheldField(guard, fields);
    if (hit !== undefined) return refuseAsked(state, out, asked, hit);
  }
  const entry = newEntry("execute", asked.id, guard, { portal, fields });
  const comingFields =
    portal?.describedIn === state.segment ||
    (!guard.inspectRows && portal?.statement?.describedIn === state.segment);
  if (needsFields(guard) && fields === undefined && !comingFields) {
    owe(state, newEntry("describePortal", asked.id, guard, { portal, describes: entry }));
    toServer(out, encodeDescribePortal(asked.portal));
  }
  if (portal !== undefined) portal.executed = true;
  owe(state, entry);
  toServer(out, pending.message);
}
