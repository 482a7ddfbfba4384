import { describe, expect, it } from "vitest";
import { type Approval, type ApprovalDecision, decideApproval } from "../../../worker/policy/approval.ts";
import { batchKey, batchLimit, checkBatch, grantedBatch } from "../../../worker/policy/approval-batch.ts";
import { reasonIn } from "../../../worker/policy/approval-reason.ts";
import type { HoldRequirement, Principal } from "../../../worker/policy/types.ts";

const person = (subject: string, ...groups: string[]): Principal => ({
  type: "User",
  issuer: "https://idp.example",
  subject,
  name: subject,
  groups,
});

const DBA: HoldRequirement = { policy: "p", group: "dba", quorum: 1 };
const MINUTE = 60_000;

function pending(requirements: readonly HoldRequirement[], more: Partial<Approval> = {}): Approval {
  return {
    id: "apr_1",
    status: "pending",
    resource: "shop-db",
    session: "ses_1",
    waiting: true,
    requester: person("erin", "engineers"),
    operation: {
      action: ["postgres:delete"],
      text: "delete from t where id = 1",
      hash: "h",
      shape: { text: "delete from t where id = $1", hash: "s" },
    },
    requirements,
    decisions: [],
    policies: [],
    createdAt: 0,
    expiresAt: 60 * MINUTE,
    ...more,
  };
}

const approve = (reviewer: Principal, at = 1, batch?: ApprovalDecision["batch"]): ApprovalDecision => ({
  reviewer,
  verdict: "approve",
  at,
  ...(batch === undefined ? {} : { batch }),
});

/** The status after these decisions, or the code of the first refusal. */
function after(approval: Approval, ...decisions: ApprovalDecision[]): string {
  let current = approval;
  for (const decision of decisions) {
    const decided = decideApproval(current, decision);
    if (!decided.ok) return decided.error.code;
    current = decided.value;
  }
  return current.status;
}

describe("who decides", () => {
  it("needs the quorum of distinct people", () => {
    const two = pending([{ ...DBA, quorum: 2 }]);
    expect(after(two, approve(person("a", "dba")))).toBe("pending");
    expect(after(two, approve(person("a", "dba")), approve(person("a", "dba")))).toBe("approval_not_pending");
    expect(after(two, approve(person("a", "dba")), approve(person("b", "dba")))).toBe("approved");
  });

  it("takes any of several groups, and all of several requirements", () => {
    const either = pending([{ ...DBA, group: "dba or security", anyOf: ["dba", "security"] }]);
    expect(after(either, approve(person("a", "security")))).toBe("approved");
    // What people read is no group: somebody in one that is called so has no say.
    expect(after(either, approve(person("a", "dba or security")))).toBe("approval_not_reviewer");
    const both = pending([DBA, { policy: "q", group: "security", quorum: 1 }]);
    expect(after(both, approve(person("a", "dba")))).toBe("pending");
    expect(after(both, approve(person("a", "dba")), approve(person("b", "security")))).toBe("approved");
  });

  it("takes the escalation's groups from its time on, not before", () => {
    const escalating = pending([{ ...DBA, escalate: { groups: ["oncall"], after: 10 * MINUTE } }]);
    expect(after(escalating, approve(person("o", "oncall"), 10 * MINUTE - 1))).toBe("approval_not_reviewer");
    expect(after(escalating, approve(person("o", "oncall"), 10 * MINUTE))).toBe("approved");
  });

  it("counts a decision by the groups of its own time", () => {
    const two = pending([{ ...DBA, quorum: 2, escalate: { groups: ["oncall"], after: 10 * MINUTE } }]);
    expect(after(two, approve(person("a", "dba"), 1), approve(person("o", "oncall"), 11 * MINUTE))).toBe(
      "approved",
    );
  });

  it.each([
    ["the requester", {}, person("erin", "dba")],
    ["whoever acts for them", { parties: [person("bot")] }, person("bot", "dba")],
  ])("refuses %s", (_, more, reviewer) => {
    expect(after(pending([DBA], more), approve(reviewer))).toBe("approval_own_request");
  });

  it("takes somebody of another issuer for somebody else", () => {
    const other = { ...person("erin", "dba"), issuer: "https://other.example" };
    expect(after(pending([DBA]), approve(other))).toBe("approved");
  });

  it("decides nothing that has run out, and denies with one denial", () => {
    expect(after(pending([DBA]), approve(person("a", "dba"), 60 * MINUTE))).toBe("approval_not_pending");
    const denial: ApprovalDecision = { reviewer: person("b", "dba"), verdict: "deny", at: 2 };
    expect(after(pending([{ ...DBA, quorum: 2 }]), approve(person("a", "dba")), denial)).toBe("denied");
  });
});

describe("batches", () => {
  const batching = { ...DBA, batch: 20 };

  it("are allowed only where every policy that holds allows them, and the least counts", () => {
    expect(batchLimit(pending([batching]))).toBe(20);
    expect(batchLimit(pending([batching, { ...DBA, policy: "q", batch: 5 }]))).toBe(5);
    expect(batchLimit(pending([batching, { ...DBA, policy: "q" }]))).toBe(0);
    const { shape: _, ...shapeless } = pending([batching]).operation;
    expect(batchLimit(pending([batching], { operation: shapeless }))).toBe(0);
  });

  it.each([
    [0, MINUTE],
    [21, MINUTE],
    [1.5, MINUTE],
    [5, 0],
    [5, 25 * 60 * MINUTE],
    [Number.NaN, MINUTE],
  ])("of %s uses until %s are refused", (uses, until) => {
    expect(checkBatch(pending([batching]), { uses, until }, 0).ok).toBe(false);
    expect(checkBatch(pending([batching]), { uses: 20, until: MINUTE }, 0).ok).toBe(true);
  });

  it("are granted only when everybody who approved chose one, and then the least of it", () => {
    const both = [
      approve(person("a", "dba"), 1, { uses: 5, until: 900 }),
      approve(person("b", "dba"), 2, { uses: 9, until: 500 }),
    ];
    expect(grantedBatch({ decisions: both })).toEqual({ uses: 5, left: 5, until: 500 });
    expect(grantedBatch({ decisions: [...both, approve(person("c", "dba"))] })).toBeUndefined();
  });

  it("are for one requester, chain, task, resource, shape and demand only", () => {
    const of = { requester: person("erin"), resource: "shop-db", requirements: [batching], shape: "s" };
    const others = [
      { ...of, requester: person("eric") },
      { ...of, parties: [person("bot")] },
      { ...of, task: "tsk_1" },
      { ...of, resource: "other" },
      { ...of, shape: "t" },
      { ...of, requirements: [{ ...batching, quorum: 2 }] },
      { ...of, requirements: [batching, DBA] },
    ];
    expect(new Set([of, ...others].map(batchKey)).size).toBe(others.length + 1);
    expect(batchKey({ ...of, requester: person("erin", "more") })).toBe(batchKey(of));
  });
});

describe("a reason in the statement", () => {
  it.each([
    ["/* reason: ticket 4711 */ delete from t", "ticket 4711"],
    ["  /** Reason: two\nlines */ select 1", "two lines"],
    ["/* reason: */ select 1", undefined],
    ["/* reason: never ends", undefined],
    ["/* reason: ticket /* 4711 */ and more */ delete from t", "ticket /* 4711 */ and more"],
    ["/* app:web */ /* reason: ticket 4711 */ delete from t", "ticket 4711"],
    ["delete from t where id = 1 /* reason: at the end */", "at the end"],
    ["-- reason: other comment\nselect 1", undefined],
    ["-- /* reason: in a line comment */\nselect 1", undefined],
    ["insert into t values ('/* reason: a value */')", undefined],
    ["insert into t values (E'\\'/* reason: a value */')", undefined],
    ["insert into t values ($x$/* reason: a value */$x$)", undefined],
    ['delete from "/* reason: a name */"', undefined],
    ["insert into t values ('/* reason: a value */') /* reason: mine */", "mine"],
    ["delete from t where id = 1 -/* reason: after an operator */- 1", "after an operator"],
  ])("%j", (text, reason) => {
    expect(reasonIn(text)).toBe(reason);
  });

  it("is bounded", () => {
    expect(reasonIn(`/* reason: ${"x".repeat(100_000)} */`)).toHaveLength(1000);
  });
});
