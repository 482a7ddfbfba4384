/**
 * Whom the cluster sees (Kubernetes docs, "User impersonation"): the principal's name and groups as header fields,
 * so that the cluster's own rules and audit log know the person and not only the connector's account.
 */
import type { HeaderField } from "../../../wire/http/headers.ts";
import type { HttpPrincipal } from "../../../wire/http/open.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Impersonation } from "./config.ts";

/**
 * The fields that name the principal. Groups of Kubernetes' own (`system:masters` is above every rule) are never
 * taken over from somewhere else: they are left out, and a user of such a name is refused.
 */
export function impersonationFields(
  principal: HttpPrincipal,
  { user, userPrefix, groupPrefix }: Impersonation,
): Result<readonly HeaderField[], string> {
  const shown = user === "name" ? principal.name : `${principal.issuer}#${principal.subject}`;
  const name = `${userPrefix}${shown}`;
  if (shown === "" || name.startsWith("system:"))
    return err("the principal has no name to be impersonated by");
  const groups = principal.groups
    .map((group) => `${groupPrefix}${group}`)
    .filter((group) => group !== "" && !group.startsWith("system:"));
  const fields: [string, string][] = [
    ["impersonate-user", name],
    ...groups.map((group): [string, string] => ["impersonate-group", group]),
    ["impersonate-extra-sallyport-name", principal.name],
    ["impersonate-extra-sallyport-session", principal.session],
    ...(principal.actor === undefined
      ? []
      : [["impersonate-extra-sallyport-actor", principal.actor] as [string, string]]),
  ];
  const encoded: HeaderField[] = [];
  for (const [field, value] of fields) {
    // UTF-8, as the API server reads them; Node writes one byte for each character.
    const bytes = Buffer.from(value, "utf8").toString("latin1");
    if (!/^[\x20-\x7e\x80-\xff]*$/.test(bytes) || bytes !== bytes.trim())
      return err(`${field} cannot stand in a header`);
    encoded.push([field, bytes]);
  }
  return ok(encoded);
}
