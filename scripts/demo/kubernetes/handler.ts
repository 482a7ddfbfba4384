/** Answers requests: who is it, what is it about, may they, then do it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { gunzipSync } from "node:zlib";
import { parse as parseYaml, stringify } from "yaml";
import { type Authenticated, authenticate, isAllowed, refusal } from "./authorization.ts";
import { aggregatedDiscovery, apiGroup, apiGroupList, apiResourceList, apiVersions } from "./discovery.ts";
import { apiVersionOf } from "./kinds.ts";
import { serveLog } from "./logs.ts";
import { negotiate, present, presentList } from "./negotiation.ts";
import { type Fields, type Stored, isFields } from "./objects.ts";
import { objectFromProtobuf } from "./protobuf.ts";
import { type Target, type User, parseTarget, verbOf } from "./request.ts";
import {
  PATCH_TYPES,
  type Write,
  type Written,
  createObject,
  deleteObject,
  deleteOne,
  isDryRun,
  patchObject,
  readScale,
  replaceObject,
  writeScale,
} from "./resources.ts";
import { isReview, review } from "./reviews.ts";
import { openapiDocument, openapiIndex, swagger } from "./schemas.ts";
import { fieldSelector, labelSelector } from "./selectors.ts";
import type { Cluster } from "./server.ts";
import {
  asStatusError,
  badRequest,
  forbidden,
  methodNotAllowed,
  noSuchPath,
  tooLarge,
  unsupportedMedia,
} from "./status.ts";
import type { Include } from "./table.ts";
import { serveWatch } from "./watch.ts";

const MAX_BODY = 3 << 20;

const PROTOBUF = "application/vnd.kubernetes.protobuf";

const VERSION = {
  major: "1",
  minor: "33",
  gitVersion: "v1.33.13+demo",
  gitCommit: "demo",
  gitTreeState: "clean",
  buildDate: "2026-01-01T00:00:00Z",
  goVersion: "none",
  compiler: "none",
  platform: "linux/amd64",
};

type Exchange = {
  readonly cluster: Cluster;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  readonly user: User;
};

export async function handleRequest(
  cluster: Cluster,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const method = request.method ?? "GET";
  const url = new URL(request.url ?? "/", "https://cluster");
  let authenticated: Authenticated | undefined;
  let target: Target | undefined;
  let verb = method.toLowerCase();
  const note = (started: boolean): void =>
    cluster.audit.note({
      authenticated,
      verb,
      uri: request.url ?? "",
      target,
      code: response.statusCode,
      started,
      userAgent: request.headers["user-agent"],
    });
  try {
    authenticated = authenticate(request, cluster.token, cluster.holder);
    const exchange: Exchange = { cluster, request, response, url, user: authenticated.user };
    target = parseTarget(url.pathname);
    if (target === undefined) serveFixed(exchange);
    else {
      verb = verbOf(method, target, url.searchParams);
      authorize(cluster, authenticated.user, verb, target);
      await serveTarget(exchange, target, verb);
    }
    note(!response.writableEnded);
  } catch (error) {
    const refused = asStatusError(error);
    if (response.headersSent) response.destroy();
    else sendJson(response, refused.status.code, refused.status, refused.headers);
    note(false);
  }
}

/** Throws a StatusError (403). */
export function authorize(cluster: Cluster, user: User, verb: string, target: Target): void {
  const { kind, namespace, name, subresource } = target;
  const attributes = { verb, group: kind.group, resource: kind.plural, subresource, namespace, name };
  if (!isAllowed(user, cluster.bindings, attributes)) throw forbidden(kind, name, refusal(user, attributes));
}

/** Paths that name no resource. */
function serveFixed({ request, response, url }: Exchange): void {
  const path = url.pathname.replace(/\/$/, "") || "/";
  if (request.method !== "GET" && request.method !== "HEAD") throw methodNotAllowed();
  const { form } =
    path === "/api" || path === "/apis" ? accepted(request, ["APIGroupDiscoveryList"]) : { form: "plain" };
  if (form === "APIGroupDiscoveryList") {
    const type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    return sendJson(response, 200, aggregatedDiscovery(path === "/api"), { "content-type": type });
  }
  if (["/healthz", "/livez", "/readyz"].includes(path)) {
    response.writeHead(200, { "content-type": "text/plain; charset=utf-8" }).end("ok");
    return;
  }
  const body = fixedDocument(path, request.headers.host ?? "");
  if (body === undefined) throw noSuchPath();
  sendJson(response, 200, body);
}

function fixedDocument(path: string, host: string): Fields | undefined {
  switch (path) {
    case "/":
      return { paths: ["/api", "/api/v1", "/apis", "/healthz", "/openapi/v2", "/openapi/v3", "/version"] };
    case "/version":
      return VERSION;
    case "/api":
      return apiVersions(host);
    case "/apis":
      return apiGroupList();
    case "/openapi/v2":
      return swagger();
    case "/openapi/v3":
      return openapiIndex();
    default:
  }
  if (path.startsWith("/openapi/v3/")) return openapiDocument(path.slice("/openapi/v3/".length));
  if (path === "/api/v1") return apiResourceList("", "v1");
  const [, group = "", version] = /^\/apis\/([^/]+)(?:\/([^/]+))?$/.exec(path) ?? [];
  return version === undefined ? apiGroup(group) : apiResourceList(group, version);
}

async function serveTarget(exchange: Exchange, target: Target, verb: string): Promise<void> {
  const { cluster, request, response, url, user } = exchange;
  const { store } = cluster;
  const { kind, namespace, name, subresource } = target;
  const query = url.searchParams;
  if (isReview(kind)) {
    if (verb !== "create") throw methodNotAllowed();
    const { body } = await readBody(request);
    return sendJson(response, 201, review(kind, body, user, cluster.bindings));
  }
  if (subresource !== "") return serveSubresource(exchange, target, verb);
  if (!kind.verbs.includes(verb)) throw methodNotAllowed();
  switch (verb) {
    case "watch":
    case "list":
      return serveMany(exchange, target, verb);
    case "get": {
      const { form, yaml } = accepted(request, ["Table", "PartialObjectMetadata"]);
      return send(response, 200, present(store.get(kind, namespace, name), form, included(query)), yaml);
    }
    case "create":
      if (name !== "") throw methodNotAllowed();
      return sendWritten(exchange, createObject(store, await readWrite(exchange, target)));
    case "update":
      return sendWritten(exchange, replaceObject(store, await readWrite(exchange, target)));
    case "patch":
      return sendWritten(exchange, patchObject(store, await readWrite(exchange, target)));
    case "delete": {
      const { body } = await readBody(request);
      return sendJson(response, 200, deleteObject(store, target, query, body));
    }
    default:
  }
  const { body } = await readBody(request);
  const selects = selectorOf(target, query);
  const removed = store
    .list(kind, namespace)
    .filter(selects)
    .map((each) => deleteOne(store, kind, each, query, body));
  const metadata = { resourceVersion: String(store.revision) };
  const named = { kind: kind.kind, apiVersion: apiVersionOf(kind) };
  sendJson(response, 200, presentList(named, removed, { form: "plain", include: "Object", metadata }));
}

function serveMany({ cluster, request, response, url }: Exchange, target: Target, verb: string): void {
  const { store } = cluster;
  const { kind, namespace } = target;
  const query = url.searchParams;
  const { form, yaml } = accepted(request, ["Table", "PartialObjectMetadataList", "PartialObjectMetadata"]);
  const selects = selectorOf(target, query);
  const include = included(query);
  if (verb === "watch")
    return serveWatch(store, response, { kind, namespace, selects, query, form, include });
  const all = store.list(kind, namespace).filter(selects);
  const from = continueFrom(query.get("continue"));
  const keyOf = ({ metadata }: Stored): string => `${metadata.namespace ?? ""}/${metadata.name}`;
  const left = from === "" ? all : all.filter((each) => keyOf(each) > from);
  const limit = Number(query.get("limit") ?? "0");
  const page = limit > 0 ? left.slice(0, limit) : left;
  const last = page.at(-1);
  const more = left.length - page.length;
  const metadata = {
    resourceVersion: String(store.revision),
    ...(more > 0 && last !== undefined
      ? { continue: Buffer.from(JSON.stringify(keyOf(last))).toString("base64url"), remainingItemCount: more }
      : {}),
  };
  const named = { kind: kind.kind, apiVersion: apiVersionOf(kind) };
  send(response, 200, presentList(named, page, { form, include, metadata }), yaml);
}

async function serveSubresource(exchange: Exchange, target: Target, verb: string): Promise<void> {
  const { cluster, request, response, url } = exchange;
  const { store } = cluster;
  const { kind, namespace, name, subresource } = target;
  const known = kind.subresources.find((each) => each.name === subresource);
  if (known === undefined) throw noSuchPath();
  if (!known.verbs.includes(verb)) throw methodNotAllowed();
  switch (subresource) {
    case "log": {
      const container = cluster.pods.container(
        namespace,
        name,
        url.searchParams.get("container") ?? undefined,
      );
      return serveLog(container, url.searchParams, response);
    }
    case "exec":
    case "attach":
    case "portforward":
      throw badRequest("Upgrade request required");
    case "scale":
      if (verb === "get") return sendJson(response, 200, readScale(store.get(kind, namespace, name)));
      return sendWritten(
        exchange,
        writeScale(store, await readWrite(exchange, target), request.method ?? ""),
      );
    default:
  }
  if (verb === "get") return sendJson(response, 200, store.get(kind, namespace, name));
  const write = await readWrite(exchange, target);
  sendWritten(exchange, verb === "update" ? replaceObject(store, write) : patchObject(store, write));
}

function selectorOf({ kind, name }: Target, query: URLSearchParams): (object: Stored) => boolean {
  const labels = labelSelector(query.get("labelSelector") ?? "");
  const fields = fieldSelector(kind.plural, query.get("fieldSelector") ?? "");
  return (object) => labels(object) && fields(object) && (name === "" || object.metadata.name === name);
}

function continueFrom(token: string | null): string {
  if (token === null || token === "") return "";
  try {
    const value: unknown = JSON.parse(Buffer.from(token, "base64url").toString("utf8"));
    if (typeof value === "string") return value;
  } catch {
    // Answered below.
  }
  throw badRequest("continue key is not valid");
}

function accepted(
  request: IncomingMessage,
  forms: Parameters<typeof negotiate>[1],
): ReturnType<typeof negotiate> {
  return negotiate(request.headers.accept, forms);
}

function included(query: URLSearchParams): Include {
  const given = query.get("includeObject");
  return given === "None" || given === "Object" ? given : "Metadata";
}

async function readWrite({ request, url, user }: Exchange, target: Target): Promise<Write> {
  const query = url.searchParams;
  isDryRun(query);
  const { body, contentType } = await readBody(request);
  if (request.method === "PATCH" && !PATCH_TYPES.includes(contentType)) throw unsupportedMedia(PATCH_TYPES);
  return { target, query, user, contentType, body, userAgent: request.headers["user-agent"] ?? "" };
}

async function readBody(
  request: IncomingMessage,
): Promise<{ readonly body: unknown; readonly contentType: string }> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > MAX_BODY) throw tooLarge();
    chunks.push(chunk);
  }
  let bytes: Buffer = Buffer.concat(chunks);
  if (request.headers["content-encoding"] === "gzip")
    bytes = gunzipSync(bytes, { maxOutputLength: MAX_BODY });
  const contentType = (request.headers["content-type"] ?? "application/json").split(";")[0]?.trim() ?? "";
  if (bytes.length === 0) return { body: undefined, contentType };
  if (contentType === PROTOBUF) return { body: objectFromProtobuf(bytes), contentType };
  const text = bytes.toString("utf8");
  try {
    if (/[/+]yaml$/.test(contentType)) return { body: parseYaml(text) as unknown, contentType };
    if (contentType === "application/json" || contentType.endsWith("+json"))
      return { body: JSON.parse(text) as unknown, contentType };
  } catch (error) {
    throw badRequest(`the object provided is unrecognized: ${error instanceof Error ? error.message : ""}`);
  }
  throw unsupportedMedia(["application/json", "application/yaml", PROTOBUF]);
}

function sendWritten({ request, response, url }: Exchange, { code, object, warnings }: Written): void {
  const { form, yaml } = accepted(request, ["Table", "PartialObjectMetadata"]);
  if (warnings.length > 0)
    response.setHeader(
      "warning",
      warnings.map((each) => `299 - ${JSON.stringify(each)}`),
    );
  send(response, code, present(object, form, included(url.searchParams)), yaml);
}

function send(response: ServerResponse, code: number, body: Fields, yaml: boolean): void {
  if (!yaml) return sendJson(response, code, body);
  response.writeHead(code, { "content-type": "application/yaml" }).end(stringify(body));
}

function sendJson(
  response: ServerResponse,
  code: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  const text = Buffer.from(`${JSON.stringify(isFields(body) ? body : {})}\n`);
  response.writeHead(code, {
    "content-type": "application/json",
    "cache-control": "no-cache, private",
    "content-length": text.length,
    ...headers,
  });
  response.end(text);
}
