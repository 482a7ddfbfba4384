/** What the client sends, once the session is up: asked about, forwarded, refused, dropped, or made to wait. */
import { LIMITS } from "../limits.ts";
import { type Refusal, refusal } from "../refusals.ts";
import { assertNever } from "../result.ts";
import { encodeFlush } from "./encoder.ts";
import { clientViolation, hangUp } from "./ending.ts";
import { peekType, peekUint32, take, takePart, takeRun } from "./framer.ts";
import {
  type DecodeError,
  decodeBind,
  decodeExecute,
  decodeNamed,
  decodeParse,
  decodeQuery,
  wellFormedCopyFail,
} from "./frontend-decoder.ts";
import { OPEN_GUARD } from "./machine-types.ts";
import { Frontend, HEADER, SMALL_MESSAGE, typeName } from "./messages.ts";
import { change, lookup } from "./names.ts";
import { type Outbox, effect, toServer } from "./outbox.ts";
import {
  type PendingAsk,
  type Portal,
  type PostgresState,
  type Statement,
  head,
  newEntry,
  owe,
  owedCount,
} from "./state.ts";
import { refuseUnasked, withPipelineGuard } from "./verdicts.ts";

/** Takes what came from the client as far as nothing has to be decided or waited for. */
export function consumeClient(state: PostgresState, out: Outbox): void {
  if (
    state.stalled !== undefined &&
    !state.waiting &&
    state.pending === undefined &&
    state.phase === "ready"
  ) {
    const message = state.stalled;
    state.stalled = undefined;
    handle(state, out, message);
  }
  const framer = state.client;
  while (state.phase === "ready" && state.pending === undefined && !state.waiting) {
    if (framer.passing > 0) {
      if (framer.buffered === 0) return;
      takePiece(state, out);
      continue;
    }
    if (framer.buffered < HEADER) return;
    const type = peekType(framer);
    const length = peekUint32(framer, 1);
    if (length < 4 || length > LIMITS.postgres.message) {
      clientViolation(state, out, `a message ${typeName(type)} with length ${length}`);
      return;
    }
    state.settled = false;
    if (!consumeMessage(state, out, type, length)) return;
  }
}

/** Returns false when more bytes are needed. */
function consumeMessage(state: PostgresState, out: Outbox, type: number, length: number): boolean {
  const framer = state.client;
  switch (type) {
    case Frontend.CopyData:
      consumeCopyData(state, out, length);
      return true;
    case Frontend.FunctionCall:
      if (state.copyingIn) return illegalInCopy(state, out, type);
      startPieces(state, "drop", length);
      refuseUnasked(
        state,
        out,
        "query",
        refusal(
          "feature_not_supported",
          "the function-call protocol message is not allowed through this gateway",
          {
            hint: "call the function in a SELECT instead",
          },
        ),
      );
      return true;
    case Frontend.Query:
    case Frontend.Parse:
    case Frontend.Bind:
      if (state.copyingIn) return illegalInCopy(state, out, type);
      if (length > LIMITS.postgres.held) {
        startPieces(state, "drop", length);
        refuseUnasked(
          state,
          out,
          type === Frontend.Query ? "query" : "extended",
          messageTooLong(type, length),
        );
        return true;
      }
      break;
    case Frontend.Describe:
    case Frontend.Close:
    case Frontend.Execute:
    case Frontend.CopyFail:
      if (length > SMALL_MESSAGE) return illegalLength(state, out, type, length);
      if (state.copyingIn && type !== Frontend.CopyFail) return illegalInCopy(state, out, type);
      break;
    case Frontend.Sync:
    case Frontend.Flush:
    case Frontend.CopyDone:
    case Frontend.Terminate:
      if (length !== 4) return illegalLength(state, out, type, length);
      break;
    default:
      clientViolation(state, out, `a message of type ${typeName(type)}, which is not legal here`);
      return true;
  }
  if (state.skipping && type !== Frontend.Sync && type !== Frontend.Terminate) {
    startPieces(state, "drop", length);
    return true;
  }
  if (framer.buffered < length + 1) return false;
  handle(state, out, take(framer, length + 1));
  return true;
}

function illegalInCopy(state: PostgresState, out: Outbox, type: number): true {
  clientViolation(state, out, `a message of type ${typeName(type)} during COPY from stdin`);
  return true;
}

function illegalLength(state: PostgresState, out: Outbox, type: number, length: number): true {
  clientViolation(state, out, `a message ${typeName(type)} with length ${length}`);
  return true;
}

function messageTooLong(type: number, length: number): Refusal {
  return refusal(
    "over_limit",
    `a message ${typeName(type)} of ${length} bytes is over this gateway's limit of ${LIMITS.postgres.held}`,
    {
      hint: "send large values in pieces, or load them with COPY",
    },
  );
}

/** Takes the header off; the body follows as pieces. */
function startPieces(state: PostgresState, how: "copy" | "drop", length: number): Uint8Array {
  const header = take(state.client, HEADER);
  state.client.passing = length - 4;
  state.clientPieces = how;
  return header;
}

function takePiece(state: PostgresState, out: Outbox): void {
  const piece = takePart(state.client, state.client.passing);
  state.client.passing -= piece.length;
  if (state.clientPieces === "copy") copyIn(state, out, piece);
}

function consumeCopyData(state: PostgresState, out: Outbox, length: number): void {
  if (!state.copyingIn) {
    if (mayBecomeCopy(state)) wait(state, out);
    else startPieces(state, "drop", length);
    return;
  }
  const run = takeRun(state.client, Frontend.CopyData, 4, LIMITS.postgres.message);
  copyIn(state, out, run.count > 0 ? run.bytes : startPieces(state, "copy", length));
}

function copyIn(state: PostgresState, out: Outbox, bytes: Uint8Array): void {
  const entry = head(state);
  // The server may have failed the COPY in the middle of a message; the rest still has to reach it as data.
  if (state.copyingIn && entry !== undefined) effect(out, { kind: "copiedIn", id: entry.id, bytes });
  toServer(out, bytes);
}

/** COPY data outside COPY is dropped, as the server does; but a statement not answered yet may turn out to be one. */
function mayBecomeCopy(state: PostgresState): boolean {
  return !state.skipping && owedCount(state) > 0;
}

/** The message at hand goes on when the server has answered more; Flush makes it answer without a Sync. */
function wait(state: PostgresState, out: Outbox): void {
  state.waiting = true;
  if (!state.flushed) toServer(out, encodeFlush());
  state.flushed = true;
}

function stall(state: PostgresState, out: Outbox, message: Uint8Array): void {
  state.stalled = message;
  wait(state, out);
}

/** One whole message, whose length has been checked. */
function handle(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const type = message[0] ?? 0;
  // A message that waited may find that what it waited for failed.
  if (state.skipping && type !== Frontend.Sync && type !== Frontend.Terminate) return;
  if (owedCount(state) >= LIMITS.postgres.pipeline) {
    stall(state, out, message);
    return;
  }
  switch (type) {
    case Frontend.Query:
      return handleQuery(state, out, message);
    case Frontend.Parse:
      return handleParse(state, out, message);
    case Frontend.Bind:
      return handleBind(state, out, message);
    case Frontend.Execute:
      return handleExecute(state, out, message);
    case Frontend.Describe:
      return handleDescribe(state, out, message);
    case Frontend.Close:
      return handleClose(state, out, message);
    case Frontend.Sync:
      return handleSync(state, out, message);
    case Frontend.Flush:
      toServer(out, message);
      return;
    case Frontend.CopyDone:
    case Frontend.CopyFail:
      return handleCopyEnd(state, out, message);
    case Frontend.Terminate:
      // Our own Terminate is the same five bytes.
      return hangUp(state, out, undefined);
  }
  clientViolation(state, out, `a message of type ${typeName(type)}, which is not legal here`);
}

function handleSync(state: PostgresState, out: Outbox, message: Uint8Array): void {
  // The server ignores Sync during COPY from stdin (copyfromparse.c, CopyGetData).
  if (state.copyingIn) return;
  owe(
    state,
    newEntry("sync", state.lastForwarded, withPipelineGuard(state, OPEN_GUARD), { mark: state.lastId }),
  );
  toServer(out, message);
  state.segment++;
  state.skipping = false;
  state.hideAtSync = false;
  state.lastForwarded = 0;
}

function handleCopyEnd(state: PostgresState, out: Outbox, message: Uint8Array): void {
  if (message[0] === Frontend.CopyFail && !wellFormedCopyFail(message)) {
    clientViolation(state, out, "a malformed CopyFail");
  } else if (state.copyingIn) {
    state.copyingIn = false;
    toServer(out, message);
  } else if (mayBecomeCopy(state)) {
    stall(state, out, message);
  }
}

function handleQuery(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const query = decodeQuery(message);
  if (!query.ok) return undecodable(state, out, "query", query.error, "Query");
  const { sql, sqlBytes } = query.value;
  if (sqlBytes > LIMITS.postgres.sql) return refuseUnasked(state, out, "query", statementTooLong(sqlBytes));
  ask(state, out, { ask: { kind: "query", id: ++state.lastId, sql }, message });
}

function handleParse(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const parse = decodeParse(message);
  if (!parse.ok) return undecodable(state, out, "extended", parse.error, "Parse");
  const { name, sql, sqlBytes, parameterTypes } = parse.value;
  if (sqlBytes > LIMITS.postgres.sql)
    return refuseUnasked(state, out, "extended", statementTooLong(sqlBytes));
  ask(state, out, { ask: { kind: "parse", id: ++state.lastId, name, sql, parameterTypes }, message });
}

function statementTooLong(bytes: number): Refusal {
  return refusal(
    "statement_over_limit",
    `the statement has ${bytes} bytes, over this gateway's limit of ${LIMITS.postgres.sql}`,
    {
      hint: "split it, pass long values as parameters, or load rows with COPY",
    },
  );
}

function handleBind(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const bind = decodeBind(message);
  if (!bind.ok) return undecodable(state, out, "extended", bind.error, "Bind");
  const { portal, statement, parameters } = bind.value;
  const found = lookup(state.statements, statement, state.segment);
  if (!found.known) return stall(state, out, message);
  if (
    state.portals.confirmed.size + state.portals.pending.size >= LIMITS.postgres.prepared &&
    portal !== ""
  ) {
    return refuseUnasked(
      state,
      out,
      "extended",
      refusal("over_limit", `more than ${LIMITS.postgres.prepared} portals are open`, {
        hint: "close portals, or end the transaction",
      }),
    );
  }
  const parseId = found.value?.id;
  ask(state, out, {
    ask: { kind: "bind", id: ++state.lastId, statement, parseId, portal, parameters },
    message,
    statement: found.value,
  });
}

function handleExecute(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const execute = decodeExecute(message);
  if (!execute.ok) return undecodable(state, out, "extended", execute.error, "Execute");
  const { portal, maxRows } = execute.value;
  const found = lookup(state.portals, portal, state.segment);
  if (!found.known) return stall(state, out, message);
  const continued = found.value?.executed ?? false;
  ask(state, out, {
    ask: { kind: "execute", id: ++state.lastId, portal, bindId: found.value?.id, continued, maxRows },
    message,
    portal: found.value,
  });
}

function handleDescribe(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const describe = decodeNamed(message);
  if (!describe.ok) return undecodable(state, out, "extended", describe.error, "Describe");
  const { kind, name } = describe.value;
  const found =
    kind === "S" ? lookup(state.statements, name, state.segment) : lookup(state.portals, name, state.segment);
  if (!found.known) return stall(state, out, message);
  const described: Statement | Portal | undefined = found.value;
  const entry = newEntry(
    kind === "S" ? "describeStatement" : "describePortal",
    described?.id ?? 0,
    described?.guard ?? OPEN_GUARD,
  );
  if (kind === "S") entry.statement = described;
  else entry.portal = described as Portal | undefined;
  if (described !== undefined) described.describedIn = state.segment;
  owe(state, entry);
  toServer(out, message);
}

function handleClose(state: PostgresState, out: Outbox, message: Uint8Array): void {
  const close = decodeNamed(message);
  if (!close.ok) return undecodable(state, out, "extended", close.error, "Close");
  const { kind, name } = close.value;
  const entry = newEntry(kind === "S" ? "closeStatement" : "closePortal", 0, OPEN_GUARD);
  if (kind === "S") entry.statementChange = change(state.statements, name, state.segment, undefined);
  else entry.portalChange = change(state.portals, name, state.segment, undefined);
  owe(state, entry);
  toServer(out, message);
}

function undecodable(
  state: PostgresState,
  out: Outbox,
  kind: "query" | "extended",
  error: DecodeError,
  name: string,
): void {
  switch (error) {
    case "malformed":
      return clientViolation(state, out, `a malformed ${name}`);
    case "not_utf8":
      return refuseUnasked(
        state,
        out,
        kind,
        refusal("statement_not_parsed", `the text in this ${name} message is not valid UTF-8`, {
          hint: "set client_encoding to UTF8 and send text in it",
        }),
      );
    default:
      assertNever(error);
  }
}

function ask(state: PostgresState, out: Outbox, pending: PendingAsk): void {
  state.pending = pending;
  effect(out, { kind: "ask", ask: pending.ask });
}
