/**
 * What a request to the Kubernetes API is about, derived as the API server derives it for its own authorization:
 * RequestInfoFactory.NewRequestInfo (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go).
 *
 *   /api/v1/[watch/|proxy/][namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE[/…]]]
 *   /apis/GROUP/VERSION/[…the same…]
 *   everything else is no resource
 *
 * Stricter than the original in what it takes: a form that no client writes and that the server would answer with
 * an error, or read in its own way, is refused. Different from it in one thing: what opens a stream into a
 * container or a connection into the cluster has a verb of its own, whatever the method. A GET of `pods/exec` runs
 * a program, and so does a GET of `nodes/proxy`, because the kubelet behind it runs programs.
 */
import type { HttpMethod } from "../../../wire/http/open.ts";
import type { Target } from "../../../wire/http/target.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { KubernetesVerb } from "../types.ts";
import { type Query, flag, parseQuery, refuse, selectedName, single } from "./query.ts";

/** A request whose target is canonical (wire/http/target.ts). */
export type KubernetesRequest = {
  readonly method: HttpMethod;
  readonly target: Target;
  /** It asks for a WebSocket. */
  readonly upgrade: boolean;
};

/** Parameters of exec, attach and port-forward. */
export type StreamOptions = {
  /** argv; empty for anything but exec. */
  readonly command: readonly string[];
  readonly container: string;
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
  /** Ports in the address; a tunnel names them inside. */
  readonly ports: readonly string[];
};

export type RequestInfo = {
  readonly method: HttpMethod;
  readonly verb: KubernetesVerb;
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  /** "" where the path names no resource. */
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  /** Of a proxied object without scheme and port. */
  readonly name: string;
  /** Of a proxied object: name or number as written, "" for the default. */
  readonly port: string;
  /** Canonical, without the query. */
  readonly path: string;
  /** As the query says; the options in the body of a delete come before it (body.ts). */
  readonly dryRun: boolean;
  /** The answer goes on: a watch, or a log that is followed. */
  readonly streaming: boolean;
  readonly stream?: StreamOptions;
};

/** Subresources that connect instead of reading or writing an object, and the verbs that they get. */
const CONNECT = new Map<string, "exec" | "attach" | "portforward" | "proxy">([
  ["exec", "exec"],
  ["attach", "attach"],
  ["portforward", "portforward"],
  ["proxy", "proxy"],
]);

/** `specialVerbs` of the original: legacy prefixes. */
const PREFIXES = ["watch", "proxy"];
const NAMESPACE_SUBRESOURCES = ["status", "finalize"];

/** Subresources with side effects of their own that a dry run does not keep from happening, or that we do not know. */
const DRY_RUN_SUBRESOURCES = ["", "status", "scale", "eviction", "ephemeralcontainers", "resize", "approval"];

const DNS_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const DNS_NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;
/** Path segment names (k8s.io/apimachinery/pkg/api/validation/path) in ASCII. */
const OBJECT_NAME = /^[!-$&-.0-[\]-~]{1,253}$/;

/** What anybody has to read before anything else: discovery, OpenAPI, version, health, the issuer's keys. */
const DISCOVERY =
  /^(?:\/api(?:\/v1)?|\/apis(?:\/[a-z0-9.-]+){0,2}|\/openapi\/v2|\/openapi\/v3(?:\/[A-Za-z0-9._-]+)*|\/version|\/(?:healthz|livez|readyz)(?:\/[a-z0-9-]+)*|\/\.well-known\/openid-configuration|\/openid\/v1\/jwks)\/?$/;

/** Derives what a request is about. Refusals say what in its form is not taken. */
export function requestInfo(request: KubernetesRequest): Result<RequestInfo, Refusal> {
  const { method, target } = request;
  if (method === "OPTIONS") {
    return err(refusal("unknown_operation", "OPTIONS is nothing that can be asked of a cluster"));
  }
  const segments = target.segments.at(-1) === "" ? target.segments.slice(0, -1) : target.segments;
  const [prefix] = segments;
  const grouped = prefix === "apis";
  const resourceAt = grouped ? 3 : 2;
  if ((prefix !== "api" && !grouped) || segments.length <= resourceAt) return nonResource(request);
  return resource(request, {
    group: grouped ? (segments[1] ?? "") : "",
    version: segments[resourceAt - 1] ?? "",
    parts: segments.slice(resourceAt),
    slash: segments.length < target.segments.length,
  });
}

function nonResource({ method, target, upgrade }: KubernetesRequest): Result<RequestInfo, Refusal> {
  if (upgrade) return refuseUpgrade();
  const reads = method === "GET" || method === "HEAD";
  const nothing = {
    group: "",
    version: "",
    resource: "",
    subresource: "",
    namespace: "",
    name: "",
    port: "",
  };
  return ok({
    method,
    verb: reads && DISCOVERY.test(target.path) ? "discover" : "nonresource",
    ...nothing,
    path: target.path,
    dryRun: false,
    streaming: false,
  });
}

type Parts = {
  readonly group: string;
  readonly version: string;
  readonly parts: readonly string[];
  /** The path ends in a slash. */
  readonly slash: boolean;
};

function resource(request: KubernetesRequest, given: Parts): Result<RequestInfo, Refusal> {
  const { method, target } = request;
  const { group, version, slash } = given;
  let { parts } = given;
  const prefix = PREFIXES.find((special) => special === parts[0]);
  if (prefix !== undefined) {
    parts = parts.slice(1);
    if (parts.length === 0) return refuse(`has nothing after ${prefix}`);
    // The original calls every method a watch; the server has no other route here.
    if (prefix === "watch" && method !== "GET" && method !== "HEAD") return refuse("watches with a change");
  }
  let namespace = "";
  if (parts[0] === "namespaces" && parts.length > 1) {
    namespace = parts[1] ?? "";
    if (parts.length > 2 && !NAMESPACE_SUBRESOURCES.includes(parts[2] ?? "")) parts = parts.slice(2);
  }
  const [resourceName = "", written = "", inner = ""] = parts;
  const subresource = prefix === "proxy" ? "" : inner;
  const connect = prefix === "proxy" ? "proxy" : CONNECT.get(subresource);
  // Below a proxy the path belongs to whoever is behind it; elsewhere the server has no routes there.
  if (connect !== "proxy" && (parts.length > 3 || slash)) {
    return refuse(slash ? "ends in a slash" : "has more in its path than a subresource");
  }
  if (!isWellFormed(group, version, resourceName, subresource, namespace, written)) {
    return refuse("has a name in its path that Kubernetes does not have");
  }
  const named = connect === "proxy" ? proxiedName(written) : { name: written, port: "" };
  if (named === undefined) return refuse("has a proxied name that cannot be read");
  const query = parseQuery(target);
  const about = {
    method,
    group,
    version,
    resource: resourceName,
    subresource,
    namespace,
    path: target.path,
    ...named,
  };
  if (connect !== undefined) {
    if (named.name === "") return refuse("connects to nothing");
    return connection(connect, about, query);
  }
  if (request.upgrade) return refuseUpgrade();
  return objects(about, query, prefix === "watch");
}

type About = Pick<
  RequestInfo,
  "method" | "group" | "version" | "resource" | "subresource" | "namespace" | "name" | "port" | "path"
>;

/** A verb on objects. */
function objects(about: About, query: Query, watchPrefix: boolean): Result<RequestInfo, Refusal> {
  for (const [name, values] of query)
    if (values.length > 1) return refuse(`has the parameter ${JSON.stringify(name)} more than once`);
  const watch = flag(query, "watch");
  if (!watch.ok) return watch;
  const follow = flag(query, "follow");
  if (!follow.ok) return follow;
  const dryRun = single(query, "dryRun");
  if (!dryRun.ok) return dryRun;
  const base = { ...about, streaming: false, dryRun: false };
  const dry = dryRun.value === "All" && DRY_RUN_SUBRESOURCES.includes(about.subresource);
  if (watchPrefix) return ok({ ...base, verb: "watch", streaming: true });
  const named = about.name !== "";
  switch (about.method) {
    case "GET":
    case "HEAD": {
      if (named) {
        // Ignored by the server for one object, so whoever asks for it is mistaken or hopes that we are.
        if (watch.value && about.subresource === "") return refuse("watches one object by its path");
        return ok({ ...base, verb: "get", streaming: about.subresource === "log" && follow.value });
      }
      const name = selectedName(query);
      if (!name.ok) return name;
      if (name.value !== "" && !isObjectName(name.value)) return refuse("selects a name that cannot be");
      return ok({ ...base, name: name.value, verb: watch.value ? "watch" : "list", streaming: watch.value });
    }
    case "POST":
      return ok({ ...base, verb: "create", dryRun: dry });
    case "PUT":
      return ok({ ...base, verb: "update", dryRun: dry });
    case "PATCH":
      return ok({ ...base, verb: "patch", dryRun: dry });
    case "DELETE":
      return ok({ ...base, verb: named ? "delete" : "deletecollection", dryRun: dry });
    case "OPTIONS":
      return refuse("has a method that means nothing here");
  }
}

function connection(
  verb: "exec" | "attach" | "portforward" | "proxy",
  about: About,
  query: Query,
): Result<RequestInfo, Refusal> {
  const base = { ...about, verb, dryRun: false, streaming: true };
  // The parameters of a proxied request are its service's.
  if (verb === "proxy") return ok(base);
  for (const [name, values] of query) {
    if (values.length > 1 && name !== "command" && name !== "ports")
      return refuse(`has the parameter ${JSON.stringify(name)} more than once`);
  }
  const command = verb === "exec" ? (query.get("command") ?? []) : [];
  if (verb === "exec" && command.length === 0) return refuse("runs no command");
  const container = single(query, "container");
  if (!container.ok) return container;
  if (container.value !== undefined && container.value !== "" && !DNS_LABEL.test(container.value)) {
    return refuse("names a container that cannot be");
  }
  const flags = { stdin: false, stdout: false, stderr: false, tty: false };
  for (const name of ["stdin", "stdout", "stderr", "tty"] as const) {
    const value = flag(query, name);
    if (!value.ok) return value;
    flags[name] = value.value;
  }
  const ports = (query.get("ports") ?? []).flatMap((port) => port.split(","));
  if (ports.some((port) => !/^[1-9]\d{0,4}$/.test(port))) return refuse("forwards to a port that cannot be");
  return ok({ ...base, stream: { command, container: container.value ?? "", ...flags, ports } });
}

function refuseUpgrade(): Result<never, Refusal> {
  return err(
    refusal(
      "feature_not_supported",
      "a WebSocket is passed on for exec, attach, port-forward and proxy only",
      {
        hint: "watches and logs stream without one",
      },
    ),
  );
}

function isWellFormed(
  group: string,
  version: string,
  resourceName: string,
  subresource: string,
  namespace: string,
  name: string,
): boolean {
  return (
    (group === "" || DNS_NAME.test(group)) &&
    DNS_LABEL.test(version) &&
    DNS_NAME.test(resourceName) &&
    (subresource === "" || DNS_NAME.test(subresource)) &&
    (namespace === "" || DNS_LABEL.test(namespace)) &&
    (name === "" || isObjectName(name))
  );
}

function isObjectName(name: string): boolean {
  return OBJECT_NAME.test(name) && name !== "." && name !== "..";
}

/** `[scheme:]name[:port]` (k8s.io/apimachinery/pkg/util/net/port_split.go). */
function proxiedName(text: string): { name: string; port: string } | undefined {
  const parts = text.split(":");
  const [first = "", second = "", third = ""] = parts;
  switch (parts.length) {
    case 1:
      return { name: first, port: "" };
    case 2:
      return first === "" ? undefined : { name: first, port: second };
    case 3:
      return ["", "http", "https"].includes(first) && second !== ""
        ? { name: second, port: third }
        : undefined;
    default:
      return undefined;
  }
}

/** As kubectl writes it: `secrets`, `deployments.apps`. */
export function qualifiedResource({
  resource: name,
  group,
}: Pick<RequestInfo, "resource" | "group">): string {
  return group === "" ? name : `${name}.${group}`;
}
