/** Approvals with several people, batches, escalation, and what reviewers see, through the whole system. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RunningSally } from "../../support/stack.ts";
import { openPort, withClient } from "../../support/native.ts";
import { type Api, type ApprovalStack, apiOf, startApprovalStack } from "./setup.ts";

let approvals: ApprovalStack;
let api: Api;
/** Held at the beginning on resources that give ten seconds, so that the other tests use the time. */
let undecided: { readonly sql: RunningSally; readonly ssh: RunningSally };
beforeAll(async () => {
  approvals = await startApprovalStack();
  const { stack } = approvals;
  api = apiOf(stack);
  undecided = {
    sql: stack.startSally("engineer", ["psql", "shop-db", "--", "-c", "delete from orders where id = 971"]),
    ssh: stack.startSally("engineer", ["ssh", "web-1", "--", "touch /dev/null"]),
  };
});
afterAll(() => approvals?.stop());

const APPROVAL = /apr_[0-9a-z]{26}/;
const psql = (sql: string, ...options: string[]): string[] => [
  "psql",
  "scratch-db",
  ...options,
  "--",
  "-c",
  sql,
];

async function hold(sql: string, ...options: string[]) {
  const waiting = approvals.stack.startSally("engineer", psql(sql, ...options));
  const [id] = await waiting.waitFor("stderr", APPROVAL);
  return { waiting, id };
}

describe("quorum", () => {
  it("waits for two distinct people", async () => {
    const { waiting, id } = await hold("update pairs set note = 'x' where id = 1");
    const first = await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, {});
    expect(first).toMatchObject({ status: "pending", mayDecide: false });
    await expect(api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, {})).rejects.toMatchObject({
      code: "approval_not_pending",
    });
    await api("reviewer-b", "POST", `/v1/approvals/${id}/approve`, {});
    expect(await waiting.result).toMatchObject({ code: 0, stdout: "UPDATE 1\n" });
  });

  it("takes any of several groups", async () => {
    const { waiting, id } = await hold("update either set note = 'x' where id = 1");
    const shown = await api("reviewer-a", "GET", `/v1/approvals/${id}`);
    expect(shown["requirements"]).toEqual([
      { policy: "either-group", group: "security or dba", groups: ["security", "dba"], quorum: 1 },
    ]);
    await api("reviewer-b", "POST", `/v1/approvals/${id}/approve`, {});
    expect((await waiting.result).code).toBe(0);
  });

  it("waits for all of several policies", async () => {
    const { waiting, id } = await hold("update in_common set note = 'x' where id = 1");
    const first = await api("agent", "POST", `/v1/approvals/${id}/approve`, {});
    expect(first).toMatchObject({ status: "pending" });
    await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, {});
    expect(await waiting.result).toMatchObject({ code: 0, stdout: "UPDATE 1\n" });
  });

  it("lets another group decide only once it has been escalated to", async () => {
    const { waiting, id } = await hold("update escalating set note = 'x' where id = 1");
    await expect(api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, {})).rejects.toMatchObject({
      code: "approval_not_reviewer",
    });
    await approvals.receiver.waitFor(
      ({ path, body }) => path === "/hook" && body.includes(id) && body.includes('"event":"escalated"'),
    );
    expect(await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, {})).toMatchObject({
      escalatedAt: expect.any(String),
    });
    expect((await waiting.result).code).toBe(0);
  });

  it("lets a workload decide where policy permits, and nobody decide a request of their own", async () => {
    const { waiting, id } = await hold("update by_machine set note = 'x' where id = 1");
    await expect(api("engineer", "POST", `/v1/approvals/${id}/approve`, {})).rejects.toMatchObject({
      code: "approval_own_request",
    });
    await api("agent", "POST", `/v1/approvals/${id}/approve`, { comment: "checked by the pipeline" });
    expect((await waiting.result).code).toBe(0);
  });
});

describe("a client that waits", () => {
  it("is told so again and again, in its own protocol, and works on when it is approved", async () => {
    const { waiting, id } = await hold("update pairs set note = 'x' where id = 2");
    // Twice: it is not said once and then forgotten.
    for (const seconds of ["[1-9]", "([2-9]|\\d\\d)"]) {
      await waiting.waitFor(
        "stderr",
        new RegExp(`NOTICE: +still held for dba after ${seconds} s \\(approval ${id}\\)`),
      );
    }
    await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, {});
    await api("reviewer-b", "POST", `/v1/approvals/${id}/approve`, {});
    const { code, stdout } = await waiting.result;
    expect([code, stdout]).toEqual([0, "UPDATE 1\n"]);
  });
});

describe("what reviewers see", () => {
  it("has the reason, the layout, relations, an estimate, what happened before and how similar ones ended", async () => {
    const earlier = await hold("delete from looked_at where id = 190", "--reason", "ticket 4711");
    await api("reviewer-a", "POST", `/v1/approvals/${earlier.id}/deny`, { comment: "not today" });
    const denied = await earlier.waiting.result;
    expect(denied.stderr).toMatch(/denied by reviewer-a[^\n]*: not today/);

    const waiting = approvals.stack.startSally("engineer", [
      "psql",
      "scratch-db",
      "--",
      "-c",
      "select count(*) from looked_at",
      "-c",
      "/* reason: cleaning up */ delete from looked_at where id > 150 and note <> 'x'",
    ]);
    const [id] = await waiting.waitFor("stderr", APPROVAL);
    await expect
      .poll(async () => (await api("reviewer-a", "GET", `/v1/approvals/${id}`))["estimate"], {
        timeout: 10_000,
      })
      .toBeDefined();
    const seen = await api("reviewer-a", "GET", `/v1/approvals/${id}`);
    expect(seen).toMatchObject({
      reason: "cleaning up",
      mayDecide: true,
      batchLimit: 3,
      operation: {
        relations: { reads: ["looked_at"], writes: ["looked_at"] },
        shape: { text: expect.stringContaining("where id > $1 and note <> $2") },
        formatted: "delete from looked_at\nwhere id > 150\n  and note <> 'x'",
      },
      before: [{ text: "select count(*) from looked_at", effect: "allow", rows: 1, at: expect.any(String) }],
    });
    const { estimate } = seen as { estimate: { rows: number } };
    // 200 rows that were analysed, fifty of them over 150.
    expect(estimate.rows).toBeGreaterThan(30);
    expect(estimate.rows).toBeLessThan(80);
    await api("reviewer-a", "POST", `/v1/approvals/${id}/deny`, {});
    await waiting.result;
    const rows = await approvals.stack.direct(
      (client) => client.query("select count(*)::int as n from looked_at"),
      approvals.stack.system.postgres.url("scratch"),
    );
    expect(rows.rows).toEqual([{ n: 200 }]);

    const again = await hold("delete from looked_at where id = 190");
    const similar = (await api("reviewer-a", "GET", `/v1/approvals/${again.id}`))["similar"];
    expect(similar).toContainEqual(
      expect.objectContaining({ id: earlier.id, status: "denied", comment: "not today" }),
    );
    await api("reviewer-a", "POST", `/v1/approvals/${again.id}/deny`, {});
    await again.waiting.result;
  });

  it("refuses a decision on another operation than the one that was looked at", async () => {
    const { waiting, id } = await hold("update either set note = 'y' where id = 2");
    await expect(
      api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, { hash: "0".repeat(64) }),
    ).rejects.toMatchObject({ status: 409 });
    const { operation } = (await api("reviewer-a", "GET", `/v1/approvals/${id}`)) as {
      operation: { hash: string };
    };
    await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, { hash: operation.hash });
    expect((await waiting.result).code).toBe(0);
  });
});

describe("batches", () => {
  it("are refused where policy allows none, and beyond what it allows", async () => {
    const { waiting, id } = await hold("update either set note = 'z' where id = 3");
    const ask = (uses: number) =>
      api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, { batch: { uses } });
    await expect(ask(2)).rejects.toMatchObject({ status: 400 });
    await api("reviewer-a", "POST", `/v1/approvals/${id}/deny`, {});
    await waiting.result;
    const other = await hold("delete from batched where id = 101");
    await expect(
      api("reviewer-a", "POST", `/v1/approvals/${other.id}/approve`, { batch: { uses: 4 } }),
    ).rejects.toMatchObject({ status: 400 });
    await api("reviewer-a", "POST", `/v1/approvals/${other.id}/deny`, {});
    await other.waiting.result;
  });

  // No second try: a count that is right only sometimes is wrong.
  it("let exactly three of fifty sessions pass that race for three uses", { retry: 0 }, async () => {
    const port = await openPort(approvals.stack, "engineer", "scratch-db", ["--no-wait"]);
    try {
      const run = (id: number) =>
        withClient(port, async (client) => {
          try {
            return (await client.query(`delete from batched where id = ${id}`)).rowCount;
          } catch (error) {
            return (error as Error).message;
          }
        });
      const first = String(await run(1));
      const id = APPROVAL.exec(first)?.[0] ?? "";
      const granted = await approvals.stack.sally("reviewer-a", ["approvals", "approve", id, "--uses", "3"]);
      expect(granted).toMatchObject({ code: 0, stdout: expect.stringContaining("3 of 3 uses left") });

      const outcomes = await Promise.all(Array.from({ length: 50 }, (_, index) => run(index + 1)));
      expect(outcomes.filter((outcome) => outcome === 1)).toHaveLength(3);
      const held = outcomes.filter((outcome) => typeof outcome === "string");
      expect(held).toHaveLength(47);
      for (const message of held) expect(message).toMatch(/needs the approval of dba/);
      const left = await approvals.stack.direct(
        (client) => client.query("select count(*)::int as n from batched where id <= 50"),
        approvals.stack.system.postgres.url("scratch"),
      );
      expect(left.rows).toEqual([{ n: 47 }]);
      expect((await api("reviewer-a", "GET", `/v1/approvals/${id}`))["batch"]).toMatchObject({
        uses: 3,
        left: 0,
      });
    } finally {
      await port.close();
    }
  });

  it("leave nothing for the operation that was looked at once others have used them up", async () => {
    const ask = (id: number) =>
      approvals.stack.sally("engineer", psql(`delete from batched where id = ${id}`, "--no-wait"));
    const id = APPROVAL.exec((await ask(120)).stderr)?.[0] ?? "";
    await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, { batch: { uses: 2 } });
    expect((await ask(121)).code).toBe(0);
    expect((await ask(122)).code).toBe(0);
    const late = await ask(120);
    expect(late.code).toBe(4);
    expect(APPROVAL.exec(late.stderr)?.[0]).not.toBe(id);
  });

  it("keep one use for the session that waits", async () => {
    const { waiting, id } = await hold("delete from batched where id = 123");
    const approved = await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, { batch: { uses: 2 } });
    expect(approved["batch"]).toMatchObject({ uses: 2, left: 1 });
    expect((await waiting.result).code).toBe(0);
    const ask = (row: number) =>
      approvals.stack.sally("engineer", psql(`delete from batched where id = ${row}`, "--no-wait"));
    expect((await ask(124)).code).toBe(0);
    expect((await ask(125)).code).toBe(4);
  });

  it("cover only the shape that was approved, and end when a reviewer ends them", async () => {
    const first = await hold("delete from batched where id = 102");
    await api("reviewer-a", "POST", `/v1/approvals/${first.id}/approve`, { batch: { uses: 3 } });
    expect((await first.waiting.result).code).toBe(0);
    const other = await approvals.stack.sally(
      "engineer",
      psql("delete from batched where id = 103 and note = note", "--no-wait"),
    );
    expect(other.code).toBe(4);
    await api("reviewer-b", "POST", `/v1/approvals/${first.id}/end-batch`, {});
    const same = await approvals.stack.sally(
      "engineer",
      psql("delete from batched where id = 104", "--no-wait"),
    );
    expect(same.code).toBe(4);
  });
});

describe("a request that nobody decides", () => {
  it("ends by itself, and its client is told so, over SQL and SSH", async () => {
    const [sqlId] = await undecided.sql.waitFor("stderr", APPROVAL);
    await undecided.ssh.waitFor("stderr", /still held for dba after [1-9]\d* s \(approval apr_/);
    const [ended, commandEnded] = await Promise.all([undecided.sql.result, undecided.ssh.result]);
    expect(ended.stderr).toContain(`nobody decided approval ${sqlId} in time`);
    expect(commandEnded.stderr).toMatch(/nobody decided approval apr_[0-9a-z]+ in time/);
    for (const { code } of [ended, commandEnded]) expect(code).not.toBe(0);
    await expect(api("reviewer-a", "POST", `/v1/approvals/${sqlId}/approve`, {})).rejects.toMatchObject({
      code: "approval_not_pending",
    });
  });
});

describe("a restart of the gateway", () => {
  it("leaves a granted approval for the retry", async () => {
    const { waiting, id } = await hold("delete from batched where id = 110");
    const { system } = approvals.stack;
    await system.gateway.crash();
    expect((await waiting.result).code).not.toBe(0);
    await system.startGateway();
    await system.waitUntilOnline("scratch-db", 60_000);
    await expect
      .poll(
        async () =>
          await api("reviewer-a", "POST", `/v1/approvals/${id}/approve`, {}).catch((error: unknown) => error),
        {
          timeout: 20_000,
        },
      )
      .toMatchObject({ status: "approved" });
    const retry = await approvals.stack.sally(
      "engineer",
      psql("delete from batched where id = 110", "--no-wait"),
    );
    expect(retry).toMatchObject({ code: 0, stdout: "DELETE 1\n" });
  });
});
