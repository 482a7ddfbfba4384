import { describe, expect, it } from "vitest";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import type { Principal } from "../../../worker/policy/types.ts";
import { type WhoMayQuestion, whoMay } from "../../../worker/policy/who-may.ts";
import { testCedar } from "../../support/cedar.ts";
import { SHOP, user } from "./cedar/fixtures.ts";

const POLICIES = `
@id("dba") permit (principal in Group::"dba", action, resource);
@id("delete") @approval("dba")
permit (principal in Group::"engineers", action == Action::"postgres:delete", resource)
when { context.writes.contains("public.orders") };
@id("where") forbid (principal, action == Action::"postgres:delete", resource) when { !context.hasWhere };
@id("quoted") permit (principal in Group::"odd \\"name\\"", action == Action::"postgres:select", resource);
`;

function ask(question: WhoMayQuestion, people: readonly Principal[] = []) {
  const sources = [{ file: "policies.cedar", text: POLICIES }];
  const engine = createPolicyEngine(testCedar());
  const loaded = engine.load(1, sources);
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.error));
  return whoMay(engine, sources, people, SHOP, question);
}

describe("who may", () => {
  it("asks for the groups that policies name and for everybody known, and leaves out whom nothing permits", () => {
    const people = [user("ada", "dba"), user("eve", "engineers"), user("nobody")];
    const asked = ask({ action: "postgres:delete", relation: "public.orders" }, people);
    expect(asked).toMatchObject({
      ok: true,
      value: {
        answers: [
          { group: "dba", effect: "allow", policies: ["dba"] },
          {
            group: "engineers",
            effect: "hold",
            policies: ["delete"],
            requirements: [{ group: "dba", quorum: 1 }],
          },
          { principal: { subject: "ada" }, effect: "allow" },
          { principal: { subject: "eve" }, effect: "hold" },
        ],
      },
    });
  });

  it("gives the facts of the question to the policies", () => {
    const other = ask({ action: "postgres:delete", relation: "public.customers" });
    expect(other).toMatchObject({ ok: true, value: { answers: [{ group: "dba" }] } });
    const without = ask({ action: "postgres:delete", relation: "public.orders", where: false });
    expect(without).toMatchObject({ ok: true, value: { answers: [] } });
  });

  it("finds groups with quotes in their names", () => {
    const asked = ask({ action: "postgres:select" });
    expect(asked).toMatchObject({
      ok: true,
      value: { answers: [{ group: "dba" }, { group: 'odd "name"' }] },
    });
  });

  it("answers for what is done to the gateway's own records of a resource", () => {
    expect(ask({ action: "session:kill" })).toMatchObject({
      ok: true,
      value: { answers: [{ group: "dba" }] },
    });
  });

  it.each(["postgres:fly", "ssh:shell", "config:write", "reveal", ""])(
    "refuses %j on a database",
    (action) => {
      expect(ask({ action })).toMatchObject({ ok: false, error: { code: "request_invalid" } });
    },
  );
});
