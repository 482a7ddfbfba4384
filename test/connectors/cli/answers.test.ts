import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type StandIn, startStandIn } from "./stand-in-gateway.ts";
import { run } from "./support.ts";

let gateway: StandIn;
let environment: Record<string, string>;
let directory: string;

beforeAll(async () => {
  gateway = await startStandIn({});
  const token = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from('{"sub":"engineer"}').toString("base64url")}.`;
  environment = { SALLY_GATEWAY: gateway.url, SALLY_TOKEN: token };
  directory = await mkdtemp(join(tmpdir(), "sally-answers-"));
});
afterAll(async () => {
  await gateway.stop();
  await rm(directory, { recursive: true, force: true });
});
beforeEach(() => {
  gateway.answers.clear();
  gateway.requests.length = 0;
});

const sally = (...words: string[]) => run(words, environment);
const last = () => gateway.requests.at(-1);

const ENGINEER = {
  type: "User",
  issuer: "https://id.example",
  subject: "engineer",
  name: "Erin",
  groups: ["engineers"],
};
const REVIEWER = { ...ENGINEER, subject: "reviewer-a", name: "Avery", groups: ["dba"] };
const APPROVAL = {
  id: "apr_1",
  status: "pending",
  resource: "shop-db",
  session: "ses_1",
  requester: ENGINEER,
  operation: {
    action: ["postgres:delete"],
    text: "delete from orders\n\u001b[1Awhere id = $1 -- \u202e",
    parameters: ["1", null],
    hash: "abc",
  },
  reason: "ticket 7",
  requirements: [{ policy: "hold-deletes", group: "dba", quorum: 2 }],
  decisions: [{ reviewer: REVIEWER, verdict: "approve", comment: "fine", at: "2026-11-22T08:01:00Z" }],
  policies: [{ id: "hold-deletes", reason: "deletes are reviewed" }],
  createdAt: "2026-11-22T08:00:00Z",
  expiresAt: "2026-11-22T09:00:00Z",
};
const SESSION = {
  id: "ses_1",
  resource: "shop-db",
  protocol: "postgres",
  principal: ENGINEER,
  startedAt: "2026-11-22T08:00:00Z",
  status: "live",
  operations: 3,
  denied: 1,
  held: 0,
  rows: 12,
};

describe("sally whoami and ls", () => {
  it("show who one is, and what there is", async () => {
    const whoami = { principal: ENGINEER, expiresAt: "2026-11-22T08:15:00Z", resources: null };
    gateway.answers.set("GET /v1/whoami", { status: 200, body: whoami });
    expect(await sally("whoami")).toEqual({
      code: 0,
      err: "",
      out:
        "name     Erin\ntype     user\ngroups   engineers\nissuer   https://id.example\nsubject  engineer\n" +
        `gateway  ${gateway.url}\n`,
    });
    expect(JSON.parse((await sally("whoami", "--json")).out)).toEqual(whoami);
    const resources = [
      {
        name: "shop-db",
        protocol: "postgres",
        labels: { env: "prod" },
        connector: "demo",
        online: true,
        database: "shop",
      },
      { name: "web-1", protocol: "ssh", labels: {}, connector: "office", online: false },
    ];
    gateway.answers.set("GET /v1/resources", { status: 200, body: { resources, newer: true } });
    expect((await sally("ls")).out).toBe(
      "NAME     PROTOCOL  STATUS   CONNECTOR  DATABASE  LABELS\n" +
        "shop-db  postgres  online   demo       shop      env=prod\n" +
        "web-1    ssh       offline  office     -\n",
    );
    // What a newer gateway adds is passed on.
    expect(JSON.parse((await sally("ls", "--json")).out)).toEqual({ resources, newer: true });
  });
});

describe("sally approvals", () => {
  it("lists what waits, or all", async () => {
    gateway.answers.set("GET /v1/approvals", { status: 200, body: { approvals: [APPROVAL] } });
    const { out } = await sally("approvals", "ls");
    expect(last()?.url).toBe("/v1/approvals?status=pending");
    expect(out).toContain(
      "apr_1  pending  shop-db   Erin       2 of dba  2026-11-22T09:00:00Z  delete from orders \\u{1b}[1Awhere id = $1",
    );
    await sally("approvals", "ls", "--all");
    expect(last()?.url).toBe("/v1/approvals?status=all");
    gateway.answers.set("GET /v1/approvals", { status: 200, body: { approvals: [] } });
    expect(await sally("approvals", "ls")).toEqual({
      code: 0,
      out: "",
      err: "sally: nothing waits for approval\n",
    });
  });

  it("shows everything that is approved, with escape sequences and reordering made visible", async () => {
    gateway.answers.set("GET /v1/approvals/apr_1", { status: 200, body: APPROVAL });
    const { out } = await sally("approvals", "show", "apr_1");
    expect(out).toContain("\ndelete from orders\n\\u{1b}[1Awhere id = $1 -- \\u{202e}\n");
    expect(out).toContain('parameters  $1 = "1"\n            $2 = NULL\n');
    for (const word of [
      "Erin",
      "ticket 7",
      "2 of dba",
      "hold-deletes: deletes are reviewed",
      "by Avery",
      "fine",
      "abc",
    ]) {
      expect(out).toContain(word);
    }
  });

  it("sends the decision with its comment, and says when more are needed", async () => {
    gateway.answers.set("POST /v1/approvals/apr_1/approve", { status: 200, body: APPROVAL });
    const approved = await sally("approvals", "approve", "apr_1", "--comment", "fine");
    expect(last()).toMatchObject({ method: "POST", body: '{"comment":"fine"}' });
    expect(approved).toMatchObject({
      code: 0,
      err: "sally: your approval counts; others are still needed\n",
    });
    gateway.answers.set("POST /v1/approvals/apr_1/deny", {
      status: 200,
      body: { ...APPROVAL, status: "denied" },
    });
    expect(await sally("approvals", "deny", "apr_1", "--json")).toMatchObject({ code: 0, err: "" });
  });

  it("gives the exit code of the refusal", async () => {
    const problem = {
      type: "about:blank",
      title: "you cannot approve your own request",
      status: 403,
      code: "approval_own_request",
      hint: "ask somebody of dba",
    };
    gateway.answers.set("POST /v1/approvals/apr_1/approve", { status: 403, body: problem });
    const own = await sally("approvals", "approve", "apr_1", "--json");
    expect(own).toMatchObject({
      code: 3,
      err: "sally: you cannot approve your own request\n  hint: ask somebody of dba\n",
    });
    expect(JSON.parse(own.out)).toEqual({
      error: { message: problem.title, hint: problem.hint, code: "approval_own_request", exit: 3 },
    });
    gateway.answers.set("POST /v1/approvals/apr_1/approve", {
      status: 409,
      body: { ...problem, code: "approval_not_pending" },
    });
    expect((await sally("approvals", "approve", "apr_1")).code).toBe(1);
  });

  it("cannot be led to another path by an id", async () => {
    await sally("approvals", "show", "../whoami?x#y");
    expect(last()?.url).toBe("/v1/approvals/..%2Fwhoami%3Fx%23y");
  });
});

describe("sally sessions", () => {
  it("lists, shows and kills", async () => {
    gateway.answers.set("GET /v1/sessions", { status: 200, body: { sessions: [SESSION] } });
    gateway.answers.set("GET /v1/sessions/ses_1", { status: 200, body: SESSION });
    gateway.answers.set("POST /v1/sessions/ses_1/kill", {
      status: 200,
      body: { ...SESSION, status: "ended", endReason: "killed" },
    });
    const listed = await sally("sessions", "ls", "--live", "--limit", "5");
    expect(last()?.url).toBe("/v1/sessions?status=live&limit=5");
    expect(listed.out).toContain("ses_1  live    shop-db   Erin");
    expect((await sally("sessions", "show", "ses_1")).out).toContain("operations  3, 1 denied, 0 held\n");
    const killed = await sally("sessions", "kill", "ses_1", "--reason", "leaked");
    expect(last()?.body).toBe('{"reason":"leaked"}');
    expect(killed.out).toContain("because     killed\n");
    expect((await sally("sessions", "ls", "--limit", "many")).code).toBe(2);
  });
});

describe("sally apply and policy", () => {
  it("sends all files of a directory by their relative path and nothing else", async () => {
    const config = join(directory, "config");
    await mkdir(join(config, "policies", ".git"), { recursive: true });
    await writeFile(join(config, "sallyport.yaml"), "resources: []\n");
    await writeFile(join(config, "policies", "a.cedar"), "permit (principal, action, resource);\n");
    await writeFile(join(config, "policies", "b.yml"), "größer: 1\n");
    await writeFile(join(config, "README.md"), "not this\n");
    await writeFile(join(config, "policies", ".git", "x.yaml"), "nor this\n");
    await writeFile(join(config, ".hidden.yaml"), "nor that\n");
    await symlink("/etc/hostname", join(config, "link.yaml"));
    gateway.answers.set("PUT /v1/config", {
      status: 200,
      body: { version: 3, dryRun: false, changes: ["+ policy a"] },
    });
    expect(await sally("apply", "-f", config)).toEqual({
      code: 0,
      out: "+ policy a\nversion 3 is in force\n",
      err: "",
    });
    expect(JSON.parse(last()?.body ?? "")).toEqual({
      files: {
        "policies/a.cedar": "permit (principal, action, resource);\n",
        "policies/b.yml": "größer: 1\n",
        "sallyport.yaml": "resources: []\n",
      },
    });
    gateway.answers.set("PUT /v1/config", { status: 200, body: { version: 3, dryRun: true, changes: [] } });
    expect((await sally("apply", "-f", config, "--dry-run")).out).toBe(
      "no changes\ndry run: nothing was changed, version stays 3\n",
    );
    expect(last()?.url).toBe("/v1/config?dry-run=1");
  });

  it("shows each mistake as file:line:column and gives 2", async () => {
    const problem = {
      type: "about:blank",
      title: "the configuration has 2 errors, so nothing was changed",
      status: 422,
      code: "config_invalid",
      errors: [
        { file: "a.cedar", line: 3, column: 7, message: "unexpected token `permt`" },
        { file: "sallyport.yaml", line: 1, column: 1, message: "unknown key" },
      ],
    };
    gateway.answers.set("POST /v1/policy/check", { status: 422, body: problem });
    const file = join(directory, "one.cedar");
    await writeFile(file, "permt");
    expect(await sally("policy", "check", "-f", file)).toEqual({
      code: 2,
      out: "",
      err:
        "sally: the configuration has 2 errors, so nothing was changed\n" +
        "  a.cedar:3:7: unexpected token `permt`\n  sallyport.yaml:1:1: unknown key\n",
    });
    gateway.answers.set("POST /v1/policy/check", { status: 200, body: { ok: true } });
    expect(await sally("policy", "check", "-f", file)).toMatchObject({ code: 0, out: "ok: 1 file\n" });
  });

  it("applies the first configuration with the bootstrap token, without exchanging anything", async () => {
    const token = join(directory, "bootstrap");
    await writeFile(token, "bootstrap\n");
    await writeFile(join(directory, "one.cedar"), "permit (principal, action, resource);");
    gateway.exchanges.length = 0;
    gateway.answers.set("PUT /v1/config", { status: 200, body: { version: 1, dryRun: false, changes: [] } });
    expect(
      (await sally("apply", "-f", join(directory, "one.cedar"), "--bootstrap-token-file", token)).code,
    ).toBe(0);
    expect(last()?.headers.authorization).toBe("Bearer bootstrap");
    expect(gateway.exchanges).toHaveLength(0);
  });

  it("refuses what is not text and what is empty before sending it", async () => {
    await writeFile(join(directory, "binary.yaml"), Buffer.from([0xff, 0xfe]));
    expect(await sally("apply", "-f", join(directory, "binary.yaml"))).toMatchObject({
      code: 2,
      err: `sally: ${join(directory, "binary.yaml")} is not UTF-8 text\n`,
    });
    await mkdir(join(directory, "empty"));
    expect((await sally("apply", "-f", join(directory, "empty"))).err).toContain(
      "there is no .yaml, .yml or .cedar file",
    );
    expect(gateway.requests).toHaveLength(0);
  });

  it("explains a decision for oneself and for another", async () => {
    gateway.answers.set("GET /v1/whoami", {
      status: 200,
      body: { principal: ENGINEER, expiresAt: "x", resources: null },
    });
    gateway.answers.set("POST /v1/policy/explain", {
      status: 200,
      body: {
        effect: "hold",
        policies: [{ id: "hold-deletes", reason: "deletes are reviewed" }],
        requirements: [{ policy: "hold-deletes", group: "dba", quorum: 1 }],
        actions: [
          {
            action: "postgres:delete",
            facts: { reads: [], writes: ["orders"], hasWhere: true, functions: [] },
            effect: "hold",
            policies: [{ id: "hold-deletes" }],
          },
        ],
        rewritten: "DELETE FROM orders",
        notes: ["orders is not masked"],
      },
    });
    const { code, out } = await sally("policy", "explain", "shop-db", "delete from orders");
    expect(code).toBe(0);
    expect(out).toBe(
      "decision  hold\npolicies  hold-deletes (deletes are reviewed)\nneeds     1 of dba\n\n" +
        "actions:\n  hold   postgres:delete  by hold-deletes; writes orders\n\n" +
        "sent to the database as:\nDELETE FROM orders\n\nnote: orders is not masked\n",
    );
    expect(JSON.parse(last()?.body ?? "")).toEqual({ resource: "shop-db", sql: "delete from orders" });
    await sally(
      "policy",
      "explain",
      "shop-db",
      "select 1",
      "--as",
      "carol",
      "--groups",
      "dba, engineers",
      "--workload",
    );
    expect(JSON.parse(last()?.body ?? "")).toEqual({
      resource: "shop-db",
      sql: "select 1",
      principal: {
        type: "Workload",
        issuer: "https://id.example",
        subject: "carol",
        name: "carol",
        groups: ["dba", "engineers"],
      },
    });
    expect(await sally("policy", "explain", "shop-db", "select 1", "--groups", "dba")).toMatchObject({
      code: 2,
      err: "sally: --groups needs --as\n",
    });
  });
});

describe("sally connector", () => {
  it("prints a token and a configuration, lists and revokes", async () => {
    const joined = { token: "join_secret", expiresAt: "2026-11-22T09:00:00Z" };
    gateway.answers.set("POST /v1/connectors/office-1/join-tokens", { status: 200, body: joined });
    const enrolled = await sally("connector", "enroll", "office-1");
    expect(enrolled.out).toContain(`gateway: ${gateway.url}\nname: office-1\n`);
    expect(enrolled.out).toContain("SALLY_JOIN_TOKEN=join_secret ");
    expect(enrolled.err).toBe("sally: the token can be used once, until 2026-11-22T09:00:00Z\n");
    expect(JSON.parse((await sally("connector", "enroll", "office-1", "--json")).out)).toEqual({
      ...joined,
      name: "office-1",
      gateway: gateway.url,
    });
    const connectors = [
      {
        name: "office-1",
        enrolledAt: "2026-11-22T08:00:00Z",
        revoked: false,
        processes: [{ process: "p", since: "x", version: "1", resources: ["shop-db"] }],
      },
    ];
    gateway.answers.set("GET /v1/connectors", { status: 200, body: { connectors } });
    expect((await sally("connector", "ls")).out).toContain(
      "office-1  online  1          shop-db    2026-11-22T08:00:00Z\n",
    );
    gateway.answers.set("DELETE /v1/connectors/office-1", { status: 204 });
    expect(await sally("connector", "revoke", "office-1")).toEqual({
      code: 0,
      out: "",
      err: "sally: connector office-1 is revoked\n",
    });
  });

  it("prints a configuration that the connector takes", async () => {
    gateway.answers.set("POST /v1/connectors/office-1/join-tokens", {
      status: 200,
      body: { token: "t", expiresAt: "x" },
    });
    const { out } = await sally("connector", "enroll", "office-1");
    const { loadConfig } = await import("../../../connectors/agent/config.ts");
    const file = join(directory, "connector.yaml");
    await writeFile(file, out.split("\n# start it")[0] ?? "");
    const loaded = await loadConfig(file);
    expect(loaded.ok ? loaded.value.config.name : loaded.error).toBe("office-1");
  });
});

describe("a gateway that is not one", () => {
  it("is named as such", async () => {
    gateway.answers.set("GET /v1/whoami", { status: 502, body: "<html>" });
    expect(await sally("whoami")).toEqual({
      code: 6,
      out: "",
      err: `sally: ${gateway.url} did not answer like a sallyport gateway (HTTP 502)\n  hint: check the address in --gateway or SALLY_GATEWAY\n`,
    });
    gateway.answers.set("GET /v1/whoami", { status: 200, body: { principal: "?" } });
    const odd = await sally("whoami");
    expect(odd.code).toBe(1);
    expect(odd.err).toContain("sally: the gateway's answer to GET /v1/whoami is not understood\n");
  });
});
