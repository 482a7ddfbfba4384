/**
 * Taking access away from people while they use it, and giving it back: a revocation or a group that was left
 * counts for every token from before it, for tasks and for live sessions. Recorded before it takes effect.
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Principal } from "../../policy/types.ts";
import { identifier } from "../identifiers.ts";
import type { EventBody } from "../recording/chain.ts";
import type { Authority } from "./authority.ts";
import { type Identity, revoked } from "./identity.ts";
import type { PrincipalName, Revocation } from "./revocations.ts";
import type { SessionDirectory } from "./session-directory.ts";
import { principalLink } from "./sessions.ts";
import type { TaskDesk } from "./task-desk.ts";

export type RevocationHost = {
  readonly identity: Identity;
  readonly authority: Authority;
  readonly sessions: SessionDirectory;
  readonly tasks: TaskDesk;
  readonly record: (body: EventBody) => void;
  /** What somebody may do is another now: whoever looks at a live stream is looked up again. */
  readonly changed: () => void;
};

type Options = { readonly blocks: boolean; readonly reason?: string };

export class RevocationDesk {
  readonly #host: RevocationHost;

  constructor(host: RevocationHost) {
    this.#host = host;
  }

  list(principal: Principal, limit: number): Result<Revocation[], Refusal> {
    const { authority, identity } = this.#host;
    return authority.permitted(principal, "identity:write", () => identity.revocations.list(limit));
  }

  /** Nothing that was issued to `whom` counts any more: tokens, tasks, live sessions. */
  async revoke(
    principal: Principal,
    whom: PrincipalName,
    options: Options,
  ): Promise<Result<Revocation, Refusal>> {
    const allowed = this.#host.authority.authorize(principal, undefined, "identity:write");
    if (!allowed.ok) return allowed;
    return ok(await this.remove(whom, principal.name, options));
  }

  /** `revoke` for a caller whose authority is established: `by` says who that is. */
  async remove(
    { issuer, subject }: PrincipalName,
    by: string,
    { blocks, reason }: Options,
  ): Promise<Revocation> {
    const { identity, sessions, tasks, record, changed } = this.#host;
    const revocation: Revocation = {
      id: identifier("rev"),
      issuer,
      subject,
      at: Date.now(),
      by,
      blocks,
      ...(reason === undefined ? {} : { reason }),
    };
    record({ type: "revocation", ...revocation });
    identity.revocations.add(revocation);
    changed();
    const whom: Principal = { type: "User", issuer, subject, name: subject, groups: [] };
    await sessions.revokeEach(principalLink(whom), revoked(whom));
    const why = "the access of somebody in it was revoked";
    for (const task of identity.tasks.openOf(whom)) await tasks.remove(task.id, why, undefined);
    return revocation;
  }

  lift(principal: Principal, id: string): Result<void, Refusal> {
    const { authority, identity, record } = this.#host;
    const allowed = authority.authorize(principal, undefined, "identity:write");
    if (!allowed.ok) return allowed;
    record({ type: "revocation_lifted", revocation: id, by: principal });
    return identity.revocations.lift(id)
      ? ok(undefined)
      : err(refusal("not_found", `there is no revocation ${id}`));
  }

  /** Takes effect on the next operation of live sessions and on every token from before now. */
  async leaveGroups(
    principal: Principal,
    whom: PrincipalName,
    groups: readonly string[],
  ): Promise<Result<void, Refusal>> {
    const { authority, identity, sessions, record, changed } = this.#host;
    const allowed = authority.authorize(principal, undefined, "identity:write");
    if (!allowed.ok) return allowed;
    const { issuer, subject } = whom;
    record({ type: "left_groups", issuer, subject, groups, by: principal.name });
    identity.revocations.leave(whom, groups, Date.now());
    changed();
    await sessions.tellEach(principalLink(whom), async (session) => session.leaveGroups(whom, groups));
    return ok(undefined);
  }
}
