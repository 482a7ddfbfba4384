/**
 * The origins of HTTP resources: `https://<resource>.<host>` is one resource for browsers, with a login of its own
 * and a cookie that counts there only. What a browser sends by itself proves nothing about who wanted it, so what
 * changes something, and every WebSocket, has to come from a page of the same origin, and other origins may lead
 * people here but not load anything.
 *
 *   no cookie ──► a secret of this browser's, off to the gateway's login ──► `/.sally/enter` with a code ──► cookie
 */
import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import type { Result } from "../../wire/result.ts";
import { type Bindings, controlOf, readSettings, sessionOf } from "../env.ts";
import { randomBytes } from "../objects/identifiers.ts";
import type { VerifiedToken } from "../policy/grant.ts";
import { readCookie, setCookie } from "./browser.ts";
import { originForm, passOn, sessionOfRequests } from "./requests.ts";
import { problem } from "./problem.ts";

const SESSION_COOKIE = "__Host-sally-session";
const ENTRY_COOKIE = "__Host-sally-entry";
const ENTRY_SECONDS = 600;
/** Paths of ours on a resource's origin; the service's own are not reached there. */
const OURS = "/.sally/";

type Env = { Bindings: Bindings };
type Place = { readonly resource: string; readonly origin: string };

/** Takes every request to a resource's origin; none of the gateway's own routes exist there. */
export const origins = createMiddleware<Env>(async (context, next) => {
  const place = placeOf(context);
  if (place === undefined) return next();
  if (place === "unknown") return problem(context, refusal("not_found", "there is no resource of this name"));
  const { pathname } = new URL(context.req.url);
  if (pathname.startsWith(OURS)) return ownPage(context, place, pathname.slice(OURS.length));
  return toService(context, place);
});

/** Which resource's origin the request is for; undefined for the gateway's own. */
function placeOf(context: Context<Env>): Place | "unknown" | undefined {
  const { resourcesUrl, publicUrl } = readSettings(context.env);
  if (resourcesUrl === undefined) return undefined;
  const { protocol, host: base } = new URL(resourcesUrl);
  const { host } = new URL(context.req.url);
  if (host === new URL(publicUrl).host || !host.endsWith(`.${base}`)) return undefined;
  const label = host.slice(0, -base.length - 1);
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(label)
    ? { resource: label, origin: `${protocol}//${host}` }
    : "unknown";
}

async function toService(context: Context<Env>, { resource, origin }: Place): Promise<Response> {
  const request = context.req.raw;
  if (!mayAsk(request, origin)) return refused(context);
  const cookie = readCookie(request, SESSION_COOKIE);
  const control = controlOf(context.env);
  const admitted: Result<VerifiedToken, Refusal> | undefined =
    cookie === undefined ? undefined : await control.admitToResource(resource, cookie);
  if (admitted?.ok === true) {
    const target = originForm(request.url);
    return passOn(context, admitted.value, { area: "/http", resource, target, unadmitted: false, origin });
  }
  if (admitted !== undefined && admitted.error.code !== "token_missing")
    return problem(context, admitted.error);
  if (isVisit(request)) return toLogin(context, resource);
  const hint = `open ${origin}/ in the browser to log in`;
  return problem(context, refusal("token_missing", "you are not logged in here, or not any more", { hint }));
}

/** Whether a page of this origin asks, the person themselves, or a link that only shows something. */
function mayAsk(request: Request, origin: string): boolean {
  const from = request.headers.get("origin");
  const site = request.headers.get("sec-fetch-site");
  const reading = (request.method === "GET" || request.method === "HEAD") && !request.headers.has("upgrade");
  if (from === null ? !reading : from !== origin) return false;
  if (site === null || site === "same-origin" || site === "none") return true;
  const { headers } = request;
  return (
    reading && headers.get("sec-fetch-mode") === "navigate" && headers.get("sec-fetch-dest") === "document"
  );
}

/** Whether the browser is about to show the answer as a page, so that a login may come in between. */
function isVisit({ method, headers }: Request): boolean {
  if (method !== "GET" || headers.has("upgrade")) return false;
  const dest = headers.get("sec-fetch-dest");
  return dest === null ? /\btext\/html\b/.test(headers.get("accept") ?? "") : dest === "document";
}

async function toLogin(context: Context<Env>, resource: string): Promise<Response> {
  // Several tabs may begin at once; each gets a code of its own, good for the same browser.
  const secret = readCookie(context.req.raw, ENTRY_COOKIE) ?? Buffer.from(randomBytes(32)).toString("hex");
  const proof = await sha256(secret);
  const login = new URL(`${readSettings(context.env).publicUrl}/console/login`);
  login.searchParams.set("resource", resource);
  login.searchParams.set("proof", proof);
  login.searchParams.set("return", originForm(context.req.url));
  // Lax: the way back is a navigation from another site.
  setCookie(context, ENTRY_COOKIE, secret, "Lax", ENTRY_SECONDS);
  return redirect(context, login.href);
}

function ownPage(context: Context<Env>, place: Place, name: string): Response | Promise<Response> {
  const { method } = context.req;
  if (name === "enter" && method === "GET") return enter(context, place);
  if (name === "logout" && method === "GET") return page(context, "Log out of this application?", true);
  if (name === "logout" && method === "POST") return logOut(context, place);
  return problem(context, refusal("not_found", "there is nothing here"));
}

/** Back from the login, with a code and the secret that this browser began with. */
async function enter(context: Context<Env>, { resource }: Place): Promise<Response> {
  const proof = readCookie(context.req.raw, ENTRY_COOKIE);
  const code = context.req.query("code") ?? "";
  if (proof === undefined || !/^[0-9a-f]{64}$/.test(code)) return page(context, NOT_LOGGED_IN, false, 400);
  const entered = await controlOf(context.env).enterResource(resource, code, proof);
  if (!entered.ok) return page(context, NOT_LOGGED_IN, false, 400);
  const { cookie, endsAt } = entered.value;
  setCookie(context, SESSION_COOKIE, cookie, "Lax", Math.floor((endsAt - Date.now()) / 1000));
  return redirect(context, safeReturn(context.req.query("return")));
}

const NOT_LOGGED_IN = "This login was not begun in this browser, or has expired.";

async function logOut(context: Context<Env>, { resource, origin }: Place): Promise<Response> {
  if (!mayAsk(context.req.raw, origin)) return refused(context);
  const cookie = readCookie(context.req.raw, SESSION_COOKIE);
  if (cookie !== undefined) {
    const tokenId = await controlOf(context.env).leaveResource(resource, cookie);
    const why = refusal("session_killed", "the browser was logged out");
    if (tokenId !== undefined)
      await sessionOf(context.env, await sessionOfRequests("/http", tokenId, resource)).revoke(why);
  }
  setCookie(context, SESSION_COOKIE, "", "Lax", 0);
  // What the service has kept in this browser goes with the login; `cookies` would take those of other origins, too.
  context.header("clear-site-data", '"cache", "storage"');
  return page(context, "You are logged out of this application.", false);
}

function refused(context: Context<Env>): Response {
  return problem(
    context,
    refusal("origin_refused", "only pages of this origin may ask for this", {
      hint: "other origins can link here, and no more",
    }),
  );
}

/** A path of the service's on this origin, whatever the address says. */
export function safeReturn(given: string | undefined): string {
  if (given === undefined || given.length > 2048 || !/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(given))
    return "/";
  return given.startsWith(OURS) ? "/" : given;
}

function redirect(context: Context, to: string): Response {
  context.header("cache-control", "no-store");
  // The code of a login must not travel on in a Referer.
  context.header("referrer-policy", "no-referrer");
  return context.redirect(to, 302);
}

/** A page of ours: a sentence, and where it asks for it a button to log out. */
function page(context: Context, sentence: string, asks: boolean, status: 200 | 400 = 200): Response {
  const rest = asks
    ? `<form method="post" action="${OURS}logout"><button>Log out</button></form>`
    : '<p><a href="/">To the application</a></p>';
  return context.html(
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sallyport</title><p>${sentence}</p>${rest}</html>`,
    status,
    {
      "cache-control": "no-store",
      "content-security-policy":
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
      "referrer-policy": "same-origin",
      "x-content-type-options": "nosniff",
    },
  );
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Buffer.from(digest).toString("hex");
}
