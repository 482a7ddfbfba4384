/** What somebody may do in the console, so that its pages offer nothing else; each request is decided again. */
import type { PolicyEngine, Target } from "../../policy/cedar/engine.ts";
import type { AdminVerb, Principal, Resource } from "../../policy/types.ts";

const GATEWAY_ACTIONS = ["config:read", "config:write"] as const satisfies readonly AdminVerb[];
const RESOURCE_ACTIONS = [
  "approval:decide",
  "session:replay",
  "session:watch",
  "session:kill",
] as const satisfies readonly AdminVerb[];

/** Administrative actions: about the gateway, and about each resource by its name. */
export type Permissions = {
  readonly gateway: readonly AdminVerb[];
  readonly resources: Readonly<Record<string, readonly AdminVerb[]>>;
};

export function permissionsOf(
  engine: Pick<PolicyEngine, "decide">,
  principal: Principal,
  resources: readonly Resource[],
): Permissions {
  const allowed = (target: Target, actions: readonly AdminVerb[]): AdminVerb[] =>
    actions.filter((action) => engine.decide(principal, target, { action, facts: {} }).effect === "allow");
  return {
    gateway: allowed("gateway", GATEWAY_ACTIONS),
    resources: Object.fromEntries(
      resources.map((resource) => [resource.name, allowed(resource, RESOURCE_ACTIONS)]),
    ),
  };
}
