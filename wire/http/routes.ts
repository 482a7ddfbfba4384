/** Route templates such as `/orders/{id}`: from the configuration or an OpenAPI document's `paths`. */
import { type Result, err, ok } from "../result.ts";
import { parseTarget } from "./target.ts";

export type Route = {
  /** As written. */
  readonly template: string;
  /** Literal text, or undefined where any one segment fits. */
  readonly segments: readonly (string | undefined)[];
};

/** Parses a template; a parameter takes a whole segment. The error says what is wrong with it. */
export function parseRoute(template: string): Result<Route, string> {
  if (!template.startsWith("/")) return err("has to begin with a slash");
  const segments: (string | undefined)[] = [];
  const parts = template.slice(1).split("/");
  for (const [index, part] of parts.entries()) {
    if (part === "" && index < parts.length - 1) return err("has an empty segment");
    if (/^\{[A-Za-z0-9_.-]{1,64}\}$/.test(part)) {
      segments.push(undefined);
      continue;
    }
    if (/[{}]/.test(part)) return err("has a parameter that is not a whole segment");
    const parsed = parseTarget(`/${part}`);
    if (!parsed.ok || parsed.value.query !== "") return err("is not a plain path");
    segments.push(parsed.value.segments[0] ?? "");
  }
  return ok({ template, segments });
}

/**
 * The template that a path fits, "" for none. A literal segment beats a parameter, from left to right, as
 * OpenAPI 3.1 section 4.8.8 has it ("concrete definitions would be matched before their templated counterparts").
 *
 * @param segments the path's, decoded
 */
export function matchRoute(routes: readonly Route[], segments: readonly string[]): string {
  let best: Route | undefined;
  for (const route of routes) {
    if (route.segments.length !== segments.length) continue;
    const fits = route.segments.every((segment, at) =>
      segment === undefined ? segments[at] !== "" : segment === segments[at],
    );
    if (fits && (best === undefined || isMoreConcrete(route, best))) best = route;
  }
  return best?.template ?? "";
}

function isMoreConcrete(a: Route, b: Route): boolean {
  for (const [at, segment] of a.segments.entries()) {
    const other = b.segments[at];
    if ((segment === undefined) !== (other === undefined)) return segment !== undefined;
  }
  return false;
}
