/** `sally policy explain` for requests: what policy and masks say of one, without sending it. */
import { utf8 } from "../../../wire/bytes.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { PolicyEngine } from "../../policy/cedar/engine.ts";
import type { SessionHost } from "./driver.ts";
import { type Explanation, deniedExplanation, showDecision } from "./explanation.ts";
import type { HttpDialect } from "./http-dialect.ts";
import { parseRequest } from "./http-request.ts";

/**
 * @param text a request as it is written in HTTP/1.1: `POST /orders/1/refund`, then header fields on lines of their
 *   own, an empty line and the body, as far as there are any
 */
export function explainRequest(
  host: SessionHost,
  text: string,
  dialect: HttpDialect,
  engine: Pick<PolicyEngine, "explain">,
): Result<Explanation, Refusal> {
  const written = readMessage(text);
  if (!written.ok) return written;
  const { request: asked, target, body } = written.value;
  const parsed = parseRequest(asked, target);
  if (!parsed.ok) return ok(deniedExplanation(parsed.error));
  const request = parsed.value;
  const limit = dialect.inspectedBody(request, host);
  if (limit !== undefined && body.length > limit) {
    const why = refusal(
      "over_limit",
      `a request that policy looks into may have at most ${limit} bytes of body`,
    );
    return ok(deniedExplanation(why));
  }
  const operation = dialect.operation(request, limit === undefined ? undefined : body, host);
  if (!operation.ok) return ok(deniedExplanation(operation.error));
  const { actions } = engine.explain(host.grant.principal, host.resource, operation.value);
  return ok({
    ...showDecision(host.decide(operation.value)),
    actions: actions.map(({ action, decision }) => ({
      action: action.action,
      facts: action.facts,
      ...showDecision(decision),
    })),
    notes: dialect.hidden?.(host) ?? [],
  });
}

type Message = { readonly request: Request; readonly target: string; readonly body: Uint8Array };

function readMessage(text: string): Result<Message, Refusal> {
  const [, head = "", bodyText = ""] = /^(.*?)(?:\r?\n\r?\n(.*))?$/s.exec(text.trim()) ?? [];
  const [first = "", ...lines] = head.split(/\r?\n/);
  const [, method = "", target = ""] =
    /^([A-Za-z]+)[ \t]+(\/\S*)(?:[ \t]+HTTP\/[\d.]+)?$/.exec(first.trim()) ?? [];
  const malformed = (what: string): Result<never, Refusal> =>
    err(refusal("request_invalid", what, { hint: "write it like: POST /orders/1/refund" }));
  if (method === "") return malformed("this is not a request with a method and a path");
  const headers = new Headers();
  for (const line of lines) {
    const [, name = "", value = ""] = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t -~]*)$/.exec(line) ?? [];
    if (name === "") return malformed("a line of the request is no header field");
    headers.append(name, value.trim());
  }
  const body = utf8(bodyText);
  const isJson = /^[[{]/.test(bodyText.trimStart());
  if (isJson && !headers.has("content-type")) headers.set("content-type", "application/json");
  const upper = method.toUpperCase();
  const takesBody = body.length > 0 && upper !== "GET" && upper !== "HEAD";
  try {
    const url = "https://explained.invalid/";
    const request = new Request(url, { method: upper, headers, ...(takesBody ? { body: bodyText } : {}) });
    return ok({ request, target, body });
  } catch {
    return malformed(`a request with the method ${upper} cannot be made`);
  }
}
