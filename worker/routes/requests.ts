/**
 * `/http/<resource>/…` and `/k8s/<resource>/…`: requests of clients that have no connection of their own. A token's
 * requests to one resource are one session, whose name follows from the two, so that its recording gathers them
 * wherever they arrive.
 */
import { type Context, Hono } from "hono";
import { z } from "zod";
import { CONNECT_HEADERS, REFUSAL_HEADERS } from "../../wire/control.ts";
import { isRefusalCode, refusal } from "../../wire/refusals.ts";
import { sessionOf } from "../env.ts";
import { derivedIdentifier } from "../objects/identifiers.ts";
import { UNADMITTED_HEADER } from "../objects/session/admission.ts";
import { AREA_HEADER } from "../objects/session/http-request.ts";
import { statusResponse } from "../objects/session/kubernetes-dialect.ts";
import { OWN_ORIGIN_HEADER, TARGET_HEADER } from "../objects/session/object.ts";
import { GRANT_HEADER, type VerifiedToken, encodeGrant, mintGrant } from "../policy/grant.ts";
import { type Authenticated, authenticateForSession } from "./authenticate.ts";
import { problem } from "./problem.ts";

export const requests = new Hono<Authenticated>();

for (const area of ["/http", "/k8s"] as const) {
  requests.all(`${area}/*`, authenticateForSession, async (context) => {
    const [, path = ""] = /^\/(?:http|k8s)(\/.*)$/s.exec(originForm(context.req.url)) ?? [];
    const parts = /^\/([a-z0-9][a-z0-9._-]{0,62})(\/.*|\?.*)?$/s.exec(path);
    const [, resource = "", rest = ""] = parts ?? [];
    if (parts === null || !originForm(context.req.url).startsWith(`${area}/`))
      return problem(context, refusal("not_found", `name a resource: ${area}/<resource>/`));
    const target = rest.startsWith("/") ? rest : `/${rest}`;
    const unadmitted = context.get("unadmitted") === true;
    const answer = await passOn(context, context.var.token, { area, resource, target, unadmitted });
    return area === "/k8s" ? inItsWords(answer) : answer;
  });
}

/** One request to a resource, as the session that it belongs to gets it. */
export type ToResource = {
  readonly area: "/http" | "/k8s";
  readonly resource: string;
  /** Path and query below the resource, as the client wrote them. */
  readonly target: string;
  /** Whether the token still counts is for the session to ask. */
  readonly unadmitted: boolean;
  /** The resource's own origin, where a browser speaks to it there. */
  readonly origin?: string;
};

/** Gives a request under a verified token to its session. */
export async function passOn(context: Context, token: VerifiedToken, to: ToResource): Promise<Response> {
  const request = context.req.raw;
  const { area, resource, target, unadmitted, origin } = to;
  const session = await sessionOfRequests(area, token.tokenId, resource);
  const noWait = context.req.header(CONNECT_HEADERS.noWait) === "1";
  const reason = decode(context.req.header(CONNECT_HEADERS.reason));
  const grant = mintGrant(token, { name: resource }, { session, noWait, reason, now: Date.now() });
  if (!grant.ok) return problem(context, grant.error);
  const headers = new Headers(request.headers);
  headers.set(GRANT_HEADER, encodeGrant(grant.value));
  headers.set(AREA_HEADER, area);
  headers.set(TARGET_HEADER, encodeURIComponent(target.toWellFormed()));
  for (const [name, value] of [
    [UNADMITTED_HEADER, unadmitted ? "1" : undefined],
    [OWN_ORIGIN_HEADER, origin],
  ] as const) {
    if (value === undefined) headers.delete(name);
    else headers.set(name, value);
  }
  const { signal } = request;
  return sessionOf(context.env, session).fetch(new Request(request, { headers, signal, redirect: "manual" }));
}

/** Name of the session that a token's requests to a resource are. */
export function sessionOfRequests(
  area: ToResource["area"],
  tokenId: string,
  resource: string,
): Promise<string> {
  return derivedIdentifier("ses", [area.slice(1), tokenId, resource]);
}

const Problem = z.object({ title: z.string(), hint: z.string().optional(), approval: z.string().optional() });

/** A refusal of the session's own, before it knew which protocol it speaks. */
async function inItsWords(answer: Response): Promise<Response> {
  const code = answer.headers.get(REFUSAL_HEADERS.code) ?? "";
  if (!isRefusalCode(code) || answer.headers.get("content-type") !== "application/problem+json")
    return answer;
  const said = Problem.safeParse(await answer.json());
  const { title, hint, approval } = said.data ?? { title: "refused" };
  return statusResponse(
    refusal(code, title, {
      ...(hint === undefined ? {} : { hint }),
      ...(approval === undefined ? {} : { approval }),
    }),
  );
}

/** Path and query of a URL as they are written: the WHATWG parser would already have resolved dot segments. */
export function originForm(url: string): string {
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
