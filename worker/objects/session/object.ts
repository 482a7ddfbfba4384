/**
 * The Session object, one per session: the data path. Both of its sockets are inbound (the shim's, and the
 * connector's that dials back), so that an idle session can hibernate. See driver.ts for the division of work
 * and SCHEMA.md for its tables.
 *
 *   connecting ── the client's startup is complete ──► started ── either side ends, kill, expiry ──► ended
 *
 * Every turn: the driver works, the recording is written, then what was queued is sent.
 */
import { DurableObject } from "cloudflare:workers";
import {
  type ClientNotice,
  FromClient,
  PATHS,
  WEBSOCKET_PROTOCOL,
  parseControl,
} from "../../../wire/control.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, isRefusalCode, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Tunnel } from "../../../wire/tunnel.ts";
import {
  type Bindings,
  approvalAddress,
  connectorOf,
  controlOf,
  readSettings,
  sessionOf,
} from "../../env.ts";
import { verifySessionToken } from "../../identity/session-token.ts";
import { decideUnder, otherParties, revealsUnder } from "../../policy/authority.ts";
import {
  GRANT_HEADER,
  type Grant,
  decodeGrant,
  mintGrant,
  renewGrant,
  tokenOf,
  withGroups,
  withoutGroups,
} from "../../policy/grant.ts";
import type { Decision, Operation, Principal, Resource } from "../../policy/types.ts";
import { type Estimate, samePrincipal } from "../../policy/approval.ts";
import { reasonIn } from "../../policy/approval-reason.ts";
import type {
  ApprovalOutcome,
  HoldAnswer,
  SessionCounts,
  Snapshot,
  StartedSession,
} from "../control/types.ts";
import { draftEngine, policyEngine } from "../engines.ts";
import type { ChainedEvent, ChainHead, EventBody } from "../recording/chain.ts";
import { Recorder } from "../recording/recorder.ts";
import { currentSnapshot, learnSnapshot, maskKeyOf } from "../snapshot.ts";
import { Meta } from "../meta.ts";
import { TunnelEnd } from "../tunnel-end.ts";
import { TaskBudget } from "./budget.ts";
import { ConnectorLink, LOST } from "./connector-link.ts";
import { createDriver, createRequestDriver, hasDriver } from "./drivers.ts";
import { earlierOperations } from "./earlier.ts";
import { IndexFeed } from "./index-feed.ts";
import { type ExplainQuestion, type Explanation, explainStatement } from "./postgres-explain.ts";
import type { ChannelHandler, Hold, HoldStart, RequestDriver, SessionDriver, SessionHost } from "./driver.ts";
import { problemResponse } from "./http-dialect.ts";

type Phase = "new" | "connecting" | "started" | "ended";

/** What survives hibernation, one JSON row. */
type Frozen = {
  readonly grant: Grant;
  readonly counts: SessionCounts;
  readonly driver: string;
  readonly client: Tunnel;
  readonly connector: Tunnel | undefined;
};

/** Path and query of a request below its resource, as the client wrote them, percent-encoded as a whole. */
export const TARGET_HEADER = "sally-target";

const CLIENT = "client";
const CONNECTOR = "connector";
/** An idle session is written down after this many milliseconds, and may then hibernate. */
const IDLE_MS = 2000;
/** The index is told of what was done after this many milliseconds. */
const FEED_MS = 1000;
/** A session of requests that is idle this long lets its connector go, and comes back with the next request. */
const IDLE_REQUESTS_MS = 60_000;
/** Events among which the last operations are looked for, for reviewers. */
const EARLIER_EVENTS = 60;

export class SessionObject extends DurableObject<Bindings> implements SessionHost {
  readonly #meta: Meta;
  #phase: Phase = "new";
  #grant: Grant | undefined;
  #counts: SessionCounts = { operations: 0, denied: 0, held: 0, rows: 0 };
  #recorder: Recorder | undefined;
  #driver: SessionDriver | undefined;
  /** Another one only where policies are asked that are not applied. */
  #engine = policyEngine;
  /** The same driver, where the client sends requests and has no connection of its own. */
  #requests: RequestDriver | undefined;
  #client: TunnelEnd | undefined;
  readonly #link = new ConnectorLink();
  #startupTimer: ReturnType<typeof setTimeout> | undefined;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #feedTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #feed = new IndexFeed();
  /** Who waits for the recording to go on. */
  readonly #watching = new Set<() => void>();
  #lingering: ReturnType<typeof setTimeout> | undefined;
  readonly #budget = new TaskBudget((task, what, amount) =>
    attempt(controlOf(this.env).spend(task, what, amount)),
  );
  #active = 0;
  #depth = 0;
  #settling: ReturnType<typeof setTimeout> | undefined;
  /** Storage has this session as it was when it was last idle. */
  #frozen = false;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#meta = new Meta(ctx.storage.sql);
    // Nothing is stored before a session has started: whoever guesses names of sessions fills no disk.
    const grant = this.#meta.exists ? this.#meta.get("grant") : undefined;
    if (grant === undefined) return;
    this.#grant = JSON.parse(grant) as Grant;
    this.#recorder = new Recorder(ctx.storage.sql, this.#grant.session);
    this.#phase = this.#meta.get("ended") === undefined ? "started" : "ended";
    if (this.#phase === "started") void ctx.blockConcurrencyWhile(async () => this.#wake());
  }

  // Sockets.

  /** `/connect/<resource>` and `/dial-back/<session>`, which the Worker has checked and marked. */
  override async fetch(request: Request): Promise<Response> {
    const target = request.headers.get(TARGET_HEADER);
    if (target !== null) return this.#acceptRequest(request, target);
    const url = new URL(request.url);
    return url.pathname.startsWith(`${PATHS.dialBack}/`)
      ? this.#acceptConnector(request)
      : this.#acceptClient(request);
  }

  /** One request to a resource; the Worker has checked the token and put the target into a header. */
  async #acceptRequest(request: Request, target: string): Promise<Response> {
    const grant = decodeGrant(request.headers.get(GRANT_HEADER));
    if (!grant.ok) return problemResponse(grant.error);
    if (currentSnapshot() === undefined) {
      const snapshot = await controlOf(this.env).snapshot();
      if (snapshot !== undefined) learnSnapshot(snapshot);
    }
    if (this.#phase === "ended") return problemResponse(this.#endedWhy());
    this.#grant ??= grant.value;
    this.#requests ??= this.#makeRequestDriver();
    if (this.#requests === undefined) {
      const { resource } = grant.value;
      return problemResponse(refusal("resource_unknown", `there is no HTTP resource ${resource}`));
    }
    return this.#requests.request(request, decodeURIComponent(target), grant.value);
  }

  #makeRequestDriver(): RequestDriver | undefined {
    const resource = this.#findResource();
    const driver = resource === undefined ? undefined : createRequestDriver(this, resource.protocol);
    if (driver === undefined) return undefined;
    if (this.#phase === "new") this.#phase = "connecting";
    this.#driver = driver;
    return driver;
  }

  /** Why a session whose requests still come is over. */
  #endedWhy(): Refusal {
    const code = this.#meta.get("ended") ?? "gateway_restarted";
    const hint = "get a new session token: sally login";
    return refusal(isRefusalCode(code) ? code : "session_killed", "this session has ended", { hint });
  }

  async #acceptClient(request: Request): Promise<Response> {
    const grant = decodeGrant(request.headers.get(GRANT_HEADER));
    if (!grant.ok || this.#phase !== "new") return new Response("not a new session", { status: 409 });
    const snapshot = currentSnapshot() ?? (await controlOf(this.env).snapshot());
    if (snapshot !== undefined) learnSnapshot(snapshot);
    this.#grant = grant.value;
    const resource = this.#findResource();
    if (resource === undefined || !hasDriver(resource.protocol)) {
      return new Response("native clients cannot connect to this resource", { status: 404 });
    }
    this.#phase = "connecting";
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [CLIENT]);
    this.#client = TunnelEnd.client(server);
    // A turn: a protocol whose server speaks first has said something by now.
    this.turn(() => (this.#driver = createDriver(this, resource.protocol, undefined)));
    this.#startupTimer = setTimeout(() => {
      this.turn(() =>
        this.#terminate(refusal("protocol_violation", "the connection's startup took too long")),
      );
    }, LIMITS.time.startup);
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: { "sec-websocket-protocol": WEBSOCKET_PROTOCOL },
    });
  }

  async #acceptConnector(request: Request): Promise<Response> {
    const ticket = request.headers.get("authorization")?.replace(/^Ticket /, "") ?? "";
    const tag = await this.#link.admit(ticket);
    if (tag === undefined || this.#phase === "ended") {
      return new Response("the ticket is not valid", { status: 401 });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [CONNECTOR, tag]);
    this.#link.attach(server, tag);
    return new Response(null, {
      status: 101,
      webSocket: client,
      headers: { "sec-websocket-protocol": WEBSOCKET_PROTOCOL },
    });
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    const [tag] = this.ctx.getTags(socket);
    this.turn(() => {
      if (this.#phase === "ended") {
        // What the client has not read yet still goes out as its credit comes in.
        if (tag === CLIENT && typeof message !== "string") this.#client?.receive(message);
        return;
      }
      if (typeof message === "string") this.#text(tag, message);
      else if (tag === CLIENT) this.#clientFrame(message);
      else this.#connectorFrame(message);
    });
  }

  override webSocketClose(socket: WebSocket): void {
    this.#socketGone(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.#socketGone(socket);
  }

  #socketGone(socket: WebSocket): void {
    const [tag, which] = this.ctx.getTags(socket);
    this.turn(() => {
      if (this.#phase === "ended") return;
      // One that was let go when it was idle, while the next is there already.
      if (tag === CONNECTOR && !this.#link.isCurrent(which)) return;
      if (tag === CLIENT) this.#driver?.clientEnded();
      else this.#link.lost(LOST);
    });
  }

  #clientFrame(message: ArrayBuffer): void {
    const received = this.#client?.receive(message);
    if (received === undefined || !received.ok) {
      const what = received === undefined ? "no socket" : received.error;
      this.#terminate(refusal("protocol_violation", `the client's tunnel broke its protocol: ${what}`));
      return;
    }
    const frame = received.value;
    if (frame?.kind === "open") {
      this.#terminate(refusal("protocol_violation", "the client's tunnel has one channel only"));
      return;
    }
    if (frame === undefined || frame.channel !== 0) return;
    if (frame.kind === "data") this.#driver?.clientBytes(frame.bytes);
    else if (frame.kind === "end" || frame.kind === "close") this.#driver?.clientEnded();
  }

  #connectorFrame(message: ArrayBuffer): void {
    const received = this.#link.receive(message);
    if (!received.ok) this.#link.lost(received.error);
  }

  #text(tag: string | undefined, text: string): void {
    const message = tag === CLIENT ? parseControl(FromClient, text) : undefined;
    if (message === undefined || !message.ok) {
      this.#terminate(refusal("protocol_violation", "a control message was not understood"));
      return;
    }
    void this.#renew(message.value.token);
  }

  /** The shim's fresh token prolongs the session; anybody else's ends it. */
  async #renew(token: string): Promise<void> {
    const { publicUrl } = readSettings(this.env);
    const keys = await controlOf(this.env).verificationKeys();
    const verified = await verifySessionToken(token, keys, publicUrl, Date.now());
    const admitted = verified.ok ? await attempt(controlOf(this.env).admitRenewal(verified.value)) : verified;
    const renewed = admitted.ok ? renewGrant(this.grant, admitted.value, Date.now()) : admitted;
    this.turn(() => {
      if (this.#phase === "ended") return;
      if (!renewed.ok) {
        this.#terminate(renewed.error);
        return;
      }
      this.#grant = renewed.value;
      if (this.#phase !== "started") return;
      this.#meta.set("grant", JSON.stringify(renewed.value));
      this.record({
        type: "renewed",
        token: renewed.value.tokenId,
        expiresAt: new Date(renewed.value.expiresAt).toISOString(),
      });
      void this.ctx.storage.setAlarm(renewed.value.expiresAt);
    });
  }

  // RPC from the other objects.

  /** The configuration changed. */
  refresh(snapshot: Snapshot): void {
    learnSnapshot(snapshot);
    this.turn(() => {
      if (this.#phase !== "started") return;
      if (this.#findResource() === undefined) {
        this.#terminate(refusal("resource_unknown", `${this.grant.resource} is not configured any more`));
      } else this.#driver?.configChanged();
    });
  }

  /** The outcome of an approval that this session waits for. False: it does not wait any more. */
  approvalOutcome(outcome: ApprovalOutcome): boolean {
    let taken = false;
    this.turn(() => {
      taken = this.#phase === "started" && (this.#driver?.approvalDecided(outcome) ?? false);
    });
    return taken;
  }

  kill(by: string, reason: string | undefined): void {
    this.turn(() => {
      const why = reason === undefined ? "" : `: ${reason}`;
      this.#terminate(refusal("session_killed", `the session was ended by ${by}${why}`));
    });
  }

  /** Its authority is gone: the principal, an actor or a task of its was revoked or has ended. */
  revoke(why: Refusal): void {
    this.turn(() => this.#terminate(why));
  }

  /** Somebody in its authority has left groups: it counts from the next operation on. */
  leaveGroups(whom: Pick<Principal, "issuer" | "subject">, groups: readonly string[]): void {
    this.turn(() => {
      if (this.#grant === undefined || this.#phase === "ended") return;
      this.#grant = withoutGroups(this.#grant, whom, groups);
      if (this.#phase !== "started") return;
      this.#meta.set("grant", JSON.stringify(this.#grant));
      this.record({ type: "left_groups", issuer: whom.issuer, subject: whom.subject, groups });
      this.#driver?.configChanged();
    });
  }

  /** Somebody in its authority is in these groups now, and in no other; counts from the next operation on. */
  setGroups(whom: Pick<Principal, "issuer" | "subject">, groups: readonly string[]): void {
    this.turn(() => {
      if (this.#grant === undefined || this.#phase === "ended") return;
      this.#grant = withGroups(this.#grant, whom, groups);
      if (this.#phase !== "started") return;
      this.#meta.set("grant", JSON.stringify(this.#grant));
      this.record({ type: "groups", issuer: whom.issuer, subject: whom.subject, groups });
      this.#driver?.configChanged();
    });
  }

  /** A CancelRequest that arrived on a connection of `principal`'s. */
  cancel(processId: number, secretKey: Uint8Array, principal: Principal): void {
    this.turn(() => {
      if (this.#phase !== "started" || !samePrincipal(this.grant.principal, principal)) return;
      if (this.#driver?.cancel(processId, secretKey) === true) this.record({ type: "cancel_request" });
    });
  }

  connectorCannotOpen(process: string, why: Refusal): void {
    this.#link.cannotOpen(process, why);
  }

  /** A session whose client's socket is gone has ended, whatever the index believes. */
  checkAlive(): void {
    if (this.#phase === "ended" && this.#grant !== undefined)
      this.#tellIndex(this.#meta.get("ended") ?? "ended");
    else if (this.#phase === "new") {
      // The index knows it, but the process went before the session had written anything.
      const name = this.ctx.id.name ?? "";
      this.ctx.waitUntil(controlOf(this.env).endSession(name, Date.now(), "gateway_restarted", this.#counts));
    } else if (this.#ofRequests()) return;
    else if (this.ctx.getWebSockets(CLIENT).length === 0) this.#endedByRestart();
  }

  /** Events of the recording, for whom the Control object has let see them. */
  async events(
    after: number,
    limit: number,
    wait = 0,
  ): Promise<{ events: ChainedEvent[]; head: ChainHead | undefined; more: boolean }> {
    const until = Date.now() + wait;
    for (let left = wait; left > 0 && this.#phase === "started"; left = until - Date.now()) {
      if ((this.#recorder?.head.seq ?? 0) > after) break;
      await this.#somethingHappens(left);
    }
    const read = this.#recorder?.read(after, limit) ?? { events: [], more: false };
    return { ...read, head: this.#recorder?.head };
  }

  /** What policy and masks say of a statement; nothing runs. This session lives for the one question. */
  async explain(question: ExplainQuestion): Promise<Result<Explanation, Refusal>> {
    if (this.#phase !== "new") throw new Error("only a new session explains");
    const snapshot = await controlOf(this.env).snapshot();
    if (snapshot !== undefined) learnSnapshot(snapshot);
    const now = Date.now();
    const token = {
      principal: question.principal,
      resources: null,
      tokenId: "explain",
      issuedAt: now,
      expiresAt: now + 60_000,
    };
    const grant = mintGrant(
      token,
      { name: question.resource },
      { session: this.ctx.id.name ?? "", noWait: true, now },
    );
    if (!grant.ok) return grant;
    this.#grant = grant.value;
    if (this.#findResource() === undefined) {
      return err(refusal("resource_unknown", `there is no resource ${question.resource}`));
    }
    if (question.policies !== undefined) {
      this.#engine = draftEngine();
      const loaded = this.#engine.load(1, question.policies);
      if (!loaded.ok)
        return err(refusal("config_invalid", loaded.error[0]?.message ?? "the policies do not load"));
    }
    this.#phase = "connecting";
    try {
      return await explainStatement(this, question.sql, this.#engine);
    } finally {
      this.#phase = "ended";
      this.#closeSockets();
    }
  }

  /** Resolves when a turn has ended, in which something may have been recorded, or after that many milliseconds. */
  #somethingHappens(wait: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer);
        this.#watching.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, wait);
      this.#watching.add(wake);
    });
  }

  counts(): SessionCounts {
    return this.#counts;
  }

  /** The session's token ends. */
  override alarm(): void {
    this.turn(() => {
      if (this.#phase !== "started") return;
      if (this.grant.expiresAt > Date.now()) void this.ctx.storage.setAlarm(this.grant.expiresAt);
      else
        this.#terminate(
          refusal("token_expired", "the session's token has expired", { hint: "connect again" }),
        );
    });
  }

  // SessionHost.

  get grant(): Grant {
    if (this.#grant === undefined) throw new Error("the session has no grant");
    return this.#grant;
  }

  get resource(): Resource {
    const resource = this.#findResource();
    if (resource === undefined) throw new Error("the session's resource is not configured");
    return resource;
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
    const { session, principal, actors, tasks, resource } = this.grant;
    const startedAt = Date.now();
    const chain = { ...(actors.length === 0 ? {} : { actors }), ...(tasks.length === 0 ? {} : { tasks }) };
    const row = { id: session, resource, protocol: this.resource.protocol, principal, ...chain, startedAt };
    const budgeted = tasks.some(({ terms }) => terms.maxOperations !== null || terms.maxRows !== null);
    if (budgeted && this.#driver?.reserves !== true) {
      const message = `a task with a budget cannot be used with ${this.resource.protocol} yet`;
      return err(refusal("feature_not_supported", message));
    }
    const started: Result<StartedSession, Refusal> = await controlOf(this.env).startSession(
      row,
      this.#driver?.processId ?? 0,
      currentSnapshot()?.version,
      tokenOf(this.grant),
    );
    if (!started.ok) return started;
    if (started.value.snapshot !== undefined) learnSnapshot(started.value.snapshot);
    if (this.#phase !== "connecting") return err(LOST);
    clearTimeout(this.#startupTimer);
    this.#phase = "started";
    this.#meta.create();
    this.#meta.set("grant", JSON.stringify(this.grant));
    if (this.#requests !== undefined) this.#meta.set("requests", "1");
    this.#recorder = new Recorder(this.ctx.storage.sql, session);
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
    await this.ctx.storage.setAlarm(expiresAt);
    this.notify({ type: "session", session });
    return ok(undefined);
  }

  record(body: EventBody): void {
    if (this.#recorder === undefined) throw new Error("nothing may happen before the session has started");
    const at = new Date();
    this.#recorder.record(at, body);
    this.#feed.add(this.#recorder.head.seq, at.getTime(), body);
  }

  count(what: keyof SessionCounts, by: number): void {
    this.#counts = { ...this.#counts, [what]: this.#counts[what] + by };
  }

  toClient(bytes: Uint8Array): void {
    this.#client?.data(0, bytes);
  }

  clientQueued(): number {
    return this.#client?.queued(0) ?? 0;
  }

  clientConsumed(length: number): void {
    this.#client?.consumed(0, length);
  }

  notify(notice: ClientNotice): void {
    this.#client?.text(notice);
  }

  async dialBack(): Promise<Result<void, Refusal>> {
    const { session, resource } = this.grant;
    const { connector } = this.resource;
    const dialed = this.#link.dialBack(
      async (ticket, not) => connectorOf(this.env, connector).open(session, resource, ticket, not),
      () => this.#phase === "ended",
    );
    return attempt(dialed);
  }

  openChannel(payload: unknown, handler: ChannelHandler): Result<number, Refusal> {
    return this.#link.open(payload, handler);
  }

  toChannel(channel: number, bytes: Uint8Array): void {
    this.#link.data(channel, bytes);
  }

  channelQueued(channel: number): number {
    return this.#link.queued(channel);
  }

  consumed(channel: number, length: number): void {
    this.#link.consumed(channel, length);
  }

  signalChannel(channel: number, payload: unknown): void {
    this.#link.signal(channel, payload);
  }

  endChannel(channel: number): void {
    this.#link.end(channel);
  }

  closeChannel(channel: number): void {
    this.#link.close(channel);
  }

  decide(operation: Operation): Decision {
    const { expiresAt } = this.grant;
    if (expiresAt <= Date.now()) {
      const why = refusal("token_expired", "the session's token has expired", { hint: "connect again" });
      return { effect: "deny", policies: [], refusal: why };
    }
    return decideUnder(this.#engine, this.grant, this.resource, operation, Date.now());
  }

  reserve(operations: () => number): Promise<Result<void, Refusal>> | undefined {
    return this.#budget.operations(this.grant.tasks, operations);
  }

  rowsQueued(rows: number): void {
    this.#budget.rows(this.grant.tasks, rows);
  }

  reveals(relation: string, column: string): boolean {
    return revealsUnder(this.#engine, this.grant, this.resource, relation, column);
  }

  async hold(hold: Hold): Promise<HoldStart> {
    const started = await attempt(this.#hold(hold).then((start) => ok(start)));
    return started.ok ? started.value : { state: "refused", refusal: started.error };
  }

  async #hold(hold: Hold): Promise<HoldStart> {
    const { session, principal: requester, resource } = this.grant;
    const { noWait = this.grant.noWait } = hold;
    const reason = reasonIn(hold.operation.text) ?? hold.reason ?? this.grant.reason;
    const task = this.grant.tasks.at(-1);
    const { granted, approval, opened }: HoldAnswer = await controlOf(this.env).hold({
      session,
      resource,
      requester,
      parties: otherParties(this.grant),
      ...(task === undefined ? {} : { task: task.id }),
      operation: hold.operation,
      requirements: hold.decision.requirements,
      policies: hold.decision.policies,
      ...(reason === undefined ? {} : { reason }),
      before: earlierOperations(this.#recorder?.recent(EARLIER_EVENTS) ?? []),
      waiting: !noWait,
      expiresAt: Math.min(
        hold.expiresAt,
        Date.now() + (this.resource.approvalExpires ?? Number.POSITIVE_INFINITY),
      ),
    });
    const { id } = approval;
    if (granted) return { state: "granted", approval: id };
    const about = opened === true ? { opened } : {};
    const url = approvalAddress(this.env, id);
    const groups = hold.decision.requirements.map(({ group }) => group).join(" and ");
    if (!noWait) return { ...about, state: "waiting", approval: id, url };
    return {
      ...about,
      state: "refused",
      refusal: refusal("approval_required", `this needs the approval of ${groups}: ${id}`, {
        hint: `send the same again after somebody of ${groups} has approved it (sally approvals approve ${id})`,
        approval: id,
      }),
    };
  }

  describe(approval: string, estimate: Estimate): void {
    const told = controlOf(this.env).describeApproval(approval, this.grant.session, estimate);
    // Reviewers decide without it when it does not arrive.
    this.ctx.waitUntil(told.catch(() => undefined));
  }

  async useApproval(approval: string): Promise<Result<void, Refusal>> {
    return attempt(controlOf(this.env).useApproval(approval, this.grant.session));
  }

  withdraw(approval: string): void {
    this.ctx.waitUntil(controlOf(this.env).withdrawApproval(approval, this.grant.session));
  }

  async identity(): Promise<Result<string, Refusal>> {
    const { principal, resource, session, expiresAt } = this.grant;
    const told = controlOf(this.env).assertIdentity(principal, resource, session, expiresAt);
    return attempt(told.then((token) => ok(token)));
  }

  maskKey(): string {
    return maskKeyOf(this.grant.resource);
  }

  async cancelOther(processId: number, secretKey: Uint8Array): Promise<void> {
    const session = await controlOf(this.env).sessionByProcessId(processId);
    if (session !== undefined)
      await sessionOf(this.env, session).cancel(processId, secretKey, this.grant.principal);
  }

  turn(work: () => void): void {
    this.#depth++;
    try {
      work();
    } catch (error) {
      // A bug must not let anything through: nothing queued is sent, the session ends.
      console.error(`session failed: ${error instanceof Error ? (error.stack ?? error.message) : "unknown"}`);
      this.#abort(refusal("internal", "the gateway failed and has ended the session; it has been logged"));
    } finally {
      this.#depth--;
    }
    if (this.#depth > 0) return;
    if (this.#requests === undefined || this.#phase !== "started") this.#settle();
    else this.#settling ??= setTimeout(() => this.#settle(), 0);
  }

  end(why: Refusal | undefined): void {
    if (this.#phase === "ended") return;
    const started = this.#phase === "started";
    this.#phase = "ended";
    clearTimeout(this.#startupTimer);
    this.#link.stopDialing(why ?? LOST);
    this.#link.forgetChannels();
    const reason = why?.code ?? "done";
    if (started) {
      this.record({
        type: "end",
        reason,
        ...(why === undefined ? {} : { message: why.message }),
        counts: this.#counts,
      });
      this.#meta.set("ended", reason);
      this.#tellIndex(reason);
      this.ctx.waitUntil(this.ctx.storage.deleteAlarm());
    }
    if (why !== undefined) this.notify({ type: "ended", code: why.code, message: why.message });
    this.#client?.end(0);
  }

  // Inside.

  /**
   * Writes the recording, then sends what waits, then gives credit back. Many requests at once share one write:
   * what they queue waits for it together.
   */
  #settle(): void {
    clearTimeout(this.#settling);
    this.#settling = undefined;
    try {
      // Whatever is not idle must not be taken up as it was before: without the row it ends instead.
      if (this.#frozen) this.#meta.delete("frozen");
      this.#frozen = false;
      this.#recorder?.flush();
    } catch (error) {
      console.error(`recording failed: ${error instanceof Error ? error.message : "unknown"}`);
      this.#abort(refusal("cannot_record", "the recording cannot be written, so the session has ended"));
      return;
    }
    if (this.#watching.size > 0) for (const wake of [...this.#watching]) wake();
    this.#feedTimer ??= setTimeout(() => this.#feedIndex(), FEED_MS);
    const owing = this.#flush();
    if (this.#phase === "ended") {
      if (!owing) this.#closeSockets();
      return;
    }
    this.#driver?.pump();
    this.#flush();
    this.#active = Date.now();
    if (this.#idleTimer === undefined) this.#idleTimer = setTimeout(() => this.#putDown(), IDLE_MS);
  }

  /** Sends what may go. True while rows wait for the budget of a task: until then the client gets nothing. */
  #flush(): boolean {
    this.#link.flush();
    const owing = this.#budget.owing(this.#grant?.tasks ?? [], (paid) => {
      if (!paid.ok) this.#cut(paid.error);
      this.turn(() => undefined);
    });
    if (!owing) this.#client?.flush();
    return owing;
  }

  /** What is queued for the client must not leave: it goes, with the session, whose end is recorded. */
  #cut(why: Refusal): void {
    this.#client?.discard();
    this.turn(() => {
      this.#terminate(why);
      // The rest of a message would follow half of one.
      this.#client?.discard();
      this.notify({ type: "ended", code: why.code, message: why.message });
      this.#client?.end(0);
    });
  }

  /** Ends the session without sending anything that is queued. */
  #abort(why: Refusal): void {
    this.#client?.discard();
    this.#link.discard();
    const started = this.#phase === "started";
    this.#phase = "ended";
    this.#link.stopDialing(why);
    this.#client?.text({ type: "ended", code: why.code, message: why.message } satisfies ClientNotice);
    this.#client?.flush();
    this.#closeSockets();
    if (!started) return;
    try {
      this.#recorder?.flush();
    } catch {
      // Said already; the index still learns of the end.
    }
    this.#tellIndex(why.code);
  }

  #terminate(why: Refusal): void {
    if (this.#phase === "ended") return;
    if (this.#driver === undefined) this.end(why);
    else this.#driver.terminate(why);
  }

  #closeSockets(): void {
    // What the client has not read yet leaves as its credit comes in; this timer ends waiting for it.
    this.#link.closeSocket();
    const client = this.#client;
    if (client === undefined) return;
    if (client.idle) client.closeSocket(1000, "done");
    else if (this.#lingering === undefined) {
      this.#lingering = setTimeout(() => client.closeSocket(1000, "done"), LINGER_MS);
    }
  }

  /** Tells the index what was done since the last time. */
  #feedIndex(): void {
    this.#feedTimer = undefined;
    const report = this.#feed.take();
    if (report === undefined || this.#grant === undefined) return;
    const told = controlOf(this.env).indexOperations(this.grant.session, this.#counts, report);
    // The recording has it all; what the index misses is only not found by searching.
    this.ctx.waitUntil(told.catch(() => undefined));
  }

  #tellIndex(reason: string): void {
    clearTimeout(this.#feedTimer);
    this.#feedIndex();
    const told = controlOf(this.env).endSession(this.grant.session, Date.now(), reason, this.#counts);
    // Should it fail, the Control object's reconciliation asks again.
    this.ctx.waitUntil(told.catch(() => undefined));
  }

  /** Writes an idle session down, so that the platform may hibernate it. */
  #putDown(): void {
    this.#idleTimer = undefined;
    if (this.#phase !== "started") return;
    if (this.#requests !== undefined) return this.#putDownRequests(this.#requests);
    const driver = Date.now() - this.#active >= IDLE_MS ? this.#driver?.freeze() : undefined;
    if (driver === undefined || this.#client?.idle !== true || !this.#link.idle) {
      // A timer also keeps the object in memory while an operation runs or is held.
      this.#idleTimer = setTimeout(() => this.#putDown(), IDLE_MS);
      return;
    }
    const frozen: Frozen = {
      grant: this.grant,
      counts: this.#counts,
      driver,
      client: this.#client.freeze(),
      connector: this.#link.freeze(),
    };
    this.#meta.set("frozen", JSON.stringify(frozen));
    this.#frozen = true;
  }

  /** A session of requests that is idle lets the connector go: the object may then be put out of memory. */
  #putDownRequests(driver: RequestDriver): void {
    this.#meta.set("counts", JSON.stringify(this.#counts));
    if (Date.now() - this.#active < IDLE_REQUESTS_MS || driver.freeze() === undefined) {
      this.#idleTimer = setTimeout(() => this.#putDown(), IDLE_MS);
      return;
    }
    this.#link.letGo();
  }

  #ofRequests(): boolean {
    return this.#phase === "started" && this.#meta.get("requests") !== undefined;
  }

  /** Requests that were under way are lost with the process; the session goes on with the next. */
  #wakeRequests(): void {
    const counts = this.#meta.get("counts");
    if (counts !== undefined) this.#counts = JSON.parse(counts) as SessionCounts;
    for (const socket of this.ctx.getWebSockets()) new TunnelEnd(socket).closeSocket(1012, "restarted");
    this.#link.letGo();
    this.ctx.waitUntil(controlOf(this.env).orphanApprovals(this.grant.session));
  }

  /** After hibernation: takes the session up where it was. After a crash: there is nothing to take up. */
  async #wake(): Promise<void> {
    if (this.#ofRequests()) return this.#wakeRequests();
    const [client] = this.ctx.getWebSockets(CLIENT);
    const [connector] = this.ctx.getWebSockets(CONNECTOR);
    const text = this.#meta.get("frozen");
    if (client === undefined || text === undefined) {
      this.#endedByRestart();
      return;
    }
    const snapshot = currentSnapshot() ?? (await controlOf(this.env).snapshot());
    if (snapshot !== undefined) learnSnapshot(snapshot);
    if (this.#findResource() === undefined) {
      this.#endedByRestart("resource_unknown");
      return;
    }
    const frozen = JSON.parse(text) as Frozen;
    this.#frozen = true;
    this.#grant = frozen.grant;
    this.#counts = frozen.counts;
    this.#client = new TunnelEnd(client, frozen.client);
    if (connector !== undefined && frozen.connector !== undefined) {
      this.#link.takeUp(connector, frozen.connector);
    }
    this.#driver = createDriver(this, this.resource.protocol, frozen.driver);
  }

  /** Lets a driver that was taken up again listen to its channel. */
  listen(channel: number, handler: ChannelHandler): void {
    this.#link.listen(channel, handler);
  }

  /** The session's state in memory is lost. What is left of its sockets cannot go on in the middle. */
  #endedByRestart(reason = "gateway_restarted"): void {
    if (this.#phase !== "started") return;
    this.#phase = "ended";
    this.record({ type: "end", reason, counts: this.#counts });
    this.#meta.set("ended", reason);
    this.#recorder?.flush();
    this.ctx.waitUntil(controlOf(this.env).orphanApprovals(this.grant.session));
    this.#tellIndex(reason);
    for (const socket of this.ctx.getWebSockets()) new TunnelEnd(socket).closeSocket(1012, reason);
  }

  #findResource(): Resource | undefined {
    return currentSnapshot()?.resources.find(({ name }) => name === this.#grant?.resource);
  }
}

/** How long a client may take to read what is left when its session has ended. */
const LINGER_MS = 10_000;

/** A call between the gateway's own parts that failed is a refusal like any other, and is logged. */
async function attempt<T>(call: Promise<Result<T, Refusal>>): Promise<Result<T, Refusal>> {
  try {
    return await call;
  } catch (error) {
    console.error(`a call within the gateway failed: ${error instanceof Error ? error.message : "unknown"}`);
    return err(refusal("internal", "a part of the gateway did not answer", { hint: "try again" }));
  }
}
