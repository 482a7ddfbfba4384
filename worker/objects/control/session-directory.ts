/**
 * The sessions of the gateway as the Control object sees them: which there are, who may see and end them, and
 * how all live ones, or those of one principal or task, are told of a change.
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { sessionOf } from "../../env.ts";
import { principalKey, samePrincipal } from "../../policy/approval.ts";
import type { VerifiedToken } from "../../policy/grant.ts";
import type { Principal } from "../../policy/types.ts";
import type { EventBody } from "../recording/chain.ts";
import type { Authority } from "./authority.ts";
import type { SessionIndex } from "./sessions.ts";
import type { SessionCounts, SessionRow, Snapshot, StartedSession } from "./types.ts";

type SessionStub = ReturnType<typeof sessionOf>;

export type DirectoryHost = {
  readonly session: (id: string) => SessionStub;
  readonly authority: Authority;
  readonly snapshot: () => Snapshot | undefined;
  /** Whether a token that was admitted still counts. */
  readonly stillGood: (token: VerifiedToken) => Result<VerifiedToken, Refusal>;
  readonly record: (body: EventBody) => void;
  /** The session is another now. */
  readonly changed: (session: SessionRow) => void;
};

/** Reading on within this time is part of the same reading. */
const SAME_READING = 10 * 60_000;
const MOST_READINGS = 10_000;

export class SessionDirectory {
  /** When somebody's reading of a session was recorded last; forgotten with the memory, and then recorded again. */
  readonly #readings = new Map<string, number>();
  readonly #index: SessionIndex;
  readonly #host: DirectoryHost;

  constructor(index: SessionIndex, host: DirectoryHost) {
    this.#index = index;
    this.#host = host;
  }

  /**
   * Puts a session into the index and hands out the configuration, unless the caller has this version. What
   * was revoked or ended since its token was admitted is noticed here; what is later finds it in the index.
   */
  start(
    row: Omit<SessionRow, "status" | keyof SessionCounts>,
    processId: number,
    knownVersion: number | undefined,
    token: VerifiedToken,
  ): Result<StartedSession, Refusal> {
    const snapshot = this.#host.snapshot();
    if (snapshot === undefined) {
      return err(refusal("no_policy_loaded", "the gateway has no configuration yet"));
    }
    const good = this.#host.stillGood(token);
    if (!good.ok) return good;
    this.#index.start(row, processId);
    this.#changed(row.id);
    return ok({ version: snapshot.version, ...(snapshot.version === knownVersion ? {} : { snapshot }) });
  }

  end(id: string, endedAt: number, reason: string, counts: SessionCounts): void {
    this.#index.end(id, endedAt, reason, counts);
    this.#changed(id);
  }

  /** The sessions that `principal` may see: their own, and those of resources whose sessions they may replay. */
  list(principal: Principal, liveOnly: boolean, limit: number): SessionRow[] {
    return this.#index.list(liveOnly, limit).filter((row) => this.#host.authority.maySee(principal, row));
  }

  get(principal: Principal, id: string): Result<SessionRow, Refusal> {
    const row = this.#index.get(id);
    if (row === undefined || !this.#host.authority.maySee(principal, row))
      return err(refusal("not_found", `there is no session ${id}`));
    return ok(row);
  }

  /**
   * Whether somebody may read a session's recording: while it is live, that is to watch it. That it was read is
   * recorded, and not for every page of it anew.
   */
  read(principal: Principal, id: string, now: number): Result<SessionRow, Refusal> {
    const found = this.get(principal, id);
    if (!found.ok) return found;
    const live = found.value.status === "live";
    const allowed = live ? this.#ownOrPermitted(principal, id, "session:watch") : found;
    if (!allowed.ok) return allowed;
    const reading = `${live ? "watch" : "replay"} ${id} ${principalKey(principal)}`;
    if ((this.#readings.get(reading) ?? 0) <= now - SAME_READING) {
      this.#host.record({ type: "session_read", session: id, live, by: principal });
      if (this.#readings.size >= MOST_READINGS) this.#readings.clear();
      this.#readings.set(reading, now);
    }
    return allowed;
  }

  async kill(
    principal: Principal,
    id: string,
    reason: string | undefined,
  ): Promise<Result<SessionRow, Refusal>> {
    const found = this.#ownOrPermitted(principal, id, "session:kill");
    if (!found.ok) return found;
    if (found.value.status === "live") {
      const why = reason === undefined ? {} : { reason };
      this.#host.record({ type: "kill", session: id, by: principal, ...why });
      await this.#host.session(id).kill(principal.name, reason);
    }
    return this.get(principal, id);
  }

  /** A session of one's own, or of a resource on whose sessions policy permits the action. */
  #ownOrPermitted(
    principal: Principal,
    id: string,
    action: "session:watch" | "session:kill",
  ): Result<SessionRow, Refusal> {
    const found = this.get(principal, id);
    if (!found.ok || samePrincipal(found.value.principal, principal)) return found;
    const allowed = this.#host.authority.authorize(principal, found.value.resource, action);
    return allowed.ok ? found : allowed;
  }

  /** Gives every live session the configuration. */
  async push(snapshot: Snapshot): Promise<void> {
    const pushes = this.#index.liveIds().map(async (id) => this.#host.session(id).refresh(snapshot));
    // A session that cannot be told is one that has ended, or will be found by the reconciliation.
    await Promise.allSettled(pushes);
  }

  /** Tells every live session of a link, all at once; who does not answer is asked again. */
  tellEach(link: string, tell: (session: SessionStub) => Promise<void>): Promise<void> {
    return this.#tell(this.#index.linked(link), tell);
  }

  /** Ends every live session of these resources. */
  endThoseOf(resources: ReadonlySet<string>, why: Refusal): Promise<void> {
    const live = this.#index.list(true, Number.MAX_SAFE_INTEGER);
    const ids = live.filter(({ resource }) => resources.has(resource)).map(({ id }) => id);
    return this.#tell(ids, async (session) => session.revoke(why));
  }

  async #tell(ids: string[], tell: (session: SessionStub) => Promise<void>): Promise<void> {
    let left = ids;
    for (let attempt = 0; left.length > 0 && attempt < 3; attempt++) {
      const told = await Promise.allSettled(left.map((id) => tell(this.#host.session(id))));
      left = left.filter((_, at) => told[at]?.status === "rejected");
    }
    for (const id of left) console.error(`session ${id} could not be told that its authority has changed`);
  }

  /** Ends every live session of a link. */
  async revokeEach(link: string, why: Refusal): Promise<void> {
    await this.tellEach(link, async (session) => session.revoke(why));
  }

  get anyLive(): boolean {
    return this.#index.liveIds().length > 0;
  }

  /** Sessions whose sockets went away with a process end now, and so tell the index. */
  async reconcile(): Promise<void> {
    for (const id of this.#index.liveIds()) {
      try {
        await this.#host.session(id).checkAlive();
      } catch (error) {
        console.warn(`session ${id} does not answer: ${String(error)}`);
      }
    }
  }

  #changed(id: string): void {
    const session = this.#index.get(id);
    if (session !== undefined) this.#host.changed(session);
  }
}
