/**
 * The Session object, one per session: the data path. Both of its sockets are inbound (the shim's, and the
 * connector's that dials back), so that an idle session can hibernate. This is its surface: sockets, requests
 * and calls from the other objects, each of which becomes a turn of the session (session.ts). See driver.ts for
 * the division of work with protocols, and ../SCHEMA.md for the tables.
 */
import { DurableObject } from "cloudflare:workers";
import { FromClient, PATHS, WEBSOCKET_PROTOCOL, parseControl } from "../../../wire/control.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err } from "../../../wire/result.ts";
import { type Bindings, controlOf } from "../../env.ts";
import { samePrincipal } from "../../policy/approval.ts";
import {
  GRANT_HEADER,
  type VerifiedToken,
  decodeGrant,
  mintGrant,
  withGroups,
  withoutGroups,
} from "../../policy/grant.ts";
import type { Principal } from "../../policy/types.ts";
import type { ApprovalOutcome, SessionCounts, Snapshot } from "../control/types.ts";
import { draftEngine } from "../engines.ts";
import { Admission, UNADMITTED_HEADER } from "./admission.ts";
import { attempt } from "./attempt.ts";
import { LOST } from "./connector-link.ts";
import { dialectOf, hasDriver } from "./drivers.ts";
import type { Explanation } from "./explanation.ts";
import { problemResponse } from "./http-dialect.ts";
import { explainRequest } from "./http-explain.ts";
import type { ReadEvents } from "./journal.ts";
import { type ExplainQuestion, explainStatement } from "./postgres-explain.ts";
import { CLIENT, CONNECTOR, Session } from "./session.ts";

/** Path and query of a request below its resource, as the client wrote them, percent-encoded as a whole. */
export const TARGET_HEADER = "sally-target";

/** The resource's own origin, where a browser speaks to it there; never taken from outside. */
export const OWN_ORIGIN_HEADER = "sally-own-origin";

export class SessionObject extends DurableObject<Bindings> {
  readonly #session: Session;
  readonly #admission = new Admission((token) => attempt(controlOf(this.env).admit(token, undefined)));

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#session = new Session(ctx, env);
    if (this.#session.phase === "started") void ctx.blockConcurrencyWhile(() => this.#session.wake());
  }

  // Sockets and requests.

  /** `/connect/<resource>`, `/dial-back/<session>` and requests, which the Worker has checked and marked. */
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
    const { headers } = request;
    const known = this.#session.standing.known;
    const unadmitted = headers.has(UNADMITTED_HEADER);
    const grant = await this.#admission.admit(headers.get(GRANT_HEADER), unadmitted, known, Date.now());
    if (!grant.ok) return problemResponse(grant.error);
    await this.#session.learn();
    if (this.#session.phase === "ended") return problemResponse(this.#session.endedWhy);
    const driver = this.#session.requestDriver(grant.value);
    if (driver === undefined) {
      const { resource } = grant.value;
      return problemResponse(refusal("resource_unknown", `there is no HTTP resource ${resource}`));
    }
    const origin = headers.get(OWN_ORIGIN_HEADER) ?? undefined;
    return driver.request(request, decodeURIComponent(target), grant.value, origin);
  }

  async #acceptClient(request: Request): Promise<Response> {
    const session = this.#session;
    const grant = decodeGrant(request.headers.get(GRANT_HEADER));
    if (!grant.ok || session.phase !== "new") return new Response("not a new session", { status: 409 });
    await session.learn();
    session.standing.grant = grant.value;
    const resource = session.standing.findResource();
    if (resource === undefined || !hasDriver(resource.protocol)) {
      return new Response("native clients cannot connect to this resource", { status: 404 });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [CLIENT]);
    session.connect(server, resource.protocol);
    return upgraded(client);
  }

  async #acceptConnector(request: Request): Promise<Response> {
    const ticket = request.headers.get("authorization")?.replace(/^Ticket /, "") ?? "";
    const tag = await this.#session.link.admit(ticket);
    if (tag === undefined || this.#session.phase === "ended") {
      return new Response("the ticket is not valid", { status: 401 });
    }
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [CONNECTOR, tag]);
    this.#session.link.attach(server, tag);
    return upgraded(client);
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    const session = this.#session;
    const [tag] = this.ctx.getTags(socket);
    session.turn(() => {
      if (session.phase === "ended") {
        if (tag === CLIENT && typeof message !== "string") session.client.receiveCredit(message);
        return;
      }
      if (typeof message === "string") this.#text(tag, message);
      else if (tag === CLIENT) this.#clientFrame(message);
      else {
        const received = session.link.receive(message);
        if (!received.ok) session.link.lost(received.error);
      }
    });
  }

  override webSocketClose(socket: WebSocket): void {
    this.#socketGone(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.#socketGone(socket);
  }

  #socketGone(socket: WebSocket): void {
    const session = this.#session;
    const [tag, which] = this.ctx.getTags(socket);
    session.turn(() => {
      if (session.phase === "ended") return;
      // One that was let go when it was idle, while the next is there already.
      if (tag === CONNECTOR && !session.link.isCurrent(which)) return;
      if (tag === CLIENT) session.driver?.clientEnded();
      else session.link.lost(LOST);
    });
  }

  #clientFrame(message: ArrayBuffer): void {
    const received = this.#session.client.receive(message);
    if (!received.ok) this.#session.life.terminate(received.error);
    else if (received.value === "ended") this.#session.driver?.clientEnded();
    else if (received.value !== undefined) this.#session.driver?.clientBytes(received.value.bytes);
  }

  #text(tag: string | undefined, text: string): void {
    const message = tag === CLIENT ? parseControl(FromClient, text) : undefined;
    if (message === undefined || !message.ok) {
      this.#session.life.terminate(refusal("protocol_violation", "a control message was not understood"));
      return;
    }
    void this.#session.renew(message.value.token);
  }

  /** The session's token ends. */
  override alarm(): void {
    this.#session.expire();
  }

  // Calls from the other objects.

  /** The configuration changed. */
  refresh(snapshot: Snapshot): void {
    this.#session.refresh(snapshot);
  }

  /** The outcome of an approval that this session waits for. False: it does not wait any more. */
  approvalOutcome(outcome: ApprovalOutcome): boolean {
    const session = this.#session;
    let taken = false;
    session.turn(() => {
      taken = session.phase === "started" && (session.driver?.approvalDecided(outcome) ?? false);
    });
    return taken;
  }

  /** A later token, for a session of requests. */
  extend(token: VerifiedToken): Result<void, Refusal> {
    return this.#session.extend(token);
  }

  kill(by: string, reason: string | undefined): void {
    const why = reason === undefined ? "" : `: ${reason}`;
    this.revoke(refusal("session_killed", `the session was ended by ${by}${why}`));
  }

  /** Its authority is gone: the principal, an actor or a task of its was revoked or has ended. */
  revoke(why: Refusal): void {
    this.#session.turn(() => this.#session.life.terminate(why));
  }

  /** Somebody in its authority has left groups. */
  leaveGroups(whom: Pick<Principal, "issuer" | "subject">, groups: readonly string[]): void {
    const { issuer, subject } = whom;
    const event = { type: "left_groups", issuer, subject, groups };
    this.#session.regroup((grant) => withoutGroups(grant, whom, groups), event);
  }

  /** Somebody in its authority is in these groups now, and in no other. */
  setGroups(whom: Pick<Principal, "issuer" | "subject">, groups: readonly string[]): void {
    const { issuer, subject } = whom;
    const event = { type: "groups", issuer, subject, groups };
    this.#session.regroup((grant) => withGroups(grant, whom, groups), event);
  }

  /** A CancelRequest that arrived on a connection of `principal`'s. */
  cancel(processId: number, secretKey: Uint8Array, principal: Principal): void {
    const session = this.#session;
    session.turn(() => {
      if (session.phase !== "started" || !samePrincipal(session.grant.principal, principal)) return;
      if (session.driver?.cancel(processId, secretKey) === true) session.record({ type: "cancel_request" });
    });
  }

  /** The connector's process that was asked to dial back will not. */
  connectorCannotOpen(process: string, why: Refusal): void {
    this.#session.link.cannotOpen(process, why);
  }

  checkAlive(): void {
    this.#session.checkAlive();
  }

  // Calls from the Worker.

  counts(): SessionCounts {
    return this.#session.journal.counts;
  }

  /** Events of the recording, for whom the Control object has let see them. */
  events(after: number, limit: number, wait = 0): Promise<ReadEvents> {
    return this.#session.journal.read(after, limit, wait, () => this.#session.phase === "started");
  }

  /** What policy and masks say of a statement; nothing runs. This session lives for the one question. */
  async explain(question: ExplainQuestion): Promise<Result<Explanation, Refusal>> {
    const session = this.#session;
    if (session.phase !== "new") throw new Error("only a new session explains");
    await session.learn();
    const now = Date.now();
    const token = {
      principal: question.principal,
      resources: null,
      tokenId: "explain",
      issuedAt: now,
      expiresAt: now + 60_000,
    };
    const target = { name: question.resource };
    const grant = mintGrant(token, target, { session: this.ctx.id.name ?? "", noWait: true, now });
    if (!grant.ok) return grant;
    const { standing } = session;
    standing.grant = grant.value;
    if (standing.findResource() === undefined) {
      return err(refusal("resource_unknown", `there is no resource ${question.resource}`));
    }
    if (question.policies !== undefined) {
      standing.engine = draftEngine();
      const loaded = standing.engine.load(1, question.policies);
      if (!loaded.ok)
        return err(refusal("config_invalid", loaded.error[0]?.message ?? "the policies do not load"));
    }
    const dialect = dialectOf(session.resource.protocol);
    return session.ask(async () =>
      dialect === undefined
        ? explainStatement(session, question.sql, standing.engine)
        : explainRequest(session, question.sql, dialect, standing.engine),
    );
  }
}

function upgraded(webSocket: WebSocket): Response {
  const headers = { "sec-websocket-protocol": WEBSOCKET_PROTOCOL };
  return new Response(null, { status: 101, webSocket, headers });
}
