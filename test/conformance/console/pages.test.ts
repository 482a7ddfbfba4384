/** Every page of the console in a real browser: what it shows, that hostile text stays text, and that all can use it. */
import axe from "axe-core";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Visit, launchChromium, visitAs } from "../../support/chromium.ts";
import {
  type PrivateStack,
  type RunningSally,
  SCRATCH_RESOURCE,
  startPrivateStack,
} from "../../support/stack.ts";

const IMAGE = `<img src=x onerror="window.hacked=1">`;
const SCRIPT = `<script>window.hacked=1</script>`;

let stack: PrivateStack;
let browser: Browser;
let held: RunningSally;
const open: Visit[] = [];

beforeAll(async () => {
  stack = await startPrivateStack();
  browser = await launchChromium();
  const table = `"${IMAGE.replaceAll('"', '""')}"`;
  const engineer = (...args: string[]) => stack.sally("engineer", ["psql", ...args]);
  await stack.sally("reviewer-a", ["psql", SCRATCH_RESOURCE, "--", "-c", `create table ${table} (x text)`]);
  await stack.sally("reviewer-a", [
    "psql",
    SCRATCH_RESOURCE,
    "--",
    "-c",
    `insert into ${table} values ('${SCRIPT}')`,
  ]);
  await engineer(SCRATCH_RESOURCE, "--", "-c", `select x as "${SCRIPT}" from ${table} -- ${SCRIPT}`);
  await engineer("shop-db", "--", "-c", "select id, card_number from customers order by id limit 3");
  await engineer("shop-db", "--", "-c", "drop table orders");
  held = stack.startSally(
    "engineer",
    [
      "psql",
      "--reason",
      `please ${IMAGE}`,
      SCRATCH_RESOURCE,
      "--",
      "-c",
      `delete from ${table} where x = '${SCRIPT}'`,
    ],
    { timeout: 600_000 },
  );
  await held.waitFor("stderr", /held/);
}, 240_000);
afterEach(async () => {
  for (const each of open.splice(0)) await each.close();
});
afterAll(async () => {
  held?.kill("SIGKILL");
  await browser?.close();
  await stack?.stop();
});

async function reviewer(path: string, options: Parameters<typeof visitAs>[4] = {}): Promise<Page> {
  const opened = await visitAs(browser, stack.gateway, "reviewer-a", path, options);
  open.push(opened);
  return opened.page;
}

/** Addresses of all pages, with what is on them when they are complete. */
async function allPages(page: Page): Promise<(readonly [name: string, path: string, ready: string])[]> {
  const session = page.locator("a.row-link").first();
  await page.goto(`${stack.gateway}/console/sessions`);
  const href = (await session.getAttribute("href")) ?? "";
  await page.goto(`${stack.gateway}/console/`);
  const approval = (await page.locator("[data-approval]").first().getAttribute("data-approval")) ?? "";
  return [
    ["now", "/console/", "[data-approval]"],
    ["approval", `/console/approvals/${approval}`, ".hash"],
    ["sessions", "/console/sessions", "a.row-link"],
    ["session", href, ".chain.holds"],
    ["resources", "/console/resources", "a.row-link"],
    ["resource", "/console/resources/shop-db", "table"],
    ["policies", "/console/policies", ".cm-content"],
    ["try", "/console/policies?view=try", "form"],
    ["history", "/console/policies?view=history", "table"],
    ["overview", "/console/overview", ".numbers"],
    ["nothing", "/console/nowhere", ".state"],
  ];
}

describe("hostile text", () => {
  it("in a statement, a relation's name and a reason stays text in the approval", async () => {
    const page = await reviewer("/console/");
    const card = page.locator("[data-approval]");
    await card.waitFor();
    const text = (await card.textContent()) ?? "";
    expect(text).toContain(`please ${IMAGE}`);
    expect(text).toContain(SCRIPT);
    expect(await page.locator("main img, main script").count()).toBe(0);
    await card.getByRole("link", { name: "Details" }).click();
    await page.locator(".hash").waitFor();
    expect(await page.locator("main").textContent()).toContain(SCRIPT);
    expect(await page.locator("main img, main script").count()).toBe(0);
  });

  it("in results, columns and statements stays text in a session and in the search", async () => {
    const page = await reviewer(`/console/sessions?${new URLSearchParams({ text: SCRIPT }).toString()}`);
    await page.locator(".match").first().waitFor();
    expect(await page.locator("main").textContent()).toContain(SCRIPT);
    await page.locator(".match a", { hasText: "select x" }).first().click();
    await page.locator(".data td", { hasText: SCRIPT }).waitFor();
    expect(await page.locator(".data th").first().textContent()).toBe(SCRIPT);
    expect(await page.locator("main img, main script").count()).toBe(0);
  });

  it("in a user's name stays text wherever the user is named", async () => {
    const token = await stack.system.oidc.issueIdToken("engineer", {
      ttl: 600,
      claims: { sub: "mallory", email: undefined, name: IMAGE, preferred_username: IMAGE },
    });
    const ran = await stack.sally("engineer", ["psql", "shop-db", "--", "-c", "select 'mallory'"], {
      env: { SALLY_TOKEN: token, SALLY_TOKEN_FILE: "" },
    });
    expect(ran.code, ran.stderr).toBe(0);
    const page = await reviewer("/console/sessions");
    await page.locator(".who", { hasText: IMAGE }).first().waitFor();
    await page.goto(`${stack.gateway}/console/overview`);
    await page.locator(".bars-name", { hasText: IMAGE }).first().waitFor();
    expect(await page.locator("main img, main script").count()).toBe(0);
  });

  it("in the address does nothing", async () => {
    const page = await reviewer(`/console/?login=failed&why=${encodeURIComponent(IMAGE)}`);
    await page.goto(`${stack.gateway}/console/sessions/${encodeURIComponent(IMAGE)}`);
    await page.locator(".state.failed").first().waitFor();
    expect(await page.locator("main img, main script").count()).toBe(0);
  });
});

describe("a session's page", () => {
  it("shows what was delivered, verifies it, and can be downloaded for somebody else to verify", async () => {
    const page = await reviewer("/console/sessions?text=card_number");
    await page.locator(".match a").first().click();
    await page.getByText("Verified by this browser").waitFor();
    expect(await page.locator(".data").textContent()).toMatch(/1\*{4}\d{4}/);
    const downloading = page.waitForEvent("download");
    await page.getByRole("button", { name: "Download" }).click();
    const stream = await (await downloading).createReadStream();
    let text = "";
    for await (const chunk of stream) text += String(chunk);
    const lines = text.trim().split("\n");
    expect(lines.length).toBeGreaterThan(3);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({
      seq: 1,
      hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
  });

  it("says so when the recording was changed on its way", async () => {
    const page = await reviewer("/console/sessions?text=card_number");
    await page.route(/\/events\?/, async (route) => {
      const answer = await route.fetch();
      await route.fulfill({
        response: answer,
        body: (await answer.text()).replaceAll("card_number", "card_numbex"),
      });
    });
    await page.locator(".match a").first().click();
    const broken = page.locator(".chain.broken");
    await broken.waitFor();
    expect(await broken.textContent()).toContain("does not match its hash");
  });
});

describe("resources and policies", () => {
  it("answers who can delete, by policy", async () => {
    const page = await reviewer("/console/resources/shop-db");
    await page.getByText("public.customers.card_number").waitFor();
    await page.getByRole("button", { name: "Ask policy" }).click();
    const row = page.locator("tr", { hasText: "engineers" }).first();
    await row.waitFor();
    expect(await row.textContent()).toContain("held");
    expect(await row.textContent()).toContain("engineers-delete-with-approval");
    expect(await page.locator("tr", { hasText: "group agents" }).count()).toBe(0);
  });

  it(
    "shows an error at its line, applies a change after showing it, and goes back",
    { timeout: 120_000 },
    async () => {
      const page = await reviewer("/console/policies");
      const editor = page.getByRole("textbox", { name: "policies.cedar" });
      await editor.click();
      await page.keyboard.press("Control+Home");
      await page.keyboard.insertText(
        `@id("nobody-merges")\nforbid (principal, action == Action::"postgres:mergee", resource);\n\n`,
      );
      const error = page.locator(".errors");
      await error.waitFor();
      expect(await error.textContent()).toMatch(/policies\.cedar:2:\d+/);
      expect(await page.getByRole("button", { name: "Review and apply…" }).isDisabled()).toBe(true);

      await editor.click();
      await page.keyboard.press("Control+Home");
      await page.keyboard.press("ArrowDown");
      await page.keyboard.press("End");
      for (const _ of 'e", resource);') await page.keyboard.press("Backspace");
      await page.keyboard.insertText('", resource);');
      await page.getByText("no errors").waitFor();

      await page.getByRole("link", { name: "Try", exact: true }).click();
      await page.getByRole("textbox", { name: "Statement" }).fill("delete from orders where id = 1");
      await page.getByRole("button", { name: "Ask policy" }).click();
      await page.locator(".verdict.hold").waitFor();
      expect(await page.locator("main").textContent()).toContain("engineers-delete-with-approval");

      await page.getByRole("link", { name: "Edit", exact: true }).click();
      await page.getByRole("button", { name: "Review and apply…" }).click();
      const dialog = page.getByRole("dialog", { name: "Apply this to the gateway?" });
      await dialog.locator("tr.added", { hasText: "nobody-merges" }).waitFor();
      await dialog.getByRole("button", { name: "Apply" }).click();
      await page.getByText("Version 2 is running").waitFor();

      await page.getByRole("link", { name: "History", exact: true }).click();
      const first = page.locator("tbody tr", { hasText: "the bootstrap token" });
      await first.getByRole("button").click();
      const back = page.getByRole("dialog", { name: "Go back to version 1?" });
      await back.locator("tr.removed", { hasText: "nobody-merges" }).waitFor();
      await back.getByRole("button", { name: "Roll back" }).click();
      await page.locator("tbody tr", { hasText: "running" }).filter({ hasText: /^\s*3/ }).waitFor();
    },
  );

  it("lets somebody who may not read the configuration see nothing of it", async () => {
    const opened = await visitAs(browser, stack.gateway, "engineer", "/console/policies");
    open.push(opened);
    await opened.page.getByText("Policy does not let you read the configuration").waitFor();
  });
});

describe("the overview", () => {
  it("counts what was decided", async () => {
    const page = await reviewer("/console/overview");
    await page.locator(".numbers").waitFor();
    const numbers = await page.locator(".numbers > div").allTextContents();
    expect(numbers.find((text) => text.startsWith("denied"))).toMatch(/denied[1-9]/);
    await page.locator(".bars-name", { hasText: "engineer" }).first().waitFor();
  });
});

describe("every page", () => {
  it.each(["light", "dark"] as const)(
    "has no serious violation that axe finds, in the %s theme",
    { timeout: 120_000 },
    async (theme) => {
      const page = await reviewer("/console/", { colorScheme: theme, reducedMotion: "reduce" });
      for (const [name, path, ready] of await allPages(page)) {
        await page.goto(`${stack.gateway}${path}`);
        await page.locator(ready).first().waitFor();
        expect(await violations(page), `${name} (${theme})`).toEqual([]);
      }
      await page.goto(`${stack.gateway}/console/`);
      await page.locator("[data-approval]").press("a");
      await page.getByRole("dialog").waitFor();
      expect(await violations(page), `the question (${theme})`).toEqual([]);
    },
  );

  it.each([390, 820])("fits a screen of %d pixels", { timeout: 120_000 }, async (width) => {
    const page = await reviewer("/console/", { viewport: { width, height: 844 } });
    for (const [name, path, ready] of await allPages(page)) {
      await page.goto(`${stack.gateway}${path}`);
      await page.locator(ready).first().waitFor();
      expect(await page.evaluate("document.documentElement.scrollWidth"), name).toBeLessThanOrEqual(width);
    }
  });
});

/** What axe calls serious or critical, in a line each. */
async function violations(page: Page): Promise<string[]> {
  // Evaluated by the debugger, which the page's Content-Security-Policy does not concern.
  await page.evaluate(axe.source);
  const found = await page.evaluate(async () => {
    const { axe } = globalThis as unknown as {
      axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string }[] }[] }> };
    };
    return (await axe.run()).violations;
  });
  return found
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
}
