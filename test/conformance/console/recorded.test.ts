/** Whatever somebody does in the console is recorded with who did it, before it takes effect. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ConsoleBrowser, openConsole } from "../../support/console-browser.ts";
import { controlLog } from "../../support/control-database.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";

let stack: PrivateStack;
let browser: ConsoleBrowser;
beforeAll(async () => {
  stack = await startPrivateStack();
  browser = await openConsole(stack.gateway, "reviewer-a");
});
afterAll(() => stack?.stop());

type Answer = Record<string, unknown>;

async function send(method: string, path: string, body?: unknown): Promise<Answer> {
  const answer = await browser.fetch(path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  expect(answer.status, `${method} ${path}: ${text}`).toBeLessThan(300);
  return text === "" ? {} : (JSON.parse(text) as Answer);
}

/** Types of what was recorded of the reviewer's actions since `after` events ago. */
async function recorded(after: number): Promise<string[]> {
  const log = (await controlLog(stack.system)).slice(after);
  return log
    .filter((event) => /"reviewer-a|Avery Reviewer/.test(JSON.stringify(event)))
    .map(({ type }) => type);
}

describe("the gateway's own log", () => {
  it("has every decision, kill, reading and change", { timeout: 120_000 }, async () => {
    const held = stack.startSally("engineer", [
      "psql",
      "shop-db",
      "--",
      "-c",
      "delete from orders where id = 961",
    ]);
    const [approval] = await held.waitFor("stderr", /apr_[0-9a-z]{26}/);
    const live = stack.startSally("engineer", ["psql", "shop-db", "--", "-At"]);
    live.write("select 'for the log';\n");
    await live.waitFor("stdout", /for the log/);
    const listed = (await send("GET", "/v1/sessions?status=live")) as {
      sessions: { id: string; held: number }[];
    };
    const session = listed.sessions.find((each) => each.held === 0)?.id ?? "";
    const files = (await send("GET", "/v1/config"))["files"];

    const actions: readonly (readonly [string, () => Promise<unknown>])[] = [
      ["decision", () => send("POST", `/v1/approvals/${approval}/deny`, { comment: "no" })],
      ["session_read", () => send("GET", `/v1/sessions/${session}/events`)],
      ["kill", () => send("POST", `/v1/sessions/${session}/kill`, {})],
      ["session_read", () => send("GET", `/v1/sessions/${session}/events`)],
      ["config", () => send("PUT", "/v1/config", { files })],
      ["config", () => send("POST", "/v1/config/rollback", { version: 1 })],
      ["join_token", () => send("POST", "/v1/connectors/other/join-tokens", {})],
      ["signing_key", () => send("POST", "/v1/keys/rotate", {})],
      [
        "left_groups",
        () =>
          send("POST", "/v1/group-changes", { issuer: "https://a.example", subject: "b", removed: ["c"] }),
      ],
      ["revocation", () => send("POST", "/v1/revocations", { issuer: "https://a.example", subject: "b" })],
      ["revoke_connector", () => send("DELETE", "/v1/connectors/demo")],
      ["console_logout", () => send("POST", "/console/logout", {})],
    ];
    for (const [type, act] of actions) {
      const before = (await controlLog(stack.system)).length;
      await act();
      expect(await recorded(before), `${type} is recorded`).toContain(type);
    }
    const all = await recorded(0);
    expect(all).toContain("console_login");
    await held.result;
  });
});
