/** What applying a configuration changes, in sentences, for whoever is about to apply it. */
import type { Config } from "./parse.ts";
import { DEFAULT_TOKENS } from "./tokens.ts";

type Named = {
  readonly kind: string;
  readonly key: string;
  readonly parts: Readonly<Record<string, string>>;
};

/** One line for each thing added, removed or changed; `before` is undefined for the first configuration. */
export function describeChanges(before: Config | undefined, after: Config): string[] {
  const old = before === undefined ? new Map<string, Named>() : collect(before);
  const now = collect(after);
  const changes: string[] = [];
  for (const [id, item] of now) {
    const earlier = old.get(id);
    if (earlier === undefined) {
      changes.push(`${item.kind} ${item.key} added`);
      continue;
    }
    const changed = [...new Set([...Object.keys(item.parts), ...Object.keys(earlier.parts)])].filter(
      (part) => item.parts[part] !== earlier.parts[part],
    );
    if (changed.length > 0)
      changes.push(`${item.kind} ${item.key} changed: ${changed.toSorted().join(", ")}`);
  }
  for (const [id, item] of old) if (!now.has(id)) changes.push(`${item.kind} ${item.key} removed`);
  return changes;
}

function collect(config: Config): Map<string, Named> {
  const isDefault = JSON.stringify(config.tokens) === JSON.stringify(DEFAULT_TOKENS);
  const items: Named[] = [
    ...(isDefault ? [] : [{ kind: "setting", key: "tokens", parts: toParts(config.tokens) }]),
    ...config.issuers.map(({ issuer, ...rest }) => ({ kind: "issuer", key: issuer, parts: toParts(rest) })),
    ...config.saml.map(({ name, ...rest }) => ({ kind: "SAML provider", key: name, parts: toParts(rest) })),
    ...config.directories.map(({ name, ...rest }) => ({
      kind: "SCIM directory",
      key: name,
      parts: toParts(rest),
    })),
    ...config.resources.map(({ name, ...rest }) => ({ kind: "resource", key: name, parts: toParts(rest) })),
    ...config.notifications.map(({ name, ...rest }) => ({
      kind: "notification",
      key: name,
      parts: toParts(rest),
    })),
    ...config.checkedPolicies.map((policy) => ({
      kind: "policy",
      key: policy.id,
      parts: toParts({ effect: policy.effect, text: policy.text }),
    })),
  ];
  return new Map(items.map((item) => [`${item.kind} ${item.key}`, item]));
}

function toParts(fields: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([field, value]) => [field, canonical(value)]));
}

/** JSON with keys in order, so that only what a value means counts. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) =>
    typeof part === "object" && part !== null && !Array.isArray(part)
      ? Object.fromEntries(Object.entries(part).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : part,
  );
}
