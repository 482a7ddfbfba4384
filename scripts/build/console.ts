/**
 * Builds the web console: `worker/console` → `dist/console`, static files that the Worker serves under
 * `/console`. No inline script or style and nothing fetched from elsewhere: the pages' Content-Security-Policy
 * (docs/console.md) would block either.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSync } from "oxc-parser";
import { type Plugin, build } from "vite";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

export type ConsoleBuildOptions = {
  /** Where the files go; default `dist/console`. Emptied first. */
  readonly directory?: string;
};

/** Builds the console and returns the directory of its files. */
export async function buildConsole(options: ConsoleBuildOptions = {}): Promise<string> {
  const directory = options.directory ?? join(ROOT, "dist/console");
  await build({
    configFile: false,
    root: join(ROOT, "worker/console"),
    base: "/console/",
    logLevel: "warn",
    publicDir: join(ROOT, "worker/console/public"),
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    plugins: [playerTemplates()],
    build: {
      outDir: directory,
      emptyOutDir: true,
      target: "es2022",
      // A data: URL would need a wider policy than a file.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      sourcemap: false,
      chunkSizeWarningLimit: 900,
    },
  });
  return directory;
}

const TEMPLATES = "virtual:player-templates";

/**
 * The terminal player makes its elements from constant HTML templates, which the pages' Trusted Types would
 * refuse. This module is the exact list of them, read from the player's source, so that the console can allow
 * these texts and no other (`worker/console/player-templates.ts`).
 */
function playerTemplates(): Plugin {
  return {
    name: "player-templates",
    resolveId: (id) => (id === TEMPLATES ? `\0${TEMPLATES}` : undefined),
    load: async (id) => {
      if (id !== `\0${TEMPLATES}`) return undefined;
      return `export default ${JSON.stringify(await readPlayerTemplates())};`;
    },
  };
}

/** First arguments of every call `template(…)` in the player's user interface. */
export async function readPlayerTemplates(): Promise<readonly string[]> {
  const player = dirname(createRequire(import.meta.url).resolve("asciinema-player"));
  const core = (await readFile(join(player, "index.js"), "utf8")).match(/\.\/(opts-[\w-]+\.js)/)?.[1];
  if (core === undefined) throw new Error("the terminal player is not laid out as expected");
  const { program, errors } = parseSync("opts.js", await readFile(join(player, core), "utf8"));
  if (errors.length > 0) throw new Error(`cannot parse the terminal player: ${errors[0]?.message}`);
  const found = new Set<string>();
  visit(program, (node) => {
    const text = templateText(node);
    if (text !== undefined) found.add(text);
  });
  if (found.size === 0) throw new Error("found no templates in the terminal player");
  return [...found].sort();
}

type Node = { readonly type?: unknown; readonly [key: string]: unknown };

function visit(value: unknown, on: (node: Node) => void): void {
  if (Array.isArray(value)) for (const each of value) visit(each, on);
  else if (typeof value === "object" && value !== null) {
    const node = value as Node;
    if (typeof node.type === "string") on(node);
    for (const child of Object.values(node)) if (typeof child === "object") visit(child, on);
  }
}

function templateText(node: Node): string | undefined {
  if (node.type !== "CallExpression") return undefined;
  const { callee, arguments: given } = node as unknown as {
    callee: { name?: string };
    arguments: readonly {
      type: string;
      value?: unknown;
      quasis?: readonly { value: { cooked: string } }[];
    }[];
  };
  if (callee.name !== "template") return undefined;
  const [first] = given;
  if (first?.type === "Literal" && typeof first.value === "string") return first.value;
  if (first?.type === "TemplateLiteral" && first.quasis?.length === 1) return first.quasis[0]?.value.cooked;
  return undefined;
}

if (import.meta.main) console.log(`built the console in ${await buildConsole()}`);
