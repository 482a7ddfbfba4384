/**
 * The driver of a session of HTTP requests: each is brought into canonical form, decided, held where policy says
 * so, recorded, and only then given to the connector. The client has no connection to the session; its requests
 * come one by one, or many at once.
 *
 *   request ──► refused (form, policy) ──► recorded, answered
 *          ├──► held ──► 202, 403, or waits ──► decided anew ─┐
 *          └──► allowed ─────────────────────────────────────┴──► recorded ──► exchange (http-exchange.ts)
 */
import { createHash, createHmac } from "node:crypto";
import { fromUtf8 } from "../../../wire/bytes.ts";
import { type HeaderField, boundHeaders, headerOf, responseHeaders } from "../../../wire/http/headers.ts";
import type { HttpHead, HttpOpen } from "../../../wire/http/open.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { HeldOperation } from "../../policy/approval.ts";
import { SESSION_HEADER } from "../../../wire/control.ts";
import type { Grant } from "../../policy/grant.ts";
import type { HttpRequest } from "../../policy/http/operations.ts";
import type { Decision, Operation } from "../../policy/types.ts";
import type { ApprovalOutcome } from "../control/types.ts";
import type { RequestDriver, SessionHost } from "./driver.ts";
import { actionsOf, changedSince, outcomeRefusal } from "./holding.ts";
import { BodyLog, readBody } from "./http-body.ts";
import type { AnswerPlan, HttpDialect } from "./http-dialect.ts";
import { HttpExchange, type Later } from "./http-exchange.ts";
import {
  AREA_HEADER,
  contentLength,
  parseRequest,
  printable,
  shownHeaders,
  targetOf,
  textOf,
  upgradeOf,
} from "./http-request.ts";
import { Slots } from "./http-slots.ts";
import { RefusedUpgrades } from "./http-upgrades.ts";
import { type MessageWatch, joinWebSocket } from "./http-web-socket.ts";
import { toBase64 } from "./postgres-results.ts";

/** Parts of a held body that a reviewer is shown; the approval is bound to all of it by its hash. */
const SHOWN_BODY = 64 << 10;
const RETRY_AFTER = "10";

/** One request, from its arrival to the end of its answer. */
type Pending = {
  readonly id: number;
  readonly request: HttpRequest;
  readonly grant: Grant;
  readonly signal: AbortSignal;
  /** What there is of the body: read whole, or still coming. */
  body: ReadableStream<Uint8Array> | Uint8Array | undefined;
  readonly contentLength: number | null;
  readonly async: boolean;
  /** The resource's own origin, where the client is a browser that speaks to it there. */
  readonly origin: string | undefined;
};

type Waiting = {
  readonly decided: (outcome: ApprovalOutcome | Refusal) => void;
  readonly approval: string;
};

export class HttpDriver implements RequestDriver {
  readonly reserves = true;
  readonly #host: SessionHost;
  readonly #dialect: HttpDialect;
  readonly #slots = new Slots(LIMITS.http.concurrent, LIMITS.http.waiting);
  readonly #live = new Set<HttpExchange>();
  readonly #held = new Map<number, Waiting>();
  readonly #room: { readonly channel: number; readonly resolve: () => void }[] = [];
  readonly #upgrades = new RefusedUpgrades();
  #later: Later[] = [];
  #started: Promise<Result<string, Refusal>> | undefined;
  #dialing: Promise<Result<void, Refusal>> | undefined;
  /** Number of the next operation; each has an event at least, so that one that was put down repeats none. */
  #next: number;
  #ended: Refusal | undefined;
  #active = 0;

  readonly processId = 0;

  constructor(host: SessionHost, dialect: HttpDialect) {
    this.#host = host;
    this.#dialect = dialect;
    this.#next = host.recorded + 1;
  }

  // What happens to the driver.

  clientBytes(): void {}
  clientEnded(): void {}
  configChanged(): void {
    // Nothing is kept of the configuration: the next request meets the new one.
  }
  cancel(): boolean {
    return false;
  }

  terminate(why: Refusal): void {
    this.#ended = why;
    for (const waiting of this.#held.values()) {
      this.#host.withdraw(waiting.approval);
      waiting.decided(why);
    }
    for (const exchange of this.#live) exchange.fail(why);
    this.#host.end(why);
    // What was not written before the end is not sent any more, and nobody waits for it for ever.
    const later = this.#later;
    this.#later = [];
    for (const { drop } of later) drop();
  }

  freeze(): string | undefined {
    return this.#active === 0 ? "{}" : undefined;
  }

  pump(): void {
    const later = this.#later;
    this.#later = [];
    for (const { send } of later) send();
    for (let at = this.#room.length - 1; at >= 0; at--) {
      const waiting = this.#room[at];
      if (waiting === undefined || this.#host.channelQueued(waiting.channel) >= LIMITS.http.buffered)
        continue;
      this.#room.splice(at, 1);
      waiting.resolve();
    }
  }

  approvalDecided(outcome: ApprovalOutcome): boolean {
    const found = [...this.#held.values()].find(({ approval }) => approval === outcome.approval);
    found?.decided(outcome);
    return found !== undefined;
  }

  // One request.

  async request(request: Request, target: string, grant: Grant, origin?: string): Promise<Response> {
    // The address says which protocol the client speaks; another one would be answered in words it does not know.
    if (request.headers.get(AREA_HEADER) !== this.#dialect.prefix) {
      const { resource } = this.#host.grant;
      const hint = `it is at ${this.#dialect.prefix}/${resource}`;
      const why = refusal("resource_unknown", `there is no resource ${resource} at this address`, { hint });
      return this.#dialect.refuse(why, undefined);
    }
    this.#active++;
    try {
      const started = await this.#start();
      if (!started.ok) return this.#dialect.refuse(started.error, undefined);
      return await this.#handle(request, target, grant, started.value, origin);
    } finally {
      this.#active--;
    }
  }

  /** Starts the session with its first request, and resolves with the identity that the upstream is told. */
  #start(): Promise<Result<string, Refusal>> {
    this.#started ??= (async () => {
      const started = await this.#host.start({ type: "session", protocol: this.#dialect.protocol });
      const identity = started.ok ? await this.#host.identity() : started;
      if (!identity.ok) this.#started = undefined;
      return identity;
    })();
    return this.#started;
  }

  async #handle(
    request: Request,
    target: string,
    grant: Grant,
    identity: string,
    origin: string | undefined,
  ): Promise<Response> {
    const id = this.#next++;
    const parsed = parseRequest(request, target);
    if (!parsed.ok) {
      const shown = `${request.method} ${printable(target)}`;
      this.#refused(id, shown, parsed.error, undefined, undefined);
      await request.body?.cancel();
      return this.#dialect.refuse(parsed.error, undefined);
    }
    const other = upgradeOf(request);
    if (other !== undefined && !parsed.value.upgrade && this.#dialect.otherUpgrades === true) {
      await request.body?.cancel();
      return this.#otherUpgrade(id, parsed.value);
    }
    const slot = await this.#slots.take();
    if (!slot.ok) return this.#dialect.refuse(slot.error, parsed.value);
    let kept = false;
    const keep = (): (() => void) => {
      kept = true;
      return slot.value;
    };
    const pending: Pending = {
      id,
      request: parsed.value,
      grant,
      signal: request.signal,
      body: parsed.value.hasBody && request.body !== null ? request.body : undefined,
      contentLength: contentLength(request),
      async: /(?:^|[,;\s])respond-async(?:$|[,;\s])/i.test(request.headers.get("prefer") ?? ""),
      origin,
    };
    try {
      const decided = await this.#decide(pending, identity, keep);
      if (!decided.ok) await dropBody(pending.body);
      const answer = decided.ok ? decided.value : this.#dialect.refuse(decided.error, pending.request);
      if (!pending.request.upgrade || this.#dialect.otherUpgrades !== true) return answer;
      return await this.#upgrades.keep(targetOf(pending.request), answer, this.#host.now());
    } finally {
      if (!kept) slot.value();
    }
  }

  /** A client that was refused a WebSocket and tries an older protocol. */
  #otherUpgrade(id: number, request: HttpRequest): Response {
    const known = this.#upgrades.again(targetOf(request), this.#host.now());
    if (known !== undefined) return known;
    const why = refusal("feature_not_supported", "connections are upgraded to WebSockets only", {
      hint: "use a newer client, such as kubectl 1.31",
    });
    this.#refused(id, textOf(request), why, undefined, undefined);
    return this.#dialect.refuse(why, request);
  }

  async #decide(
    pending: Pending,
    identity: string,
    keep: () => () => void,
  ): Promise<Result<Response, Refusal>> {
    const host = this.#host;
    const { request, id } = pending;
    const inspected = this.#dialect.inspectedBody(request, host);
    if (inspected !== undefined) {
      const read = await this.#readBody(pending, inspected, "a request that policy looks into");
      if (!read.ok) return this.#refused(id, textOf(request), read.error, undefined, undefined);
    }
    const known = (): Uint8Array | undefined =>
      pending.body instanceof ReadableStream ? undefined : pending.body;
    const operation = this.#dialect.operation(request, known(), host);
    if (!operation.ok) return this.#refused(id, textOf(request), operation.error, undefined, undefined);
    if (this.#ended !== undefined) return err(this.#ended);
    const decision = host.decide(operation.value);
    if (decision.effect === "deny")
      return this.#refused(id, operation.value.text, decision.refusal, operation.value, decision);
    if (decision.effect === "allow") return this.#allow(pending, operation.value, decision, identity, keep);
    return this.#hold(pending, operation.value, decision, identity, keep);
  }

  // Holding.

  async #hold(
    pending: Pending,
    operation: Operation,
    decision: Extract<Decision, { effect: "hold" }>,
    identity: string,
    keep: () => () => void,
  ): Promise<Result<Response, Refusal>> {
    const host = this.#host;
    const { id, grant } = pending;
    const read = await this.#readBody(pending, LIMITS.http.heldBody, "a request that is held for approval");
    if (!read.ok) return this.#refused(id, operation.text, read.error, operation, decision);
    const held = this.#heldOperation(pending.request, operation, read.value);
    host.turn(() => {
      host.count("held", 1);
      host.record({
        type: "hold",
        operation: id,
        text: held.text,
        ...actionsOf(operation),
        hash: held.hash,
        requirements: decision.requirements,
        policies: decision.policies,
      });
    });
    const started = await host.hold({
      operation: held,
      decision,
      expiresAt: host.now() + LIMITS.time.approval,
      noWait: grant.noWait || pending.async,
      reason: grant.reason,
    });
    if (started.state === "refused") {
      this.#refused(id, operation.text, started.refusal, operation, decision);
      return pending.async && started.refusal.approval !== undefined
        ? ok(accepted(started.refusal.approval, started.refusal.message))
        : err(started.refusal);
    }
    const { approval } = started;
    if (started.state === "waiting") {
      const outcome = await this.#wait(pending, approval);
      if ("code" in outcome) return this.#refused(id, operation.text, outcome, operation, decision);
      host.turn(() => host.record({ type: "approval", operation: id, ...outcome }));
      const why = outcomeRefusal(outcome);
      if (why !== undefined) return this.#refused(id, operation.text, why, operation, decision);
      const used = await host.useApproval(approval);
      if (!used.ok) return this.#refused(id, operation.text, used.error, operation, decision);
    }
    if (this.#ended !== undefined) return err(this.#ended);
    // Policy may have changed while it waited.
    const again = host.decide(operation);
    const changed = changedSince(decision.requirements, again);
    if (changed !== undefined) return this.#refused(id, operation.text, changed, operation, again);
    return this.#allow(pending, operation, again, identity, keep, approval);
  }

  /** Until the approval is decided, the session ends or the client goes away. */
  #wait(pending: Pending, approval: string): Promise<ApprovalOutcome | Refusal> {
    const { id, signal } = pending;
    const waiting = Promise.withResolvers<ApprovalOutcome | Refusal>();
    const gone = (): void => {
      this.#host.turn(() => {
        this.#host.record({ type: "withdrawn", operation: id, approval, reason: "the client went away" });
        this.#host.withdraw(approval);
      });
      waiting.resolve(refusal("approval_withdrawn", "the client went away", { approval }));
    };
    this.#held.set(id, { approval, decided: waiting.resolve });
    if (signal.aborted) gone();
    else signal.addEventListener("abort", gone, { once: true });
    return waiting.promise.finally(() => {
      signal.removeEventListener("abort", gone);
      this.#held.delete(id);
    });
  }

  /** The request as reviewers see it, bound to its target, the fields that matter and its body. */
  #heldOperation(request: HttpRequest, operation: Operation, body: Uint8Array): HeldOperation {
    const { resource } = this.#host;
    const { method, target, headers, upgrade } = request;
    const digest = createHash("sha256").update(body).digest("hex");
    const exact = [
      resource.name,
      this.#dialect.protocol,
      upgrade ? "WebSocket" : method,
      target.path + target.query,
      boundHeaders(headers),
      digest,
    ];
    const shown = body.subarray(0, SHOWN_BODY);
    const text = fromUtf8(shown) ?? `base64:${toBase64(shown)}`;
    const more = body.length > SHOWN_BODY ? [`… ${body.length} bytes in all, SHA-256 ${digest}`] : [];
    return {
      action: [...new Set(operation.actions.map(({ action }) => action))],
      text: operation.text,
      ...(body.length === 0 ? {} : { parameters: [text, ...more] }),
      hash: createHash("sha256").update(JSON.stringify(exact)).digest("hex"),
    };
  }

  async #readBody(pending: Pending, limit: number, what: string): Promise<Result<Uint8Array, Refusal>> {
    if (!(pending.body instanceof ReadableStream)) return ok(pending.body ?? new Uint8Array());
    if ((pending.contentLength ?? 0) > limit)
      return err(refusal("over_limit", `${what} may have at most ${limit} bytes of body`));
    const stream = pending.body;
    pending.body = undefined;
    const read = await readBody(stream, limit, what);
    if (read.ok) pending.body = read.value;
    return read;
  }

  // Running.

  async #allow(
    pending: Pending,
    operation: Operation,
    decision: Decision,
    identity: string,
    keep: () => () => void,
    approval?: string,
  ): Promise<Result<Response, Refusal>> {
    const host = this.#host;
    const { id, request } = pending;
    const reserved = await host.reserve(() => 1);
    if (reserved !== undefined && !reserved.ok)
      return this.#refused(id, operation.text, reserved.error, operation, decision);
    const dialed = await this.#dialBack();
    if (!dialed.ok) return this.#failed(id, operation, dialed.error);
    if (this.#ended !== undefined) return err(this.#ended);
    const open = this.#open(pending, identity);
    const release = keep();
    const exchange: HttpExchange = new HttpExchange(host, {
      open,
      room: (channel) =>
        new Promise((resolve) => {
          this.#room.push({ channel, resolve });
        }),
      later: (later) => this.#later.push(later),
      over: ({ refusal: why }) => {
        this.#live.delete(exchange);
        this.#active--;
        release();
        logs.watch?.close();
        this.#completed(id, logs, why);
      },
    });
    const keepBytes = this.#dialect.recordedBytes(request, host);
    const log = (type: string): BodyLog => new BodyLog(type, id, keepBytes, (body) => host.record(body));
    const logs: Logs = {
      status: 0,
      request: log("request_body"),
      response: log("response_body"),
      masked: new Map(),
      watch: undefined,
    };
    const opening: { result?: Result<void, Refusal> } = {};
    host.turn(() => {
      host.count("operations", 1);
      host.record({
        type: "operation",
        operation: id,
        kind: request.upgrade ? "web_socket" : "request",
        text: operation.text,
        method: request.method,
        target: targetOf(request),
        headers: shownHeaders(request.headers),
        ...this.#dialect.details?.(request, id),
        ...actionsOf(operation),
        decision: { effect: decision.effect, policies: decision.policies },
        ...(approval === undefined ? {} : { approval }),
      });
      opening.result = exchange.open();
    });
    this.#active++;
    this.#live.add(exchange);
    const opened = opening.result ?? err(refusal("internal", "the gateway failed"));
    if (!opened.ok) {
      host.turn(() => exchange.fail(opened.error));
      return opened;
    }
    const gone = (): void => host.turn(() => exchange.fail(CLIENT_GONE));
    pending.signal.addEventListener("abort", gone, { once: true });
    if (!request.upgrade) void exchange.sendBody(pending.body, logs.request);
    const head = await exchange.head();
    if (!head.ok) return err(head.error);
    return this.#answer(pending, head.value, exchange, logs);
  }

  /** However many requests wait for the connector, it is asked once. */
  #dialBack(): Promise<Result<void, Refusal>> {
    this.#dialing ??= this.#host.dialBack().finally(() => (this.#dialing = undefined));
    return this.#dialing;
  }

  /** What the connector gets: the client's fields, and who is asking in our words. */
  #open(pending: Pending, identity: string): HttpOpen {
    const { request, body, contentLength: length } = pending;
    const { resource } = this.#host;
    const principal = this.#dialect.principal?.(this.#host);
    const headers: HeaderField[] = [
      ...this.#dialect.outgoing(request, this.#host, identity),
      // Where the browser sees the service: what it compares an Origin with, and makes its links of.
      ...forwarded(pending.origin),
    ];
    const protocols = headerOf(headers, "sec-websocket-protocol");
    return {
      protocol: this.#dialect.protocol,
      resource: resource.name,
      method: request.method,
      target: targetOf(request),
      headers: headers.map(([name, value]) => [name, value]),
      ...(principal === undefined ? {} : { principal }),
      ...(body === undefined ? {} : { body: body instanceof ReadableStream ? length : body.length }),
      ...(request.upgrade
        ? { webSocket: protocols === undefined ? [] : protocols.split(",").map((each) => each.trim()) }
        : {}),
    };
  }

  async #answer(
    pending: Pending,
    received: HttpHead,
    exchange: HttpExchange,
    logs: Logs,
  ): Promise<Result<Response, Refusal>> {
    const host = this.#host;
    const { id, request, origin } = pending;
    const head = atHome(received, origin);
    logs.status = head.status;
    const plan: Result<AnswerPlan, Refusal> =
      head.status === 101 ? ok({}) : this.#dialect.answer(request, head, host);
    const prefix = origin === undefined ? `${this.#dialect.prefix}/${host.resource.name}` : "";
    const masked = plan.ok && plan.value.filter !== undefined;
    const fields = plan.ok ? responseHeaders(head.headers, prefix, masked) : plan;
    if (!plan.ok || !fields.ok) {
      const why = plan.ok ? refusal("upstream_lost", "the service's answer is malformed") : plan.error;
      host.turn(() => {
        host.count("denied", 1);
        exchange.fail(why);
      });
      return err(why);
    }
    const headers = new Headers();
    for (const [name, value] of fields.value) headers.append(name, value);
    guard(headers, masked, origin !== undefined);
    headers.set(SESSION_HEADER, host.grant.session);
    if (head.location !== undefined)
      headers.set("location", head.location.same ? prefix + head.location.target : head.location.target);
    const recordHead = (): void =>
      host.record({
        type: "response",
        operation: id,
        status: head.status,
        headers: shownHeaders([...headers]),
        inspected: masked,
      });
    const hidden = (what: string): void => void logs.masked.set(what, (logs.masked.get(what) ?? 0) + 1);
    if (head.status === 101) {
      host.turn(recordHead);
      const joined = joinWebSocket(host, exchange, head, logs, (io) =>
        this.#dialect.watch?.(request, head, { host, operation: id, masked: hidden, ...io }),
      );
      const written = await this.#written();
      return written.ok ? ok(joined) : written;
    }
    const empty = request.method === "HEAD" || [204, 205, 304].includes(head.status);
    const { filter } = plan.value;
    const created = filter?.create({
      detectors: host.resource.detectors,
      hash: (text) =>
        createHmac("sha256", Buffer.from(host.maskKey(), "hex")).update(text).digest("hex").slice(0, 32),
      masked: hidden,
    });
    const decode = filter?.decode ?? "identity";
    const answer: { body: ReadableStream<Uint8Array> | Uint8Array | null; failed?: Refusal } = { body: null };
    host.turn(() => {
      recordHead();
      if (empty) return exchange.close();
      const whole = decode === "identity" ? exchange.takeWhole(created, logs.response) : undefined;
      if (whole === undefined) {
        const stream = streamFor(headers, masked);
        answer.body = stream.readable;
        exchange.deliver(stream.writable, created, decode, logs.response);
      } else if (whole.ok) answer.body = whole.value;
      else answer.failed = whole.error;
    });
    // The head is the answer's, too: it leaves when it is written, as the body does.
    const written = await this.#written();
    if (!written.ok) return written;
    if (answer.failed !== undefined) return err(answer.failed);
    return ok(new Response(answer.body, { status: head.status, headers, encodeBody: "manual" }));
  }

  /** Resolves when what has been recorded by now is written; a refusal when the session ended before. */
  #written(): Promise<Result<void, Refusal>> {
    const { promise, resolve } = Promise.withResolvers<Result<void, Refusal>>();
    const over = (): void => resolve(err(this.#ended ?? CLIENT_GONE));
    if (this.#ended === undefined) this.#later.push({ send: () => resolve(ok(undefined)), drop: over });
    else over();
    return promise;
  }

  // Recording.

  #completed(id: number, logs: Logs, why: Refusal | undefined): void {
    const request = logs.request.summary();
    const response = logs.response.summary();
    this.#host.record({
      type: "completed",
      operation: id,
      status: logs.status,
      ...(request === undefined ? {} : { request }),
      ...(response === undefined ? {} : { response }),
      ...(logs.masked.size === 0 ? {} : { masked: Object.fromEntries(logs.masked) }),
      ...(why === undefined ? {} : { code: why.code, reason: why.message }),
    });
  }

  #refused(
    id: number,
    text: string,
    why: Refusal,
    operation: Operation | undefined,
    decision: Decision | undefined,
  ): Result<never, Refusal> {
    const effect = why.code === "approval_required" ? "hold" : "deny";
    this.#host.turn(() => {
      // A session that has ended has its last event.
      if (this.#ended !== undefined) return;
      this.#host.count("denied", effect === "deny" ? 1 : 0);
      this.#host.record({
        type: "refusal",
        operation: id,
        message: "request",
        text,
        ...(operation === undefined ? {} : actionsOf(operation)),
        decision: { effect, ...(decision === undefined ? {} : { policies: decision.policies }) },
        code: why.code,
        reason: why.message,
        ...(why.approval === undefined ? {} : { approval: why.approval }),
      });
    });
    return err(why);
  }

  #failed(id: number, operation: Operation, why: Refusal): Result<never, Refusal> {
    this.#host.turn(() => {
      if (this.#ended !== undefined) return;
      this.#host.record({
        type: "open_failed",
        operation: id,
        text: operation.text,
        code: why.code,
        reason: why.message,
      });
    });
    return err(why);
  }
}

export type Logs = {
  status: number;
  readonly request: BodyLog;
  readonly response: BodyLog;
  /** How often each field, or each kind of detection, was hidden. */
  readonly masked: Map<string, number>;
  /** Of an upgraded connection that is looked into. */
  watch: MessageWatch | undefined;
};

/** With the service's length, where that is still true of what is delivered. */
function streamFor(
  headers: Headers,
  masked: boolean,
): TransformStream<Uint8Array, Uint8Array> | FixedLengthStream {
  const length = Number(headers.get("content-length") ?? "");
  return !masked && headers.has("content-length") && Number.isSafeInteger(length)
    ? new FixedLengthStream(length)
    : new IdentityTransformStream();
}

const CLIENT_GONE = refusal("approval_withdrawn", "the client went away");

async function dropBody(body: Pending["body"]): Promise<void> {
  if (body instanceof ReadableStream && !body.locked) await body.cancel();
}

/** RFC 7240: the client does not wait; the approval's address says how it is going. */
function accepted(approval: string, message: string): Response {
  const location = `/v1/approvals/${approval}`;
  return Response.json(
    { approval, status: "pending", message, location },
    {
      status: 202,
      headers: {
        location,
        "retry-after": RETRY_AFTER,
        "preference-applied": "respond-async",
        "cache-control": "no-store",
      },
    },
  );
}

/** The origin that the browser sees, for a service that knows itself by another. */
function forwarded(origin: string | undefined): readonly HeaderField[] {
  if (origin === undefined) return [];
  const { protocol, host } = new URL(origin);
  return [
    ["x-forwarded-host", host],
    ["x-forwarded-proto", protocol.slice(0, -1)],
  ];
}

/** A redirect to the origin that the service was told it has is one to itself. */
function atHome(head: HttpHead, origin: string | undefined): HttpHead {
  if (origin === undefined || head.location === undefined || head.location.same) return head;
  const url = URL.parse(head.location.target);
  if (url?.origin !== origin || url.username !== "" || url.password !== "") return head;
  return { ...head, location: { same: true, target: url.pathname + url.search + url.hash } };
}

/**
 * The answer is the service's: where the origin is ours, no script of it may run there; and no cache that others use
 * may keep what this principal was given.
 */
function guard(headers: Headers, masked: boolean, ownOrigin: boolean): void {
  if (ownOrigin) headers.append("vary", "cookie");
  else {
    headers.append("content-security-policy", "sandbox");
    headers.set("x-content-type-options", "nosniff");
    headers.append("vary", "authorization");
  }
  if (masked) {
    headers.set("cache-control", "no-store");
    return;
  }
  const kept = (headers.get("cache-control") ?? "")
    .split(",")
    .map((directive) => directive.trim())
    .filter((directive) => directive !== "" && !/^(?:public|s-maxage\b.*)$/i.test(directive));
  if (!kept.some((directive) => /^(?:private|no-store)\b/i.test(directive))) kept.push("private");
  headers.set("cache-control", kept.join(", "));
}
