/** The gateway's HTTP API (docs/api.md), with problem documents (RFC 9457) turned into failures. */
import { z } from "zod";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Context } from "./context.ts";
import { type Failure, exitFor, fail } from "./failure.ts";
import { resolveGateway } from "./gateway.ts";
import { parseJson, request } from "./http.ts";
import { type SessionTokens, sessionTokens } from "./session-token.ts";

export type Method = "GET" | "POST" | "PUT" | "DELETE";

export type Api = {
  readonly gateway: string;
  /** One request with the session token; the answer is checked against `schema`. */
  readonly call: <T>(
    schema: z.ZodType<T>,
    method: Method,
    path: string,
    body?: unknown,
  ) => Promise<Result<T, Failure>>;
};

/** `bearer` replaces the exchanged session token (the bootstrap token of a new gateway). */
export async function openApi(context: Context, bearer?: string): Promise<Result<Api, Failure>> {
  const gateway = await resolveGateway(context);
  if (!gateway.ok) return gateway;
  if (bearer === undefined) return ok(apiWith(gateway.value, sessionTokens(context, gateway.value, [])));
  return ok({
    gateway: gateway.value,
    call: (schema, method, path, body) =>
      callGateway(gateway.value, { authorization: `Bearer ${bearer}` }, schema, method, path, body),
  });
}

/** The API with these tokens. */
export function apiWith(gateway: string, tokens: SessionTokens): Api {
  return {
    gateway,
    call: async (schema, method, path, body) => {
      const token = await tokens.get();
      if (!token.ok) return token;
      return callGateway(gateway, tokens.headers(token.value, method, path), schema, method, path, body);
    },
  };
}

/** One request to the gateway; `authorization` are the headers that show who it comes from. */
export async function callGateway<T>(
  gateway: string,
  authorization: Readonly<Record<string, string>>,
  schema: z.ZodType<T>,
  method: Method,
  path: string,
  body?: unknown,
): Promise<Result<T, Failure>> {
  const answer = await request(`the gateway ${gateway}`, gateway + path, {
    method,
    headers: {
      accept: "application/json",
      ...authorization,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  if (!answer.ok) return answer;
  const { status, text } = answer.value;
  const json = text === "" ? undefined : parseJson(text);
  if (status < 200 || status > 299) return { ok: false, error: problemFailure(gateway, status, json) };
  const parsed = schema.safeParse(json);
  if (parsed.success) return ok(parsed.data);
  return fail(EXIT.failed, `the gateway's answer to ${method} ${path.split("?")[0]} is not understood`, {
    hint: "the gateway and this sally may be of different versions",
    details: parsed.error.issues.slice(0, 3).map((issue) => `${issue.path.join(".")}: ${issue.message}`),
  });
}

export const Problem = z.object({
  title: z.string(),
  code: z.string().optional(),
  hint: z.string().optional(),
  approval: z.string().optional(),
  errors: z
    .array(
      z.object({
        file: z.string().optional(),
        line: z.number().optional(),
        column: z.number().optional(),
        message: z.string(),
      }),
    )
    .optional(),
});

/** A problem document as a failure; anything else as "this is not a gateway". */
export function problemFailure(gateway: string, status: number, json: unknown): Failure {
  const parsed = Problem.safeParse(json);
  if (!parsed.success) {
    return {
      exit: status === 401 ? EXIT.unauthenticated : status >= 500 ? EXIT.unreachable : EXIT.failed,
      message: `${gateway} did not answer like a sallyport gateway (HTTP ${status})`,
      hint: "check the address in --gateway or SALLY_GATEWAY",
    };
  }
  const { title, code, hint, approval, errors } = parsed.data;
  return {
    exit: code !== undefined ? exitFor(code) : status === 401 ? EXIT.unauthenticated : EXIT.failed,
    message: title,
    ...(code === undefined ? {} : { code }),
    ...(hint === undefined ? {} : { hint }),
    ...(approval === undefined ? {} : { approval }),
    ...(errors === undefined ? {} : { details: errors.map(place) }),
  };
}

/** `file:line:column: message`, the form that editors jump to. */
function place(error: {
  file?: string | undefined;
  line?: number | undefined;
  column?: number | undefined;
  message: string;
}): string {
  const where = [error.file, error.line, error.file === undefined ? undefined : error.column].filter(
    (part) => part !== undefined,
  );
  return where.length === 0 ? error.message : `${where.join(":")}: ${error.message}`;
}
