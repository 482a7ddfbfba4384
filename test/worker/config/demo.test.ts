/** What the demo promises (README, `npm start`), decided by its real files. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../worker/config/parse.ts";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import { POSTGRES_VERBS } from "../../../worker/policy/cedar/schema.ts";
import type { Action, PostgresFacts, PostgresVerb, Principal } from "../../../worker/policy/types.ts";
import { testCedar } from "../../support/cedar.ts";

const read = (name: string): string =>
  readFileSync(new URL(`../../../scripts/demo/config/${name}`, import.meta.url), "utf8");
const files = {
  "policies.cedar": read("policies.cedar"),
  "sallyport.yaml": read("sallyport.yaml").replaceAll("${ISSUER}", "http://127.0.0.1:1234"),
};
const engine = createPolicyEngine(testCedar());
const config = parseConfig(files, engine);
if (!config.ok) throw new Error(JSON.stringify(config.error));
const loaded = engine.load(1, config.value.policies);
const [shop] = config.value.resources;
if (!loaded.ok || shop === undefined) throw new Error("the demo's configuration has no resource");

function who(type: Principal["type"], subject: string, group: string): Principal {
  return { type, issuer: "http://127.0.0.1:1234", subject, name: subject, groups: [group] };
}
const engineer = who("User", "engineer", "engineers");
const reviewer = who("User", "reviewer-a", "dba");
const agent = who("Workload", "agent", "agents");
const nobody = who("User", "nobody", "visitors");

function statement(verb: PostgresVerb, facts: Partial<PostgresFacts> = {}): Action {
  return {
    action: `postgres:${verb}`,
    facts: { reads: [], writes: [], hasWhere: true, functions: [], ...facts },
  };
}

/** `allow`, `deny`, or the groups that it is held for. */
function outcome(principal: Principal, action: Action, target: typeof shop | "gateway" = shop): string {
  const decision = engine.decide(principal, target ?? "gateway", action);
  return decision.effect === "hold"
    ? decision.requirements.map(({ group }) => `held for ${group}`).join()
    : decision.effect;
}

describe("the demo's policies", () => {
  const expected: Record<PostgresVerb, readonly [engineer: string, agent: string]> = {
    select: ["allow", "allow"],
    insert: ["allow", "held for dba"],
    update: ["allow", "held for dba"],
    delete: ["held for dba", "deny"],
    truncate: ["held for dba", "deny"],
    merge: ["deny", "deny"],
    schema: ["deny", "deny"],
    grant: ["deny", "deny"],
    copy_program: ["deny", "deny"],
    call: ["deny", "deny"],
    session: ["allow", "allow"],
    transaction: ["allow", "allow"],
    lock: ["deny", "deny"],
    maintenance: ["deny", "deny"],
  };

  it.each(POSTGRES_VERBS)("decide %s for engineers, agents, the dba group and nobody", (verb) => {
    const action = statement(verb);
    expect([outcome(engineer, action), outcome(agent, action)]).toEqual(expected[verb]);
    expect([outcome(reviewer, action), outcome(nobody, action)]).toEqual(["allow", "deny"]);
  });

  it.each(["update", "delete"] as const)(
    "deny %s without WHERE to all but the dba group, with the reason",
    (verb) => {
      const action = statement(verb, { hasWhere: false, writes: ["public.orders"] });
      expect([engineer, agent, nobody, reviewer].map((principal) => outcome(principal, action))).toEqual([
        "deny",
        "deny",
        "deny",
        "allow",
      ]);
      const decision = engine.decide(engineer, shop, action);
      expect(decision.effect === "deny" && decision.refusal.message).toBe(
        `${verb.toUpperCase()} without WHERE on public.orders (shop-db) is denied: an UPDATE or DELETE without WHERE changes every row; add a WHERE`,
      );
    },
  );

  it("show masked columns, and give approvals, sessions and configuration, to the dba group only", () => {
    const reveal: Action = { action: "reveal", facts: { relation: "public.customers", column: "ssn" } };
    expect([engineer, agent, nobody, reviewer].map((principal) => outcome(principal, reveal))).toEqual([
      "deny",
      "deny",
      "deny",
      "allow",
    ]);
    for (const action of ["approval:decide", "session:replay", "session:watch", "session:kill"] as const) {
      expect(
        [engineer, agent, reviewer].map((principal) => outcome(principal, { action, facts: {} })),
      ).toEqual(["deny", "deny", "allow"]);
    }
    for (const action of ["config:read", "config:write"] as const) {
      expect(
        [engineer, agent, reviewer].map((principal) => outcome(principal, { action, facts: {} }, "gateway")),
      ).toEqual(["deny", "deny", "allow"]);
    }
  });
});
