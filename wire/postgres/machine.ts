/**
 * PostgresMachine: the gateway's part in one PostgreSQL connection (PostgreSQL docs chapter 54), between a
 * native client and a server connection that the connector has logged in already. Pure: time, randomness and
 * decisions come in as inputs.
 *
 *   startup ──StartupMessage──► opening ──opened──► ready ──Terminate, clientEnded, serverEnded──► ended
 *      │ SSLRequest, GSSENCRequest: 'N'  │ openFailed          │ terminate, protocol violation        ▲
 *      └──CancelRequest, refused─────────┴─────────────────────┴─────────────────────────────────────┘
 *
 *   client                 machine                    caller (policy, recording)            server
 *     │── Query ─────────────►│── ask {query} ────────────►│                                   │
 *     │   (what follows is    │◄──────────────── notice ───│ (held)                            │
 *     │◄─ NoticeResponse ─────│                            │                                   │
 *     │    parked)            │◄── verdict forward ────────│                                   │
 *     │                       │── Query (maybe rewritten) ────────────────────────────────────►│
 *     │                       │◄──── RowDescription, DataRow …, CommandComplete, ReadyForQuery ─│
 *     │◄──── the same ────────│── rowDescription, delivered, completed, ready ►│               │
 *     │                       │                            │                                   │
 *     │── Query ─────────────►│── ask ────────────────────►│                                   │
 *     │                       │◄── verdict refuse ─────────│                                   │
 *     │                       │── a Query that cannot be parsed ──────────────────────────────►│
 *     │                       │◄───────────────────────────────── ErrorResponse, ReadyForQuery ─│
 *     │◄─ our ErrorResponse, the server's ReadyForQuery ────│                                   │
 *
 * Within `ready` one client message at a time may wait for its verdict; what the client sends behind it stays
 * unread (`parkedBytes`). What was forwarded stands in a queue of owed answers, and each backend message has to
 * fit the first of them (state.ts has the phases of one answer). Once an error is certain in an extended
 * pipeline, client messages up to Sync are dropped, as the server drops them.
 *
 * The parts: startup.ts, client-side.ts (what the client sends), verdicts.ts (what becomes of it),
 * server-side.ts (rows, and what may come at any time), answers.ts and failures.ts (what was owed), guard.ts
 * (what must not pass), ending.ts.
 */
import { utf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";
import { refusal } from "../refusals.ts";
import { assertNever } from "../result.ts";
import { consumeClient } from "./client-side.ts";
import {
  encodeAuthenticationOk,
  encodeBackendKeyData,
  encodeNegotiateProtocolVersion,
  encodeNotice,
  encodeParameterStatus,
  encodeReadyForQuery,
} from "./encoder.ts";
import { clientViolation, endUpstreamGone, endWith, hangUp, serverViolation } from "./ending.ts";
import { peekUint32, push, take } from "./framer.ts";
import type { Effect, Input } from "./machine-types.ts";
import { type Outbox, effect, flush, newOutbox, report, toClient } from "./outbox.ts";
import { consumeServer, unsafeParameter } from "./server-side.ts";
import { LATEST_PROTOCOL, decodeStartup } from "./startup.ts";
import { type PostgresState, newPostgresState } from "./state.ts";
import { applyVerdict } from "./verdicts.ts";

export { freeze, thaw } from "./freeze.ts";
export { type PostgresState, newPostgresState };

const NO = utf8("N");

/**
 * Feeds one input to the machine: changes `state` and returns what is to be done, in order. Never throws on
 * bytes of either side. Bytes given in are kept (not copied) until they are used, and effects hold views of them.
 */
export function step(state: PostgresState, input: Input): Effect[] {
  const out = newOutbox();
  if (state.phase !== "ended") takeInput(state, out, input);
  flush(out);
  return out.effects;
}

/**
 * Bytes that came from the client and wait behind an ask or an answer. The caller gives the client no credit
 * for them; anything else is used, or part of a message that is still coming, whose rest needs credit.
 */
export function parkedBytes(state: PostgresState): number {
  return state.pending !== undefined || state.waiting ? state.client.buffered : 0;
}

function takeInput(state: PostgresState, out: Outbox, input: Input): void {
  switch (input.kind) {
    case "clientBytes":
      push(state.client, input.bytes);
      if (state.phase === "ready") consumeClient(state, out);
      else if (state.phase === "startup") consumeStartup(state, out);
      else if (input.bytes.length > 0) clientViolation(state, out, "bytes before the session is open");
      return;
    case "serverBytes":
      if (state.phase !== "ready") return serverViolation(state, out, "bytes before the session is open");
      push(state.server, input.bytes);
      consumeServer(state, out);
      resume(state, out);
      return;
    case "clientEnded":
      return hangUp(state, out, undefined);
    case "serverEnded":
      return endUpstreamGone(state, out);
    case "opened":
      return opened(state, out, input);
    case "openFailed":
      return endWith(state, out, input.refusal);
    case "verdict":
      applyVerdict(state, out, input.verdict);
      consumeClient(state, out);
      return;
    case "notice": {
      const notice = encodeNotice(input.message, input.hint);
      if (state.phase !== "ready") return;
      if (state.server.passing > 0) state.notices.push(notice);
      else toClient(out, notice);
      return;
    }
    case "terminate":
      return endWith(state, out, input.refusal);
    default:
      assertNever(input);
  }
}

/** Answers have come: what waited for them may go on. */
function resume(state: PostgresState, out: Outbox): void {
  if (!state.waiting || state.phase !== "ready") return;
  state.waiting = false;
  consumeClient(state, out);
}

function consumeStartup(state: PostgresState, out: Outbox): void {
  const framer = state.client;
  while (state.phase === "startup" && framer.buffered >= 4) {
    const length = peekUint32(framer, 0);
    if (length < 8 || length > LIMITS.postgres.startup) {
      return clientViolation(state, out, `a startup packet with length ${length}`);
    }
    if (framer.buffered < length) return;
    startupPacket(state, out, take(framer, length));
  }
}

function startupPacket(state: PostgresState, out: Outbox, packet: Uint8Array): void {
  const request = decodeStartup(packet);
  if (!request.ok) return endWith(state, out, request.error);
  switch (request.value.kind) {
    case "ssl":
      if (state.sslAnswered) return clientViolation(state, out, "a second SSLRequest");
      state.sslAnswered = true;
      // The stream to the gateway is encrypted already; inside it no second layer is needed.
      toClient(out, NO);
      return;
    case "gssenc":
      if (state.gssAnswered) return clientViolation(state, out, "a second GSSENCRequest");
      state.gssAnswered = true;
      toClient(out, NO);
      return;
    case "cancel":
      effect(out, {
        kind: "cancelRequest",
        processId: request.value.processId,
        secretKey: request.value.secretKey,
      });
      return hangUp(state, out, undefined);
    case "startup": {
      const { minor, negotiate, user, database, parameters } = request.value;
      state.minor = minor;
      state.phase = "opening";
      if (state.client.buffered > 0) return clientViolation(state, out, "bytes before the session is open");
      if (negotiate !== undefined) {
        const version = ((LATEST_PROTOCOL >>> 16) << 16) | minor;
        toClient(out, encodeNegotiateProtocolVersion(version, negotiate));
      }
      effect(out, { kind: "open", user, database, parameters });
      return;
    }
    default:
      assertNever(request.value);
  }
}

function opened(state: PostgresState, out: Outbox, input: Input & { kind: "opened" }): void {
  if (state.phase !== "opening") return serverViolation(state, out, "a session that is opened twice");
  const unsafe = unsafeParameter(input.parameters);
  if (unsafe !== undefined) {
    return endWith(
      state,
      out,
      refusal(
        "upstream_login_failed",
        `the server's ${unsafe} is not what this gateway needs to understand statements`,
        {
          hint: "client_encoding has to be UTF8 and standard_conforming_strings on, in the role's and the database's settings too",
        },
      ),
    );
  }
  state.phase = "ready";
  state.settled = true;
  toClient(out, encodeAuthenticationOk());
  for (const [name, value] of input.parameters) toClient(out, encodeParameterStatus(name, value));
  const key = state.minor >= 2 ? input.secretKey : input.secretKey.subarray(0, 4);
  toClient(out, encodeBackendKeyData(input.processId, key));
  toClient(out, encodeReadyForQuery("I"));
  report(out, { kind: "ready", status: "I", mark: 0 });
}
