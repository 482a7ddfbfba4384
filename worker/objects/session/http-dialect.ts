/**
 * What differs between the protocols that are spoken in HTTP requests. The driver (http.ts) has everything that
 * they share: the canonical target, header rules, holding, streaming, recording.
 */
import type { HeaderField } from "../../../wire/http/headers.ts";
import type { HttpHead, HttpPrincipal } from "../../../wire/http/open.ts";
import { REFUSAL_HEADERS } from "../../../wire/control.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { REFUSALS, type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import {
  type HttpRequest,
  type HttpRules,
  NO_HTTP_OPTIONS,
  httpOperation,
  httpRules,
  mediaType,
  needsBody,
} from "../../policy/http/operations.ts";
import { planBody } from "../../policy/http/response.ts";
import type { FieldMask, Operation, Protocol } from "../../policy/types.ts";
import type { SessionHost } from "./driver.ts";
import { type BodyFilter, type FilterOptions, createFilter } from "./http-body.ts";
import type { MessageWatch, WatchOptions } from "./http-web-socket.ts";

/** What is done to an answer's body before it is delivered; nothing, where there is no filter. */
export type AnswerPlan = {
  readonly filter?: {
    /** How the body is opened first. */
    readonly decode: "identity" | "gzip" | "deflate";
    create(options: FilterOptions): BodyFilter;
  };
};

type EventBodyDetails = Readonly<Record<string, unknown>>;

export type HttpDialect = {
  readonly protocol: Extract<Protocol, "http" | "kubernetes">;
  /** First segment of the gateway's paths: `/http/<resource>/…`. */
  readonly prefix: string;
  /** Ceiling of the request's body where the decision needs it; undefined where it does not. */
  inspectedBody(request: HttpRequest, host: SessionHost): number | undefined;
  /** What policy decides; `body` is there when `inspectedBody` asked for it. */
  operation(
    request: HttpRequest,
    body: Uint8Array | undefined,
    host: SessionHost,
  ): Result<Operation, Refusal>;
  /** The request's fields as the connector gets them, once it has been allowed. */
  outgoing(request: HttpRequest, host: SessionHost, identity: string): readonly HeaderField[];
  /** What becomes of an answer. */
  answer(request: HttpRequest, head: HttpHead, host: SessionHost): Result<AnswerPlan, Refusal>;
  /** Bytes of each body that go into the recording as they are. */
  recordedBytes(request: HttpRequest, host: SessionHost): number;
  /** What else is recorded with the operation; `id` is its number. */
  details?(request: HttpRequest, id: number): EventBodyDetails;
  /** Its clients try other upgrades when a WebSocket was refused: those get the same refusal again. */
  readonly otherUpgrades?: true;
  /** The principal, where the connector may tell the service who it is. */
  principal?(host: SessionHost): HttpPrincipal;
  /** Looks into what goes over an upgraded connection; without it both directions are recorded as they are. */
  watch?(request: HttpRequest, head: HttpHead, options: WatchOptions): MessageWatch | undefined;
  /** What of every answer the session may not see, in words. */
  hidden?(host: SessionHost): readonly string[];
  /** A refusal as this protocol's clients understand it. */
  refuse(why: Refusal, request: HttpRequest | undefined): Response;
};

/** The rules of the resource's newest configuration. */
const RULES = new WeakMap<object, HttpRules>();

function rulesOf({ resource }: SessionHost): HttpRules {
  const options = resource.http ?? NO_HTTP_OPTIONS;
  let rules = RULES.get(options);
  if (rules === undefined) {
    rules = httpRules(options);
    RULES.set(options, rules);
  }
  return rules;
}

/** Masks that nobody in the session's authority may look behind. */
function hiddenFields(host: SessionHost): readonly FieldMask[] {
  return rulesOf(host).options.masks.filter(({ field }) => !host.reveals("", field));
}

export const HTTP_DIALECT: HttpDialect = {
  protocol: "http",
  prefix: "/http",
  inspectedBody: (request, host) =>
    needsBody(request, rulesOf(host)) ? LIMITS.http.inspectedBody : undefined,
  operation: (request, body, host) => httpOperation(request, body, rulesOf(host)),
  outgoing: (request, host, identity) => {
    const inspected = hiddenFields(host).length > 0 || host.resource.detectors !== "off";
    return [
      ...(inspected ? readable(request.headers) : request.headers),
      ["sally-identity", identity],
      ["sally-session", host.grant.session],
    ];
  },
  answer: (request, head, host) => {
    const { options } = rulesOf(host);
    if (head.location?.same === false && options.redirects === "same") {
      return err(
        refusal("redirect_not_allowed", "the service sends you to another address, which is not allowed", {
          hint: "the resource's administrator can allow it with redirects: any",
        }),
      );
    }
    const masks = hiddenFields(host);
    const answer = { method: request.method, status: head.status, headers: head.headers };
    const body = planBody(answer, masks, host.resource.detectors, options.uninspectable);
    if (!body.ok) return body;
    const plan = body.value;
    if (plan.kind === "pass") return ok({});
    return ok({
      filter: { decode: plan.decode, create: (filterOptions) => createFilter(plan, masks, filterOptions) },
    });
  },
  recordedBytes: (_request, { resource }) => resource.recordResultBytes,
  hidden: (host) => {
    const { detectors } = host.resource;
    return [
      ...hiddenFields(host).map(({ field, mask }) => `${field} is masked (${mask}) in JSON answers`),
      ...(detectors === "off" ? [] : [`detectors: ${detectors}`]),
    ];
  },
  refuse: (why, request) => {
    const type = request === undefined ? "" : mediaType(request.headers);
    return type.startsWith("application/grpc") ? grpcRefusal(why, type) : problemResponse(why);
  },
};

/** An answer that has to be read must come whole, plain and fresh. */
export function readable(headers: readonly HeaderField[]): readonly HeaderField[] {
  const dropped = ["accept-encoding", "range", "if-range", "if-none-match", "if-modified-since"];
  return [...headers.filter(([name]) => !dropped.includes(name)), ["accept-encoding", "identity"]];
}

/** RFC 9457. */
export function problemResponse(why: Refusal, headers: Readonly<Record<string, string>> = {}): Response {
  const { http: status } = REFUSALS[why.code];
  const problem = {
    type: "about:blank",
    title: why.message,
    status,
    code: why.code,
    ...(why.hint === undefined ? {} : { hint: why.hint }),
    ...(why.approval === undefined ? {} : { approval: why.approval }),
  };
  return new Response(JSON.stringify(problem), {
    status,
    headers: {
      "content-type": "application/problem+json",
      "cache-control": "no-store",
      ...refusalHeaders(why),
      ...headers,
    },
  });
}

/** For whoever counts refusals without reading them. */
export function refusalHeaders({ code, approval }: Refusal): Record<string, string> {
  return {
    [REFUSAL_HEADERS.code]: code,
    ...(approval === undefined ? {} : { [REFUSAL_HEADERS.approval]: approval }),
  };
}

/** gRPC's own way of saying no: a status in the headers of an answer without a body ("Trailers-Only"). */
function grpcRefusal(why: Refusal, type: string): Response {
  const { http } = REFUSALS[why.code];
  // PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE, INTERNAL, as grpc's http-grpc-status-mapping has them.
  const status = http === 403 ? 7 : http === 401 ? 16 : http === 502 || http === 503 ? 14 : 13;
  return new Response(null, {
    status: 200,
    headers: {
      "content-type": type,
      "grpc-status": String(status),
      "grpc-message": encodeURIComponent(why.message),
      "cache-control": "no-store",
    },
  });
}
