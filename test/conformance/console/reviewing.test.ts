/** Approving, denying and killing in a real browser, against the whole running system. */
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { type Visit, launchChromium, logInAs, visit, visitAs } from "../../support/chromium.ts";
import { type PrivateStack, type RunningSally, startPrivateStack } from "../../support/stack.ts";

let stack: PrivateStack;
let browser: Browser;
const open: Visit[] = [];
const running: RunningSally[] = [];

beforeAll(async () => {
  stack = await startPrivateStack();
  browser = await launchChromium();
}, 180_000);
afterEach(async () => {
  for (const sally of running.splice(0)) sally.kill("SIGKILL");
  for (const each of open.splice(0)) await each.close();
});
afterAll(async () => {
  await browser?.close();
  await stack?.stop();
});

async function reviewer(path = "/console/", options: Parameters<typeof visit>[3] = {}): Promise<Page> {
  const opened = await visitAs(browser, stack.gateway, "reviewer-a", path, options);
  open.push(opened);
  return opened.page;
}

/** The engineer's psql with a statement that policy holds. */
function heldPsql(sql: string, reason?: string): RunningSally {
  const sally = stack.startSally("engineer", [
    "psql",
    ...(reason === undefined ? [] : ["--reason", reason]),
    "shop-db",
    "--",
    "-c",
    sql,
  ]);
  running.push(sally);
  return sally;
}

describe("logging in", () => {
  it("asks for it, goes to the identity provider and comes back to the page that was asked for", async () => {
    const opened = await visit(browser, stack.gateway, "/console/overview?range=week");
    open.push(opened);
    const { page } = opened;
    expect(await page.getByRole("heading", { level: 1 }).textContent()).toContain("Sallyport");
    await logInAs(page, "reviewer-a");
    expect(new URL(page.url()).pathname).toBe("/console/overview");
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    expect(await page.locator(".account").textContent()).toContain("reviewer-a@shop.example");
    await page.getByRole("button", { name: "log out" }).click();
    await page.getByRole("link", { name: /^Log in/ }).waitFor();
    await page.reload();
    await page.getByRole("link", { name: /^Log in/ }).waitFor();
  });
});

describe("a held statement", () => {
  it("appears without a reload, is approved by keys with its hash on the screen, and psql completes", async () => {
    const page = await reviewer();
    await page.getByText("Nothing waits for a decision", { exact: true }).waitFor();
    const psql = heldPsql("delete from orders where id = 17", "duplicate of SHOP-1182");
    const card = page.locator("[data-approval]");
    await card.waitFor();
    expect(await card.textContent()).toContain("delete from orders where id = 17");
    expect(await card.textContent()).toContain("duplicate of SHOP-1182");
    expect(await card.textContent()).toContain("engineers-delete-with-approval");
    expect(await page.title()).toMatch(/^\(1\) Now/);

    await page.keyboard.press("a");
    const dialog = page.getByRole("dialog", { name: "Approve this operation?" });
    await dialog.waitFor();
    const id = (await card.getAttribute("data-approval")) ?? "";
    const token = await stack.sessionToken("reviewer-a");
    const approval = (await callApi(stack.gateway, "GET", `/v1/approvals/${id}`, { token })) as {
      operation: { hash: string };
    };
    expect((await dialog.locator(".hash").textContent())?.replaceAll(/\s/g, "")).toBe(
      approval.operation.hash,
    );
    await page.keyboard.press("Enter");

    expect(await psql.result).toMatchObject({ code: 0, stdout: "DELETE 1\n" });
    await page.getByText("Nothing waits for a decision", { exact: true }).waitFor();
    await page.getByRole("heading", { name: "Just decided" }).waitFor();
  });

  it("is denied with a reason that the client sees", async () => {
    const page = await reviewer();
    const psql = heldPsql("delete from orders where id = 18");
    await page.locator("[data-approval]").waitFor();
    await page.keyboard.press("d");
    const dialog = page.getByRole("dialog", { name: "Deny this operation?" });
    await dialog.getByRole("textbox").fill("order 18 is paid");
    await dialog.getByRole("button", { name: "Deny" }).click();
    const result = await psql.result;
    expect(result.code).toBe(3);
    expect(result.stderr).toContain("order 18 is paid");
  });

  it("is not decided by a key when several wait and none is chosen, nor by Escape", async () => {
    const page = await reviewer();
    heldPsql("delete from orders where id = 19");
    heldPsql("delete from orders where id = 20");
    await page.locator("[data-approval]").nth(1).waitFor();
    await page.keyboard.press("a");
    expect(await page.getByRole("dialog").count()).toBe(0);
    await page.keyboard.press("j");
    await page.keyboard.press("a");
    await page.getByRole("dialog").waitFor();
    await page.keyboard.press("Escape");
    await page.getByRole("dialog").waitFor({ state: "detached" });
    expect(await page.locator("[data-approval]").count()).toBe(2);
  });

  it("goes away when its client does", async () => {
    const page = await reviewer();
    const psql = heldPsql("delete from orders where id = 21");
    const card = page.locator("[data-approval]", { hasText: "id = 21" });
    await card.waitFor();
    psql.kill("SIGKILL");
    await card.waitFor({ state: "detached" });
  });

  it("is approved on a phone, from its page of details", async () => {
    const page = await reviewer("/console/", {
      viewport: { width: 390, height: 844 },
      hasTouch: true,
      isMobile: true,
    });
    const psql = heldPsql("delete from orders where id = 22");
    const card = page.locator("[data-approval]", { hasText: "id = 22" });
    await card.getByRole("link", { name: "Details" }).tap();
    await page.getByRole("heading", { name: /^Approval/, level: 1 }).waitFor();
    expect(await page.locator("main").textContent()).toContain("SHA-256");
    await page.getByRole("button", { name: "Approve…" }).tap();
    const confirm = page.getByRole("dialog").getByRole("button", { name: "Approve once" });
    const box = await confirm.boundingBox();
    expect(box?.height).toBeGreaterThanOrEqual(40);
    await confirm.tap();
    expect(await psql.result).toMatchObject({ code: 0 });
    await page.getByText("approved, used").first().waitFor();
  });

  it("cannot be decided by whoever asked", async () => {
    const opened = await visitAs(browser, stack.gateway, "engineer");
    open.push(opened);
    heldPsql("delete from orders where id = 23");
    const card = opened.page.locator("[data-approval]", { hasText: "id = 23" });
    await card.waitFor();
    expect(await card.getByRole("button", { name: "Approve…" }).count()).toBe(0);
    await opened.page.keyboard.press("a");
    expect(await opened.page.getByRole("dialog").count()).toBe(0);
  });
});

describe("a live session", () => {
  it("is listed, watched as it goes on, and killed", async () => {
    const page = await reviewer();
    const psql = stack.startSally("engineer", ["psql", "shop-db", "--", "-XAt"]);
    running.push(psql);
    psql.write("select 'first', 1;\n");
    await psql.waitFor("stdout", /first/);
    const row = page.locator("tbody tr", { hasText: "engineer@shop.example" }).first();
    await row.getByRole("link", { name: "Watch" }).click();
    await page.locator(".timeline .entry", { hasText: "'first'" }).waitFor();
    psql.write("select 'second', card_number from customers where id = 1;\n");
    const entry = page.locator(".timeline .entry", { hasText: "'second'" });
    await entry.locator("table").waitFor();
    expect(await entry.locator("table").textContent()).toMatch(/second\*{4}\d{4}/);
    await page.locator(".chain.holds").waitFor();

    await page.getByRole("button", { name: "Kill…" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByRole("textbox").fill("finished for today");
    await dialog.getByRole("button", { name: "End the session" }).click();
    await dialog.waitFor({ state: "detached" });
    psql.write("select 1;\n");
    expect((await psql.result).code).not.toBe(0);
    await page.locator(".timeline .entry", { hasText: "Session ended" }).waitFor();
    expect(await page.locator(".badge.live").count()).toBe(0);
  });
});

describe("when the gateway is away", () => {
  it("says so, and goes on by itself when it is back", async () => {
    const page = await reviewer();
    await page.locator(".live.live").waitFor();
    await stack.system.gateway.stop();
    await page.getByText("The connection to the gateway is lost").waitFor();
    await stack.system.startGateway();
    await page.locator(".live.live").waitFor();
    await page.getByText("The connection to the gateway is lost").waitFor({ state: "detached" });
    await stack.system.waitUntilOnline("shop-db");
    heldPsql("delete from orders where id = 24");
    await page.locator("[data-approval]", { hasText: "id = 24" }).waitFor();
  });
});
