/** A request to a cluster as people read it, in approvals and recordings. */
import { canonicalText } from "../../../wire/ssh/command-line.ts";
import type { HttpRequest } from "../http/operations.ts";
import type { RequestInfo } from "./request-info.ts";

/**
 * As kubectl would be asked for it where the address hides what matters (a command in the query); else the request
 * line. Every word is quoted, so that two different requests never read the same.
 */
export function requestText({ method, target, upgrade }: HttpRequest, info: RequestInfo): string {
  const { verb, resource, namespace, name, stream } = info;
  if (stream === undefined || !["exec", "attach", "portforward"].includes(verb)) {
    return `${upgrade ? "WebSocket" : method} ${target.path}${target.query}`;
  }
  const flags = `${stream.stdin ? "i" : ""}${stream.tty ? "t" : ""}`;
  return canonicalText([
    "kubectl",
    verb === "portforward" ? "port-forward" : verb,
    ...(namespace === "" ? [] : ["-n", namespace]),
    ...(flags === "" ? [] : [`-${flags}`]),
    resource === "pods" ? name : `${resource}/${name}`,
    ...(stream.container === "" ? [] : ["-c", stream.container]),
    ...(verb === "portforward" ? stream.ports : []),
    ...(verb === "exec" ? ["--", ...stream.command] : []),
  ]);
}
