/**
 * `/http/<resource>/…`: requests of API clients to HTTP resources. A token's requests to one resource are one
 * session, whose name follows from the two, so that its recording gathers them wherever they arrive.
 */
import { Hono } from "hono";
import { CONNECT_HEADERS } from "../../wire/control.ts";
import { refusal } from "../../wire/refusals.ts";
import { sessionOf } from "../env.ts";
import { derivedIdentifier } from "../objects/identifiers.ts";
import { UNADMITTED_HEADER } from "../objects/session/admission.ts";
import { TARGET_HEADER } from "../objects/session/object.ts";
import { GRANT_HEADER, encodeGrant, mintGrant } from "../policy/grant.ts";
import { type Authenticated, authenticateForSession } from "./authenticate.ts";
import { problem } from "./problem.ts";

export const http = new Hono<Authenticated>();

http.all("/http/*", authenticateForSession, async (context) => {
  const request = context.req.raw;
  const parts = /^\/http\/([a-z0-9][a-z0-9._-]{0,62})(\/.*|\?.*)?$/s.exec(originForm(request.url));
  const [, resource = "", rest = ""] = parts ?? [];
  if (parts === null) return problem(context, refusal("not_found", "name a resource: /http/<resource>/"));
  const { token } = context.var;
  const session = await derivedIdentifier("ses", ["http", token.tokenId, resource]);
  const noWait = context.req.header(CONNECT_HEADERS.noWait) === "1";
  const reason = decode(context.req.header(CONNECT_HEADERS.reason));
  const grant = mintGrant(token, { name: resource }, { session, noWait, reason, now: Date.now() });
  if (!grant.ok) return problem(context, grant.error);
  const headers = new Headers(request.headers);
  headers.set(GRANT_HEADER, encodeGrant(grant.value));
  if (context.get("unadmitted") === true) headers.set(UNADMITTED_HEADER, "1");
  else headers.delete(UNADMITTED_HEADER);
  headers.set(TARGET_HEADER, encodeURIComponent((rest.startsWith("/") ? rest : `/${rest}`).toWellFormed()));
  const { signal } = request;
  return sessionOf(context.env, session).fetch(new Request(request, { headers, signal, redirect: "manual" }));
});

/** Path and query of a URL as they are written: the WHATWG parser would already have resolved dot segments. */
function originForm(url: string): string {
  const authority = url.indexOf("//");
  const path = url.indexOf("/", authority < 0 ? 0 : authority + 2);
  return path < 0 ? "/" : url.slice(path);
}

function decode(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  try {
    return decodeURIComponent(header);
  } catch {
    return header;
  }
}
