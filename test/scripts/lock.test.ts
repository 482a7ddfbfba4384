import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "../../scripts/lib/run.ts";

type Entry = { readonly version?: string; readonly optionalDependencies?: Readonly<Record<string, string>> };

describe("package-lock.json", () => {
  const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, Entry>;
  };

  // A registry that lacks a platform's package makes npm leave it out, and then `npm ci` refuses the whole file.
  it("names the packages of every platform", () => {
    const missing: string[] = [];
    for (const [path, { optionalDependencies = {} }] of Object.entries(lock.packages)) {
      for (const name of Object.keys(optionalDependencies)) {
        if (!resolves(path, name)) missing.push(`${path} needs ${name}`);
      }
    }
    expect(missing).toEqual([]);
  });

  /** Looks a dependency up as Node does: beside, then above. */
  function resolves(from: string, name: string): boolean {
    for (
      let base = from;
      ;
      base = base.includes("/node_modules/") ? base.slice(0, base.lastIndexOf("/node_modules/")) : ""
    ) {
      if (`${base === "" ? "" : `${base}/`}node_modules/${name}` in lock.packages) return true;
      if (base === "") return false;
    }
  }
});
