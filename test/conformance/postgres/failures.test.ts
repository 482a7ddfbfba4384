/** Parts that die, or were never there: what the client sees, what is recorded, and how work goes on. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { freePort } from "../../../scripts/lib/ports.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: PrivateStack;
let reviewer: string;

beforeAll(async () => {
  const closed = await freePort();
  stack = await startPrivateStack({
    configuration: async (values) => {
      const files = await testConfiguration(values);
      const more = ["unreachable-db", "wrong-password-db"]
        .map((name) => `\n  ${name}:\n    protocol: postgres\n    connector: demo\n    database: shop\n`)
        .join("");
      return { ...files, "sallyport.yaml": `${files["sallyport.yaml"] ?? ""}${more}` };
    },
    resources: (postgres, passwordFile) => {
      const shop = { protocol: "postgres", database: "shop", user: "sallyport" };
      return {
        "scratch-db": {
          ...shop,
          database: "scratch",
          address: `127.0.0.1:${postgres.port}`,
          password: `file:${passwordFile}`,
        },
        "unreachable-db": { ...shop, address: `127.0.0.1:${closed}`, password: `file:${passwordFile}` },
        "wrong-password-db": {
          ...shop,
          address: `127.0.0.1:${postgres.port}`,
          password: "env:PATH",
        },
      };
    },
  });
  reviewer = await stack.sessionToken("reviewer-a");
});
afterAll(() => stack?.stop());

type Session = { status: string; endReason?: string };
type Events = { events: { json: string }[] };

const sessionRow = async (id: string, token = reviewer): Promise<Session> =>
  (await callApi(stack.gateway, "GET", `/v1/sessions/${id}`, { token })) as Session;

async function recording(id: string, token = reviewer): Promise<Record<string, unknown>[]> {
  const page = (await callApi(stack.gateway, "GET", `/v1/sessions/${id}/events?limit=1000`, {
    token,
  })) as Events;
  return page.events.map(({ json }) => (JSON.parse(json) as { body: Record<string, unknown> }).body);
}

const BIG = f.query("select repeat('x', 1000) from generate_series(1, 3000000)");

/** Reads a large result up to its first rows, so that it is under way. */
async function inMidResult(client: GatewayClient): Promise<void> {
  client.send(BIG);
  await client.until("D", 100);
}

describe("a connector that is killed", () => {
  it("in the middle of a result ends that session within 2 s with a clear error, recorded", async () => {
    const client = await GatewayClient.open(stack.gateway, "scratch-db", reviewer);
    await inMidResult(client);
    const killed = performance.now();
    await stack.system.connector.stop("SIGKILL");
    const rest = (await client.words("never")).filter((word) => !word.startsWith("D"));
    expect(performance.now() - killed).toBeLessThan(2000);
    expect(rest).toEqual([
      expect.stringMatching(/^E 08006 the connection between the connector and the gateway was lost/),
    ]);
    expect(client.notices.at(-1)).toMatchObject({ type: "ended", code: "upstream_lost" });
    expect(await sessionRow(client.session)).toMatchObject({ status: "ended", endReason: "upstream_lost" });
    expect((await recording(client.session)).at(-1)).toMatchObject({ type: "end", reason: "upstream_lost" });

    const refused = await stack.sally("reviewer-a", ["psql", "scratch-db", "--", "-c", "select 1"]);
    expect(refused.stderr).toMatch(/no connector serves scratch-db now/);
    expect(refused.code).toBe(6);
    await stack.system.startConnector();
    await stack.system.waitUntilOnline("scratch-db");
  });

  it("leaves new sessions to another process of the same name", async () => {
    const first = stack.system.connector;
    await stack.system.startConnector();
    await expect
      .poll(
        async () => {
          const { connectors } = (await callApi(stack.gateway, "GET", "/v1/connectors", {
            token: reviewer,
          })) as {
            connectors: { processes?: unknown[] }[];
          };
          return connectors[0]?.processes?.length;
        },
        { timeout: 20_000 },
      )
      .toBe(2);
    // Both are used; sessions of the one that stays go on.
    const clients = await Promise.all(
      Array.from({ length: 6 }, () => GatewayClient.open(stack.gateway, "scratch-db", reviewer)),
    );
    await first.stop("SIGKILL");
    const answers = await Promise.all(
      clients.map(async (client) => (await client.run(f.query("select 1"))).join()),
    );
    expect(answers.filter((answer) => answer.includes("D 1"))).toHaveLength(3);
    expect(answers.filter((answer) => answer.includes("E 08006"))).toHaveLength(3);
    for (let i = 0; i < 4; i++) {
      const client = await GatewayClient.open(stack.gateway, "scratch-db", reviewer);
      expect(await client.run(f.query("select 1"))).toContain("D 1");
      client.close();
    }
    for (const client of clients) client.close();
  });
});

describe("a database", () => {
  it("that cannot be reached is said to be so, and the reason is in the connector's log", async () => {
    const { code, stderr } = await stack.sally("reviewer-a", [
      "psql",
      "unreachable-db",
      "--",
      "-c",
      "select 1",
    ]);
    expect(stderr).toMatch(/FATAL: {2}.*(reach|connect)/);
    expect(stderr).not.toContain("127.0.0.1");
    expect(code).not.toBe(0);
  });

  it("that does not take the connector's password says so in the connector's log and not to the client", async () => {
    const { code, stderr } = await stack.sally("reviewer-a", [
      "psql",
      "wrong-password-db",
      "--",
      "-c",
      "select 1",
    ]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/FATAL/);
    expect(stderr).not.toMatch(/password authentication|\/usr\/bin|28P01/);
    const log = await readFile(join(stack.directory, "logs/connector.log"), "utf8");
    expect(log).toMatch(/wrong-password-db/);
  });

  it("that restarts ends its sessions with the server's own words, and new ones work", async () => {
    const client = await GatewayClient.open(stack.gateway, "scratch-db", reviewer);
    await stack.direct((direct) =>
      direct.query("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'scratch'"),
    );
    expect((await client.words("never")).join()).toMatch(
      /^E 57P01 terminating connection due to administrator command/,
    );
    const next = await GatewayClient.open(stack.gateway, "scratch-db", reviewer);
    expect(await next.run(f.query("select 1"))).toContain("D 1");
    next.close();
  });
});

describe("a gateway that crashes and starts again", () => {
  it(
    "tells clients clearly, keeps recordings and approvals, and says that sessions ended",
    { timeout: 120_000 },
    async () => {
      const running = stack.startSally("engineer", [
        "psql",
        "shop-db",
        "--",
        "-Atc",
        "select 'under way', pg_sleep(60)",
      ]);
      const held = stack.startSally("engineer", [
        "psql",
        "shop-db",
        "--",
        "-c",
        "delete from orders where id = 31",
      ]);
      const [waiting] = await held.waitFor("stderr", /apr_[0-9a-z]{26}/);
      const noWait = ["psql", "shop-db", "--no-wait", "--", "-c", "delete from orders where id = 32"];
      const first = await stack.sally("engineer", noWait);
      expect(first.code).toBe(4);
      const [asked = ""] = /apr_[0-9a-z]{26}/.exec(first.stderr) ?? [];
      const live = (await callApi(stack.gateway, "GET", "/v1/sessions?status=live", { token: reviewer })) as {
        sessions: { id: string }[];
      };
      expect(live.sessions.length).toBeGreaterThanOrEqual(2);

      await stack.system.gateway.crash();
      for (const client of [running, held]) {
        const { code, stderr } = await client.result;
        expect(stderr).toMatch(/the connection to the gateway was lost|server closed the connection/);
        expect(code).not.toBe(0);
      }
      await stack.system.startGateway();
      await stack.system.waitUntilOnline("shop-db");
      const token = await stack.sessionToken("reviewer-a");

      for (const { id } of live.sessions) {
        await expect
          .poll(async () => sessionRow(id, token), { timeout: 30_000 })
          .toMatchObject({ status: "ended", endReason: "gateway_restarted" });
        const verified = await stack.sally("reviewer-a", ["sessions", "verify", id]);
        expect(verified).toMatchObject({ code: 0, stdout: expect.stringMatching(/^ok: /) });
        expect((await recording(id, token)).at(-1)).toMatchObject({
          type: "end",
          reason: "gateway_restarted",
        });
      }
      // Both approvals are still there: the one that was waited for, too, counts for the retry.
      for (const [id, order] of [
        [asked, 32],
        [waiting, 31],
      ] as const) {
        expect((await stack.sally("reviewer-a", ["approvals", "approve", id])).code).toBe(0);
        const retry = await stack.sally("engineer", [
          "psql",
          "shop-db",
          "--no-wait",
          "--",
          "-c",
          `delete from orders where id = ${order}`,
        ]);
        expect(retry).toMatchObject({ code: 0, stdout: "DELETE 1\n" });
      }
    },
  );
});
