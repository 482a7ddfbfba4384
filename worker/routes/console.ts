/** Logging in to the console and out of it. The pages themselves are files (console-files.ts). */
import { type Context, Hono } from "hono";
import { refusal } from "../../wire/refusals.ts";
import { type Bindings, controlOf } from "../env.ts";
import { LOGIN_COOKIE, SESSION_COOKIE, admitBrowser, readCookie } from "./browser.ts";
import { problem } from "./problem.ts";
import { time } from "./show.ts";

export const console_ = new Hono<{ Bindings: Bindings }>();

const START = "/console/";
const LOGIN_SECONDS = 600;

console_.get("/console/login", async (context) => {
  const begun = await controlOf(context.env).beginConsoleLogin(
    context.req.query("issuer"),
    safeReturn(context.req.query("return")),
  );
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
  const { cookie: session, returnTo, endsAt } = finished.value;
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

function failed(context: Context, why: string): Response {
  return redirect(context, `${START}?login=failed&why=${encodeURIComponent(why)}`);
}

function redirect(context: Context, to: string): Response {
  context.header("cache-control", "no-store");
  // The code of a login must not travel on in a Referer.
  context.header("referrer-policy", "no-referrer");
  return context.redirect(to, 302);
}

function setCookie(
  context: Context,
  name: string,
  value: string,
  site: "Lax" | "Strict",
  seconds: number,
): void {
  context.header(
    "set-cookie",
    `${name}=${value}; Path=/; Max-Age=${seconds}; HttpOnly; Secure; SameSite=${site}`,
    { append: true },
  );
}

function clearCookie(context: Context, name: string, site: "Lax" | "Strict"): void {
  setCookie(context, name, "", site, 0);
}
