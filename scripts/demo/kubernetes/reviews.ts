/** Questions about oneself: SelfSubjectReview, SelfSubjectAccessReview and SelfSubjectRulesReview. */
import { type Bindings, isAllowed } from "./authorization.ts";
import { type Kind, apiVersionOf } from "./kinds.ts";
import { type Fields, isFields } from "./objects.ts";
import type { User } from "./request.ts";

export function isReview(kind: Kind): boolean {
  return kind.kind.startsWith("SelfSubject");
}

export function review(kind: Kind, body: unknown, user: User, bindings: Bindings): Fields {
  const spec = isFields(body) && isFields(body["spec"]) ? body["spec"] : {};
  const answer = (status: Fields): Fields => ({
    kind: kind.kind,
    apiVersion: apiVersionOf(kind),
    metadata: { creationTimestamp: null },
    ...(kind.kind === "SelfSubjectReview" ? {} : { spec }),
    status,
  });
  if (kind.kind === "SelfSubjectReview") {
    return answer({ userInfo: { username: user.username, groups: user.groups } });
  }
  const may = (attributes: Fields): boolean => {
    const text = (name: string): string => (typeof attributes[name] === "string" ? attributes[name] : "");
    return isAllowed(user, bindings, {
      verb: text("verb"),
      group: text("group"),
      resource: text("resource"),
      subresource: text("subresource"),
      namespace: text("namespace"),
      name: text("name"),
    });
  };
  if (kind.kind === "SelfSubjectRulesReview") {
    const all = may({ verb: "*", resource: "*" });
    const view = may({ verb: "list", resource: "pods" });
    const rule = (verbs: string[], resources: string[]): Fields => ({ verbs, apiGroups: ["*"], resources });
    const resourceRules = all ? [rule(["*"], ["*"])] : view ? [rule(["get", "list", "watch"], ["*"])] : [];
    return answer({ resourceRules, nonResourceRules: [], incomplete: false });
  }
  const attributes = spec["resourceAttributes"];
  if (isFields(attributes)) return answer({ allowed: may(attributes) });
  // Paths that are no resources: discovery and health, which are everybody's.
  return answer({ allowed: true });
}
