/** The console's client with a secret of its own at the identity provider, and a live stream that outlives memory. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { logIn, openConsole } from "../../support/console-browser.ts";
import { openStream } from "../../support/live-stream.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { api } from "../../support/token-endpoint.ts";

/** What has to be encoded before it may stand in an Authorization header (RFC 6749 section 2.3.1). */
const SECRET = "a secret: with 100 % & signs+";

let stack: PrivateStack;
beforeAll(async () => {
  stack = await startPrivateStack({
    oidc: { consoleSecret: SECRET },
    gateway: { bindings: { CONSOLE_SECRET: SECRET, CONSOLE_WRONG: "another" } },
    configuration: (values) => configuration(values.issuer, "CONSOLE_SECRET"),
  });
});
afterAll(() => stack?.stop());

async function configuration(issuer: string, secret: string): Promise<Record<string, string>> {
  const files = await testConfiguration({ issuer });
  const yaml = (files["sallyport.yaml"] ?? "").replace(
    /( +)consoleClientId: .*\n/,
    `$&$1consoleClientSecret: ${secret}\n`,
  );
  return { ...files, "sallyport.yaml": yaml };
}

describe("a confidential client", () => {
  it("logs people in and asks again who they are, with its secret", async () => {
    const browser = await openConsole(stack.gateway, "reviewer-a");
    expect((await browser.fetch("/v1/sessions")).status).toBe(200);
    // Before a change the provider is asked anew, with the refresh token: groups follow.
    await stack.system.oidc.setGroups("reviewer-a", ["dba", "night-shift"]);
    const groups = async (): Promise<unknown> => {
      const body = JSON.stringify({ resource: "shop-db", action: "postgres:delete" });
      expect((await browser.fetch("/v1/policy/who-may", { method: "POST", body })).status).toBe(200);
      const session = (await (await browser.fetch("/console/session")).json()) as {
        principal: { groups: unknown };
      };
      return session.principal.groups;
    };
    await expect.poll(groups, { timeout: 20_000 }).toEqual(["dba", "night-shift"]);
    await stack.system.oidc.setGroups("reviewer-a", ["dba"]);
    await expect.poll(groups, { timeout: 20_000 }).toEqual(["dba"]);
  });

  it.each(["CONSOLE_WRONG", "CONSOLE_NOT_SET"])("gets nobody in with another secret (%s)", async (secret) => {
    const token = await stack.sessionToken("reviewer-b");
    const apply = async (files: Record<string, string>): Promise<void> => {
      const applied = await api(stack.gateway, token, "PUT", "/v1/config", { files });
      expect(applied.status).toBe(200);
    };
    await apply(await configuration(stack.issuer, secret));
    try {
      const { ended } = await logIn(stack.gateway, "reviewer-a");
      expect(ended.searchParams.get("login")).toBe("failed");
    } finally {
      await apply(await configuration(stack.issuer, "CONSOLE_SECRET"));
    }
  });
});

describe("a live stream", () => {
  it("goes on when the Control object has been put out of memory meanwhile", async () => {
    const stream = openStream(stack.gateway, await openConsole(stack.gateway, "reviewer-a"));
    await stream.waitFor(({ type }) => type === "hello");
    await stack.system.gateway.hibernateControl();
    const held = stack.startSally("engineer", [
      "psql",
      "shop-db",
      "--",
      "-c",
      "delete from orders where id = 951",
    ]);
    const [id] = await held.waitFor("stderr", /apr_[0-9a-z]{26}/);
    await stream.waitFor(({ approval }) => approval?.id === id && approval.status === "pending");
    // What waits is told of its decision though nobody remembers it but the database.
    await stack.system.gateway.hibernateControl();
    expect((await stack.sally("reviewer-b", ["approvals", "approve", id ?? ""])).code).toBe(0);
    expect((await held.result).code).toBe(0);
    await stream.waitFor(({ approval }) => approval?.id === id && approval.status === "used");
    stream.socket.send("ping");
    await stream.waitFor(({ type }) => type === "pong");
    expect(stream.frames.filter(({ type }) => type === "hello")).toHaveLength(1);
    stream.socket.close();
  });
});
