/**
 * `/http/<resource>/…` and `/k8s/<resource>/…`: requests of clients that have no connection of their own. A token's
 * requests to one resource are one session, whose name follows from the two, so that its recording gathers them
 * wherever they arrive.
 */
import { type Context, Hono } from "hono";
import { z } from "zod";
import { CONNECT_HEADERS, REFUSAL_HEADERS } from "../../wire/control.ts";
import { type Refusal, isRefusalCode, refusal } from "../../wire/refusals.ts";
import { sessionOf } from "../env.ts";
import { derivedIdentifier } from "../objects/identifiers.ts";
import { UNADMITTED_HEADER } from "../objects/session/admission.ts";
import { AREA_HEADER } from "../objects/session/http-request.ts";
import { statusResponse } from "../objects/session/kubernetes-dialect.ts";
import { TARGET_HEADER } from "../objects/session/object.ts";
import { GRANT_HEADER, encodeGrant, mintGrant } from "../policy/grant.ts";
import { type Authenticated, authenticateForSession } from "./authenticate.ts";
import { problem } from "./problem.ts";

export const requests = new Hono<Authenticated>();

for (const area of ["/http", "/k8s"] as const) {
  requests.all(`${area}/*`, authenticateForSession, (context) => pass(context, area));
}

async function pass(context: Context<Authenticated>, area: string): Promise<Response> {
  const request = context.req.raw;
  const refuse = (why: Refusal): Response => problem(context, why);
  const [, path = ""] = /^\/(?:http|k8s)(\/.*)$/s.exec(originForm(request.url)) ?? [];
  const parts = /^\/([a-z0-9][a-z0-9._-]{0,62})(\/.*|\?.*)?$/s.exec(path);
  const [, resource = "", rest = ""] = parts ?? [];
  if (parts === null || !originForm(request.url).startsWith(`${area}/`))
    return refuse(refusal("not_found", `name a resource: ${area}/<resource>/`));
  const { token } = context.var;
  const session = await derivedIdentifier("ses", [area.slice(1), token.tokenId, resource]);
  const noWait = context.req.header(CONNECT_HEADERS.noWait) === "1";
  const reason = decode(context.req.header(CONNECT_HEADERS.reason));
  const grant = mintGrant(token, { name: resource }, { session, noWait, reason, now: Date.now() });
  if (!grant.ok) return refuse(grant.error);
  const headers = new Headers(request.headers);
  headers.set(GRANT_HEADER, encodeGrant(grant.value));
  headers.set(AREA_HEADER, area);
  if (context.get("unadmitted") === true) headers.set(UNADMITTED_HEADER, "1");
  else headers.delete(UNADMITTED_HEADER);
  headers.set(TARGET_HEADER, encodeURIComponent((rest.startsWith("/") ? rest : `/${rest}`).toWellFormed()));
  const { signal } = request;
  const passed = new Request(request, { headers, signal, redirect: "manual" });
  const answer = await sessionOf(context.env, session).fetch(passed);
  return area === "/k8s" ? inItsWords(answer) : answer;
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
