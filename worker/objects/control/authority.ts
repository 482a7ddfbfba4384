/**
 * What policy lets somebody do to the gateway itself: the one place where administrative actions are decided.
 * The configuration that is running counts, also within one turn that has just changed it.
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { samePrincipal } from "../../policy/approval.ts";
import type { Target } from "../../policy/cedar/engine.ts";
import type { AdminVerb, Principal, Resource } from "../../policy/types.ts";
import { type WhoMay, type WhoMayQuestion, whoMay } from "../../policy/who-may.ts";
import { policyEngine } from "../engines.ts";
import type { People } from "./people.ts";
import { type Permissions, permissionsOf } from "./permissions.ts";
import type { Configuration, SessionRow } from "./types.ts";

/** "Who may" asks about the people seen last: a decision takes about 65 µs. */
const MAX_PEOPLE_ASKED = 2000;

export class Authority {
  readonly #config: () => Configuration | undefined;
  readonly #people: People;

  constructor(config: () => Configuration | undefined, people: People) {
    this.#config = config;
    this.#people = people;
  }

  /** About one resource, or about the gateway where none is named. The refusal is for the caller. */
  authorize(principal: Principal, resource: string | undefined, action: AdminVerb): Result<void, Refusal> {
    if (resource === undefined) return decide(principal, "gateway", action);
    const found = this.resource(resource);
    return found.ok ? decide(principal, found.value, action) : found;
  }

  /** What `read` answers, for somebody whom policy permits the action on the gateway. */
  permitted<Value>(principal: Principal, action: AdminVerb, read: () => Value): Result<Value, Refusal> {
    const allowed = decide(principal, "gateway", action);
    return allowed.ok ? ok(read()) : allowed;
  }

  resource(name: string): Result<Resource, Refusal> {
    const found = this.#config()?.resources.find((resource) => resource.name === name);
    return found === undefined ? err(refusal("resource_unknown", `there is no resource ${name}`)) : ok(found);
  }

  /** Their own session, or one of a resource whose sessions they may replay. */
  maySee(principal: Principal, row: SessionRow): boolean {
    return (
      samePrincipal(row.principal, principal) || this.authorize(principal, row.resource, "session:replay").ok
    );
  }

  /** Administrative actions that policy permits somebody: about the gateway, and about each resource. */
  permissions(principal: Principal): Permissions {
    return permissionsOf(policyEngine, principal, this.#config()?.resources ?? []);
  }

  /** Everybody whom policy permits the action on the resource (worker/policy/who-may.ts). */
  whoMay(principal: Principal, resource: string, question: WhoMayQuestion): Result<WhoMay, Refusal> {
    const allowed = decide(principal, "gateway", "config:read");
    if (!allowed.ok) return allowed;
    const found = this.resource(resource);
    if (!found.ok) return found;
    const people = this.#people.list(MAX_PEOPLE_ASKED).map((seen) => seen.principal);
    return whoMay(policyEngine, this.#config()?.policies ?? [], people, found.value, question);
  }
}

function decide(principal: Principal, target: Target, action: AdminVerb): Result<void, Refusal> {
  const decision = policyEngine.decide(principal, target, { action, facts: {} });
  if (decision.effect === "allow") return ok(undefined);
  if (decision.effect === "deny") return err(decision.refusal);
  return err(refusal("denied_by_policy", `${action} cannot be held for approval, so it is denied`));
}
