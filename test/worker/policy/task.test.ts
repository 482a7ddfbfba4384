import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Action, Operation, Principal } from "../../../worker/policy/types.ts";
import {
  TASK_FACTS,
  type TaskRight,
  type TaskStep,
  type TaskTerms,
  decideByTask,
  narrow,
  revealsByTask,
} from "../../../worker/policy/task.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const OWNER: Principal = { type: "User", issuer: "https://idp", subject: "a", name: "a", groups: [] };

function step(terms: Partial<TaskTerms>): TaskStep {
  const whole = { rights: [], maxOperations: null, maxRows: null, deadline: NOW + 1000, ...terms };
  return { id: "tsk_1", name: "", terms: whole, principal: OWNER, actors: [] };
}

function postgres(verb: "select" | "update", reads: string[], functions: string[] = []): Action {
  return { action: `postgres:${verb}`, facts: { reads, writes: [], hasWhere: true, functions } };
}

function effect(right: Partial<TaskRight>, ...actions: Action[]): string {
  const rights = [{ resources: ["db"], actions: ["postgres:*"], ...right }];
  return decideByTask(step({ rights }), "db", { actions, text: "" }, NOW).effect;
}

describe("what a task covers", () => {
  it("is its resources and actions, a whole protocol by its star", () => {
    const select = postgres("select", ["orders"]);
    expect(effect({}, select)).toBe("allow");
    expect(effect({ actions: ["postgres:select"] }, select)).toBe("allow");
    expect(effect({ actions: ["postgres:update"] }, select)).toBe("deny");
    expect(effect({ actions: ["ssh:*"] }, select)).toBe("deny");
    expect(effect({ resources: ["other"] }, select)).toBe("deny");
    expect(effect({ actions: ["postgres:select"] }, select, postgres("update", ["orders"]))).toBe("deny");
  });

  it("is every relation of every action, written exactly as it is named", () => {
    const right = { relations: ["orders", "public.items"] };
    expect(effect(right, postgres("select", ["orders", "public.items"]))).toBe("allow");
    expect(effect(right, postgres("select", []))).toBe("allow");
    expect(effect(right, postgres("select", ["orders", "items"]))).toBe("deny");
    expect(effect(right, postgres("select", ["Orders"]))).toBe("deny");
  });

  it("has no function that could read a relation behind its back", () => {
    const right = { relations: ["orders"] };
    expect(effect(right, postgres("select", [], ["count", "pg_catalog.lower"]))).toBe("allow");
    for (const name of ["query_to_xml", "pg_read_file", "dblink", "public.lower", "app.report"]) {
      expect(effect(right, postgres("select", [], [name])), name).toBe("deny");
    }
    expect(effect({ ...right, functions: ["app.report"] }, postgres("select", [], ["app.report"]))).toBe(
      "allow",
    );
    expect(effect({ ...right, functions: ["app.report"] }, postgres("select", [], ["count"]))).toBe("deny");
  });

  it("does not cover what has no fact to compare with", () => {
    const shell: Action = { action: "ssh:shell", facts: { login: "", terminal: true } };
    expect(effect({ actions: ["ssh:*"] }, shell)).toBe("allow");
    for (const fact of TASK_FACTS) {
      expect(effect({ actions: ["ssh:*"], [fact]: ["x"] }, shell), fact).toBe("deny");
    }
  });

  it("is an exact command and never one that shells read differently", () => {
    const exec = (plain: boolean, command: string): Action => ({
      action: "ssh:exec",
      facts: {
        login: "",
        terminal: false,
        plain,
        construct: "none",
        command,
        program: "",
        arguments: [],
        argumentCount: 0,
        wrapper: false,
      },
    });
    const right = { actions: ["ssh:exec"], commands: ["uptime", ""] };
    expect(effect(right, exec(true, "uptime"))).toBe("allow");
    expect(effect(right, exec(true, "uptime -p"))).toBe("deny");
    expect(effect(right, exec(false, ""))).toBe("deny");
    expect(effect(right, exec(false, "uptime"))).toBe("deny");
  });

  it("is a path or a whole directory", () => {
    const read = (path: string): Action => ({
      action: "ssh:sftp_read",
      facts: { login: "", operation: "open", path },
    });
    const right = { actions: ["ssh:sftp_read"], paths: ["/etc/hosts", "/var/log/"] };
    expect(["/etc/hosts", "/var/log/a/b"].map((path) => effect(right, read(path)))).toEqual([
      "allow",
      "allow",
    ]);
    for (const path of ["/etc/hosts.bak", "/var/log", "/var/logs/x", "", "/etc"]) {
      expect(effect(right, read(path)), path).toBe("deny");
    }
  });

  it("is held where only rights with an approval cover it", () => {
    const approval = { group: "dba", quorum: 2 };
    expect(effect({ approval }, postgres("select", []))).toBe("hold");
    const rights = [
      { resources: ["db"], actions: ["postgres:*"], approval },
      { resources: ["db"], actions: ["postgres:select"] },
    ];
    const decide = (operation: Operation) => decideByTask(step({ rights }), "db", operation, NOW);
    expect(decide({ actions: [postgres("select", [])], text: "" }).effect).toBe("allow");
    expect(decide({ actions: [postgres("update", [])], text: "" })).toMatchObject({
      effect: "hold",
      requirements: [{ group: "dba", quorum: 2 }],
    });
  });

  it("ends with its deadline", () => {
    const rights = [{ resources: ["db"], actions: ["postgres:*"] }];
    const operation = { actions: [postgres("select", [])], text: "" };
    const at = (now: number) => decideByTask(step({ rights, deadline: NOW }), "db", operation, now);
    expect([at(NOW - 1), at(NOW)].map((decision) => decision.effect)).toEqual(["allow", "deny"]);
  });

  it("shows a masked column only where it says so", () => {
    const reveals = (right: Partial<TaskRight>): boolean =>
      revealsByTask(
        step({ rights: [{ resources: ["db"], actions: ["reveal"], ...right }] }),
        "db",
        "c",
        "ssn",
      );
    expect(reveals({})).toBe(true);
    expect(reveals({ relations: ["c"] })).toBe(true);
    expect(reveals({ relations: ["d"] })).toBe(false);
    expect(reveals({ actions: ["postgres:*"] })).toBe(false);
    expect(reveals({ approval: { group: "dba", quorum: 1 } })).toBe(false);
  });
});

describe("narrowing", () => {
  const list = (...values: string[]) => fc.subarray(values, { minLength: 1 });
  const right: fc.Arbitrary<TaskRight> = fc.record(
    {
      resources: list("db", "web"),
      actions: list("postgres:select", "postgres:update", "postgres:*", "ssh:sftp_read", "ssh:*"),
      relations: list("a", "b"),
      paths: list("/x/", "/x/y/", "/x/y/z"),
      functions: list("count", "app.f"),
    },
    { requiredKeys: ["resources", "actions"] },
  );
  const limit = fc.option(fc.integer({ min: 1, max: 9 }), { nil: null });
  const asked = fc.record({
    rights: fc.array(right, { minLength: 1, maxLength: 3 }),
    maxOperations: limit,
    maxRows: limit,
    deadline: fc.option(fc.integer({ min: NOW + 1, max: NOW + 9 }), { nil: null }),
  });
  /** A request that mostly is narrower than `outer`: its rights with other lists, or one list more or less. */
  const pair = asked.chain((outer) => {
    const base = fc.constantFrom(...outer.rights);
    const part = (values: readonly string[] | undefined) =>
      values === undefined ? fc.constant(undefined) : fc.subarray([...values], { minLength: 1 });
    const variant = base.chain((from) =>
      fc
        .record({
          resources: part(from.resources),
          actions: part(from.actions),
          relations: part(from.relations),
          paths: part(from.paths),
          functions: fc.oneof(list("count", "app.f"), part(from.functions)),
        })
        .map(
          (lists) =>
            Object.fromEntries(
              Object.entries(lists).filter(([, value]) => value !== undefined),
            ) as unknown as TaskRight,
        ),
    );
    const rights = fc.array(fc.oneof({ arbitrary: variant, weight: 9 }, right), {
      minLength: 1,
      maxLength: 2,
    });
    const inner = fc.record({ rights, maxOperations: limit, maxRows: limit, deadline: fc.constant(null) });
    return fc.tuple(fc.constant(outer), inner);
  });
  const action: fc.Arbitrary<Action> = fc.oneof(
    fc.record({
      action: fc.constantFrom("postgres:select" as const, "postgres:update" as const),
      facts: fc.record({
        reads: fc.subarray(["a", "b", "c"]),
        writes: fc.subarray(["a", "c"]),
        hasWhere: fc.boolean(),
        functions: fc.subarray(["count", "app.f", "query_to_xml"]),
      }),
    }),
    fc.record({
      action: fc.constantFrom("ssh:sftp_read" as const, "ssh:sftp_write" as const),
      facts: fc.record({
        login: fc.constant(""),
        operation: fc.constant("open"),
        path: fc.constantFrom("/x/y/z", "/x/y/q", "/x/q", "/q", ""),
      }),
    }),
  );

  it("never gives a child what its parent does not have", () => {
    let narrowed = 0;
    fc.assert(
      fc.property(
        pair,
        fc.array(action, { minLength: 1 }),
        list("db", "web"),
        ([outer, inner], actions, [resource = ""]) => {
          const parent: TaskTerms = { ...outer, deadline: outer.deadline ?? NOW + 9 };
          const child = narrow(parent, inner);
          if (!child.ok) return;
          narrowed++;
          const operation = { actions, text: "" };
          const decide = (terms: TaskTerms) => decideByTask(step(terms), resource, operation, NOW).effect;
          if (decide(child.value) === "allow") expect(decide(parent)).toBe("allow");
          for (const what of ["maxOperations", "maxRows"] as const) {
            if (parent[what] !== null)
              expect(child.value[what] ?? Infinity).toBeLessThanOrEqual(parent[what]);
          }
          expect(child.value.deadline).toBeLessThanOrEqual(parent.deadline);
        },
      ),
      { numRuns: 5000 },
    );
    // The property says nothing about pairs that were refused.
    expect(narrowed).toBeGreaterThan(1000);
  });

  it("does not let a child name functions that the parent's relations rule out", () => {
    const base = { resources: ["db"], actions: ["postgres:select"], relations: ["a"] };
    const terms = { maxOperations: null, maxRows: null, deadline: NOW + 9 };
    const child = (functions: string[]) =>
      narrow({ ...terms, rights: [base] }, { ...terms, rights: [{ ...base, functions }] }).ok;
    expect([child(["count"]), child(["app.f"])]).toEqual([true, false]);
  });

  it("always allows the same again", () => {
    fc.assert(
      fc.property(asked, (terms) => {
        const parent: TaskTerms = { ...terms, deadline: terms.deadline ?? NOW + 9 };
        expect(narrow(parent, parent)).toEqual({ ok: true, value: parent });
        expect(
          narrow(parent, { rights: parent.rights, maxOperations: null, maxRows: null, deadline: null }),
        ).toEqual({
          ok: true,
          value: parent,
        });
      }),
    );
  });
});
