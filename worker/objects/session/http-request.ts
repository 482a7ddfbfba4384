/** One request as the driver takes it: its canonical form, and what of it is shown and recorded. */
import { type HeaderField, requestHeaders } from "../../../wire/http/headers.ts";
import { HTTP_METHODS, type HttpMethod } from "../../../wire/http/open.ts";
import { parseTarget } from "../../../wire/http/target.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { HttpRequest } from "../../policy/http/operations.ts";

/** First segment of the gateway's path under which a request came, such as `/http`. */
export const AREA_HEADER = "sally-area";

/** The request in canonical form, without what is not for the upstream. */
export function parseRequest(request: Request, raw: string): Result<HttpRequest, Refusal> {
  const method = HTTP_METHODS.find((known) => known === request.method);
  if (method === undefined)
    return err(refusal("unknown_operation", `the method ${printable(request.method)} is not passed on`));
  const target = parseTarget(raw);
  if (!target.ok) return target;
  const upgrade = upgradeOf(request) === "websocket";
  if (upgrade && method !== "GET") return err(refusal("request_invalid", "a WebSocket opens with GET"));
  const headers = requestHeaders([...request.headers], upgrade);
  if (!headers.ok) return headers;
  const hasBody = !upgrade && request.body !== null && mayHaveBody(method, request);
  return ok({ method, target: target.value, headers: headers.value, upgrade, hasBody });
}

/** The protocol that the client wants to change to, in lower case. */
export function upgradeOf(request: Request): string | undefined {
  return request.headers.get("upgrade")?.trim().toLowerCase();
}

/** A GET or HEAD has a body only when it says so. */
function mayHaveBody(method: HttpMethod, request: Request): boolean {
  const length = request.headers.get("content-length");
  if (method === "GET" || method === "HEAD")
    return (length !== null && length !== "0") || request.headers.has("transfer-encoding");
  return length !== "0";
}

/** Length of the body as the client says it; null for none, or none that can be. */
export function contentLength(request: Request): number | null {
  const text = request.headers.get("content-length");
  const length = text !== null && /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(length) ? length : null;
}

/** Path and query. */
export function targetOf({ target }: HttpRequest): string {
  return target.path + target.query;
}

/** The request in one line. */
export function textOf(request: HttpRequest): string {
  return `${request.method} ${targetOf(request)}`;
}

/** What could not be parsed, safe to show. */
export function printable(text: string): string {
  return text.slice(0, 512).replaceAll(/[^!-~]/g, (character) => encodeURI(character.toWellFormed()));
}

/** Header fields for the recording; what may be a secret is named only. */
export function shownHeaders(headers: readonly HeaderField[]): readonly HeaderField[] {
  return headers.map(([name, value]) =>
    /cookie|auth|token|secret|api-?key|password|signature/.test(name)
      ? [name, "(not recorded)"]
      : [name, value],
  );
}
