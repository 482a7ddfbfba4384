/** How the machine ends a connection, from wherever it is. */
import { type Refusal, refusal } from "../refusals.ts";
import { encodeRefusal, encodeTerminate } from "./encoder.ts";
import { type Outbox, effect, toClient, toServer } from "./outbox.ts";
import type { PostgresState } from "./state.ts";

/**
 * Ends the session: FATAL to the client and Terminate to the server, each only where a message may start, for
 * in the middle of a message that is passed on in pieces those bytes would be taken for data.
 */
export function endWith(state: PostgresState, out: Outbox, why: Refusal): void {
  if (state.phase === "ended") return;
  const inMessageToClient = state.server.passing > 0 && state.serverPieces === "deliver";
  if (!inMessageToClient && !state.serverFatal) toClient(out, encodeRefusal("FATAL", why));
  hangUp(state, out, why);
}

/** Ends the session without a word to the client. */
export function hangUp(state: PostgresState, out: Outbox, why: Refusal | undefined): void {
  const inMessageToServer = state.client.passing > 0 && state.clientPieces === "copy";
  if (state.phase === "ready" && !inMessageToServer) toServer(out, encodeTerminate());
  abandonPending(state, out);
  state.phase = "ended";
  effect(out, { kind: "end", refusal: why });
}

/** The server is gone already. */
export function endUpstreamGone(state: PostgresState, out: Outbox): void {
  const lost = refusal("upstream_lost", "the connection to the database was lost", {
    hint: "statements that were running may or may not have taken effect; connect again and look",
  });
  const told = state.serverFatal;
  const inMessageToClient = state.server.passing > 0 && state.serverPieces === "deliver";
  if (!inMessageToClient && !told) toClient(out, encodeRefusal("FATAL", lost));
  abandonPending(state, out);
  state.phase = "ended";
  effect(out, { kind: "end", refusal: told ? undefined : lost });
}

/** What still waits for its verdict will never run. */
function abandonPending(state: PostgresState, out: Outbox): void {
  if (state.pending !== undefined) effect(out, { kind: "skipped", id: state.pending.ask.id });
  state.pending = undefined;
}

/** The client broke the protocol. */
export function clientViolation(state: PostgresState, out: Outbox, what: string): void {
  endWith(state, out, refusal("protocol_violation", `protocol violation by the client: ${what}`));
}

/** The server broke the protocol, or is not what it should be. */
export function serverViolation(state: PostgresState, out: Outbox, what: string): void {
  endWith(
    state,
    out,
    refusal("protocol_violation", `protocol violation by the server: ${what}`, {
      hint: "the session is over, because what comes next could not be understood safely",
    }),
  );
}
