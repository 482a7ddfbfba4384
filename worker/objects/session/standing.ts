/**
 * What a session may do: its grant as it stands now, decided by policy for everybody in it, within the budgets
 * of its tasks. The grant changes while the session lives; whatever changes counts from the next operation on.
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import { type Bindings, controlOf, readSettings } from "../../env.ts";
import { verifySessionToken } from "../../identity/session-token.ts";
import { decideUnder, revealsUnder } from "../../policy/authority.ts";
import type { PolicyEngine } from "../../policy/cedar/engine.ts";
import { type Grant, renewGrant } from "../../policy/grant.ts";
import type { Decision, Operation, Resource } from "../../policy/types.ts";
import { policyEngine } from "../engines.ts";
import { currentSnapshot } from "../snapshot.ts";
import { attempt } from "./attempt.ts";
import { TaskBudget } from "./budget.ts";

export const TOKEN_EXPIRED = refusal("token_expired", "the session's token has expired", {
  hint: "connect again",
});

export class Standing {
  readonly #env: Bindings;
  readonly #budget: TaskBudget;
  #grant: Grant | undefined;
  /** Another one only where policies are asked that are not applied. */
  #engine: PolicyEngine = policyEngine;

  constructor(env: Bindings) {
    this.#env = env;
    this.#budget = new TaskBudget((task, what, amount) => attempt(controlOf(env).spend(task, what, amount)));
  }

  /** Undefined before anybody has come. */
  get known(): Grant | undefined {
    return this.#grant;
  }

  /** @throws before there is one. */
  get grant(): Grant {
    if (this.#grant === undefined) throw new Error("the session has no grant");
    return this.#grant;
  }

  set grant(grant: Grant) {
    this.#grant = grant;
  }

  get engine(): PolicyEngine {
    return this.#engine;
  }

  /** Asks policies that are not applied, from now on. */
  set engine(engine: PolicyEngine) {
    this.#engine = engine;
  }

  /** The resource as the newest configuration has it; undefined when it has none of this name. */
  findResource(): Resource | undefined {
    return currentSnapshot()?.resources.find(({ name }) => name === this.#grant?.resource);
  }

  /** @throws when it is not configured: sessions of such a resource end before anything asks. */
  get resource(): Resource {
    const resource = this.findResource();
    if (resource === undefined) throw new Error("the session's resource is not configured");
    return resource;
  }

  decide(operation: Operation): Decision {
    const now = Date.now();
    if (this.grant.expiresAt <= now) return { effect: "deny", policies: [], refusal: TOKEN_EXPIRED };
    return decideUnder(this.#engine, this.grant, this.resource, operation, now);
  }

  reveals(relation: string, column: string): boolean {
    return revealsUnder(this.#engine, this.grant, this.resource, relation, column);
  }

  /** The grant with a fresh token of the same authority; anybody else's is refused. */
  async renewed(token: string): Promise<Result<Grant, Refusal>> {
    const { publicUrl } = readSettings(this.#env);
    const keys = await controlOf(this.#env).verificationKeys();
    const verified = await verifySessionToken(token, keys, publicUrl, Date.now());
    if (!verified.ok) return verified;
    const admitted = await attempt(controlOf(this.#env).admitRenewal(verified.value));
    return admitted.ok ? renewGrant(this.grant, admitted.value, Date.now()) : admitted;
  }

  /** Whether a task of the grant has a budget, which the session's driver then has to reserve from. */
  get budgeted(): boolean {
    return this.grant.tasks.some(({ terms }) => terms.maxOperations !== null || terms.maxRows !== null);
  }

  reserve(operations: () => number): Promise<Result<void, Refusal>> | undefined {
    return this.#budget.operations(this.grant.tasks, operations);
  }

  rowsQueued(rows: number): void {
    this.#budget.rows(this.grant.tasks, rows);
  }

  /** True while rows wait for the budget of a task; `then` hears when they have been paid for or refused. */
  owing(then: (paid: Result<void, Refusal>) => void): boolean {
    return this.#budget.owing(this.#grant?.tasks ?? [], then);
  }
}
