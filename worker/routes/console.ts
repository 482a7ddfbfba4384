/** Logging in to the console and out of it. The pages themselves are files (console-files.ts). */
import { type Context, Hono } from "hono";
import { html } from "hono/html";
import { refusal } from "../../wire/refusals.ts";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import { LOGIN_COOKIE, SESSION_COOKIE, admitBrowser, readCookie, setCookie } from "./browser.ts";
import { safeReturn as returnToService } from "./origins.ts";
import { problem } from "./problem.ts";
import { time } from "./show.ts";

export const console_ = new Hono<{ Bindings: Bindings }>();

const START = "/console/";
const LOGIN_SECONDS = 600;
const RESOURCE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const SHA256 = /^[0-9a-f]{64}$/;

console_.get("/console/login", async (context) => {
  const { issuer, resource, proof, return: wanted } = context.req.query();
  const entry =
    resource === undefined ? undefined : { resource, proof: proof ?? "", returnTo: returnToService(wanted) };
  if (entry !== undefined && !(RESOURCE.test(entry.resource) && SHA256.test(entry.proof)))
    return failed(context, "token_missing");
  const control = controlOf(context.env);
  const begun = await control.beginConsoleLogin(issuer, safeReturn(wanted), entry);
  if (!begun.ok && entry !== undefined && issuer === undefined && begun.error.code === "not_found")
    return choose(context, await control.loginIssuers());
  if (!begun.ok) return failed(context, begun.error.code);
  const { address, cookie } = begun.value;
  // Lax: the provider's redirect back is a navigation from another site.
  setCookie(context, LOGIN_COOKIE, cookie, "Lax", LOGIN_SECONDS);
  return redirect(context, address);
});

console_.get("/console/callback", async (context) => {
  const { code, state } = context.req.query();
  const cookie = readCookie(context.req.raw, LOGIN_COOKIE);
  clearCookie(context, LOGIN_COOKIE, "Lax");
  if (code === undefined || state === undefined || cookie === undefined || code.length > 4096) {
    return failed(context, "token_missing");
  }
  const finished = await controlOf(context.env).finishConsoleLogin({ code, state, cookie });
  if (!finished.ok) return failed(context, finished.error.code);
  const { cookie: session, returnTo, endsAt, resource } = finished.value;
  if (resource !== undefined) return enterResource(context, resource, session, returnTo);
  setCookie(context, SESSION_COOKIE, session, "Strict", Math.floor((endsAt - Date.now()) / 1000));
  return redirect(context, returnTo);
});

console_.get("/console/session", async (context) => {
  const browser = await admitBrowser(context);
  if (browser === undefined) return problem(context, refusal("token_missing", "you are not logged in"));
  if (!browser.ok) return problem(context, browser.error);
  const { token, csrf } = browser.value;
  const may = await controlOf(context.env).permissions(token.principal);
  const { principal, expiresAt } = token;
  return context.json({ principal, expiresAt: time(expiresAt), csrf, may }, 200, {
    "cache-control": "no-store",
  });
});

console_.post("/console/logout", async (context) => {
  const browser = await admitBrowser(context);
  if (browser?.ok === false && browser.error.code !== "token_missing") return problem(context, browser.error);
  const cookie = readCookie(context.req.raw, SESSION_COOKIE);
  if (browser?.ok === true && cookie !== undefined) await controlOf(context.env).endConsoleSession(cookie);
  clearCookie(context, SESSION_COOKIE, "Strict");
  return context.body(null, 204);
});

/** Only to pages of the console, whatever the link that led to the login says. */
function safeReturn(given: string | undefined): string {
  if (given === undefined || given.length > 2048 || !/^\/console\/[^\\\s]*$/.test(given)) return START;
  const url = URL.parse(given, "https://console.invalid");
  return url?.origin === "https://console.invalid" && url.pathname.startsWith(START)
    ? url.pathname + url.search
    : START;
}

/** On to the resource's origin, with the code that the browser which began can trade in there. */
function enterResource(
  context: Context<{ Bindings: Bindings }>,
  resource: string,
  code: string,
  returnTo: string,
): Response {
  const { resourcesUrl } = readSettings(context.env);
  if (resourcesUrl === undefined) return failed(context, "not_found");
  const { protocol, host } = new URL(resourcesUrl);
  const address = new URL(`${protocol}//${resource}.${host}/.sally/enter`);
  address.searchParams.set("code", code);
  address.searchParams.set("return", returnTo);
  return redirect(context, address.href);
}

type Issuers = { readonly issuers: readonly { readonly issuer: string; readonly console?: true }[] };

/** Several identity providers: the person knows which is theirs. */
function choose(context: Context, { issuers }: Issuers): Response | Promise<Response> {
  const links = issuers
    .filter((each) => each.console === true)
    .map(({ issuer }) => {
      const url = new URL(context.req.url);
      url.searchParams.set("issuer", issuer);
      return html`<li><a href="${url.pathname + url.search}">${issuer}</a></li>`;
    });
  return context.html(
    html`<!doctype html>
      <html lang="en">
        <meta charset="utf-8" />
        <title>Sallyport</title>
        <p>Log in with</p>
        <ul>
          ${links}
        </ul>
      </html>`,
    200,
    {
      "cache-control": "no-store",
      "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'",
    },
  );
}

function failed(context: Context, why: string): Response {
  return redirect(context, `${START}?login=failed&why=${encodeURIComponent(why)}`);
}

function redirect(context: Context, to: string): Response {
  context.header("cache-control", "no-store");
  // The code of a login must not travel on in a Referer.
  context.header("referrer-policy", "no-referrer");
  return context.redirect(to, 302);
}

function clearCookie(context: Context, name: string, site: "Lax" | "Strict"): void {
  setCookie(context, name, "", site, 0);
}
