/** What an HTTP request means for policy: its action with its facts, and the text that people are shown. */
import { type HeaderField, headerOf } from "../../../wire/http/headers.ts";
import { readFields } from "../../../wire/http/json-masker.ts";
import { FieldPaths, parseFieldPattern } from "../../../wire/http/json-paths.ts";
import type { HttpMethod } from "../../../wire/http/open.ts";
import { type Route, matchRoute, parseRoute } from "../../../wire/http/routes.ts";
import type { Target } from "../../../wire/http/target.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { HttpFacts, HttpOptions, Operation } from "../types.ts";
import { type GraphqlFacts, graphqlFacts } from "./graphql.ts";

/** A request after the canonicaliser and the header rules. */
export type HttpRequest = {
  readonly method: HttpMethod;
  readonly target: Target;
  readonly headers: readonly HeaderField[];
  /** It asks for a WebSocket. */
  readonly upgrade: boolean;
  readonly hasBody: boolean;
};

/** What a resource's options are made ready for, once for each configuration. */
export type HttpRules = {
  readonly options: HttpOptions;
  readonly routes: readonly Route[];
  readonly bodyPaths: FieldPaths;
};

export const NO_HTTP_OPTIONS: HttpOptions = {
  routes: [],
  graphql: [],
  bodyFields: [],
  masks: [],
  uninspectable: "deny",
  redirects: "same",
};

/** The configuration has been checked, so what does not parse here is left out nowhere: it throws. */
export function httpRules(options: HttpOptions): HttpRules {
  return {
    options,
    routes: options.routes.map((template) => must(parseRoute(template))),
    bodyPaths: new FieldPaths(options.bodyFields.map((field) => must(parseFieldPattern(field)))),
  };
}

function must<T>(result: Result<T, string>): T {
  if (!result.ok) throw new Error(`the configuration was not checked: ${result.error}`);
  return result.value;
}

/** Media type of a Content-Type field in lower case, without parameters. */
export function mediaType(headers: readonly HeaderField[]): string {
  return headerOf(headers, "content-type")?.split(";")[0]?.trim().toLowerCase() ?? "";
}

export function isJson(type: string): boolean {
  return type === "application/json" || /^[a-z0-9!#$&^_.-]+\/[a-z0-9!#$&^_.+-]*\+json$/.test(type);
}

/** Whether the decision needs the body. */
export function needsBody(request: HttpRequest, rules: HttpRules): boolean {
  if (!request.hasBody || request.upgrade) return false;
  if (isGraphql(request, rules)) return true;
  return rules.options.bodyFields.length > 0 && isJson(mediaType(request.headers));
}

function isGraphql({ target }: HttpRequest, { options }: HttpRules): boolean {
  return options.graphql.includes(target.path);
}

/**
 * The operation that a request stands for.
 *
 * @param body the whole body where `needsBody` asked for it
 */
export function httpOperation(
  request: HttpRequest,
  body: Uint8Array | undefined,
  rules: HttpRules,
): Result<Operation, Refusal> {
  const { method, target, upgrade } = request;
  const contentType = mediaType(request.headers);
  const encoding = headerOf(request.headers, "content-encoding") ?? "identity";
  if (needsBody(request, rules) && encoding !== "identity") {
    return err(
      refusal("statement_not_parsed", `a body with the encoding ${encoding} cannot be read here`, {
        hint: "policy decides by what is in it: send it as it is",
      }),
    );
  }
  const graphql =
    isGraphql(request, rules) && !upgrade
      ? graphqlFacts(method, contentType, queryParameter(target, "query"), body)
      : undefined;
  if (graphql !== undefined && !graphql.ok) return graphql;
  const fields = bodyFacts(request, body, rules);
  if (!fields.ok) return fields;
  const [grpcService = "", grpcMethod = ""] = isGrpc(contentType) ? target.segments : [];
  const facts: HttpFacts = {
    method,
    path: target.path,
    route: matchRoute(rules.routes, target.segments),
    queryKeys: target.queryKeys,
    contentType,
    body: fields.value,
    upgrade,
    graphqlOperation: graphql?.value.operation ?? "",
    graphqlFields: graphql?.value.fields ?? [],
    grpcService,
    grpcMethod,
  };
  return ok({
    actions: [{ action: isRead(request, graphql?.value) ? "http:read" : "http:write", facts }],
    text: `${upgrade ? "WebSocket" : method} ${target.path}${target.query}`,
  });
}

function isRead({ method, upgrade }: HttpRequest, graphql: GraphqlFacts | undefined): boolean {
  if (upgrade) return false;
  if (graphql !== undefined) return graphql.operation === "query";
  return method === "GET" || method === "HEAD" || method === "OPTIONS";
}

function isGrpc(contentType: string): boolean {
  return /^application\/grpc(?:-web(?:-text)?)?(?:\+|$)/.test(contentType);
}

/** The first value of a parameter, decoded. The target is canonical, so it decodes. */
function queryParameter(target: Target, name: string): string | undefined {
  for (const part of target.query.slice(1).split("&")) {
    const equals = part.indexOf("=");
    const key = decode(equals < 0 ? part : part.slice(0, equals));
    if (key === name) return equals < 0 ? "" : decode(part.slice(equals + 1));
  }
  return undefined;
}

function decode(text: string): string {
  return decodeURIComponent(text.replaceAll("+", "%20"));
}

/** `name=value` for each named field in a JSON body. */
function bodyFacts(
  request: HttpRequest,
  body: Uint8Array | undefined,
  rules: HttpRules,
): Result<readonly string[], Refusal> {
  const { bodyFields } = rules.options;
  const type = mediaType(request.headers);
  if (body === undefined || bodyFields.length === 0 || !isJson(type)) return ok([]);
  const fields = readFields(body, rules.bodyPaths);
  if (!fields.ok) {
    return err(
      fields.error === "over_limit"
        ? refusal("statement_over_limit", "the body has more of the fields that policy looks at than it may")
        : refusal("statement_not_parsed", `the body says that it is ${type}, and is not`),
    );
  }
  if (fields.value.duplicate) {
    return err(
      refusal("statement_not_parsed", "a field that policy looks at is there twice in the body", {
        hint: "services disagree about which of the two counts",
      }),
    );
  }
  const facts = new Set<string>();
  for (const [index, value] of fields.value.values) {
    const name = bodyFields[index] ?? "";
    if (value.kind === "whole") facts.add(`${name}=`);
    else if (value.text.length > LIMITS.http.bodyField)
      return err(refusal("statement_over_limit", `the body's field ${name} is too long to be decided`));
    else facts.add(`${name}=${value.kind === "number" ? plainNumber(value.text) : value.text}`);
  }
  return ok([...facts]);
}

/** 1e2, 100.0 and 100 are one number. */
function plainNumber(text: string): string {
  const number = Number(text);
  return Number.isSafeInteger(number) || (Number.isFinite(number) && !Number.isInteger(number))
    ? String(number)
    : text;
}
