/** Parameters of a request to the API server, read as Go's net/url and the API server's own codec read them. */
import type { Target } from "../../../wire/http/target.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";

export type Query = ReadonlyMap<string, readonly string[]>;

/** Values of each parameter in their order. The target is canonical, so it decodes. */
export function parseQuery(target: Target): Query {
  const query = new Map<string, string[]>();
  for (const part of target.query.slice(1).split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = decode(equals < 0 ? part : part.slice(0, equals));
    const value = equals < 0 ? "" : decode(part.slice(equals + 1));
    const values = query.get(name);
    if (values === undefined) query.set(name, [value]);
    else values.push(value);
  }
  return query;
}

function decode(text: string): string {
  return decodeURIComponent(text.replaceAll("+", "%20"));
}

/**
 * A parameter that may be there once. The API server takes the first of several for some and all of them for
 * others, so several are refused.
 */
export function single(query: Query, name: string): Result<string | undefined, Refusal> {
  const values = query.get(name);
  if (values === undefined || values.length === 1) return ok(values?.[0]);
  return refuse(`has the parameter ${name} more than once`);
}

/**
 * A switch as the API server converts it: "0" and "false" are off, anything else that is there is on, the empty
 * text too. What nobody writes is refused, because "anything else" has its own surprises (Unicode case folding).
 */
export function flag(query: Query, name: string): Result<boolean, Refusal> {
  const value = single(query, name);
  if (!value.ok) return value;
  switch (value.value?.toLowerCase()) {
    case undefined:
    case "0":
    case "false":
      return ok(false);
    case "":
    case "1":
    case "true":
      return ok(true);
    default:
      return refuse(`has a parameter ${name} that is neither true nor false`);
  }
}

/**
 * The object that a field selector narrows a list or watch to, "" for none. A term is `field=value`, `field==value`
 * or `field!=value`; a backslash escapes (k8s.io/apimachinery/pkg/fields/selector.go). An object's name needs no
 * escapes, so a selector with one beside `metadata.name` is refused.
 */
export function selectedName(query: Query): Result<string, Refusal> {
  const selector = single(query, "fieldSelector");
  if (!selector.ok) return selector;
  const text = selector.value ?? "";
  if (!text.includes("metadata.name")) return ok("");
  if (text.includes("\\"))
    return refuse("has a field selector with escapes, which names are not written with");
  const names: string[] = [];
  for (const term of text.split(",")) {
    const match = /^([^=!]*)(==|!=|=)(.*)$/s.exec(term);
    if (match === null && term !== "") return refuse("has a field selector that cannot be read");
    if (match?.[1] === "metadata.name" && match[2] !== "!=") names.push(match[3] ?? "");
  }
  if (names.length > 1) return refuse("has a field selector with two names");
  return ok(names[0] ?? "");
}

export function refuse(what: string): Result<never, Refusal> {
  return err(refusal("request_invalid", `this request to the cluster ${what}`));
}
