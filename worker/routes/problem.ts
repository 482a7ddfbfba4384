/** Answers of the API: RFC 9457 problems with our refusal codes. The statuses are in wire/refusals.ts. */
import type { Context } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { REFUSALS, type Refusal } from "../../wire/refusals.ts";
import type { Result } from "../../wire/result.ts";
import { statusResponse } from "../objects/session/kubernetes-dialect.ts";
import type { ConfigError } from "../policy/cedar/engine.ts";

/** The refusal as `application/problem+json`. */
export function problem(context: Context, why: Refusal, errors?: readonly ConfigError[]): Response {
  // What speaks to a cluster reads nothing else.
  if (context.req.path.startsWith("/k8s/")) return statusResponse(why);
  const { http } = REFUSALS[why.code];
  return context.body(
    JSON.stringify({
      type: "about:blank",
      title: why.message,
      status: http,
      code: why.code,
      ...(why.hint === undefined ? {} : { hint: why.hint }),
      ...(why.approval === undefined ? {} : { approval: why.approval }),
      ...(errors === undefined ? {} : { errors }),
    }),
    http satisfies ContentfulStatusCode,
    { "content-type": "application/problem+json", "cache-control": "no-store" },
  );
}

/** The value as JSON, or its refusal as a problem. */
export function answer<T>(
  context: Context,
  result: Result<T, Refusal>,
  show: (value: T) => unknown = (value) => value,
): Response {
  if (!result.ok) return problem(context, result.error);
  return context.json(show(result.value) as object, 200, { "cache-control": "no-store" });
}
