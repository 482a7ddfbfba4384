/** A real browser: the distribution's Chromium, driven by playwright-core. */
import { existsSync } from "node:fs";
import { type Browser, type BrowserContextOptions, type Page, chromium } from "playwright-core";
import type { OidcUserName } from "../../scripts/lib/oidc-users.ts";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Starts it headless, with nothing that would talk to anybody but the system under test. */
export function launchChromium(): Promise<Browser> {
  const executablePath = process.env["CHROMIUM"] ?? PLACES.find((path) => existsSync(path));
  if (executablePath === undefined) {
    throw new Error("no Chromium: apt-get install chromium, or set CHROMIUM to its path");
  }
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

export type Visit = {
  readonly page: Page;
  /**
   * Closes it. @throws when the browser complained meanwhile: an error of a script, a dialog, something that the
   * Content-Security-Policy blocked, or `window.hacked`, which hostile text in the tests would set.
   */
  close(): Promise<void>;
};

/** Opens a page of the console in a context of its own, with nobody logged in. */
export async function visit(
  browser: Browser,
  gateway: string,
  path = "/console/",
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  const complaints: string[] = [];
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("dialog", (dialog) => {
    complaints.push(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("console", (message) => {
    if (/content security policy|trusted/i.test(message.text())) complaints.push(message.text());
  });
  await page.goto(`${gateway}${path}`);
  return {
    page,
    close: async () => {
      if (await page.evaluate("'hacked' in globalThis")) complaints.push("a script out of data has run");
      await context.close();
      if (complaints.length > 0) throw new Error(`the page complained: ${complaints.join("; ")}`);
    },
  };
}

/** Logs in as a person does: the button, the identity provider's own page, and back. */
export async function logInAs(page: Page, user: OidcUserName): Promise<void> {
  await page.getByRole("link", { name: /^Log in/ }).click();
  await page.locator(`button[value="${user}"]`).click();
  await page.getByRole("navigation", { name: "pages" }).waitFor();
}

/** Opens a page of the console as that user. */
export async function visitAs(
  browser: Browser,
  gateway: string,
  user: OidcUserName,
  path = "/console/",
  options: BrowserContextOptions = {},
): Promise<Visit> {
  const opened = await visit(browser, gateway, path, options);
  await logInAs(opened.page, user);
  return opened;
}
