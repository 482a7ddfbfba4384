/** Requests to a Kubernetes API server: what differs from HTTP in general (http-dialect.ts). */
import { type HeaderField, headerOf } from "../../../wire/http/headers.ts";
import type { HttpPrincipal } from "../../../wire/http/open.ts";
import { REMOTE_COMMAND_PROTOCOLS } from "../../../wire/kubernetes/remote-command.ts";
import { PORT_FORWARD_PROTOCOL } from "../../../wire/kubernetes/port-forward.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { HttpRequest } from "../../policy/http/operations.ts";
import { planBody } from "../../policy/http/response.ts";
import { planKubernetesAnswer, readableRequest } from "../../policy/kubernetes/answers.ts";
import { createMaskFilter } from "../../policy/kubernetes/mask-filter.ts";
import { type AppliedMask, appliedMasks } from "../../policy/kubernetes/masks.ts";
import { kubernetesNeedsBody, kubernetesOperation } from "../../policy/kubernetes/operations.ts";
import { type RequestInfo, requestInfo } from "../../policy/kubernetes/request-info.ts";
import { statusBody, statusOf } from "../../policy/kubernetes/status.ts";
import type { SessionHost } from "./driver.ts";
import { type BodyFilter, type FilterOptions, chain, createFilter } from "./http-body.ts";
import { type AnswerPlan, type HttpDialect, readable, refusalHeaders } from "./http-dialect.ts";
import { RemoteCommandWatch } from "./kubernetes-command.ts";
import { PortForwardWatch } from "./kubernetes-port-forward.ts";

const NO_MASKS = { masks: [] } as const;

/** What a request is about is asked several times on its way. */
const KNOWN = new WeakMap<HttpRequest, Result<RequestInfo, Refusal>>();

function infoOf(request: HttpRequest): Result<RequestInfo, Refusal> {
  let info = KNOWN.get(request);
  if (info === undefined) {
    info = requestInfo(request);
    KNOWN.set(request, info);
  }
  return info;
}

function masksOn(info: RequestInfo, host: SessionHost): readonly AppliedMask[] {
  const options = host.resource.kubernetes ?? NO_MASKS;
  return appliedMasks(options, info, (relation, column) => host.reveals(relation, column));
}

/** Answers that are texts of other programs': logs, and what is behind a proxy. */
function isForeign({ verb, subresource }: RequestInfo): boolean {
  return subresource === "log" || verb === "proxy";
}

/** Detectors look at everything but what is the same for everybody, unless the principal may reveal everything. */
function detects(info: RequestInfo, host: SessionHost): boolean {
  return host.resource.detectors !== "off" && info.verb !== "discover" && !host.reveals("*", "*");
}

export const KUBERNETES_DIALECT: HttpDialect = {
  protocol: "kubernetes",
  prefix: "/k8s",
  otherUpgrades: true,
  inspectedBody: (request) => (kubernetesNeedsBody(request) ? LIMITS.kubernetes.body : undefined),
  operation: (request, body, host) => {
    const info = infoOf(request);
    if (!info.ok) return info;
    const offered = offers(request, info.value);
    if (!offered.ok) return offered;
    return kubernetesOperation(request, body, masksOn(info.value, host));
  },
  outgoing: (request, host) => {
    const info = infoOf(request);
    if (!info.ok) return [];
    const headers = withSession(withProtocols(request, info.value), host.grant.session);
    const masks = masksOn(info.value, host);
    if (masks.length > 0) return readableRequest(headers, masks, info.value);
    return detects(info.value, host) ? readable(headers) : headers;
  },
  principal: ({ grant }) => principalOf(grant),
  answer: (request, head, host) => {
    const info = infoOf(request);
    if (!info.ok) return info;
    // The client would think that its own token is meant, and get itself another one again and again.
    if (head.status === 401 && info.value.verb !== "proxy") {
      const why = "the cluster does not accept the connector's credential";
      return err(refusal("upstream_login_failed", why));
    }
    const masks = masksOn(info.value, host);
    const answer = { method: request.method, status: head.status, headers: head.headers };
    const masked = planKubernetesAnswer(info.value, answer, masks);
    if (!masked.ok) return masked;
    const plan = masked.value;
    const detected = detects(info.value, host)
      ? planBody(answer, [], host.resource.detectors, isForeign(info.value) ? "deny" : "allow")
      : ok({ kind: "pass" as const });
    if (!detected.ok) return detected;
    return ok(joined(plan, detected.value));
  },
  recordedBytes: (request, { resource }) => {
    const info = infoOf(request);
    if (!info.ok) return 0;
    // The same for everybody, and large; or another protocol's frames.
    return ["discover", "portforward"].includes(info.value.verb) ? 0 : resource.recordResultBytes;
  },
  details: (request, id) => {
    const info = infoOf(request);
    if (!info.ok || !isCommand(info.value)) return {};
    // The terminal's size is the first thing that its client sends.
    const terminal = { term: "xterm", columns: 0, rows: 0 };
    return { channel: id, ...(info.value.stream?.tty === true ? { terminal } : {}) };
  },
  watch: (request, head, options) => {
    const info = infoOf(request);
    if (!info.ok) return undefined;
    if (isCommand(info.value)) return new RemoteCommandWatch(info.value, head.subprotocol, options);
    return info.value.verb === "portforward" && head.subprotocol === PORT_FORWARD_PROTOCOL
      ? new PortForwardWatch(options)
      : undefined;
  },
  refuse: statusResponse,
};

/** A refusal as clients of Kubernetes know refusals. */
export function statusResponse(why: Refusal, request?: HttpRequest): Response {
  const info = request === undefined ? undefined : infoOf(request);
  const accept = request === undefined ? undefined : headerOf(request.headers, "accept");
  const status = statusOf(why, info?.ok === true ? info.value : undefined);
  const { type, bytes } = statusBody(status, accept ?? "");
  return new Response(bytes, {
    status: status.code,
    headers: {
      "content-type": type,
      "content-length": String(bytes.length),
      "cache-control": "no-store",
      ...refusalHeaders(why),
    },
  });
}

function isCommand({ verb, stream }: RequestInfo): boolean {
  return (verb === "exec" || verb === "attach") && stream !== undefined;
}

/** Masks first, then what they left; one of the two at least. */
function joined(
  plan: Extract<ReturnType<typeof planKubernetesAnswer>, { ok: true }>["value"],
  detected: Extract<ReturnType<typeof planBody>, { ok: true }>["value"],
): AnswerPlan {
  const decode =
    plan.kind === "mask" ? plan.decode : detected.kind === "filter" ? detected.decode : undefined;
  if (decode === undefined) return {};
  const create = (options: FilterOptions): BodyFilter =>
    chain([
      ...(plan.kind === "mask" ? [createMaskFilter(plan, options)] : []),
      ...(detected.kind === "filter" ? [createFilter(detected, [], options)] : []),
    ]);
  return { filter: { decode, create } };
}

/**
 * Subprotocols that the gateway can look into. A bearer token that a browser would send as one
 * (`base64url.bearer.authorization.k8s.io.…`) is the client's own and goes no further.
 */
function protocolsFor(request: HttpRequest, info: RequestInfo): string[] {
  const offered = (headerOf(request.headers, "sec-websocket-protocol") ?? "")
    .split(",")
    .map((protocol) => protocol.trim())
    .filter((protocol) => protocol !== "");
  if (isCommand(info))
    return offered.filter((protocol) => REMOTE_COMMAND_PROTOCOLS.some((known) => known === protocol));
  if (info.verb === "portforward") return offered.filter((protocol) => protocol === PORT_FORWARD_PROTOCOL);
  return offered.filter((protocol) => !/\.authorization\.k8s\.io\b/i.test(protocol));
}

/** A client that offers nothing that can be looked into is told so before it is connected. */
function offers(request: HttpRequest, info: RequestInfo): Result<void, Refusal> {
  const looked = isCommand(info) || info.verb === "portforward";
  if (!request.upgrade || !looked || protocolsFor(request, info).length > 0) return ok(undefined);
  return err(
    refusal("feature_not_supported", `${info.verb} is passed on in newer protocols only`, {
      hint: "use kubectl 1.31 or newer, or another client that speaks v4.channel.k8s.io",
    }),
  );
}

function withProtocols(request: HttpRequest, info: RequestInfo): readonly HeaderField[] {
  const others = request.headers.filter(([name]) => name !== "sec-websocket-protocol");
  const protocols = request.upgrade ? protocolsFor(request, info) : [];
  return protocols.length === 0 ? others : [...others, ["sec-websocket-protocol", protocols.join(", ")]];
}

/** The cluster's audit log has the user agent: there it names the session. */
function withSession(headers: readonly HeaderField[], session: string): readonly HeaderField[] {
  const agent = headerOf(headers, "user-agent");
  const others = headers.filter(([name]) => name !== "user-agent");
  return [...others, ["user-agent", `${agent === undefined ? "" : `${agent} `}sallyport/${session}`]];
}

function principalOf({ principal, actors, session }: SessionHost["grant"]): HttpPrincipal {
  const { issuer, subject, name, groups } = principal;
  const [actor] = actors;
  return {
    issuer,
    subject,
    name,
    groups: [...groups],
    session,
    ...(actor === undefined ? {} : { actor: `${actor.issuer}#${actor.subject}` }),
  };
}
