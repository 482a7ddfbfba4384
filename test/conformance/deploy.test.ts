import { beforeAll, describe, expect, it } from "vitest";
import { dryRun } from "../../scripts/build/check-bundle.ts";
import { BUNDLE_LIMIT_GZIP } from "../../scripts/build/worker.ts";

describe("wrangler deploy --dry-run", () => {
  let result: Awaited<ReturnType<typeof dryRun>>;
  beforeAll(async () => {
    result = await dryRun();
  });

  it("passes", () => {
    expect(result.code, result.output).toBe(0);
    expect(result.output).not.toContain("WARNING");
  });

  it("uploads less than 3 MiB, compressed", () => {
    expect(result.gzip, result.output).toBeGreaterThan(0);
    expect(result.gzip).toBeLessThan(BUNDLE_LIMIT_GZIP);
  });

  it("takes the WebAssembly modules as modules, and binds the objects", () => {
    for (const expected of [
      "cedar_wasm_bg.wasm",
      "libpg-query.wasm",
      "env.SESSION",
      "env.CONNECTOR",
      "env.CONTROL",
    ]) {
      expect(result.output).toContain(expected);
    }
  });
});
