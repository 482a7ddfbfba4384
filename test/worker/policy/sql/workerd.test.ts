/** The parser where it runs: in workerd, bundled as the gateway is, with the wasm as a compiled module. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Miniflare, convertV4MiniflareOptions } from "miniflare";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildWorker } from "../../../../scripts/build/worker.ts";
import type { ParserWorkerAnswer } from "./fixtures/parser-worker.ts";

const MEBIBYTE = 1 << 20;

let miniflare: Miniflare;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-parser-"));
  const entry = fileURLToPath(new URL("fixtures/parser-worker.ts", import.meta.url));
  const built = await buildWorker({ entry, directory });
  const modules = await Promise.all(
    built.modules.map(async (name) => {
      const path = join(directory, name);
      return name.endsWith(".wasm")
        ? { type: "CompiledWasm" as const, path, contents: new Uint8Array(await readFile(path)) }
        : { type: "ESModule" as const, path, contents: await readFile(path, "utf8") };
    }),
  );
  miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: "parser",
      compatibilityDate: "2026-11-01",
      compatibilityFlags: ["nodejs_compat"],
      modulesRoot: directory,
      modules,
      host: "127.0.0.1",
      port: 0,
      cf: false,
      telemetry: { enabled: false },
    }),
  );
  await miniflare.ready;
});

afterAll(async () => {
  await miniflare.dispose();
  await rm(directory, { recursive: true, force: true });
});

async function ask(texts: readonly string[], times = 1): Promise<ParserWorkerAnswer> {
  const response = await miniflare.dispatchFetch("http://parser/", {
    method: "POST",
    body: JSON.stringify({ texts, times }),
  });
  return (await response.json()) as ParserWorkerAnswer;
}

describe("the parser in workerd", () => {
  it("parses, analyses and refuses as it does in Node", async () => {
    const { outcomes } = await ask([
      "select * from customers",
      "delete from t; drop table t",
      "selec 1",
      "set client_encoding = 'latin1'",
      "",
    ]);
    expect(outcomes).toEqual([
      "postgres:select",
      "postgres:delete; postgres:schema",
      "statement_not_parsed",
      "setting_not_allowed",
      "",
    ]);
  });

  it("does not grow over many statements", async () => {
    const texts = [
      "select 1",
      "SELECT abalance FROM pgbench_accounts WHERE aid = 12345",
      "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = $1",
      "select c.id, o.total from customers c join orders o on o.customer_id = c.id where o.total > 100 limit 10",
      "selec 1",
    ];
    const before = await ask(texts, 10);
    const after = await ask(texts, Number(process.env["PARSES"] ?? 20_000) / texts.length);
    expect(after.heap).toBe(before.heap);
    expect(after.heap).toBeLessThanOrEqual(40 * MEBIBYTE);
    expect(after.instances).toBe(before.instances);
  });

  it("replaces an instance that a statement broke, at once", async () => {
    const breaker = `select 1${"::int".repeat(40_000)}`;
    const before = await ask(["select 1"]);
    const { outcomes, instances, heap } = await ask([breaker, "select 1", breaker, "select * from t"]);
    expect(outcomes).toEqual([
      "statement_over_limit",
      "postgres:select",
      "statement_over_limit",
      "postgres:select",
    ]);
    expect(instances).toBe(before.instances + 2);
    expect(heap).toBeLessThanOrEqual(40 * MEBIBYTE);
  });

  it("gives the memory of a giant statement back", async () => {
    const giant = `insert into t values (1)${",(1)".repeat(65_000)}`;
    const { outcomes, heap } = await ask([giant, "select 1"]);
    expect(outcomes).toEqual(["postgres:insert", "postgres:select"]);
    expect(heap).toBeLessThanOrEqual(40 * MEBIBYTE);
  });
});
