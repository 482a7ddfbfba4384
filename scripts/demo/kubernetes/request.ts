/** What a request to the API is about, as k8s.io/apiserver derives it. */
import { type Kind, findKind } from "./kinds.ts";

export type User = {
  readonly username: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
};

export type Target = {
  readonly kind: Kind;
  readonly namespace: string;
  readonly name: string;
  readonly subresource: string;
  /** What comes after a `proxy` subresource. */
  readonly rest: string;
};

/** Undefined for a path that names nothing that is served. */
export function parseTarget(path: string): Target | undefined {
  const parts = path.split("/").slice(1).map(decodeURIComponent);
  const core = parts[0] === "api";
  if (!core && parts[0] !== "apis") return undefined;
  const [group = "", version = ""] = core ? ["", parts[1]] : parts.slice(1, 3);
  let rest = parts.slice(core ? 2 : 3);
  let namespace = "";
  // `/namespaces/shop/pods`, but not `/namespaces/shop` and `/namespaces/shop/status`.
  if (rest[0] === "namespaces" && rest.length > 2 && !["status", "finalize"].includes(rest[2] ?? "")) {
    namespace = rest[1] ?? "";
    rest = rest.slice(2);
  }
  const [plural = "", name = "", subresource = "", ...more] = rest;
  const kind = findKind(group, version, plural);
  if (kind === undefined || (!kind.namespaced && namespace !== "")) return undefined;
  if (more.length > 0 && subresource !== "proxy") return undefined;
  if (name !== "" && kind.namespaced && namespace === "") return undefined;
  return { kind, namespace, name, subresource, rest: `/${more.join("/")}` };
}

export function verbOf(method: string, target: Target, query: URLSearchParams): string {
  const watching = ["true", "1"].includes(query.get("watch") ?? "");
  switch (method) {
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return target.name === "" ? "deletecollection" : "delete";
    default:
      return target.name !== "" ? "get" : watching ? "watch" : "list";
  }
}
