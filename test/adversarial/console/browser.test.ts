/** What a page of another origin, a stolen cookie and a forged login can do: nothing. */
import { beforeAll, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { type ConsoleBrowser, logIn, openConsole } from "../../support/console-browser.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";

let stack: Stack;
let browser: ConsoleBrowser;
beforeAll(async () => {
  stack = sharedStack();
  browser = await openConsole(stack.gateway, "reviewer-a");
});

const code = async (response: Response): Promise<unknown> =>
  ((await response.json()) as { code?: unknown }).code;

describe("logging in", () => {
  it("sets cookies that scripts, other sites and plain connections do not get", async () => {
    const { ended, jar } = await logIn(stack.gateway, "reviewer-a");
    expect(ended.pathname).toBe("/console/sessions");
    const session = jar.lines.find((line) => line.startsWith("__Host-sally-console="));
    expect(session).toMatch(/; Path=\/; Max-Age=\d+; HttpOnly; Secure; SameSite=Strict$/);
    expect(session).not.toContain("Domain");
    const login = jar.lines.find((line) => line.startsWith("__Host-sally-login="));
    expect(login).toMatch(/HttpOnly; Secure; SameSite=Lax$/);
  });

  it.each([
    "https://evil.example/",
    "//evil.example/",
    "/console/..//evil.example",
    "/\\evil.example",
    "/v1/sessions",
    "javascript:alert(1)",
    "/console/\\evil",
  ])("returns to a page of the console only, not to %s", async (to) => {
    const { ended } = await logIn(
      stack.gateway,
      "reviewer-a",
      `/console/login?return=${encodeURIComponent(to)}`,
    );
    expect(ended.origin).toBe(stack.gateway);
    expect(ended.pathname).toMatch(/^\/console\//);
  });

  it("takes no answer that was begun in another browser, and none twice", async () => {
    const begun = await fetch(`${stack.gateway}/console/login`, { redirect: "manual" });
    const state = new URL(begun.headers.get("location") ?? "").searchParams.get("state") ?? "";
    const [own = ""] = begun.headers.getSetCookie()[0]?.split(";") ?? [];
    const answer = (cookie: string): Promise<Response> =>
      fetch(`${stack.gateway}/console/callback?code=x&state=${state}`, {
        redirect: "manual",
        headers: { cookie },
      });
    const other = await answer(`__Host-sally-login=${"0".repeat(64)}`);
    expect(other.headers.get("location")).toMatch(/login=failed/);
    expect(other.headers.getSetCookie().join()).not.toContain("__Host-sally-console");
    // The state was used up by that: the right browser cannot finish a login that somebody else touched.
    expect((await answer(own)).headers.get("location")).toMatch(/login=failed/);
  });
});

describe("the cookie", () => {
  it("reads on pages of the console, with what policy lets its owner do", async () => {
    const session = await browser.fetch("/console/session");
    expect(await session.json()).toMatchObject({
      principal: { subject: "reviewer-a", groups: ["dba"] },
      may: {
        gateway: ["config:read", "config:write"],
        resources: { "shop-db": expect.arrayContaining(["approval:decide"]) },
      },
    });
    expect((await browser.fetch("/v1/whoami")).status).toBe(200);
  });

  it("changes nothing without the page's secret", async () => {
    const kill = (headers: Record<string, string>): Promise<Response> =>
      fetch(`${stack.gateway}/v1/sessions/ses_x/kill`, {
        method: "POST",
        headers: { cookie: browser.cookie, origin: stack.gateway, ...headers },
        body: "{}",
      });
    expect(await code(await kill({}))).toBe("csrf_refused");
    expect(await code(await kill({ "sally-csrf": "0".repeat(64) }))).toBe("csrf_refused");
    expect(await code(await kill({ "sally-csrf": browser.csrf }))).toBe("not_found");
  });

  it("counts on no page of another origin, whatever it knows", async () => {
    for (const origin of [
      "https://evil.example",
      "null",
      stack.gateway.replace("http:", "https:"),
      `${stack.gateway}.evil.example`,
    ]) {
      const response = await browser.fetch("/v1/policy/check", {
        method: "POST",
        body: '{"files":{}}',
        headers: { origin },
      });
      expect(await code(response), origin).toBe("origin_refused");
    }
    const crossSite = await browser.fetch("/v1/whoami", { headers: { "sec-fetch-site": "cross-site" } });
    expect(await code(crossSite)).toBe("origin_refused");
    const withoutOrigin = await fetch(`${stack.gateway}/v1/policy/check`, {
      method: "POST",
      body: '{"files":{}}',
      headers: { cookie: browser.cookie, "sally-csrf": browser.csrf },
    });
    expect(await code(withoutOrigin)).toBe("origin_refused");
  });

  it("opens no connection to a resource", async () => {
    const status = await upgradeStatus("/connect/shop-db", { cookie: browser.cookie, origin: stack.gateway });
    expect(status).toBe(401);
  });

  it("is worth nothing after logging out, or when it was guessed", async () => {
    const other = await openConsole(stack.gateway, "reviewer-b");
    expect((await other.fetch("/console/logout", { method: "POST" })).status).toBe(204);
    expect((await other.fetch("/v1/whoami")).status).toBe(401);
    const guessed = await fetch(`${stack.gateway}/v1/whoami`, {
      headers: { cookie: `__Host-sally-console=${"a".repeat(64)}` },
    });
    expect(guessed.status).toBe(401);
  });
});

describe("the live stream", () => {
  it("is refused to a page of another origin and to nobody's connection", async () => {
    for (const headers of [
      { cookie: browser.cookie, origin: "https://evil.example" },
      { cookie: browser.cookie },
      { origin: stack.gateway },
    ]) {
      expect([401, 403]).toContain(await upgradeStatus("/v1/stream", headers));
    }
  });
});

/** The status that an upgrade is answered with; 101 for one that succeeds. */
function upgradeStatus(path: string, headers: Record<string, string>): Promise<number> {
  const socket = new WebSocket(`${stack.gateway.replace("http", "ws")}${path}`, { headers });
  return new Promise((resolve) => {
    socket.on("unexpected-response", (_request, response) => {
      resolve(response.statusCode ?? 0);
      response.resume();
    });
    socket.on("open", () => {
      resolve(101);
      socket.close();
    });
    socket.on("error", () => undefined);
  });
}
