/** One step's rights over each protocol, with the real clients: `sally run --task` and `--task` elsewhere. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { api } from "../../support/token-endpoint.ts";
import { type RunningSally, type SallyResult, sharedStack } from "../../support/stack.ts";

const stack = sharedStack();
const TASK = /tsk_[0-9a-z]{26}/;
let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sally-steps-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

let files = 0;
async function taskFile(content: object): Promise<string> {
  const path = join(directory, `${++files}.json`);
  await writeFile(path, JSON.stringify(content));
  return path;
}

/** `sh -c script` under a task of the dba's, who may do everything without one. */
async function step(resource: string, task: object, script: string): Promise<SallyResult> {
  const file = await taskFile(task);
  return stack.sally("reviewer-a", ["run", resource, "--task", file, "--", "sh", "-c", script]);
}

async function statusOf(task: string): Promise<string> {
  const { stdout } = await stack.sally("reviewer-a", ["tasks", "show", task, "--json"]);
  return String((JSON.parse(stdout) as { status: unknown }).status);
}

const UPTIME = { name: "look", resources: ["web-1"], actions: ["ssh:exec"], commands: ["uptime", "echo ok"] };

describe("a step on a server", () => {
  it("runs its commands with the real ssh, no others, no more of them, and ends with its process", async () => {
    const ssh = 'ssh -F "$SALLY_SSH_CONFIG" web-1';
    const done = await step(
      "web-1",
      { ...UPTIME, max_operations: 3 },
      [
        `${ssh} echo ok`,
        `${ssh} id || echo "code $?"`,
        `${ssh} -tt || echo "code $?"`,
        // As git does it: by a shell.
        `sh -c "$GIT_SSH_COMMAND web-1 echo ok"`,
        `${ssh} uptime > /dev/null && echo up`,
        `${ssh} uptime || echo "code $?"`,
        'echo "$SALLY_TASK ${SALLY_TOKEN:-none} ${SALLY_TOKEN_FILE:-none}"',
      ].join("\n"),
    );
    const lines = done.stdout.trimEnd().split("\n");
    expect(lines.slice(0, 6)).toEqual(["ok", "code 126", "code 126", "ok", "up", "code 126"]);
    expect(lines[6]).toMatch(/^tsk_[0-9a-z]{26} none none$/);
    expect(done.stderr).toMatch(/ssh:exec on web-1 is denied: task look .* does not cover it/);
    expect(done.stderr).toContain("used up its 3 operations");
    expect(await statusOf(TASK.exec(done.stdout)?.[0] ?? "")).toBe("ended");
  });

  it("is what sally ssh --task and its ssh-config act in, too", async () => {
    const file = await taskFile(UPTIME);
    const started = await stack.sally("reviewer-a", ["tasks", "start", "--from", file]);
    const task = started.stdout.trim();
    const inTask = (command: string): Promise<SallyResult> =>
      stack.sally("reviewer-a", ["ssh", "web-1", "--task", task, "--", command]);
    expect(await inTask("echo ok")).toMatchObject({ code: 0, stdout: "ok\n" });
    const refused = await inTask("id");
    expect(refused).toMatchObject({ code: 3, stdout: "" });
    expect(refused.stderr).toContain("does not cover it");
    const printed = await stack.sally("reviewer-a", ["ssh-config", "--task", task]);
    expect(printed.stdout).toContain(`--task=${task}`);
    expect((await stack.sally("reviewer-a", ["tasks", "end", task])).code).toBe(0);
    expect((await inTask("echo ok")).code).not.toBe(0);
  });

  it("is all that whoever was handed its token may do", async () => {
    const file = await taskFile(UPTIME);
    const started = await stack.sally("reviewer-a", ["tasks", "start", "--from", file, "--json"]);
    const { access_token: token, task } = JSON.parse(started.stdout) as Record<string, string>;
    const env = { SALLY_TOKEN_FILE: "", SALLY_TOKEN: token };
    const handed = (command: string): Promise<SallyResult> =>
      stack.sally("agent", ["ssh", "web-1", "--", command], { env });
    expect(await handed("echo ok")).toMatchObject({ code: 0, stdout: "ok\n" });
    expect((await handed("id")).code).toBe(3);
    await stack.sally("reviewer-a", ["tasks", "end", task ?? ""]);
  });
});

describe("a step on an HTTP service", () => {
  it("reads its path and nothing else with curl, and ends with its process", async () => {
    const task = {
      name: "orders",
      resources: ["orders-api"],
      actions: ["http:read"],
      paths: ["/orders"],
      max_operations: 2,
    };
    const done = await step(
      "orders-api",
      task,
      [
        "curl -s -o /dev/null -w '%{http_code}\\n' $ORDERS_API_URL/orders",
        "curl -s $ORDERS_API_URL/customers | grep -o task_not_permitted",
        "curl -s -X POST -d '{}' -H 'content-type: application/json' $ORDERS_API_URL/orders | grep -o task_not_permitted",
        "curl -s -o /dev/null -w '%{http_code}\\n' $ORDERS_API_URL/orders",
        "curl -s $ORDERS_API_URL/orders | grep -o task_budget_spent",
        "echo $SALLY_TASK",
        "exit 7",
      ].join("\n"),
    );
    const lines = done.stdout.trimEnd().split("\n");
    expect(lines.slice(0, 5)).toEqual([
      "200",
      "task_not_permitted",
      "task_not_permitted",
      "200",
      "task_budget_spent",
    ]);
    // A step that failed after a refusal says so in its code.
    expect(done.code).toBe(3);
    expect(await statusOf(lines[5] ?? "")).toBe("ended");
  });
});

describe("the end of a workflow", () => {
  it("ends what runs in its steps over PostgreSQL, SSH and HTTP within five seconds", async () => {
    const whole = await taskFile({
      name: "release",
      resources: ["scratch-db", "web-1", "orders-api"],
      actions: ["postgres:*", "ssh:*", "http:read"],
    });
    const release = (await stack.sally("reviewer-a", ["tasks", "start", "--from", whole])).stdout.trim();
    const env = { SALLY_TASK: release };
    const parts: readonly (readonly [string, string, string])[] = [
      ["scratch-db", "postgres:*", "psql -Atc \"select 'ready'\" -c 'select pg_sleep(60)'"],
      ["web-1", "ssh:*", 'ssh -F "$SALLY_SSH_CONFIG" -tt web-1 "echo ready; sleep 60"'],
      // An answer that goes on by itself.
      ["orders-api", "http:read", "curl -sN $ORDERS_API_URL/events | sed -u 's/^/ready /'"],
    ];
    const running: RunningSally[] = [];
    for (const [resource, action, script] of parts) {
      const file = await taskFile({ name: resource, resources: [resource], actions: [action] });
      running.push(
        stack.startSally("reviewer-a", ["run", resource, "--task", file, "--", "sh", "-c", script], { env }),
      );
    }
    await Promise.all(running.map((each) => each.waitFor("stdout", /ready/, 50_000)));
    const token = await stack.sessionToken("reviewer-a");
    const started = Date.now();
    expect((await api(stack.gateway, token, "DELETE", `/v1/tasks/${release}`)).status).toBe(200);
    const results = await Promise.all(running.map((each) => each.result));
    // By the gateway's own times: how long the clients' processes take to end is not its business.
    const listed = await api(stack.gateway, token, "GET", "/v1/sessions?limit=500");
    type Session = { tasks?: { id: string }[]; resource: string; endedAt?: string };
    const beneath = (listed.body["sessions"] as Session[]).filter(({ tasks = [] }) =>
      tasks.some(({ id }) => id === release),
    );
    expect(new Set(beneath.map(({ resource }) => resource))).toEqual(new Set(parts.map(([name]) => name)));
    for (const { endedAt = "" } of beneath) expect(Date.parse(endedAt) - started).toBeLessThan(5000);
    const [database, server] = results;
    expect(database?.code).not.toBe(0);
    expect(server?.code).not.toBe(0);
    for (const each of [database, server]) expect(each?.stderr).toMatch(/the session has ended: .*task/);
  });
});
