/** Errors of the server and errors in its place: what is told, what is skipped, where the answers go on. */
import { type Refusal, REFUSALS } from "../refusals.ts";
import { type ErrorFields, errorField } from "./backend-decoder.ts";
import { provokeError } from "./verdicts.ts";
import { encodeErrorFields, encodeRefusal } from "./encoder.ts";
import { serverViolation } from "./ending.ts";
import { dropPosition, hideDetail, isFatal } from "./guard.ts";
import { Backend, ErrorField } from "./messages.ts";
import { withdraw } from "./names.ts";
import { type Outbox, report, toClient } from "./outbox.ts";
import { type Entry, type PostgresState, head, settleHead } from "./state.ts";

/** An ErrorResponse with these fields; `message` is it as it came. */
export function handleError(
  state: PostgresState,
  out: Outbox,
  fields: ErrorFields,
  message?: Uint8Array,
): void {
  const entry = head(state);
  if (isFatal(fields)) {
    state.serverFatal = true;
    state.copyingIn = false;
    deliverError(out, entry, fields, message);
    return;
  }
  if (entry === undefined || entry.phase === "errored") {
    return serverViolation(state, out, "an error that nothing caused");
  }
  state.copyingIn = false;
  if (entry.refused !== undefined && entry.withheld === undefined) {
    toClient(out, encodeRefusal("ERROR", entry.refused));
    report(out, { kind: "refused", id: entry.id, refusal: entry.refused });
  } else if (entry.withheld === undefined) {
    deliverError(out, entry, fields, message);
  } else {
    reportWithheld(out, entry, entry.withheld);
  }
  if (entry.kind === "query" || entry.kind === "sync") entry.phase = "errored";
  else skipToSync(state, out, entry);
}

function deliverError(
  out: Outbox,
  entry: Entry | undefined,
  fields: ErrorFields,
  message: Uint8Array | undefined,
): void {
  const code = errorField(fields, ErrorField.code);
  const meaning = entry?.guard.errorMeanings?.find(({ sqlstate }) => sqlstate === code)?.refusal;
  if (entry !== undefined && meaning !== undefined) {
    toClient(out, encodeRefusal("ERROR", meaning));
    const { sqlstate } = REFUSALS[meaning.code];
    if (entry.id !== 0) report(out, { kind: "failed", id: entry.id, sqlstate, message: meaning.message });
    return;
  }
  let shown = fields;
  if (entry?.guard.hideErrorDetail === true) shown = hideDetail(fields, false);
  else if (entry?.rewritten === true) shown = dropPosition(fields);
  toClient(
    out,
    shown === fields && message !== undefined ? message : encodeErrorFields(Backend.ErrorResponse, shown),
  );
  if (entry === undefined || entry.id === 0) return;
  const sqlstate = errorField(shown, ErrorField.code);
  report(out, { kind: "failed", id: entry.id, sqlstate, message: errorField(shown, ErrorField.message) });
}

/** The server ignores everything up to the next Sync, simple queries too (postgres.c, ignore_till_sync). */
function skipToSync(state: PostgresState, out: Outbox, failed: Entry): void {
  for (let entry: Entry | undefined = failed; entry?.kind !== "sync"; entry = head(state)) {
    if (entry === undefined) {
      state.skipping = true;
      return;
    }
    if (entry.statementChange !== undefined) withdraw(state.statements, entry.statementChange);
    if (entry.portalChange !== undefined) withdraw(state.portals, entry.portalChange);
    const reported = entry === failed || entry === failed.describes || entry.id === 0 || entry.reported;
    if (
      !reported &&
      (entry.kind === "parse" || entry.kind === "bind" || entry.kind === "execute" || entry.kind === "query")
    ) {
      report(out, { kind: "skipped", id: entry.id });
    }
    settleHead(state);
  }
}

/**
 * The answer to this message must not reach the client, though the server goes on with it: the client is told
 * an error, and whatever comes up to the end of the statement's Query or pipeline is swallowed. If the pipeline
 * is still open, the server is made to fail too, so that the transaction rolls back as the client will think.
 */
export function withhold(state: PostgresState, out: Outbox, entry: Entry, why: Refusal): void {
  toClient(out, encodeRefusal("ERROR", why));
  reportWithheld(out, entry, why);
  // A Describe of our own goes by the id of its Execute.
  if (entry.describes !== undefined) entry.describes.reported = true;
  entry.withheld = why;
  if (entry.kind === "query") return;
  for (let i = state.answered; i < state.owed.length; i++) {
    const later = state.owed[i];
    if (later === undefined || later.kind === "sync" || later.kind === "query") return;
    later.withheld = why;
  }
  if (!state.skipping) provokeError(state, out, why);
}

/** Reports once that the statement failed as far as the client knows, whatever the server made of it. */
export function reportWithheld(out: Outbox, entry: Entry, why: Refusal): void {
  if (entry.id === 0 || entry.reported) return;
  entry.reported = true;
  report(out, { kind: "failed", id: entry.id, sqlstate: REFUSALS[why.code].sqlstate, message: why.message });
}
