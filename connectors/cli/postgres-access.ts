/** What `psql`, `run` and `connect` share: the token is had, then a local door to one resource is opened. */
import { type Result, ok } from "../../wire/result.ts";
import type { Context } from "./context.ts";
import type { Failure } from "./failure.ts";
import { resolveGateway } from "./gateway.ts";
import { type LocalPort, openTcpPort, openUnixSocket } from "./local-port.ts";
import { type Outcome, newOutcome } from "./outcome.ts";
import { fatalResponse, refusePostgresStartup } from "./postgres-refusal.ts";
import { type SessionTokens, sessionTokens } from "./session-token.ts";
import { type ShimOptions, carry } from "./shim.ts";
import { say } from "./terminal.ts";

export type Access = {
  readonly options: ShimOptions;
  readonly outcome: Outcome;
  /** Name of who the sessions are for; display only. */
  readonly user: string;
};

/** Exchanges the token first, so that "not signed in" is said once and plainly, not by the native client. */
export async function openAccess(
  context: Context,
  resource: string,
  given?: SessionTokens,
): Promise<Result<Access, Failure>> {
  const gateway = await resolveGateway(context);
  if (!gateway.ok) return gateway;
  const tokens = given ?? sessionTokens(context, gateway.value, [resource]);
  const token = await tokens.get();
  if (!token.ok) return token;
  const outcome = newOutcome(context.terminal);
  return ok({
    outcome,
    user: token.value.name,
    options: {
      gateway: gateway.value,
      resource,
      tokens,
      noWait: context.noWait,
      reason: context.reason,
      outcome,
      refuse: refusePostgresStartup,
      refuseUnanswered: fatalResponse,
    },
  });
}

/** A Unix socket, or a TCP port where `port` is given. */
export function openDoor(
  context: Context,
  access: Access,
  port: number | undefined,
): Promise<Result<LocalPort, Failure>> {
  const serve = (socket: Parameters<Parameters<typeof openUnixSocket>[0]>[0]): Promise<void> =>
    carry({ readable: socket, writable: socket }, access.options);
  if (port === undefined) return openUnixSocket(serve);
  return openTcpPort(port, serve, () => strangerTurnedAway(context));
}

export function strangerTurnedAway(context: Context): void {
  say(context.terminal, "turned away a connection of another user of this machine");
}

/** Said once where a TCP port cannot tell users apart. */
export function warnUnguarded(context: Context, door: LocalPort): void {
  if (!door.guarded) say(context.terminal, "every user of this machine can use this port and acts as you");
}

/** How long sessions may take to say goodbye after their client has gone, in milliseconds. */
export const GOODBYE_MS = 2000;
