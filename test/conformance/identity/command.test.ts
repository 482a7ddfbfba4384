/** Tasks, revocation and keys as a user of `sally` meets them; bound tokens on every way to the gateway. */
import { writeFile, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, type RunningSally, startPrivateStack } from "../../support/stack.ts";
import { TYPES, api, tokenRequest } from "../../support/token-endpoint.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: PrivateStack;
beforeAll(async () => {
  stack = await startPrivateStack();
});
afterAll(async () => {
  await stack.stop();
});

const TASK = /tsk_[0-9a-z]{26}/;

async function taskFile(name: string, content: unknown): Promise<string> {
  const path = join(stack.directory, `${name}.json`);
  await writeFile(path, JSON.stringify(content));
  return path;
}

const READ = { name: "report", resources: ["scratch-db"], actions: ["postgres:select", "postgres:session"] };

async function identity(
  user: "engineer" | "reviewer-a" | "agent",
): Promise<{ issuer: string; subject: string }> {
  const { stdout } = await stack.sally(user, ["whoami", "--json"]);
  return (JSON.parse(stdout) as { principal: { issuer: string; subject: string } }).principal;
}

describe("sally run --task", () => {
  it("gives a process one step's rights and ends the task with it", async () => {
    const file = await taskFile("step", { ...READ, max_operations: 3 });
    const script =
      "psql -Atc 'select 1' -c 'create table t (a int)' -c 'select 2' -c 'select 3'; echo $SALLY_TASK";
    const done = await stack.sally("engineer", [
      "run",
      "scratch-db",
      "--task",
      file,
      "--",
      "sh",
      "-c",
      script,
    ]);
    expect(done.stdout).toMatch(/^1\n2\n3\ntsk_/);
    expect(done.stderr).toMatch(/ERROR: .*schema change.* denied/);
    const task = TASK.exec(done.stdout)?.[0] ?? "";
    const shown = await stack.sally("engineer", ["tasks", "show", task]);
    expect(shown.stdout).toMatch(/status +ended/);
    expect(shown.stdout).toMatch(/operations +3 of 3/);
    const late = await stack.sally("engineer", [
      "psql",
      "scratch-db",
      "--task",
      task,
      "--",
      "-c",
      "select 1",
    ]);
    expect(late.code).not.toBe(0);
  });

  it("nests: what a step starts is part of the step", async () => {
    const outer = await stack.sally("engineer", ["tasks", "start", "--from", await taskFile("outer", READ)]);
    const id = TASK.exec(outer.stdout)?.[0] ?? "";
    const inner = await stack.sally("engineer", [
      "tasks",
      "start",
      "--task",
      id,
      "--from",
      await taskFile("inner", { ...READ, name: "step" }),
    ]);
    const child = TASK.exec(inner.stdout)?.[0] ?? "";
    const wide = await taskFile("wide", { ...READ, actions: ["postgres:*"] });
    const refused = await stack.sally("engineer", ["tasks", "start", "--task", id, "--from", wide]);
    expect(refused).toMatchObject({ code: 3, stderr: expect.stringContaining("too wide") });
    const run = ["psql", "scratch-db", "--task", child, "--", "-Atc", "select 7"];
    expect(await stack.sally("engineer", run)).toMatchObject({ code: 0, stdout: "7\n" });
    const sessions = JSON.parse((await stack.sally("engineer", ["sessions", "ls", "--json"])).stdout) as {
      sessions: { id: string }[];
    };
    const session = await stack.sally("engineer", ["sessions", "show", sessions.sessions[0]?.id ?? ""]);
    expect(session.stdout).toContain(`report (${id}) > step (${child})`);
    expect((await stack.sally("engineer", ["tasks", "end", id])).code).toBe(0);
    expect((await stack.sally("engineer", run)).code).not.toBe(0);
  });

  it("lets a step that was handed its token work with that alone", async () => {
    const file = await taskFile("handed", READ);
    const started = await stack.sally("engineer", ["tasks", "start", "--from", file, "--json"]);
    const { access_token: token } = JSON.parse(started.stdout) as { access_token: string };
    const env = { SALLY_TOKEN_FILE: "", SALLY_TOKEN: token };
    const step = await stack.sally("agent", ["psql", "scratch-db", "--", "-Atc", "select 5"], { env });
    expect(step).toMatchObject({ code: 0, stdout: "5\n" });
    const other = await stack.sally("agent", ["psql", "shop-db", "--", "-Atc", "select 5"], { env });
    expect(other.code).not.toBe(0);
    const admin = await stack.sally("agent", ["sessions", "ls"], { env });
    expect(admin.code).toBe(3);
  });

  it("records the agent that acts and the person it acts for", async () => {
    const args = ["psql", "shop-db", "--actor-token-file", stack.tokenFiles.agent, "--", "-Atc", "select 1"];
    expect(await stack.sally("engineer", args)).toMatchObject({ code: 0, stdout: "1\n" });
    const listed = await stack.sally("engineer", ["sessions", "ls", "--json"]);
    expect(listed.stdout).toMatch(/"actors":\[\{"type":"Workload"/);
  });
});

describe("sally revoke", () => {
  it("ends a person's sessions within five seconds and refuses new ones until it is lifted", async () => {
    const { issuer, subject } = await identity("engineer");
    const token = await stack.sessionToken("engineer");
    const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
    const acting = await tokenRequest(stack.gateway, {
      subject_token: await stack.sessionToken("reviewer-a"),
      subject_token_type: TYPES.access,
      actor_token: token,
      actor_token_type: TYPES.access,
    });
    const delegated = await GatewayClient.open(stack.gateway, "scratch-db", acting.token());
    const server = stack.startSally("engineer", ["ssh", "web-1", "--", "tail", "-f", "/etc/passwd"]);
    await server.waitFor("stdout", /:\//, 50_000);
    client.send(f.query("select pg_sleep(30)"));
    const started = Date.now();
    const revoked = await stack.sally("reviewer-a", [
      "revoke",
      `${issuer}#${subject}`,
      "--reason",
      "left",
      "--json",
    ]);
    expect(revoked.code).toBe(0);
    const [, , { code, stderr }] = await Promise.all([client.closed, delegated.closed, server.result]);
    // By the gateway's own times: how long the clients' processes take to end is not its business.
    const after = await stack.sally("reviewer-a", ["sessions", "ls", "--json"]);
    const { sessions } = JSON.parse(after.stdout) as { sessions: { endReason?: string; endedAt: string }[] };
    const cut = sessions.filter(
      ({ endReason, endedAt }) => endReason === "principal_revoked" && Date.parse(endedAt) >= started,
    );
    expect(cut).toHaveLength(3);
    for (const { endedAt } of cut) expect(Date.parse(endedAt) - started).toBeLessThan(5000);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/the session has ended: the access of .* has been revoked/);
    expect(client.notices.at(-1)).toMatchObject({ type: "ended", code: "principal_revoked" });
    expect(await api(stack.gateway, token, "GET", "/v1/whoami")).toMatchObject({
      status: 401,
      body: { code: "principal_revoked" },
    });
    expect((await stack.sally("engineer", ["whoami"])).code).toBe(5);
    const listed = await stack.sally("reviewer-a", ["revocations", "ls"]);
    expect(listed.stdout).toContain(`${issuer}#${subject}`);
    const { id } = JSON.parse(revoked.stdout) as { id: string };
    expect((await stack.sally("engineer", ["revocations", "lift", id])).code).toBe(5);
    expect((await stack.sally("reviewer-a", ["revocations", "lift", id])).code).toBe(0);
    expect((await stack.sally("engineer", ["whoami"])).code).toBe(0);
  });

  it("is not for everybody", async () => {
    const { issuer, subject } = await identity("reviewer-a");
    expect((await stack.sally("engineer", ["revoke", `${issuer}#${subject}`])).code).toBe(3);
    expect((await stack.sally("engineer", ["keys", "rotate"])).code).toBe(3);
  });

  it("with --tokens-only refuses what was issued before and takes what is issued after", async () => {
    const { issuer, subject } = await identity("agent");
    const old = (await readFile(stack.tokenFiles.agent, "utf8")).trim();
    const revoke = ["revoke", `${issuer}#${subject}`, "--tokens-only"];
    expect((await stack.sally("reviewer-a", revoke)).code).toBe(0);
    const exchange = (subject_token: string) =>
      tokenRequest(stack.gateway, { subject_token, subject_token_type: TYPES.id });
    expect((await exchange(old)).status).toBe(400);
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const fresh = await stack.system.oidc.issueIdToken("agent", { ttl: 600 });
    expect((await exchange(fresh)).status).toBe(200);
  });

  it("takes a group away from a live session for its next operation", async () => {
    const { issuer, subject } = await identity("engineer");
    const token = await stack.sessionToken("engineer");
    const client = await GatewayClient.open(stack.gateway, "shop-db", token);
    expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
    const reviewer = await stack.sessionToken("reviewer-a");
    const change = { issuer, subject, removed: ["engineers"] };
    expect((await api(stack.gateway, token, "POST", "/v1/group-changes", change)).status).toBe(403);
    expect((await api(stack.gateway, reviewer, "POST", "/v1/group-changes", change)).status).toBe(204);
    expect((await client.run(f.query("select 1"))).join()).toMatch(/E 42501 .*no policy permits/);
    expect((await api(stack.gateway, token, "GET", "/v1/whoami")).body).toMatchObject({
      principal: { groups: [] },
    });
    // The identity provider says otherwise in a token from after that.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    const fresh = await stack.system.oidc.issueIdToken("engineer", { ttl: 600 });
    const again = await tokenRequest(stack.gateway, { subject_token: fresh, subject_token_type: TYPES.id });
    client.sendText(JSON.stringify({ type: "renew", token: again.token() }));
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
    client.close();
  });
});

describe("renewal", () => {
  it("goes on under a fresh token, and ends with a clear error under anything else", async () => {
    const token = await stack.sessionToken("reviewer-a");
    for (const [renewal, code] of [
      [await stack.sessionToken("reviewer-a"), undefined],
      [await stack.sessionToken("reviewer-b"), "token_invalid"],
      ["not.a.token", "token_invalid"],
      [await stack.sessionToken("reviewer-a", ["shop-db"]), "resource_not_in_token"],
    ] as const) {
      const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
      client.sendText(JSON.stringify({ type: "renew", token: renewal }));
      if (code === undefined) {
        expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
        client.close();
      } else {
        await client.closed;
        expect(client.notices.at(-1)).toMatchObject({ type: "ended", code });
      }
    }
  });
});

describe("sally renews the token of a session in the background", () => {
  /** A token file as a platform keeps it: replaced while the session runs. */
  async function session(): Promise<{
    running: RunningSally;
    replace: (ttl: number, claims?: Record<string, unknown>) => Promise<void>;
  }> {
    const file = join(stack.directory, `short-${Math.random()}.jwt`);
    const replace = async (ttl: number, claims = {}): Promise<void> =>
      writeFile(file, await stack.system.oidc.issueIdToken("reviewer-b", { ttl, claims }));
    await replace(15);
    const running = stack.startSally("reviewer-b", ["psql", "scratch-db", "--", "-At"], {
      env: { SALLY_TOKEN_FILE: file },
    });
    running.write("select 'begun', pg_backend_pid();\n");
    await running.waitFor("stdout", /begun/);
    return { running, replace };
  }

  it("for a native session that outlives its first token, and ends with the reason where there is no other", async () => {
    const [renewed, refused] = await Promise.all([session(), session()]);
    renewed.running.write("create table renewed (a int); drop table renewed;\nselect 'made';\n");
    await renewed.running.waitFor("stdout", /made/);
    // The identity provider says other groups from now on; to the other file it gives nothing that is good.
    await renewed.replace(600, { groups: ["engineers"] });
    await refused.replace(-10);

    await refused.running.waitFor("stderr", /the session has ended: the session's token has expired/, 40_000);
    refused.running.write("select 'late';\n");
    refused.running.endInput();
    const over = await refused.running.result;
    expect(over.code).toBe(5);
    expect(over.stdout).not.toContain("late");
    expect(over.stderr).toMatch(/token has expired[^]*sally: the gateway did not accept the identity token/);

    renewed.running.write("select 'still', pg_backend_pid();\ncreate table renewed (a int);\n");
    await renewed.running.waitFor("stderr", /ERROR: .*schema change.* denied/);
    renewed.running.endInput();
    const { stdout } = await renewed.running.result;
    const [, begun, still] = /begun\|(\d+)[^]*still\|(\d+)/.exec(stdout) ?? [];
    expect(still).toBe(begun);
  });
});

describe("sally keys rotate", () => {
  it("publishes a new key while tokens of the old one stay good", async () => {
    const token = await stack.sessionToken("reviewer-a");
    const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
    const rotated = await stack.sally("reviewer-a", ["keys", "rotate", "--json"]);
    const { keys } = JSON.parse(rotated.stdout) as { keys: { kid: string; status: string }[] };
    expect(keys.map(({ status }) => status)).toEqual(["published", "signing"]);
    const jwks = (await (await fetch(`${stack.gateway}/.well-known/jwks.json`)).json()) as {
      keys: { kid: string }[];
    };
    expect(jwks.keys.map(({ kid }) => kid)).toEqual(keys.map(({ kid }) => kid));
    expect((await api(stack.gateway, token, "GET", "/v1/whoami")).status).toBe(200);
    expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
    client.close();
    const shown = await stack.sally("reviewer-a", ["keys", "ls"]);
    expect(shown.stdout).toMatch(/published[^]*signing/);
  });
});
