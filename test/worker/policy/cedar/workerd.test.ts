/** The engine where it runs: in workerd, with its smaller stack and its compiled module. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const here = dirname(fileURLToPath(import.meta.url));
const wasm = join(
  dirname(createRequire(import.meta.url).resolve("@cedar-policy/cedar-wasm/nodejs")),
  "cedar_wasm_bg.wasm",
);

let miniflare: Miniflare;

beforeAll(async () => {
  const bundle = await build({
    stdin: {
      resolveDir: here,
      loader: "ts",
      contents: `
        import compiled from "./cedar.wasm";
        import { createPolicyEngine } from "../../../../worker/policy/cedar/engine.ts";
        import { openCedar } from "../../../../worker/policy/cedar/module.ts";
        import { SHOP, statement, user } from "./fixtures.ts";
        const cedar = openCedar(compiled);
        const engine = createPolicyEngine(cedar);
        export default {
          async fetch(request) {
            const { load, group, restart } = await request.json();
            if (restart) cedar.restart();
            const loaded = load === undefined ? undefined : engine.load(1, [{ file: "p.cedar", text: load }]);
            const decision = engine.decide(user("a", group ?? "x"), SHOP, statement("select"));
            return Response.json({ loaded, decision, memory: cedar.memoryBytes() });
          },
        };`,
    },
    bundle: true,
    write: false,
    format: "esm",
    external: ["./cedar.wasm"],
  });
  miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: "policy",
      compatibilityDate: "2026-11-01",
      modulesRoot: "/",
      modules: [
        { type: "ESModule", path: "/worker.js", contents: bundle.outputFiles[0]?.text ?? "" },
        { type: "CompiledWasm", path: "/cedar.wasm", contents: readFileSync(wasm) },
      ],
      host: "127.0.0.1",
      port: 0,
      cf: false,
      telemetry: { enabled: false },
    }),
  );
  await miniflare.ready;
});
afterAll(() => miniflare.dispose());

type Answer = {
  readonly loaded?: { readonly ok: boolean; readonly error?: readonly { readonly message: string }[] };
  readonly decision: { readonly effect: string };
  readonly memory: number;
};

async function ask(body: { load?: string; group?: string; restart?: boolean }): Promise<Answer> {
  const response = await miniflare.dispatchFetch("http://x/", { method: "POST", body: JSON.stringify(body) });
  return (await response.json()) as Answer;
}

describe("the policy engine in workerd", () => {
  it("loads and decides, also after it was thrown away", async () => {
    expect((await ask({})).decision.effect).toBe("deny");
    expect((await ask({ load: `permit (principal in Group::"dba", action, resource);` })).loaded).toEqual({
      ok: true,
    });
    expect((await ask({ group: "dba" })).decision.effect).toBe("allow");
    expect((await ask({ group: "other" })).decision.effect).toBe("deny");
    expect((await ask({ group: "dba2", restart: true })).decision.effect).toBe("deny");
    expect((await ask({ group: "dba" })).decision.effect).toBe("allow");
  });

  it("parses what the bounds admit, and goes on after what they do not", async () => {
    const policy = (condition: string): string =>
      `permit (principal, action, resource) when { ${condition} };`;
    const admitted = [
      policy("(".repeat(62) + "true" + ")".repeat(62)),
      policy(`${"[".repeat(60)}1${"]".repeat(60)} == 1 || true`),
      policy(`${"if true then ".repeat(60)}true${" else true".repeat(60)}`),
      policy(`${"true && ".repeat(450)}true`),
      policy(`${"1 + ".repeat(900)}1 > 0`),
    ];
    for (const text of admitted) {
      const { loaded } = await ask({ load: text });
      // Cedar may refuse it for its types, but never for its depth.
      expect(JSON.stringify(loaded)).not.toMatch(/too complex|nested|operators/);
    }
    for (const text of [policy("(".repeat(1000)), policy(`${"1+".repeat(7000)}1 > 0`)]) {
      expect((await ask({ load: text })).loaded?.ok).toBe(false);
    }
    expect((await ask({ load: policy("true") })).loaded).toEqual({ ok: true });
    const { decision, memory } = await ask({ group: "fresh" });
    expect(decision.effect).toBe("allow");
    expect(memory).toBeLessThan(16 << 20);
  });
});
