/** The regular answers to what was forwarded, in the order in which the server owes them. */
import { LIMITS } from "../limits.ts";
import { decodeCommandComplete, decodeReadyForQuery, decodeRowDescription } from "./backend-decoder.ts";
import { encodeCopyFail } from "./encoder.ts";
import { serverViolation } from "./ending.ts";
import { reportWithheld, withhold } from "./failures.ts";
import { withheldField } from "./guard.ts";
import type { Field } from "./machine-types.ts";
import { Backend, HEADER, typeName } from "./messages.ts";
import { confirm } from "./names.ts";
import { type Outbox, report, toClient, toServer } from "./outbox.ts";
import { type Entry, type PostgresState, forget, head, owedCount, remember, settleHead } from "./state.ts";

const PREPARED = LIMITS.postgres.prepared;

/** One whole message other than rows, COPY data, errors and what may come at any time. */
export function answer(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const type = message[0] ?? 0;
  const entry = head(state);
  if (type === Backend.ReadyForQuery) return readyForQuery(state, out, message, entry);
  if (entry === undefined || entry.refused !== undefined || !answerLegal(state, out, entry, message)) {
    serverViolation(state, out, `a message ${typeName(type)} that is not legal here`);
  }
}

/** Returns false for a message that the entry cannot be answered with, or that is malformed. */
function answerLegal(state: PostgresState, out: Outbox, entry: Entry, message: Uint8Array): boolean {
  const type = message[0] ?? 0;
  if (type !== Backend.CommandComplete) state.strayReady = 0;
  switch (type) {
    case Backend.ParseComplete:
      return entry.kind === "parse" && message.length === HEADER && parseComplete(state, out, entry, message);
    case Backend.BindComplete:
      return entry.kind === "bind" && message.length === HEADER && bindComplete(state, out, entry, message);
    case Backend.CloseComplete:
      return message.length === HEADER && closeComplete(state, out, entry, message);
    case Backend.ParameterDescription:
      if (entry.kind !== "describeStatement" || entry.phase !== "start") return false;
      entry.phase = "described";
      deliver(out, entry, message);
      return true;
    case Backend.NoData:
      return (
        message.length === HEADER &&
        describesPortalOrStatement(entry) &&
        described(state, out, entry, message, [])
      );
    case Backend.RowDescription: {
      const fields = decodeRowDescription(message);
      if (fields === undefined) return false;
      if (entry.kind !== "query")
        return describesPortalOrStatement(entry) && described(state, out, entry, message, fields);
      return betweenStatements(entry) && queryRows(state, out, entry, message, fields);
    }
    case Backend.CommandComplete: {
      const tag = decodeCommandComplete(message);
      return tag !== undefined && mayComplete(state, entry) && completed(state, out, entry, message, tag);
    }
    case Backend.EmptyQueryResponse:
      return message.length === HEADER && startsStatement(entry) && completed(state, out, entry, message, "");
    case Backend.PortalSuspended:
      return (
        message.length === HEADER &&
        entry.kind === "execute" &&
        (entry.phase === "rows" || entry.phase === "start") &&
        completed(state, out, entry, message, "SUSPENDED")
      );
    case Backend.CopyInResponse:
      return startsStatement(entry) && copyIn(state, out, entry, message);
    case Backend.CopyOutResponse:
      if (!startsStatement(entry)) return false;
      entry.phase = "copyOut";
      deliver(out, entry, message);
      return true;
    case Backend.CopyDone:
      if (entry.phase !== "copyOut" || message.length !== HEADER) return false;
      entry.phase = "copyOutDone";
      deliver(out, entry, message);
      return true;
    default:
      // Among them CopyBothResponse and FunctionCallResponse: nothing that leads to them is ever forwarded.
      return false;
  }
}

function deliver(out: Outbox, entry: Entry, message: Uint8Array): void {
  if (entry.withheld === undefined && entry.describes === undefined) toClient(out, message);
}

function betweenStatements(entry: Entry): boolean {
  return entry.kind === "query" && (entry.phase === "start" || entry.phase === "between");
}

function startsStatement(entry: Entry): boolean {
  return betweenStatements(entry) || (entry.kind === "execute" && entry.phase === "start");
}

function mayComplete(state: PostgresState, entry: Entry): boolean {
  if (entry.phase === "rows" || entry.phase === "copyOutDone") return true;
  return startsStatement(entry) || (entry.phase === "copyIn" && !state.copyingIn);
}

function describesPortalOrStatement(entry: Entry): boolean {
  if (entry.kind === "describePortal") return entry.phase === "start";
  return entry.kind === "describeStatement" && entry.phase === "described";
}

function parseComplete(state: PostgresState, out: Outbox, entry: Entry, message: Uint8Array): true {
  if (entry.statementChange !== undefined) {
    confirm(state.statements, entry.statementChange, PREPARED, (statement) => forget(state, statement));
  }
  deliver(out, entry, message);
  report(out, { kind: "parsed", id: entry.id });
  settleHead(state);
  return true;
}

function bindComplete(state: PostgresState, out: Outbox, entry: Entry, message: Uint8Array): true {
  if (entry.portalChange !== undefined) {
    confirm(state.portals, entry.portalChange, PREPARED, (portal) => forget(state, portal));
  }
  deliver(out, entry, message);
  // Bound though the client was told an error: it never gets to an Execute.
  if (entry.withheld !== undefined && !entry.reported) report(out, { kind: "skipped", id: entry.id });
  settleHead(state);
  return true;
}

function closeComplete(state: PostgresState, out: Outbox, entry: Entry, message: Uint8Array): boolean {
  if (entry.kind === "closeStatement" && entry.statementChange !== undefined) {
    confirm(state.statements, entry.statementChange, PREPARED, (statement) => forget(state, statement));
    deliver(out, entry, message);
    report(out, { kind: "statementClosed", name: entry.statementChange.name });
  } else if (entry.kind === "closePortal" && entry.portalChange !== undefined) {
    confirm(state.portals, entry.portalChange, PREPARED, (portal) => forget(state, portal));
    deliver(out, entry, message);
  } else {
    return false;
  }
  settleHead(state);
  return true;
}

/** RowDescription or NoData in answer to a Describe, the client's or our own. */
function described(
  state: PostgresState,
  out: Outbox,
  entry: Entry,
  message: Uint8Array,
  fields: readonly Field[],
): true {
  const hit = entry.withheld === undefined ? withheldField(entry.guard, fields) : undefined;
  if (hit !== undefined) {
    withhold(state, out, entry, hit);
  } else {
    deliver(out, entry, message);
    if (entry.describes !== undefined) entry.describes.fields = fields;
    else if (entry.portal !== undefined) remember(state, entry.portal, fields);
    else if (entry.statement !== undefined) remember(state, entry.statement, fields);
    if (entry.withheld === undefined && entry.id !== 0)
      report(out, { kind: "rowDescription", id: entry.id, fields });
  }
  settleHead(state);
  return true;
}

function queryRows(
  state: PostgresState,
  out: Outbox,
  entry: Entry,
  message: Uint8Array,
  fields: readonly Field[],
): true {
  entry.phase = "rows";
  entry.checked = true;
  entry.fields = fields;
  if (entry.withheld !== undefined) return true;
  const hit = withheldField(entry.guard, fields);
  if (hit !== undefined) {
    withhold(state, out, entry, hit);
    return true;
  }
  deliver(out, entry, message);
  report(out, { kind: "rowDescription", id: entry.id, fields });
  return true;
}

function completed(state: PostgresState, out: Outbox, entry: Entry, message: Uint8Array, tag: string): true {
  deliver(out, entry, message);
  if (entry.phase === "copyIn") state.strayReady = 0;
  if (entry.withheld === undefined) report(out, { kind: "completed", id: entry.id, tag });
  // A Query's failure was reported when its answer was withheld; an Execute behind that one ran all the same.
  else reportWithheld(out, entry, entry.withheld);
  if (entry.kind === "query") entry.phase = "between";
  else settleHead(state);
  return true;
}

function copyIn(state: PostgresState, out: Outbox, entry: Entry, message: Uint8Array): true {
  entry.phase = "copyIn";
  if (entry.withheld !== undefined) {
    toServer(out, encodeCopyFail("an earlier statement failed"));
    return true;
  }
  deliver(out, entry, message);
  state.copyingIn = true;
  // Syncs that the client sent without knowing that this would be a COPY are swallowed by it, unless it fails
  // before it reads them. With anything else behind them there is no doubt: read during COPY that is FATAL.
  const behind = state.owed.slice(state.answered + 1);
  if (behind.every(({ kind }) => kind === "sync")) {
    state.owed.length -= behind.length;
    state.strayReady += behind.length;
  }
  return true;
}

function readyForQuery(
  state: PostgresState,
  out: Outbox,
  message: Uint8Array,
  entry: Entry | undefined,
): void {
  const status = decodeReadyForQuery(message);
  const owedHere =
    entry?.kind === "sync" ||
    (entry?.kind === "query" && (entry.phase === "between" || entry.phase === "errored"));
  if (status === undefined || (!owedHere && state.strayReady === 0)) {
    serverViolation(state, out, "a ReadyForQuery that is not legal here");
    return;
  }
  toClient(out, message);
  state.status = status;
  if (owedHere && entry !== undefined) {
    if (status === "I") endPortals(state, entry.mark);
    settleHead(state);
  } else {
    state.strayReady--;
    state.skipping = false;
  }
  state.settled = owedCount(state) === 0;
  report(out, { kind: "ready", status, mark: owedHere ? (entry?.mark ?? 0) : 0 });
}

/** Portals end with their transaction. Those of Binds that the client sent since are not meant. */
function endPortals(state: PostgresState, mark: number): void {
  for (const [name, portal] of state.portals.confirmed) {
    if (portal.id > mark) continue;
    state.portals.confirmed.delete(name);
    forget(state, portal);
  }
}
