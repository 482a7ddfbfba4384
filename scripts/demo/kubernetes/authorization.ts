/** Who is there and what they may do: bearer tokens, impersonation and a handful of roles. */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { User } from "./request.ts";
import { StatusError } from "./status.ts";

/** `admin` may do everything, `view` may look at everything but Secrets. */
export type Role = "admin" | "view";

/** Roles by group. */
export type Bindings = Readonly<Record<string, Role>>;

export type Attributes = {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
};

export type Authenticated = {
  /** Who the request acts as. */
  readonly user: User;
  /** Who sent it, where that is somebody else. */
  readonly impersonator: User | undefined;
};

const MASTERS = "system:masters";
const EXTRA = "impersonate-extra-";

/** Throws a StatusError (401, 403). */
export function authenticate(request: IncomingMessage, token: string, holder: User): Authenticated {
  const headers = request.headersDistinct;
  const given = /^Bearer (\S+)$/i.exec(headers["authorization"]?.[0] ?? "")?.[1] ?? "";
  if (!sameText(given, token)) throw new StatusError(401, "Unauthorized", "Unauthorized");
  const username = headers["impersonate-user"]?.[0];
  const groups = headers["impersonate-group"];
  const extra = Object.fromEntries(
    Object.entries(headers)
      .filter(([name]) => name.startsWith(EXTRA))
      .map(([name, values = []]) => [decodeURIComponent(name.slice(EXTRA.length)), values.map(fromHeader)]),
  );
  if (username === undefined) {
    const others = groups !== undefined || headers["impersonate-uid"] !== undefined;
    if (!others && Object.keys(extra).length === 0)
      return { user: withAuthenticated(holder), impersonator: undefined };
    const why = "requested impersonation of groups without impersonating a user";
    throw new StatusError(500, "InternalError", `Internal error occurred: ${why}`);
  }
  const user = {
    username: fromHeader(username),
    groups: (groups ?? []).map(fromHeader),
    ...(Object.keys(extra).length === 0 ? {} : { extra }),
  };
  return { user: withAuthenticated(user), impersonator: withAuthenticated(holder) };
}

/** UTF-8, of which Node makes one character a byte. */
function fromHeader(value: string): string {
  return Buffer.from(value, "latin1").toString("utf8");
}

function withAuthenticated(user: User): User {
  return { ...user, groups: [...new Set([...user.groups, "system:authenticated"])] };
}

function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

export function isAllowed(user: User, bindings: Bindings, attributes: Attributes): boolean {
  if (user.groups.includes(MASTERS)) return true;
  const { verb, group, resource, subresource } = attributes;
  if (resource.startsWith("selfsubject") && verb === "create") return true;
  const roles = user.groups.map((each) => bindings[each]);
  if (roles.includes("admin")) return true;
  if (!roles.includes("view") || !["get", "list", "watch"].includes(verb)) return false;
  if (group === "" && resource === "secrets") return false;
  return !["exec", "attach", "portforward", "proxy"].includes(subresource);
}

/** As the RBAC authorizer says it. */
export function refusal(user: User, { verb, group, resource, subresource, namespace }: Attributes): string {
  const what = subresource === "" ? resource : `${resource}/${subresource}`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
  return `User "${user.username}" cannot ${verb} resource "${what}" in API group "${group}" ${where}`;
}
