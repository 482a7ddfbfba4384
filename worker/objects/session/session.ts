/**
 * A session: its parts, how it begins, how its authority changes, and how it is put down and taken up again.
 * Drivers know it as their host (driver.ts); its phases and turns are in lifecycle.ts.
 */
import type { ClientNotice } from "../../../wire/control.ts";
import { type Refusal, isRefusalCode, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type Bindings, connectorOf, controlOf, sessionOf } from "../../env.ts";
import type { Estimate } from "../../policy/approval.ts";
import { type Grant, type VerifiedToken, renewGrant, tokenOf } from "../../policy/grant.ts";
import type { Decision, Operation, Protocol, Resource } from "../../policy/types.ts";
import type { SessionCounts, Snapshot } from "../control/types.ts";
import { Meta } from "../meta.ts";
import type { EventBody } from "../recording/chain.ts";
import { currentSnapshot, learnSnapshot, maskKeyOf } from "../snapshot.ts";
import { TunnelEnd } from "../tunnel-end.ts";
import { ApprovalRequests } from "./approval-requests.ts";
import { attempt } from "./attempt.ts";
import { ClientLink } from "./client-link.ts";
import { ConnectorLink, LOST } from "./connector-link.ts";
import type { ChannelHandler, Hold, HoldStart, RequestDriver, SessionDriver, SessionHost } from "./driver.ts";
import { createDriver, createRequestDriver } from "./drivers.ts";
import { type Frozen, Hibernation, IDLE_MS } from "./hibernation.ts";
import { Journal } from "./journal.ts";
import { Lifecycle, type Phase } from "./lifecycle.ts";
import { Standing, TOKEN_EXPIRED } from "./standing.ts";

/** Tags of the session's sockets. */
export const CLIENT = "client";
export const CONNECTOR = "connector";
/** A session of requests that is idle this long lets its connector go, and comes back with the next request. */
const IDLE_REQUESTS_MS = 60_000;

export class Session implements SessionHost {
  readonly life: Lifecycle;
  readonly standing: Standing;
  readonly journal: Journal;
  readonly client = new ClientLink();
  readonly link = new ConnectorLink();
  readonly #ctx: DurableObjectState;
  readonly #env: Bindings;
  readonly #meta: Meta;
  readonly #approvals: ApprovalRequests;
  readonly #hibernation: Hibernation;
  #driver: SessionDriver | undefined;
  /** The same driver, where the client sends requests and has no connection of its own. */
  #requests: RequestDriver | undefined;

  constructor(ctx: DurableObjectState, env: Bindings) {
    this.#ctx = ctx;
    this.#env = env;
    this.#meta = new Meta(ctx.storage.sql);
    this.standing = new Standing(env);
    // Should the index miss something: the recording has it all, and the Control object asks again.
    const tell = (call: Promise<unknown>): void => this.#later(call.catch(() => undefined));
    this.journal = new Journal(ctx.storage.sql, {
      add: (counts, report) => tell(controlOf(env).indexOperations(this.grant.session, counts, report)),
      end: (at, reason, counts) => tell(controlOf(env).endSession(this.grant.session, at, reason, counts)),
    });
    this.#approvals = new ApprovalRequests(env, this.standing, this.journal);
    this.#hibernation = new Hibernation(this.#meta, (idleFor) => this.#putDown(idleFor));
    this.life = new Lifecycle({
      ctx,
      meta: this.#meta,
      client: this.client,
      link: this.link,
      journal: this.journal,
      standing: this.standing,
      hibernation: this.#hibernation,
      driver: () => this.#driver,
      manyTurns: () => this.#requests !== undefined,
    });
    // Nothing is stored before a session has started: whoever guesses names of sessions fills no disk.
    const grant = this.#meta.exists ? this.#meta.get("grant") : undefined;
    if (grant === undefined) return;
    this.standing.grant = JSON.parse(grant) as Grant;
    this.journal.open(this.grant.session);
    this.life.restore(this.#meta.get("ended") === undefined ? "started" : "ended");
  }

  get phase(): Phase {
    return this.life.phase;
  }

  get driver(): SessionDriver | undefined {
    return this.#driver;
  }

  // How it begins.

  /** Knows the configuration from here on, if there is one. */
  async learn(): Promise<void> {
    const snapshot = currentSnapshot() ?? (await controlOf(this.#env).snapshot());
    if (snapshot !== undefined) learnSnapshot(snapshot);
  }

  /** A client has come over this socket, with the grant that the session has. */
  connect(socket: WebSocket, protocol: Protocol): void {
    this.life.connecting();
    this.client.attach(socket);
    // A turn: a protocol whose server speaks first has said something by now.
    this.turn(() => (this.#driver = createDriver(this, protocol, undefined)));
    this.life.limitStartup();
  }

  /** The driver for requests under the grant; undefined when the resource does not take any. */
  requestDriver(grant: Grant): RequestDriver | undefined {
    if (this.standing.known === undefined) this.standing.grant = grant;
    if (this.#requests !== undefined) return this.#requests;
    const resource = this.standing.findResource();
    const driver = resource === undefined ? undefined : createRequestDriver(this, resource.protocol);
    if (driver === undefined) return undefined;
    if (this.phase === "new") this.life.connecting();
    this.#requests = driver;
    this.#driver = driver;
    return driver;
  }

  /** A session that lives for one question: nothing is recorded and nobody connects to it. */
  async ask<Answer>(question: () => Promise<Answer>): Promise<Answer> {
    this.life.connecting();
    try {
      return await question();
    } finally {
      this.life.close();
    }
  }

  /** Why a session whose requests still come is over. */
  get endedWhy(): Refusal {
    const code = this.#meta.get("ended") ?? "gateway_restarted";
    const hint = "get a new session token: sally login";
    return refusal(isRefusalCode(code) ? code : "session_killed", "this session has ended", { hint });
  }

  // What happens to it.

  /** The configuration changed. */
  refresh(snapshot: Snapshot): void {
    learnSnapshot(snapshot);
    this.turn(() => {
      if (this.phase !== "started") return;
      if (this.standing.findResource() === undefined) {
        this.life.terminate(refusal("resource_unknown", `${this.grant.resource} is not configured any more`));
      } else this.#driver?.configChanged();
    });
  }

  /** The shim's fresh token prolongs the session; anybody else's ends it. */
  async renew(token: string): Promise<void> {
    const renewed = await this.standing.renewed(token);
    this.turn(() => {
      if (this.phase === "ended") return;
      if (!renewed.ok) {
        this.life.terminate(renewed.error);
        return;
      }
      this.#renewTo(renewed.value);
    });
  }

  /**
   * A later token of the same authority keeps a session of requests going, for what has begun in it. The Worker has
   * verified the token, and the Control object admitted it.
   */
  extend(token: VerifiedToken): Result<void, Refusal> {
    const { known } = this.standing;
    const renewed = known === undefined ? undefined : renewGrant(known, token, Date.now());
    if (renewed?.ok !== true || this.phase !== "started" || this.#requests === undefined) {
      return err(refusal("not_found", "there is no live session of yours by that name"));
    }
    this.turn(() => this.#renewTo(renewed.value));
    return ok(undefined);
  }

  #renewTo(grant: Grant): void {
    const { tokenId, expiresAt } = grant;
    this.#changeGrant(grant, {
      type: "renewed",
      token: tokenId,
      expiresAt: new Date(expiresAt).toISOString(),
    });
    if (this.phase === "started") void this.#ctx.storage.setAlarm(expiresAt);
  }

  /** Somebody in its authority is in other groups now: it counts from the next operation on. */
  regroup(change: (grant: Grant) => Grant, event: EventBody): void {
    this.turn(() => {
      if (this.standing.known === undefined || this.phase === "ended") return;
      this.#changeGrant(change(this.grant), event);
      if (this.phase === "started") this.#driver?.configChanged();
    });
  }

  #changeGrant(grant: Grant, event: EventBody): void {
    this.standing.grant = grant;
    if (this.phase !== "started") return;
    this.#meta.set("grant", JSON.stringify(grant));
    this.record(event);
  }

  /** The session's token ends, unless it was renewed. */
  expire(): void {
    this.turn(() => {
      if (this.phase !== "started") return;
      if (this.grant.expiresAt > Date.now()) void this.#ctx.storage.setAlarm(this.grant.expiresAt);
      else this.life.terminate(TOKEN_EXPIRED);
    });
  }

  /** A session whose client's socket is gone has ended, whatever the index believes. */
  checkAlive(): void {
    if (this.phase === "ended" && this.standing.known !== undefined) {
      this.journal.tellEnd(this.#meta.get("ended") ?? "ended");
    } else if (this.phase === "new") {
      // The index knows it, but the process went before the session had written anything.
      const name = this.#ctx.id.name ?? "";
      const { counts } = this.journal;
      this.#later(controlOf(this.#env).endSession(name, Date.now(), "gateway_restarted", counts));
    } else if (this.#ofRequests()) return;
    else if (this.#ctx.getWebSockets(CLIENT).length === 0) this.#endedByRestart();
  }

  // SessionHost.

  get grant(): Grant {
    return this.standing.grant;
  }

  get resource(): Resource {
    return this.standing.resource;
  }

  get configVersion(): number {
    return currentSnapshot()?.version ?? 0;
  }

  now(): number {
    return Date.now();
  }

  async start(details: EventBody): Promise<Result<void, Refusal>> {
    return attempt(this.#start(details));
  }

  async #start(details: EventBody): Promise<Result<void, Refusal>> {
    // Requests that come back to a session which was put out of memory find it started.
    if (this.phase === "started") return ok(undefined);
    const { session, principal, actors, tasks, resource } = this.grant;
    const { protocol } = this.resource;
    if (this.standing.budgeted && this.#driver?.reserves !== true) {
      const message = `a task with a budget cannot be used with ${protocol} yet`;
      return err(refusal("feature_not_supported", message));
    }
    const chain = { ...(actors.length === 0 ? {} : { actors }), ...(tasks.length === 0 ? {} : { tasks }) };
    const started = await controlOf(this.#env).startSession(
      { id: session, resource, protocol, principal, ...chain, startedAt: Date.now() },
      this.#driver?.processId ?? 0,
      currentSnapshot()?.version,
      tokenOf(this.grant),
    );
    if (!started.ok) return started;
    if (started.value.snapshot !== undefined) learnSnapshot(started.value.snapshot);
    if (this.phase !== "connecting") return err(LOST);
    this.life.started();
    this.#meta.create();
    this.#meta.set("grant", JSON.stringify(this.grant));
    if (this.#requests !== undefined) this.#meta.set("requests", "1");
    this.journal.open(session);
    const { expiresAt, noWait, reason, tokenId } = this.grant;
    this.record({
      ...details,
      session,
      resource,
      principal,
      ...chain,
      token: { id: tokenId, expiresAt: new Date(expiresAt).toISOString() },
      noWait,
      ...(reason === undefined ? {} : { reason }),
      configVersion: this.configVersion,
    });
    await this.#ctx.storage.setAlarm(expiresAt);
    this.notify({ type: "session", session });
    return ok(undefined);
  }

  record(body: EventBody): void {
    this.journal.record(body);
  }

  get recorded(): number {
    return this.journal.length;
  }

  count(what: keyof SessionCounts, by: number): void {
    this.journal.count(what, by);
  }

  toClient(bytes: Uint8Array): void {
    this.client.data(bytes);
  }

  clientQueued(): number {
    return this.client.queued();
  }

  clientConsumed(length: number): void {
    this.client.consumed(length);
  }

  notify(notice: ClientNotice): void {
    this.client.notify(notice);
  }

  async dialBack(): Promise<Result<void, Refusal>> {
    const { session, resource } = this.grant;
    const { connector } = this.resource;
    const dialed = this.link.dialBack(
      async (ticket, not) => connectorOf(this.#env, connector).open(session, resource, ticket, not),
      () => this.phase === "ended",
    );
    return attempt(dialed);
  }

  openChannel(payload: unknown, handler: ChannelHandler): Result<number, Refusal> {
    return this.link.open(payload, handler);
  }

  listen(channel: number, handler: ChannelHandler): void {
    this.link.listen(channel, handler);
  }

  acceptChannel(channel: number): void {
    this.link.accept(channel);
  }

  toChannel(channel: number, bytes: Uint8Array): void {
    this.link.data(channel, bytes);
  }

  channelQueued(channel: number): number {
    return this.link.queued(channel);
  }

  consumed(channel: number, length: number): void {
    this.link.consumed(channel, length);
  }

  signalChannel(channel: number, payload: unknown): void {
    this.link.signal(channel, payload);
  }

  endChannel(channel: number): void {
    this.link.end(channel);
  }

  closeChannel(channel: number): void {
    this.link.close(channel);
  }

  decide(operation: Operation): Decision {
    return this.standing.decide(operation);
  }

  reserve(operations: () => number): Promise<Result<void, Refusal>> | undefined {
    return this.standing.reserve(operations);
  }

  rowsQueued(rows: number): void {
    this.standing.rowsQueued(rows);
  }

  reveals(relation: string, column: string): boolean {
    return this.standing.reveals(relation, column);
  }

  hold(hold: Hold): Promise<HoldStart> {
    return this.#approvals.open(hold);
  }

  describe(approval: string, estimate: Estimate): void {
    this.#later(this.#approvals.describe(approval, estimate));
  }

  useApproval(approval: string): Promise<Result<void, Refusal>> {
    return this.#approvals.use(approval);
  }

  withdraw(approval: string): void {
    this.#later(this.#approvals.withdraw(approval));
  }

  async identity(): Promise<Result<string, Refusal>> {
    const { principal, resource, session, expiresAt } = this.grant;
    const told = controlOf(this.#env).assertIdentity(principal, resource, session, expiresAt);
    return attempt(told.then((token) => ok(token)));
  }

  maskKey(): string {
    return maskKeyOf(this.grant.resource);
  }

  async cancelOther(processId: number, secretKey: Uint8Array): Promise<void> {
    const session = await controlOf(this.#env).sessionByProcessId(processId);
    if (session !== undefined)
      await sessionOf(this.#env, session).cancel(processId, secretKey, this.grant.principal);
  }

  turn(work: () => void): void {
    this.life.turn(work);
  }

  end(why: Refusal | undefined): void {
    this.life.end(why);
  }

  #later(work: Promise<unknown>): void {
    this.#ctx.waitUntil(work);
  }

  // Idleness.

  #putDown(idleFor: number): Frozen | "rests" | "busy" {
    if (this.phase !== "started") return "rests";
    const { counts } = this.journal;
    if (this.#requests !== undefined) {
      this.#meta.set("counts", JSON.stringify(counts));
      if (this.#requests.freeze() === undefined) return "busy";
      if (!this.link.linked) return "rests";
      if (idleFor < IDLE_REQUESTS_MS) return "busy";
      this.link.letGo();
      return "rests";
    }
    const driver = idleFor >= IDLE_MS ? this.#driver?.freeze() : undefined;
    const client = this.client.freeze();
    if (driver === undefined || client === undefined || !this.link.idle) return "busy";
    return { grant: this.grant, counts, driver, client, connector: this.link.freeze() };
  }

  /** After hibernation: takes the session up where it was. After a crash: there is nothing to take up. */
  async wake(): Promise<void> {
    if (this.#ofRequests()) return this.#wakeRequests();
    const [client] = this.#ctx.getWebSockets(CLIENT);
    const [connector] = this.#ctx.getWebSockets(CONNECTOR);
    const frozen = this.#hibernation.stored();
    if (client === undefined || frozen === undefined) {
      this.#endedByRestart();
      return;
    }
    await this.learn();
    if (this.standing.findResource() === undefined) {
      this.#endedByRestart("resource_unknown");
      return;
    }
    this.standing.grant = frozen.grant;
    this.journal.counts = frozen.counts;
    this.client.takeUp(client, frozen.client);
    if (connector !== undefined && frozen.connector !== undefined) {
      this.link.takeUp(connector, frozen.connector);
    }
    this.#driver = createDriver(this, this.resource.protocol, frozen.driver);
  }

  #ofRequests(): boolean {
    return this.phase === "started" && this.#meta.get("requests") !== undefined;
  }

  /** Requests that were under way are lost with the process; the session goes on with the next. */
  #wakeRequests(): void {
    const counts = this.#meta.get("counts");
    if (counts !== undefined) this.journal.counts = JSON.parse(counts) as SessionCounts;
    for (const socket of this.#ctx.getWebSockets()) new TunnelEnd(socket).closeSocket(1012, "restarted");
    this.link.letGo();
    this.#later(this.#approvals.orphan());
  }

  /** The session's state in memory is lost. What is left of its sockets cannot go on in the middle. */
  #endedByRestart(reason = "gateway_restarted"): void {
    if (this.phase !== "started") return;
    this.life.restore("ended");
    this.record({ type: "end", reason, counts: this.journal.counts });
    this.#meta.set("ended", reason);
    this.journal.flush();
    this.#later(this.#approvals.orphan());
    this.journal.tellEnd(reason);
    for (const socket of this.#ctx.getWebSockets()) new TunnelEnd(socket).closeSocket(1012, reason);
  }
}
