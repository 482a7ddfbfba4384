/**
 * Decides actions and operations by Cedar policies (DESIGN section 4), in this order, strictest first:
 *
 *   anything wrong: no policies, evaluation error, unknown action, over a limit ... deny
 *   a satisfied forbid ........................................................... deny
 *   a satisfied permit with @approval ............................................ hold for its group
 *   a satisfied permit ........................................................... allow
 *   nothing ...................................................................... deny
 *
 * Cedar skips a policy that fails while it is evaluated, a forbid too, so any evaluation error denies.
 * Policies see no clock, so the same facts give the same decision until the policies change.
 */
import type { Response } from "@cedar-policy/cedar-wasm/web";
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Action, Decision, DeterminingPolicy, HoldRequirement, Operation, Principal } from "../types.ts";
import { type CheckedPolicy, checkPolicies } from "./check.ts";
import { describeAction } from "./describe.ts";
import type { CedarModule } from "./module.ts";
import { type CedarRequest, type RequestProblem, type Target, buildRequest } from "./request.ts";
import { recent } from "./recent.ts";
import { SCHEMA } from "./schema.ts";
import type { ConfigError, PolicySource } from "./source.ts";

export type { CheckedPolicy } from "./check.ts";
export type { CedarModule } from "./module.ts";
export type { Target } from "./request.ts";
export type { ConfigError, PolicySource } from "./source.ts";

export type ExplainedAction = { readonly action: Action; readonly decision: Decision };

export type PolicyEngine = {
  /** Version of the loaded policies; undefined before the first `load`. */
  readonly version: number | undefined;
  /** Checks policies without loading them. Errors carry file, line and column. */
  readonly check: (
    sources: readonly PolicySource[],
  ) => Result<readonly CheckedPolicy[], readonly ConfigError[]>;
  /** Checks and loads; when something is wrong the policies loaded before stay in force. */
  readonly load: (version: number, sources: readonly PolicySource[]) => Result<void, readonly ConfigError[]>;
  /** Decides one action of a principal on a resource, or on the gateway itself (`config:*`). */
  readonly decide: (principal: Principal, target: Target, action: Action) => Decision;
  /** Decides every action of an operation; the strictest answer wins. No actions at all is a deny. */
  readonly decideOperation: (principal: Principal, target: Target, operation: Operation) => Decision;
  /** The same decision as `decideOperation`, with the decision on each action. */
  readonly explain: (
    principal: Principal,
    target: Target,
    operation: Operation,
  ) => { readonly decision: Decision; readonly actions: readonly ExplainedAction[] };
};

type Loaded = { readonly version: number; readonly policies: ReadonlyMap<string, CheckedPolicy> };

// One id for every load: Cedar never forgets an id, so new ids would grow without end.
const POLICY_SET = "policies";
const SCHEMA_NAME = "schema";

/** Creates an engine without policies, which denies everything. Several may share one Cedar instance. */
export function createPolicyEngine(cedar: CedarModule): PolicyEngine {
  let loaded: Loaded | undefined;
  const cache = recent<Decision>(LIMITS.policy.cachedDecisions);

  /** Puts these policies into the instance, unless they are there. False: the instance cannot take them. */
  const prepare = (policies: Loaded): boolean => {
    if (cedar.slot === policies) return true;
    try {
      const staticPolicies = Object.fromEntries(
        [...policies.policies].map(([id, policy]) => [id, policy.text]),
      );
      cedar.slot = undefined;
      if (cedar.schema !== SCHEMA) {
        if (cedar.preparseSchema(SCHEMA_NAME, SCHEMA).type === "failure") return false;
        cedar.schema = SCHEMA;
      }
      if (cedar.preparsePolicySet(POLICY_SET, { staticPolicies }).type === "failure") return false;
      cedar.slot = policies;
      return true;
    } catch {
      cedar.restart();
      return false;
    }
  };

  const evaluate = (policies: Loaded, { complete, ...request }: CedarRequest): Response | undefined => {
    if (!prepare(policies)) return undefined;
    try {
      const answer = cedar.statefulIsAuthorized({
        ...request,
        preparsedPolicySetId: POLICY_SET,
        ...(complete ? { preparsedSchemaName: SCHEMA_NAME } : {}),
        validateRequest: complete,
      });
      return answer.type === "success" ? answer.response : undefined;
    } catch {
      cedar.restart();
      return undefined;
    }
  };

  const decide = (principal: Principal, target: Target, action: Action): Decision => {
    if (loaded === undefined) {
      return denied(refusal("no_policy_loaded", "the gateway has no policies yet, so it refuses everything"));
    }
    const key = cacheKey(principal, target, action);
    const known = cache.get(key);
    if (known !== undefined) return known;
    const request = buildRequest(principal, target, action);
    if (!request.ok) return denied(problemRefusal(request.error, target, action));
    const response = evaluate(loaded, request.value);
    if (response === undefined) return denied(evaluationRefusal(target, action));
    const decision = toDecision(loaded, response, target, action);
    cache.set(key, decision);
    return decision;
  };

  const explain: PolicyEngine["explain"] = (principal, target, operation) => {
    const actions = operation.actions.map((action) => ({
      action,
      decision: decide(principal, target, action),
    }));
    return { decision: strictest(actions.map(({ decision }) => decision)), actions };
  };

  return {
    get version() {
      return loaded?.version;
    },
    check: (sources) => checkPolicies(cedar, sources),
    load: (version, sources) => {
      const checked = checkPolicies(cedar, sources);
      if (!checked.ok) return checked;
      const next: Loaded = { version, policies: new Map(checked.value.map((policy) => [policy.id, policy])) };
      if (!prepare(next)) {
        const message = "the policies are too complex to be evaluated safely together";
        return err([{ file: sources[0]?.file ?? "", line: 1, column: 1, message }]);
      }
      loaded = next;
      cache.clear();
      return ok(undefined);
    },
    decide,
    decideOperation: (principal, target, operation) => explain(principal, target, operation).decision,
    explain,
  };
}

// A resource and a principal are asked about again and again; neither changes once made.
const keys = new WeakMap<object, string>();

function cacheKey(principal: Principal, target: Target, action: Action): string {
  let who = keys.get(principal);
  if (who === undefined) {
    who = JSON.stringify([principal.type, principal.issuer, principal.subject, principal.groups.toSorted()]);
    keys.set(principal, who);
  }
  let what = target === "gateway" ? "gateway" : keys.get(target);
  if (target !== "gateway" && what === undefined) {
    what = JSON.stringify([target.name, target.protocol, target.connector, target.labels]);
    keys.set(target, what);
  }
  // JSON has no line breaks of its own, so the parts cannot run into each other.
  return `${who}\n${what}\n${action.action}\n${JSON.stringify(action.facts)}`;
}

function toDecision(loaded: Loaded, response: Response, target: Target, action: Action): Decision {
  const policies = response.diagnostics.reason.map((id) => loaded.policies.get(id)).toSorted(byId);
  // A reason that we did not load, or an error anywhere, means that the answer cannot be trusted.
  if (response.diagnostics.errors.length > 0 || policies.includes(undefined)) {
    const failed = response.diagnostics.errors.map((error) => ({ id: error.policyId }));
    return { effect: "deny", policies: failed, refusal: evaluationRefusal(target, action, failed) };
  }
  const known = policies.filter((policy) => policy !== undefined);
  const named = known.map(determining);
  if (response.decision === "deny") {
    return { effect: "deny", policies: named, refusal: denyRefusal(known, target, action) };
  }
  // Cedar allows only with a permit that it names; anything else is no permission.
  if (known.length === 0 || known.some((policy) => policy.effect !== "permit")) {
    return denied(evaluationRefusal(target, action));
  }
  const held = known.filter((policy) => policy.approval !== undefined);
  if (held.length === 0) return { effect: "allow", policies: named };
  const requirements = held.flatMap((policy) =>
    policy.approval === undefined ? [] : [{ policy: policy.id, ...policy.approval }],
  );
  return { effect: "hold", policies: held.map(determining), requirements: mergeRequirements(requirements) };
}

function byId(a: CheckedPolicy | undefined, b: CheckedPolicy | undefined): number {
  return (a?.id ?? "") < (b?.id ?? "") ? -1 : 1;
}

function determining(policy: CheckedPolicy): DeterminingPolicy {
  return policy.reason === undefined ? { id: policy.id } : { id: policy.id, reason: policy.reason };
}

/**
 * The strictest of several decisions: deny before hold before allow. A hold asks for what every one of them
 * asks for. No decision at all is a deny.
 */
export function strictest(decisions: readonly Decision[]): Decision {
  const deny = decisions.filter((decision) => decision.effect === "deny");
  const [firstDeny] = deny;
  if (firstDeny !== undefined) return { ...firstDeny, policies: mergePolicies(deny) };
  if (decisions.length === 0) {
    return denied(refusal("unknown_operation", "this does nothing that the gateway knows, so it is refused"));
  }
  const holds = decisions.filter((decision) => decision.effect === "hold");
  if (holds.length > 0) {
    const requirements = mergeRequirements(holds.flatMap((decision) => decision.requirements));
    return { effect: "hold", policies: mergePolicies(holds), requirements };
  }
  return { effect: "allow", policies: mergePolicies(decisions) };
}

function mergePolicies(decisions: readonly Decision[]): readonly DeterminingPolicy[] {
  const merged = new Map<string, DeterminingPolicy>();
  for (const decision of decisions) {
    for (const policy of decision.policies) if (!merged.has(policy.id)) merged.set(policy.id, policy);
  }
  return [...merged.values()];
}

/**
 * One requirement for each set of groups: the approvals of one group count for every policy that asks for it.
 * The larger quorum and the smaller batch win; a policy without a batch allows none.
 */
function mergeRequirements(requirements: readonly HoldRequirement[]): readonly HoldRequirement[] {
  const merged = new Map<string, HoldRequirement>();
  for (const requirement of requirements) {
    const { group, anyOf, escalate } = requirement;
    // Who escalates differently asks for something else.
    const key = JSON.stringify([anyOf?.toSorted() ?? [group], escalate]);
    const other = merged.get(key);
    if (other === undefined) merged.set(key, requirement);
    else {
      const { batch: _, ...larger } = other.quorum < requirement.quorum ? requirement : other;
      const batch = Math.min(other.batch ?? 0, requirement.batch ?? 0);
      merged.set(key, batch === 0 ? larger : { ...larger, batch });
    }
  }
  return [...merged.values()];
}

function denied(why: Refusal): Decision {
  return { effect: "deny", policies: [], refusal: why };
}

function place(target: Target): string {
  return target === "gateway" ? "" : ` (${target.name})`;
}

function denyRefusal(forbids: readonly CheckedPolicy[], target: Target, action: Action): Refusal {
  const what = `${describeAction(action)}${place(target)}`;
  if (forbids.length === 0) {
    return refusal("no_policy_permits", `${what} is denied: no policy permits ${action.action} here`, {
      hint: "sally policy explain shows what is decided and why; an administrator can add a policy",
    });
  }
  const reasons = forbids.flatMap((policy) => policy.reason ?? []);
  const ids = forbids.map((policy) => policy.id).join(", ");
  const why = reasons.length > 0 ? reasons.join("; ") : `policy ${ids} forbids it`;
  return refusal("denied_by_policy", `${what} is denied: ${why}`, {
    hint: `policy ${ids} decided this; an approval cannot lift it`,
  });
}

function evaluationRefusal(
  target: Target,
  action: Action,
  failed: readonly DeterminingPolicy[] = [],
): Refusal {
  const ids = failed.map((policy) => policy.id).join(", ");
  const which = ids === "" ? "the policies" : `policy ${ids}`;
  return refusal(
    "policy_error",
    `${describeAction(action)}${place(target)} is denied: ${which} could not be evaluated`,
    {
      hint: "an administrator has to correct the policy; until then the gateway refuses",
    },
  );
}

function problemRefusal(problem: RequestProblem, target: Target, action: Action): Refusal {
  switch (problem) {
    case "unknown_operation":
      return refusal(
        "unknown_operation",
        `${action.action}${place(target)} is denied: no policy can speak about it`,
      );
    case "over_limit": {
      const limit = LIMITS.policy.contextSet;
      const message = `${action.action}${place(target)} is denied: it names more than ${limit} relations or functions`;
      return refusal("statement_over_limit", message, { hint: "split it into smaller statements" });
    }
    case "principal_malformed":
      return refusal(
        "policy_error",
        `${action.action}${place(target)} is denied: the identity is not usable in policy`,
      );
  }
}
