import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decideUnder, otherParties, revealsUnder } from "../../../worker/policy/authority.ts";
import type { Decision, Operation, Principal } from "../../../worker/policy/types.ts";
import type { TaskStep } from "../../../worker/policy/task.ts";
import { refusal } from "../../../wire/refusals.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const person = (subject: string): Principal => ({
  type: "User",
  issuer: "https://idp",
  subject,
  name: subject,
  groups: [],
});
const SELECT: Operation = {
  actions: [{ action: "postgres:select", facts: { reads: [], writes: [], hasWhere: true, functions: [] } }],
  text: "select 1",
};
const DENY: Decision = { effect: "deny", policies: [], refusal: refusal("no_policy_permits", "no") };
const hold = (group: string): Decision => ({
  effect: "hold",
  policies: [],
  requirements: [{ policy: group, group, quorum: 1 }],
});
const ALLOW: Decision = { effect: "allow", policies: [] };

function task(covers: boolean): TaskStep {
  const rights = [{ resources: [covers ? "db" : "other"], actions: ["postgres:*"] }];
  const terms = { rights, maxOperations: null, maxRows: null, deadline: NOW + 1 };
  return { id: "tsk", name: "", terms, principal: person("owner"), actors: [] };
}

function under(decisions: readonly Decision[], tasks: readonly TaskStep[]): Decision {
  const [principal = person("0"), ...actors] = decisions.map((_, at) => person(String(at)));
  const decideOperation = (who: Principal): Decision => decisions[Number(who.subject)] ?? DENY;
  const grant = { principal, actors, tasks, resource: "db" };
  return decideUnder({ decideOperation }, grant, "gateway", SELECT, NOW);
}

describe("what somebody may do for somebody", () => {
  it("is what all of them may, in every task above, with every approval that any of them needs", () => {
    const decision = fc.constantFrom(ALLOW, DENY, hold("a"), hold("b"), hold("c"));
    fc.assert(
      fc.property(
        fc.array(decision, { minLength: 1, maxLength: 4 }),
        fc.array(fc.boolean(), { maxLength: 4 }),
        (parties, covers) => {
          const result = under(parties, covers.map(task));
          const denied = parties.includes(DENY) || covers.includes(false);
          const groups = parties.flatMap((one) => (one.effect === "hold" ? one.requirements : []));
          const wanted = [...new Set(groups.map(({ group }) => group))].toSorted();
          expect(result.effect).toBe(denied ? "deny" : wanted.length > 0 ? "hold" : "allow");
          if (result.effect !== "hold") return;
          expect(result.requirements.map(({ group }) => group).toSorted()).toEqual(wanted);
        },
      ),
    );
  });

  it("includes masked columns only where each of them may see them, and each task says so", () => {
    const decide = (who: Principal): Decision => (who.subject === "blind" ? DENY : ALLOW);
    const seen = (actors: Principal[], tasks: TaskStep[]): boolean =>
      revealsUnder(
        { decide },
        { principal: person("a"), actors, tasks, resource: "db" },
        "gateway",
        "c",
        "x",
      );
    expect(seen([], [])).toBe(true);
    expect(seen([person("b")], [])).toBe(true);
    expect(seen([person("blind")], [])).toBe(false);
    expect(seen([], [task(true)])).toBe(false);
  });

  it("names everybody with a part in it once", () => {
    const [a, b, c] = [person("a"), person("b"), person("c")];
    const step: TaskStep = { ...task(true), principal: a, actors: [c, b] };
    expect(otherParties({ principal: a, actors: [b], tasks: [step, step] })).toEqual([b, c]);
    expect(otherParties({ principal: a, actors: [], tasks: [] })).toEqual([]);
  });
});
