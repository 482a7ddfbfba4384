import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildConsole, readPlayerTemplates } from "../../../scripts/build/console.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-console-"));
  await buildConsole({ directory });
}, 120_000);
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("the built console", () => {
  it("has no script or style in its page, and loads nothing from elsewhere", async () => {
    const html = await readFile(join(directory, "index.html"), "utf8");
    expect(html).not.toMatch(/<style|style=|\son\w+=|<script(?![^>]*\ssrc=)/i);
    for (const [, address] of html.matchAll(/(?:src|href)="([^"]*)"/g))
      expect(address).toMatch(/^\/console\//);
  });

  it("names every file below assets by its content", async () => {
    for (const name of await readdir(join(directory, "assets"))) expect(name).toMatch(/-[\w-]{8}\.(js|css)$/);
  });

  it("lists the terminal player's templates, none of which runs anything", async () => {
    const templates = await readPlayerTemplates();
    expect(templates.length).toBeGreaterThan(10);
    for (const template of templates)
      expect(template).not.toMatch(/<script|\son\w+=|javascript:|<iframe|srcdoc/i);
  });
});
