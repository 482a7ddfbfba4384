/**
 * Requests of a browser that is logged in to the console: its cookie in place of a bearer token. What a browser
 * sends by itself proves nothing about who wanted it, so whatever changes something also has to come from a page
 * of ours (`Origin`) and know that page's secret (`sally-csrf`), and a WebSocket has to come from one.
 */
import type { Context } from "hono";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type Bindings, controlOf, readSettings } from "../env.ts";
import type { Browser } from "../objects/control/console-sessions.ts";

export const SESSION_COOKIE = "__Host-sally-console";
export const LOGIN_COOKIE = "__Host-sally-login";

const VALUE = /^[0-9a-f]{64}$/;

/** The value of a cookie of ours, when it is there once and has its form. */
export function readCookie(request: Request, name: string): string | undefined {
  const values = (request.headers.get("cookie") ?? "")
    .split(";")
    .map((pair) => pair.trim())
    .filter((pair) => pair.startsWith(`${name}=`))
    .map((pair) => pair.slice(name.length + 1));
  const [value] = values;
  return values.length === 1 && value !== undefined && VALUE.test(value) ? value : undefined;
}

/** Sets a cookie of ours on this origin for that many seconds; 0 takes it away. */
export function setCookie(
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

/** Who sits at the browser; undefined when it sends no cookie of ours. */
export async function admitBrowser(
  context: Context<{ Bindings: Bindings }>,
): Promise<Result<Browser, Refusal> | undefined> {
  const request = context.req.raw;
  const cookie = readCookie(request, SESSION_COOKIE);
  if (cookie === undefined) return undefined;
  const isRead = request.method === "GET" || request.method === "HEAD";
  const isSocket = request.headers.get("upgrade") !== null;
  const from = checkOrigin(request, new URL(readSettings(context.env).publicUrl).origin, isRead && !isSocket);
  if (!from.ok) return from;
  const admitted: Result<Browser, Refusal> = await controlOf(context.env).admitBrowser(cookie, !isRead);
  if (!admitted.ok || isRead) return admitted;
  return sameSecret(request.headers.get("sally-csrf") ?? "", admitted.value.csrf)
    ? admitted
    : err(
        refusal("csrf_refused", "this request did not come from a page of the console", {
          hint: "load the page again",
        }),
      );
}

/** `reading`: a plain GET, whose answer the browser itself keeps from pages of other origins. */
function checkOrigin(request: Request, own: string, reading: boolean): Result<void, Refusal> {
  const origin = request.headers.get("origin");
  const site = request.headers.get("sec-fetch-site");
  const foreign = origin === null ? !reading : origin !== own;
  if (foreign || (site !== null && site !== "same-origin" && site !== "none")) {
    return err(refusal("origin_refused", "the console's cookie counts only on pages of the console"));
  }
  return ok(undefined);
}

function sameSecret(given: string, expected: string): boolean {
  const encoder = new TextEncoder();
  const [a, b] = [encoder.encode(given), encoder.encode(expected)];
  return a.byteLength === b.byteLength && crypto.subtle.timingSafeEqual(a, b);
}
