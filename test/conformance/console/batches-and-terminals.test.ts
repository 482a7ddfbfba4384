/** In a real browser: choosing a batch, playing a terminal, keeping the focus, losing the right to decide, connectors. */
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type Visit, launchChromium, visitAs } from "../../support/chromium.ts";
import { type PrivateStack, type RunningSally, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { api } from "../../support/token-endpoint.ts";

let stack: PrivateStack;
let browser: Browser;
const open: Visit[] = [];
const running: RunningSally[] = [];

beforeAll(async () => {
  stack = await startPrivateStack({
    configuration: async (values) => {
      const files = await testConfiguration(values);
      const batching = (files["policies.cedar"] ?? "").replace(
        '@id("engineers-delete-with-approval")\n',
        '@id("engineers-delete-with-approval")\n@batch("20")\n',
      );
      return { ...files, "policies.cedar": batching };
    },
  });
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

async function pageOf(
  user: "reviewer-a" | "reviewer-b",
  path?: string,
  options: Parameters<typeof visitAs>[4] = {},
): Promise<Page> {
  const opened = await visitAs(browser, stack.gateway, user, path, options);
  open.push(opened);
  return opened.page;
}

function heldPsql(sql: string): RunningSally {
  const sally = stack.startSally("engineer", ["psql", "shop-db", "--", "-c", sql], { timeout: 120_000 });
  running.push(sally);
  return sally;
}

const remove = (id: number): string => `delete from orders where id = ${id}`;

describe("a batch", () => {
  it("is chosen in the question, shown as the shape that it is, and good for exactly its uses", async () => {
    const page = await pageOf("reviewer-a");
    const first = heldPsql(remove(901));
    const card = page.locator("[data-approval]", { hasText: "id = 901" });
    await card.getByRole("button", { name: "Approve…" }).click();
    const dialog = page.getByRole("dialog", { name: "Approve this operation?" });
    await dialog.getByRole("checkbox", { name: /other values/ }).check();
    expect(await dialog.getByLabel("statement with its values left open").textContent()).toBe(
      "delete from orders where id = $1",
    );
    const uses = dialog.getByRole("spinbutton", { name: "uses in all" });
    // Nothing is approved that cannot be meant.
    for (const wrong of ["", "0", "21"]) {
      await uses.fill(wrong);
      expect(await dialog.locator("button.approve").isDisabled()).toBe(true);
    }
    await uses.fill("3");
    await dialog.getByRole("button", { name: "Approve 3 uses" }).click();
    await dialog.waitFor({ state: "detached" });
    expect((await first.result).code).toBe(0);
    for (const id of [902, 903]) {
      expect((await stack.sally("engineer", ["psql", "shop-db", "--", "-c", remove(id)])).code).toBe(0);
    }
    const fourth = heldPsql(remove(904));
    await fourth.waitFor("stderr", /held for approval/);
    await page.locator("[data-approval]", { hasText: "id = 904" }).waitFor();
  });
});

describe("the focus", () => {
  it("stays where it is while cards come and go, and moves on when its own card goes", async () => {
    const page = await pageOf("reviewer-a");
    const [one, two] = [heldPsql(remove(911)), heldPsql(remove(912))];
    const card = (id: number) => page.locator("[data-approval]", { hasText: `id = ${id}` });
    await card(911).waitFor();
    await card(912).waitFor();
    const button = card(912).getByRole("button", { name: "Deny…" });
    await button.focus();
    const isFocused = async (): Promise<boolean> => {
      const where = await page.evaluate(
        "`${document.activeElement.textContent} of ${document.activeElement.closest('[data-approval]')?.textContent}`",
      );
      return /^Deny… of .*id = 912/.test(String(where));
    };
    expect(await isFocused()).toBe(true);
    heldPsql(remove(913));
    await card(913).waitFor();
    expect(await isFocused()).toBe(true);
    one.kill("SIGKILL");
    await card(911).waitFor({ state: "detached" });
    expect(await isFocused()).toBe(true);
    // Somebody else's client leaves while the keyboard is on its card.
    two.kill("SIGKILL");
    await card(912).waitFor({ state: "detached" });
    await expect
      .poll(() => page.evaluate("document.activeElement?.getAttribute('data-approval') ?? ''"))
      .toBe(await card(913).getAttribute("data-approval"));
  });
});

describe("a terminal", () => {
  it("is played in the browser as it was seen", async () => {
    const marker = `seen-${Date.now()}`;
    const ran = await stack.sally("reviewer-b", [
      "ssh",
      "web-1",
      "--",
      "-tt",
      `printf '\\033[1;32m${marker}\\033[0m\\n'; sleep 0.3; printf 'last-%s\\n' line`,
    ]);
    expect(ran.code, ran.stderr).toBe(0);
    const page = await pageOf(
      "reviewer-a",
      `/console/sessions?${new URLSearchParams({ text: marker }).toString()}`,
    );
    await page.locator(".match a").first().click();
    await page.locator(".chain.holds").waitFor();
    const screen = page.locator(".player .ap-term");
    await screen.waitFor();
    // Before it is played it shows how it ended.
    await expect.poll(() => screen.textContent(), { timeout: 20_000 }).toContain("last-line");
    await page.locator(".player .ap-overlay-start").click();
    await expect.poll(() => screen.textContent(), { timeout: 20_000 }).toContain(marker);
    await expect.poll(() => screen.textContent(), { timeout: 20_000 }).toContain("last-line");
  });
});

describe("a reviewer who loses the right while the page is open", () => {
  it("is told why there is nothing to decide any more, and then that the access is revoked", async () => {
    const page = await pageOf("reviewer-b");
    const psql = heldPsql(remove(921));
    const card = page.locator("[data-approval]", { hasText: "id = 921" });
    await card.getByRole("button", { name: "Approve…" }).click();
    await page.getByRole("dialog").waitFor();

    const administrator = await stack.sessionToken("reviewer-a");
    const whom = { issuer: stack.issuer, subject: "reviewer-b" };
    const taken = await api(stack.gateway, administrator, "POST", "/v1/group-changes", {
      ...whom,
      removed: ["dba"],
    });
    expect(taken.status).toBe(204);
    await page.getByText("You are no longer in dba").waitFor();
    await card.waitFor({ state: "detached" });
    expect(await page.getByRole("dialog").count()).toBe(0);
    await page.keyboard.press("a");
    expect(await page.getByRole("dialog").count()).toBe(0);

    const revoked = await api(stack.gateway, administrator, "POST", "/v1/revocations", whom);
    await page.getByText("Your access has been revoked").waitFor();
    expect(await page.locator("[data-approval]").count()).toBe(0);
    const { id } = revoked.body as { id: string };
    await api(stack.gateway, administrator, "DELETE", `/v1/revocations/${id}`);
    // Nobody has decided it meanwhile.
    psql.kill("SIGKILL");
    const result = await psql.result;
    expect(result.stdout).not.toContain("DELETE");
  });
});

describe("the page of resources", () => {
  it("shows at once that a connector has gone, and that it is back", async () => {
    const page = await pageOf("reviewer-a", "/console/resources");
    const row = page.locator("tr", { hasText: "shop-db" });
    await row.getByText("online", { exact: true }).waitFor();
    await stack.system.connector.stop("SIGINT");
    await row.getByText("offline", { exact: true }).waitFor();
    await stack.system.startConnector();
    await row.getByText("online", { exact: true }).waitFor();
  });
});
