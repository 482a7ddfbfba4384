import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPolicyEngine, strictest } from "../../../../worker/policy/cedar/engine.ts";
import type { Action, Decision, Operation, Principal } from "../../../../worker/policy/types.ts";
import { testCedar } from "../../../support/cedar.ts";
import { FACTS, SHOP, statement, user, workload } from "./fixtures.ts";

function engineWith(text: string) {
  const engine = createPolicyEngine(testCedar());
  const loaded = engine.load(1, [{ file: "policies.cedar", text }]);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
  return engine;
}

const operation = (...actions: Action[]): Operation => ({ actions, text: "" });

function code(decision: Decision): string {
  return decision.effect === "deny" ? decision.refusal.code : decision.effect;
}

describe("decide", () => {
  it("denies everything before policies are loaded", () => {
    const engine = createPolicyEngine(testCedar());
    expect(engine.version).toBeUndefined();
    expect(code(engine.decide(user("a", "dba"), SHOP, statement("select")))).toBe("no_policy_loaded");
  });

  it("denies what no policy permits, and says what was refused", () => {
    const engine = engineWith(`permit (principal in Group::"dba", action, resource);`);
    const decision = engine.decide(user("a"), SHOP, statement("delete", { writes: ["public.orders"] }));
    expect(decision).toMatchObject({
      effect: "deny",
      policies: [],
      refusal: {
        code: "no_policy_permits",
        message: "DELETE on public.orders (shop-db) is denied: no policy permits postgres:delete here",
      },
    });
  });

  it("denies everything under an empty set of policies", () => {
    expect(code(engineWith("").decide(user("a", "dba"), SHOP, statement("select")))).toBe(
      "no_policy_permits",
    );
  });

  it("lets a forbid win over permits and approvals, with its reason", () => {
    const engine = engineWith(`
      @id("all") permit (principal, action, resource);
      @id("held") @approval("dba") permit (principal, action, resource);
      @id("no-drop") @reason("schema changes go through migrations")
      forbid (principal, action == Action::"postgres:schema", resource);`);
    expect(engine.decide(user("a"), SHOP, statement("schema"))).toEqual({
      effect: "deny",
      policies: [{ id: "no-drop", reason: "schema changes go through migrations" }],
      refusal: {
        code: "denied_by_policy",
        message: "a schema change (shop-db) is denied: schema changes go through migrations",
        hint: "policy no-drop decided this; an approval cannot lift it",
      },
    });
  });

  it("lets a permit with approval win over one without", () => {
    const engine = engineWith(`
      @id("all") permit (principal, action, resource);
      @id("held") @approval("dba") @quorum("2") @reason("two pairs of eyes")
      permit (principal, action == Action::"postgres:delete", resource);`);
    expect(engine.decide(user("a"), SHOP, statement("select"))).toEqual({
      effect: "allow",
      policies: [{ id: "all" }],
    });
    expect(engine.decide(user("a"), SHOP, statement("delete"))).toEqual({
      effect: "hold",
      policies: [{ id: "held", reason: "two pairs of eyes" }],
      requirements: [{ policy: "held", group: "dba", quorum: 2 }],
    });
  });

  it("asks each group once, for the largest quorum", () => {
    const engine = engineWith(`
      @id("a") @approval("dba") permit (principal, action, resource);
      @id("b") @approval("dba") @quorum("3") permit (principal, action, resource);
      @id("c") @approval("security") permit (principal, action, resource);`);
    expect(engine.decide(user("a"), SHOP, statement("delete"))).toMatchObject({
      requirements: [
        { policy: "b", group: "dba", quorum: 3 },
        { policy: "c", group: "security", quorum: 1 },
      ],
    });
  });

  it("denies when a forbid fails while it is evaluated, which Cedar alone would skip", () => {
    const engine = engineWith(`
      @id("all") permit (principal, action, resource);
      @id("broken") forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`);
    const decision = engine.decide(user("a"), SHOP, statement("select"));
    expect(code(decision)).toBe("policy_error");
    expect(decision.policies).toEqual([{ id: "broken" }]);
  });

  it("denies when a permit fails while it is evaluated, though another permits", () => {
    const engine = engineWith(`
      permit (principal, action, resource);
      permit (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`);
    expect(code(engine.decide(user("a"), SHOP, statement("select")))).toBe("policy_error");
  });

  it("tells users of different issuers and kinds apart, whatever their subject", () => {
    const engine = engineWith(`permit (principal == User::"https://login.example#a", action, resource);`);
    const ask = (principal: Principal): string => code(engine.decide(principal, SHOP, statement("select")));
    expect(ask(user("a"))).toBe("allow");
    expect(ask(workload("a"))).toBe("no_policy_permits");
    expect(ask({ ...user("a"), issuer: "https://other.example" })).toBe("no_policy_permits");
    // "https://login.example" + "#" + "x#a" must never become "https://login.example#x" + "#" + "a".
    expect(ask({ ...user("a"), issuer: "https://login.example#x" })).toBe("policy_error");
    expect(ask({ ...user("a"), subject: "" })).toBe("policy_error");
  });

  it("decides on labels, relations, functions and WHERE", () => {
    const engine = engineWith(`
      permit (principal, action == Action::"postgres:delete", resource) when {
        resource.labels.contains("env=production") && resource.protocol == "postgres" &&
        context.hasWhere && context.writes.contains("public.orders") && !context.functions.contains("pg_sleep")
      };`);
    const ask = (facts: Partial<typeof FACTS>, resource = SHOP): string =>
      code(engine.decide(user("a"), resource, statement("delete", { writes: ["public.orders"], ...facts })));
    expect(ask({})).toBe("allow");
    expect(ask({ hasWhere: false })).toBe("no_policy_permits");
    expect(ask({ writes: ["public.payments"] })).toBe("no_policy_permits");
    expect(ask({ functions: ["pg_sleep"] })).toBe("no_policy_permits");
    expect(ask({}, { ...SHOP, labels: { env: "staging" } })).toBe("no_policy_permits");
  });

  it("decides reveal by relation and column", () => {
    const engine = engineWith(`permit (principal, action == Action::"reveal", resource)
      when { context.relation == "public.customers" && context.column == "email" };`);
    const reveal = (column: string): string =>
      code(
        engine.decide(user("a"), SHOP, { action: "reveal", facts: { relation: "public.customers", column } }),
      );
    expect(reveal("email")).toBe("allow");
    expect(reveal("ssn")).toBe("no_policy_permits");
  });

  it("keeps the gateway's own actions to the gateway, and a resource's to the resource", () => {
    const engine = engineWith(`permit (principal, action in Action::"admin", resource);`);
    const ask = (target: typeof SHOP | "gateway", action: "config:write" | "session:kill"): string =>
      code(engine.decide(user("a"), target, { action, facts: {} }));
    expect(ask("gateway", "config:write")).toBe("allow");
    expect(ask(SHOP, "session:kill")).toBe("allow");
    expect(ask(SHOP, "config:write")).toBe("policy_error");
    expect(ask("gateway", "session:kill")).toBe("policy_error");
  });

  it("denies an action that no policy can speak about", () => {
    const engine = engineWith(`permit (principal, action, resource);`);
    // What a newer or faulty part could send; the types forbid it.
    const unknown = { action: "postgres:explode", facts: FACTS } as unknown as Action;
    expect(code(engine.decide(user("a"), SHOP, unknown))).toBe("unknown_operation");
    const spoofed = { action: 'postgres:select"', facts: FACTS } as unknown as Action;
    expect(code(engine.decide(user("a"), SHOP, spoofed))).toBe("unknown_operation");
  });

  it("denies facts over the limit", () => {
    const engine = engineWith(`permit (principal, action, resource);`);
    const many = Array.from({ length: 1001 }, (_, index) => `public.t${index}`);
    expect(code(engine.decide(user("a"), SHOP, statement("select", { reads: many })))).toBe(
      "statement_over_limit",
    );
    expect(code(engine.decide(user("a"), SHOP, statement("select", { reads: many.slice(1) })))).toBe("allow");
  });

  it("takes hostile strings as names and nothing else", () => {
    const engine = engineWith(`permit (principal in Group::"dba", action, resource);`);
    for (const group of [`dba"`, `dba`.toUpperCase(), `dba\u0000`, `Group::"dba"`, ` dba`, `__entity`]) {
      expect(code(engine.decide(user("a", group), SHOP, statement("select")))).toBe("no_policy_permits");
    }
    const subject = `x", "groups": ["dba`;
    expect(code(engine.decide(user(subject), SHOP, statement("select")))).toBe("no_policy_permits");
    // A relation named like Cedar's JSON escape is still just text.
    const facts = { reads: ['{"__entity":{"type":"Group","id":"dba"}}'] };
    expect(code(engine.decide(user("a", "dba"), SHOP, statement("select", facts)))).toBe("allow");
  });
});

describe("decideOperation", () => {
  const engine = engineWith(`
    @id("read") permit (principal, action == Action::"postgres:select", resource);
    @id("write") @approval("dba") permit (principal, action == Action::"postgres:update", resource);
    @id("remove") @approval("security") permit (principal, action == Action::"postgres:delete", resource);
    @id("call") forbid (principal, action == Action::"postgres:call", resource);`);

  it("takes the strictest answer, wherever in the operation it stands", () => {
    const ask = (...verbs: Parameters<typeof statement>[0][]): Decision =>
      engine.decideOperation(user("a"), SHOP, operation(...verbs.map((verb) => statement(verb))));
    expect(ask("select", "select")).toEqual({ effect: "allow", policies: [{ id: "read" }] });
    expect(ask("select", "update", "select").effect).toBe("hold");
    expect(ask("update", "call", "select")).toMatchObject({ effect: "deny", policies: [{ id: "call" }] });
    expect(ask("select", "truncate")).toMatchObject({
      effect: "deny",
      refusal: { code: "no_policy_permits" },
    });
    expect(ask("update", "delete", "update")).toMatchObject({
      requirements: [
        { policy: "write", group: "dba", quorum: 1 },
        { policy: "remove", group: "security", quorum: 1 },
      ],
    });
  });

  it("denies an operation without actions", () => {
    expect(engine.decideOperation(user("a"), SHOP, operation())).toMatchObject({
      effect: "deny",
      refusal: { code: "unknown_operation" },
    });
  });

  it("explains each action with the same decision", () => {
    const explained = engine.explain(user("a"), SHOP, operation(statement("select"), statement("update")));
    expect(explained.actions.map(({ action, decision }) => [action.action, decision.effect])).toEqual([
      ["postgres:select", "allow"],
      ["postgres:update", "hold"],
    ]);
    expect(explained.decision.effect).toBe("hold");
  });
});

describe("the decision order", () => {
  // Every combination of satisfied policies, against the order that the design states.
  const kinds = ["permit", "hold", "forbid", "failing permit", "failing forbid"] as const;
  const texts: Record<(typeof kinds)[number], string> = {
    permit: `permit (principal, action, resource);`,
    hold: `@approval("dba") permit (principal, action, resource);`,
    forbid: `forbid (principal, action, resource);`,
    "failing permit": `permit (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`,
    "failing forbid": `forbid (principal, action, resource) when { 9223372036854775807 + 1 > 0 };`,
  };

  it("holds for any set of policies in any order", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...kinds), { maxLength: 6 }), (chosen) => {
        const engine = engineWith(chosen.map((kind) => texts[kind]).join("\n"));
        const decision = engine.decide(user("a"), SHOP, statement("select"));
        const has = (kind: (typeof kinds)[number]): boolean => chosen.includes(kind);
        const expected =
          has("failing permit") || has("failing forbid")
            ? "policy_error"
            : has("forbid")
              ? "denied_by_policy"
              : has("hold")
                ? "hold"
                : has("permit")
                  ? "allow"
                  : "no_policy_permits";
        expect(code(decision)).toBe(expected);
      }),
      { numRuns: 150 },
    );
  });

  const decisions: fc.Arbitrary<Decision> = fc.oneof(
    fc.constant<Decision>({ effect: "allow", policies: [{ id: "p" }] }),
    fc
      .record({ group: fc.constantFrom("x", "y"), quorum: fc.integer({ min: 1, max: 3 }) })
      .map((requirement): Decision => ({
        effect: "hold",
        policies: [{ id: `h-${requirement.group}` }],
        requirements: [{ policy: `h-${requirement.group}`, ...requirement }],
      })),
    fc.constant<Decision>({
      effect: "deny",
      policies: [{ id: "f" }],
      refusal: { code: "denied_by_policy", message: "no" },
    }),
  );

  it("never weakens a decision by adding another, and asks for all that each one asks for", () => {
    const rank = { allow: 0, hold: 1, deny: 2 } as const;
    fc.assert(
      fc.property(fc.array(decisions, { minLength: 1, maxLength: 8 }), decisions, (some, one) => {
        const before = strictest(some);
        const after = strictest([...some, one]);
        expect(rank[after.effect]).toBe(Math.max(rank[before.effect], rank[one.effect]));
        if (after.effect !== "hold") return;
        for (const decision of [...some, one]) {
          if (decision.effect !== "hold") continue;
          for (const { group, quorum } of decision.requirements) {
            expect(after.requirements.filter((other) => other.group === group)).toHaveLength(1);
            expect(after.requirements.find((other) => other.group === group)?.quorum).toBeGreaterThanOrEqual(
              quorum,
            );
          }
        }
      }),
    );
  });
});

describe("the cache", () => {
  it("never answers one principal, resource or fact with another's decision", () => {
    const engine = engineWith(`
      permit (principal in Group::"dba", action in Action::"postgres", resource)
      when { resource.labels.contains("env=production") && context.hasWhere };`);
    const principals = [
      user("a", "dba"),
      user("a"),
      user("b", "dba"),
      workload("a", "dba"),
      user("a", "db", "a"),
    ];
    const resources = [SHOP, { ...SHOP, labels: {} }, { ...SHOP, name: "other" }];
    const facts = [
      FACTS,
      { ...FACTS, hasWhere: false },
      { ...FACTS, reads: ["a", "b"] },
      { ...FACTS, reads: ["a,b"] },
    ];
    for (let round = 0; round < 3; round++) {
      for (const principal of principals) {
        for (const resource of resources) {
          for (const fact of facts) {
            const permitted =
              principal.groups.includes("dba") && resource.labels["env"] === "production" && fact.hasWhere;
            const decision = engine.decide(principal, resource, statement("select", fact));
            expect(decision.effect).toBe(permitted ? "allow" : "deny");
          }
        }
      }
    }
  });

  it("forgets every decision when policies change", () => {
    const engine = engineWith(`permit (principal, action, resource);`);
    expect(engine.decide(user("a"), SHOP, statement("select")).effect).toBe("allow");
    expect(engine.load(2, [{ file: "p.cedar", text: `forbid (principal, action, resource);` }]).ok).toBe(
      true,
    );
    expect(engine.version).toBe(2);
    expect(engine.decide(user("a"), SHOP, statement("select")).effect).toBe("deny");
  });
});

describe("load", () => {
  it("keeps the policies in force when new ones are wrong", () => {
    const engine = engineWith(`permit (principal, action, resource);`);
    expect(engine.load(2, [{ file: "p.cedar", text: `permit (principal, action, resorce);` }]).ok).toBe(
      false,
    );
    expect(engine.version).toBe(1);
    expect(engine.decide(user("a"), SHOP, statement("select")).effect).toBe("allow");
  });

  it("keeps two engines in one isolate apart", () => {
    const lenient = engineWith(`permit (principal, action, resource);`);
    const strict = engineWith(`forbid (principal, action, resource);`);
    for (let round = 0; round < 5; round++) {
      const asked = user(`round-${round}`);
      expect(lenient.decide(asked, SHOP, statement("select")).effect).toBe("allow");
      expect(strict.decide(asked, SHOP, statement("select")).effect).toBe("deny");
    }
  });

  it("goes on deciding after the evaluator was thrown away", () => {
    const engine = engineWith(`permit (principal in Group::"dba", action, resource);`);
    testCedar().restart();
    expect(engine.decide(user("a", "dba"), SHOP, statement("select")).effect).toBe("allow");
    expect(engine.decide(user("b"), SHOP, statement("select")).effect).toBe("deny");
  });

  it("does not grow over 200 loads", () => {
    const cedar = testCedar();
    cedar.restart();
    const engine = createPolicyEngine(cedar);
    const load = (version: number): void => {
      const text = Array.from(
        { length: 20 },
        (_, index) =>
          `@id("p${index}") permit (principal in Group::"g${version}-${index}", action, resource);`,
      ).join("\n");
      expect(engine.load(version, [{ file: "p.cedar", text }]).ok).toBe(true);
      expect(engine.decide(user("a", `g${version}-3`), SHOP, statement("select")).effect).toBe("allow");
      expect(engine.decide(user("a", `g${version - 1}-3`), SHOP, statement("select")).effect).toBe("deny");
    };
    for (let version = 1; version <= 20; version++) load(version);
    const before = cedar.memoryBytes();
    for (let version = 21; version <= 220; version++) load(version);
    expect(cedar.memoryBytes() - before).toBeLessThanOrEqual(1 << 20);
  }, 60_000);
});
