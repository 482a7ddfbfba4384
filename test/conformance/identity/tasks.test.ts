/** Tasks in the whole system: narrowing, budgets, the chain, and the end of everything beneath. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { TYPES, api, narrower, tokenRequest } from "../../support/token-endpoint.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: Stack;
const open: GatewayClient[] = [];
beforeAll(() => {
  stack = sharedStack();
});
afterAll(() => {
  for (const client of open) client.drop();
});

const READ = ["postgres:select", "postgres:session", "postgres:transaction"];
const SCRATCH = { type: "sallyport", resources: ["scratch-db"], actions: READ };

async function connect(token: string, resource = "scratch-db"): Promise<GatewayClient> {
  const client = await GatewayClient.open(stack.gateway, resource, token, { noWait: true });
  open.push(client);
  return client;
}

async function startTask(token: string, ...details: object[]): Promise<{ task: string; token: string }> {
  const answer = await narrower(stack.gateway, token, { details });
  return { task: answer.body.task ?? "", token: answer.token() };
}

const SELECT = f.query("select 1");
const run = (client: GatewayClient, sql: string): Promise<string[]> => client.run(f.query(sql));

describe("a task", () => {
  it("allows what it covers and nothing else, whatever policy would", async () => {
    const own = await stack.sessionToken("reviewer-a");
    const { token } = await startTask(own, {
      ...SCRATCH,
      resources: ["shop-db"],
      relations: ["customers", "public.customers"],
    });
    const client = await connect(token, "shop-db");
    expect(await run(client, "select count(*) from customers")).toContain("C SELECT 1");
    expect((await run(client, "select count(*) from orders")).join()).toMatch(/E 42501 .*does not cover it/);
    expect((await run(client, "update customers set balance = 1 where id = 1")).join()).toMatch(/E 42501/);
    expect((await run(client, "select query_to_xml('select * from orders', true, true, '')")).join()).toMatch(
      /E /,
    );
    // A reviewer may see card numbers; this task may not.
    expect((await run(client, "select card_number from customers where id = 1")).join()).toMatch(
      /\*{4}\d{4}/,
    );
    expect((await narrower(stack.gateway, token, { resource: "scratch-db" })).body.error).toBe(
      "invalid_target",
    );
  });

  it("is never wider than the one above it", async () => {
    const own = await stack.sessionToken("reviewer-a");
    const outer = await startTask(own, { ...SCRATCH, max_operations: 5, expires_in: 600 });
    for (const wider of [
      { ...SCRATCH, actions: ["postgres:*"] },
      { ...SCRATCH, actions: [...READ, "postgres:delete"] },
      { ...SCRATCH, max_operations: 6 },
      { ...SCRATCH, expires_in: 900 },
    ]) {
      const answer = await narrower(stack.gateway, outer.token, { details: [wider] });
      expect(answer).toMatchObject({ status: 400, body: { error: "invalid_authorization_details" } });
    }
    const other = await narrower(stack.gateway, outer.token, {
      details: [{ ...SCRATCH, resources: ["shop-db"] }],
    });
    expect(other.body.error).toMatch(/invalid_target|invalid_authorization_details/);
    const inner = await startTask(outer.token, { ...SCRATCH, actions: ["postgres:select"] });
    const { body } = await api(stack.gateway, inner.token, "GET", `/v1/tasks/${inner.task}`);
    expect(body).toMatchObject({
      parent: outer.task,
      authorization_details: [{ actions: ["postgres:select"], max_operations: 5 }],
    });
  });

  it("nests eight deep and no deeper", async () => {
    let { token } = await startTask(await stack.sessionToken("engineer"), SCRATCH);
    for (let depth = 2; depth <= 8; depth++) ({ token } = await startTask(token, SCRATCH));
    const ninth = await narrower(stack.gateway, token, { details: [SCRATCH] });
    expect(ninth.body).toMatchObject({ error: "invalid_authorization_details" });
    expect(await run(await connect(token), "select 1")).toContain("C SELECT 1");
  });

  it("counts its operations exactly while fifty sessions race for them", async () => {
    const { task, token } = await startTask(await stack.sessionToken("engineer"), {
      ...SCRATCH,
      max_operations: 60,
    });
    const clients = await Promise.all(Array.from({ length: 50 }, () => connect(token)));
    const answers = await Promise.all(
      clients
        .flatMap((client) => [0, 1, 2].map(() => client).slice(0, 1))
        .map(async (client) => {
          client.send(SELECT, SELECT, SELECT);
          return client.words("Z", 3);
        }),
    );
    const words = answers.flat();
    expect(words.filter((word) => word.startsWith("C SELECT"))).toHaveLength(60);
    expect(words.filter((word) => /^E 53400 .*used up its 60 operations/.test(word))).toHaveLength(90);
    const shown = await api(stack.gateway, await stack.sessionToken("engineer"), "GET", `/v1/tasks/${task}`);
    expect(shown.body).toMatchObject({ used: { operations: 60 } });
    for (const client of clients) client.close();
  });

  it("counts each statement of a message, and those of tasks below", async () => {
    const outer = await startTask(await stack.sessionToken("engineer"), { ...SCRATCH, max_operations: 4 });
    const inner = await startTask(outer.token, SCRATCH);
    const client = await connect(inner.token);
    expect(await run(client, "select 1; select 2; select 3")).toContain("C SELECT 1");
    expect((await run(client, "select 1; select 2")).join()).toMatch(/E 53400/);
    expect(await run(await connect(outer.token), "select 1")).toContain("C SELECT 1");
    expect((await run(client, "select 1")).join()).toMatch(/E 53400/);
  });

  it("delivers no row beyond its budget", async () => {
    const { token } = await startTask(await stack.sessionToken("engineer"), { ...SCRATCH, max_rows: 100 });
    const first = await connect(token);
    expect(
      (await run(first, "select generate_series(1, 60)")).filter((word) => word.startsWith("D")),
    ).toHaveLength(60);
    const rest = await run(first, "select generate_series(1, 50000)");
    expect(rest.filter((word) => word.startsWith("D")).length).toBeLessThanOrEqual(40);
    await first.closed;
    expect(first.notices.at(-1)).toMatchObject({ type: "ended", code: "task_budget_spent" });
    const second = await connect(token);
    expect(
      (await run(second, "select generate_series(1, 40)")).filter((word) => word.startsWith("D")),
    ).toHaveLength(40);
  });

  it("holds its operations for the group that it names", async () => {
    const { token } = await startTask(await stack.sessionToken("engineer"), {
      ...SCRATCH,
      approval: { group: "dba" },
    });
    const client = await connect(token);
    const refused = (await run(client, "select 41 + 1")).join();
    const [approval = ""] = /apr_[0-9a-z]{26}/.exec(refused) ?? [];
    expect((await stack.sally("reviewer-a", ["approvals", "approve", approval])).code).toBe(0);
    expect(await run(client, "select 41 + 1")).toContain("C SELECT 1");
  });
});

describe("the end of a task", () => {
  it("ends every session beneath it within five seconds, at four levels, while each runs a query", async () => {
    const own = await stack.sessionToken("engineer");
    const levels = [await startTask(own, { ...SCRATCH, name: "release" })];
    for (let depth = 2; depth <= 4; depth++)
      levels.push(await startTask(levels.at(-1)?.token ?? "", SCRATCH));
    const outside = await connect(own);
    const clients = await Promise.all(levels.map(({ token }) => connect(token)));
    for (const client of clients) client.send(f.query("select pg_sleep(30)"));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const started = performance.now();
    const ended = await api(stack.gateway, own, "DELETE", `/v1/tasks/${levels[0]?.task ?? ""}`);
    expect(ended).toMatchObject({ status: 200, body: { status: "ended" } });
    await Promise.all(clients.map(({ closed }) => closed));
    expect(performance.now() - started).toBeLessThan(5000);
    for (const client of clients) expect(client.notices.at(-1)).toMatchObject({ code: "task_ended" });
    for (const { token } of levels) {
      const again = await GatewayClient.dial(stack.gateway, "/connect/scratch-db", {
        authorization: `Bearer ${token}`,
      });
      expect(again).toMatchObject({ ok: false, status: 403 });
      expect((await narrower(stack.gateway, token, {})).status).toBe(400);
    }
    expect(await run(outside, "select 1")).toContain("C SELECT 1");
  });

  it("comes by itself at the deadline", async () => {
    const own = await stack.sessionToken("engineer");
    // Long enough for a session to be opened within it on a busy machine.
    const { task, token } = await startTask(own, { ...SCRATCH, expires_in: 8 });
    const client = await connect(token);
    await client.closed;
    expect(client.notices.at(-1)).toMatchObject({
      type: "ended",
      code: expect.stringMatching(/^(task_ended|token_expired)$/) as string,
    });
    const shown = async (): Promise<unknown> =>
      (await api(stack.gateway, own, "GET", `/v1/tasks/${task}`)).body;
    await expect
      .poll(shown, { timeout: 30_000 })
      .toMatchObject({ status: "ended", endReason: "its deadline has passed" });
  });
});

describe("an agent that acts for a person", () => {
  it("may do what both may, and both are recorded", async () => {
    const [engineer, agent, reviewer] = await Promise.all(
      (["engineer", "agent", "reviewer-a"] as const).map((user) => stack.sessionToken(user)),
    );
    const act = (subject = ""): ReturnType<typeof tokenRequest> =>
      tokenRequest(stack.gateway, {
        subject_token: subject,
        subject_token_type: TYPES.access,
        actor_token: agent,
        actor_token_type: TYPES.access,
      });
    // The reviewer may do everything; the agent reads, and writes with an approval.
    const client = await connect((await act(reviewer)).token(), "shop-db");
    expect(await run(client, "select count(*) from orders")).toContain("C SELECT 1");
    expect((await run(client, "delete from orders where id = 999999")).join()).toMatch(/E 42501 .*denied/);
    expect((await run(client, "select ssn from customers where id = 1")).join()).toContain("*");
    // Both are held: the engineer may update, the agent only with an approval, which the reviewer must not give.
    const token = (await act(reviewer)).token();
    const held = await connect(token, "shop-db");
    const refused = (await run(held, "update orders set status = status where id = 1")).join();
    const [approval = ""] = /apr_[0-9a-z]{26}/.exec(refused) ?? [];
    const own = await api(stack.gateway, reviewer ?? "", "POST", `/v1/approvals/${approval}/approve`, {});
    expect(own).toMatchObject({ status: 403, body: { code: "approval_own_request" } });
    const through = await api(stack.gateway, token, "POST", `/v1/approvals/${approval}/approve`, {});
    expect(through).toMatchObject({ status: 403, body: { code: "delegation_not_enough" } });
    expect((await stack.sally("reviewer-b", ["approvals", "approve", approval])).code).toBe(0);
    expect(await run(held, "update orders set status = status where id = 1")).toContain("C UPDATE 1");

    const shown = await api(stack.gateway, reviewer ?? "", "GET", `/v1/sessions/${held.session}`);
    expect(shown.body).toMatchObject({
      principal: { type: "User" },
      actors: [{ type: "Workload", groups: ["agents"] }],
    });
    const events = await api(
      stack.gateway,
      reviewer ?? "",
      "GET",
      `/v1/sessions/${held.session}/events?limit=1`,
    );
    expect(JSON.stringify(events.body)).toContain('"actors":[{"type":"Workload"');
    const engineers = await connect((await act(engineer)).token(), "shop-db");
    expect((await run(engineers, "insert into employees (name) values ('x')")).join()).toMatch(/apr_/);
  });

  it("is in the log of the step's session, with the chain from the person to the step", async () => {
    const [engineer, agent, reviewer] = await Promise.all(
      (["engineer", "agent", "reviewer-a"] as const).map((user) => stack.sessionToken(user)),
    );
    const release = await startTask(engineer ?? "", { ...SCRATCH, name: "release" });
    const step = await narrower(stack.gateway, release.token, {
      details: [{ ...SCRATCH, name: "check", max_operations: 2 }],
      actor_token: agent,
      actor_token_type: TYPES.access,
    });
    const client = await connect(step.token());
    expect(await run(client, "select 1")).toContain("C SELECT 1");
    const chain = {
      principal: { type: "User", subject: "engineer" },
      actors: [{ type: "Workload", subject: "agent" }],
      tasks: [
        { id: release.task, name: "release" },
        { id: step.body.task, name: "check" },
      ],
    };
    const path = `/v1/sessions/${client.session}`;
    expect((await api(stack.gateway, reviewer ?? "", "GET", path)).body).toMatchObject(chain);
    const events = await api(stack.gateway, reviewer ?? "", "GET", `${path}/events?limit=1`);
    expect((events.body["events"] as { body: unknown }[])[0]?.body).toMatchObject(chain);
    await api(stack.gateway, engineer ?? "", "DELETE", `/v1/tasks/${release.task}`);
  });

  it("cannot act through a token that already acts for somebody", async () => {
    const [engineer, agent] = await Promise.all([
      stack.sessionToken("engineer"),
      stack.sessionToken("agent"),
    ]);
    const acting = await tokenRequest(stack.gateway, {
      subject_token: engineer,
      subject_token_type: TYPES.access,
      actor_token: agent,
      actor_token_type: TYPES.access,
    });
    const twice = await tokenRequest(stack.gateway, {
      subject_token: engineer,
      subject_token_type: TYPES.access,
      actor_token: acting.token(),
      actor_token_type: TYPES.access,
    });
    expect(twice).toMatchObject({ status: 400, body: { error: "invalid_request" } });
  });
});
