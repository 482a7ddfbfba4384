/**
 * The console's files (`worker/console`, built to `dist/console`) with the headers that keep a page from doing
 * anything but what it was built for. They are the same for everybody: who may see what is decided where the pages
 * get their data.
 */
import { type Context, Hono } from "hono";
import { refusal } from "../../wire/refusals.ts";
import type { Bindings } from "../env.ts";
import { problem } from "./problem.ts";

export const consoleFiles = new Hono<{ Bindings: Bindings }>();

const PREFIX = "/console/";
/** Files whose name holds the hash of their content. */
const HASHED = `${PREFIX}assets/`;

/** `wasm-unsafe-eval` lets the terminal player compile its own WebAssembly; JavaScript from text stays forbidden. */
const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "manifest-src 'self'",
  "worker-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "content-security-policy": CONTENT_SECURITY_POLICY,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

consoleFiles.get("/console", (context) => context.redirect(PREFIX, 308));

consoleFiles.get("/console/*", async (context) => {
  const { ASSETS } = context.env;
  if (ASSETS === undefined) {
    return problem(context, refusal("not_found", "this gateway was deployed without its console"));
  }
  const { pathname } = new URL(context.req.url);
  const file = await fetchFile(context, ASSETS, pathname);
  if (file.ok || file.status === 304) return withHeaders(file, pathname.startsWith(HASHED));
  if (pathname.startsWith(HASHED)) {
    return problem(context, refusal("not_found", `there is nothing at ${pathname}`));
  }
  // Every other address is a page of the one application.
  return withHeaders(await fetchFile(context, ASSETS, `${PREFIX}index.html`), false);
});

function fetchFile(context: Context, assets: Fetcher, pathname: string): Promise<Response> {
  const url = new URL(pathname.slice(PREFIX.length - 1), context.req.url);
  const unchanged = context.req.header("if-none-match");
  return assets.fetch(url, { headers: unchanged === undefined ? {} : { "if-none-match": unchanged } });
}

function withHeaders(file: Response, hashed: boolean): Response {
  const headers = new Headers(file.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  headers.set("cache-control", hashed ? "public, max-age=31536000, immutable" : "no-cache");
  return new Response(file.body, { status: file.status, headers });
}
