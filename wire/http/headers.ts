/**
 * What happens to header fields on their way through the gateway. A request's fields come from somebody who is
 * not trusted: what says who they are, how a message is framed, or where it goes is taken out; what would change
 * the meaning of what was decided is refused.
 */
import { LIMITS } from "../limits.ts";
import { type Refusal, refusal } from "../refusals.ts";
import { type Result, err, ok } from "../result.ts";

/** Name in lower case, and value. A name may come more than once. */
export type HeaderField = readonly [name: string, value: string];

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** RFC 9110 section 5.5; bytes above 0x7f are obsolete but legal. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** RFC 9110 section 7.6.1, and what only concerns one connection in practice. */
const HOP_BY_HOP = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** Framing and addressing are ours; so is the credential. */
const REPLACED = new Set([
  "host",
  "content-length",
  "expect",
  "authorization",
  "dpop",
  "forwarded",
  "via",
  "x-real-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "true-client-ip",
  "fastly-client-ip",
  "remote-user",
  "x-webauth-user",
  "x-authenticated-user",
  "x-user",
  "cdn-loop",
]);

/** Families of names by which others tell an upstream who is asking. */
const IDENTITY_PREFIXES = [
  "sally-",
  "x-sally-",
  "cf-",
  "x-forwarded-",
  "x-remote-",
  "x-auth-request-",
  "x-amzn-oidc-",
  "x-goog-authenticated-user-",
  "x-goog-iap-",
  "x-ms-client-principal",
  "x-pomerium-",
  "x-authentik-",
  "x-vouch-",
  "tailscale-",
  "impersonate-",
];

/** They replace the method or the path that was decided on. */
const MEANING_CHANGED = new Set([
  "x-http-method-override",
  "x-http-method",
  "x-method-override",
  "x-original-url",
  "x-rewrite-url",
  "x-original-uri",
  "x-override-url",
  "x-original-host",
  "x-host",
  "x-http-host-override",
]);

/** The WebSocket handshake is made anew on each side (RFC 6455 section 4). */
const HANDSHAKE = new Set([
  "sec-websocket-key",
  "sec-websocket-version",
  "sec-websocket-extensions",
  "sec-websocket-accept",
  "sec-websocket-protocol",
]);

/** Fields of which a second value would leave open which one counts. */
const SINGLE = new Set(["content-type", "content-encoding", "content-range", "content-location"]);

/** Cookies of the gateway's own. */
export const COOKIE_PREFIX = "__Host-sally";

/** Whether this is, or CGI-like servers take it for, a field of the set: they write `-` and `_` alike. */
function asRead(name: string): string {
  return name.replaceAll("_", "-");
}

/**
 * The fields of a request that go on to the upstream. Host, framing, credential and identity are added by
 * whoever sends it.
 *
 * @param fields as received, names in lower case
 * @param upgrade the request asks for a WebSocket
 */
export function requestHeaders(
  fields: readonly HeaderField[],
  upgrade: boolean,
): Result<readonly HeaderField[], Refusal> {
  const size = fields.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (fields.length > LIMITS.http.headers || size > LIMITS.http.head) {
    const limits = `${LIMITS.http.headers} fields and ${LIMITS.http.head} bytes`;
    return err(refusal("over_limit", `a request may have at most ${limits} of headers`));
  }
  const named = connectionNames(fields);
  const kept: HeaderField[] = [];
  for (const [name, value] of fields) {
    if (!TOKEN.test(name) || !VALUE.test(value)) return invalid(`the header ${show(name)} is malformed`);
    const read = asRead(name);
    if (MEANING_CHANGED.has(read))
      return invalid(`the header ${name} would change what was decided, so it is refused`);
    if (SINGLE.has(read) && isRepeated(value)) return invalid(`the header ${name} is there more than once`);
    if (named.has(name) && !HOP_BY_HOP.has(name) && !REPLACED.has(name)) continue;
    if (HOP_BY_HOP.has(read) || REPLACED.has(read)) continue;
    if (IDENTITY_PREFIXES.some((prefix) => read.startsWith(prefix))) continue;
    if (HANDSHAKE.has(read) && (!upgrade || name !== "sec-websocket-protocol")) continue;
    if (name !== "cookie") kept.push([name, value]);
    else {
      const cookies = withoutOurs(value);
      if (cookies !== "") kept.push([name, cookies]);
    }
  }
  return ok(kept);
}

/** Names that a Connection field makes hop-by-hop. */
function connectionNames(fields: readonly HeaderField[]): ReadonlySet<string> {
  return new Set(
    fields.flatMap(([name, value]) =>
      name === "connection" ? value.split(",").map((option) => option.trim().toLowerCase()) : [],
    ),
  );
}

/** Two values of one field arrive joined by a comma; one inside quotes belongs to a parameter. */
function isRepeated(value: string): boolean {
  return value.replaceAll(/"(?:[^"\\]|\\.)*"/g, "").includes(",");
}

function withoutOurs(cookies: string): string {
  return cookies
    .split(";")
    .map((cookie) => cookie.trim())
    .filter((cookie) => cookie !== "" && !cookie.startsWith(COOKIE_PREFIX))
    .join("; ");
}

/** Fields of an answer that speak for a whole origin, which is the gateway's and not the upstream's. */
const ORIGIN_WIDE = new Set([
  "strict-transport-security",
  "alt-svc",
  "clear-site-data",
  "service-worker-allowed",
  "public-key-pins",
  "public-key-pins-report-only",
  "expect-ct",
  "nel",
  "report-to",
  "reporting-endpoints",
  "origin-agent-cluster",
]);

/** What describes the exact bytes of a body, and is wrong for one that was masked. */
const OF_THE_BYTES = new Set([
  "content-length",
  "content-encoding",
  "content-md5",
  "digest",
  "content-digest",
  "repr-digest",
  "etag",
  "accept-ranges",
  "content-range",
  "last-modified",
]);

/**
 * The fields of an answer that go on to the client.
 *
 * @param prefix path under which the client sees the resource, such as `/http/orders-api`; "" for an origin of its own
 * @param masked the body is changed on the way, so what describes its bytes is dropped
 */
export function responseHeaders(
  fields: readonly HeaderField[],
  prefix: string,
  masked: boolean,
): Result<readonly HeaderField[], Refusal> {
  const size = fields.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (fields.length > LIMITS.http.headers || size > LIMITS.http.head)
    return err(refusal("over_limit", "the service answered with more headers than the gateway takes"));
  const named = connectionNames(fields);
  const kept: HeaderField[] = [];
  for (const [name, value] of fields) {
    if (!TOKEN.test(name) || !VALUE.test(value))
      return err(refusal("upstream_lost", "the service answered with a malformed header"));
    if (HOP_BY_HOP.has(name) || HANDSHAKE.has(name) || ORIGIN_WIDE.has(name) || named.has(name)) continue;
    if (name.startsWith("sally-")) continue;
    if (masked && OF_THE_BYTES.has(name)) continue;
    if (name === "set-cookie") {
      const cookie = rewriteCookie(value, prefix);
      if (cookie !== undefined) kept.push([name, cookie]);
    } else kept.push([name, value]);
  }
  return ok(kept);
}

/**
 * A cookie of the upstream's, confined to the resource's own path and host. Undefined for one of our names, for one
 * without a name, which a browser would send as if its value were a name, and, where the origin is shared, for
 * `__Host-`, which has to be good for the whole origin (RFC 6265bis section 4.1.3).
 */
function rewriteCookie(cookie: string, prefix: string): string | undefined {
  const [pair = "", ...attributes] = cookie.split(";");
  if (!/^\s*[^=\s][^=]*=/.test(pair)) return undefined;
  const name = pair.trimStart().toLowerCase();
  if (name.startsWith(prefix === "" ? COOKIE_PREFIX.toLowerCase() : "__host-")) return undefined;
  let path = "/";
  const kept = attributes.filter((attribute) => {
    const [name = "", value = ""] = attribute.split("=").map((part) => part.trim());
    if (name.toLowerCase() === "path" && value.startsWith("/")) path = value;
    return !/^(path|domain)$/i.test(name);
  });
  return [pair, ...kept, ` Path=${prefix}${path}`].join(";");
}

/**
 * Fields that change from one sending of the same request to the next, or only say how the client would like
 * its answer: they are not part of what an approval is for. Everything else is.
 */
const VOLATILE =
  /^(?:accept|accept-encoding|accept-language|accept-charset|user-agent|date|prefer|priority|dnt|cache-control|pragma|traceparent|tracestate|baggage|b3|x-b3-.*|x-request-id|x-correlation-id|x-amzn-trace-id|sentry-trace|kubectl-session|kubectl-command|audit-id|referer|origin|sec-.*|if-none-match|if-modified-since)$/;

/** The fields that are part of what a reviewer approves, in one order. */
export function boundHeaders(fields: readonly HeaderField[]): readonly HeaderField[] {
  return fields
    .filter(([name]) => !VOLATILE.test(name))
    .toSorted(([a, x], [b, y]) => (a === b ? (x < y ? -1 : 1) : a < b ? -1 : 1));
}

/** Value of the only field of that name, or undefined. */
export function headerOf(fields: readonly HeaderField[], name: string): string | undefined {
  return fields.find((field) => field[0] === name)?.[1];
}

function invalid(message: string): Result<never, Refusal> {
  return err(refusal("request_invalid", message));
}

function show(name: string): string {
  return name.replaceAll(/[^!-~]/g, "?").slice(0, 64);
}
