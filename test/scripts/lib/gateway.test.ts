import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { uploadedGzip } from "../../../scripts/build/check-bundle.ts";
import { ASSETS, COMPATIBILITY, DURABLE_OBJECTS } from "../../../scripts/lib/deployment.ts";
import { ROOT } from "../../../scripts/lib/run.ts";

describe("the gateway that the demo and the tests run", () => {
  const wrangler = readFileSync(join(ROOT, "wrangler.toml"), "utf8");

  it("has the compatibility date and flags of the one that is deployed", () => {
    expect(wrangler).toContain(`compatibility_date = "${COMPATIBILITY.date}"`);
    expect(wrangler).toContain(
      `compatibility_flags = ${JSON.stringify(COMPATIBILITY.flags).replaceAll(",", ", ")}`,
    );
  });

  it("serves the console's files in the same way: through the Worker alone", () => {
    const [, assets = ""] = /\[assets\]\n([\s\S]*?)\n\n/.exec(wrangler) ?? [];
    expect(assets.split("\n")).toEqual([
      'directory = "dist/console"',
      `binding = "${ASSETS.binding}"`,
      "run_worker_first = true",
      `html_handling = "${ASSETS.htmlHandling}"`,
    ]);
  });

  it("has the same Durable Objects, all with SQLite", () => {
    const deployed = [...wrangler.matchAll(/name = "([A-Z]+)"\nclass_name = "(\w+)"/g)].map(
      ([, name, type]) => [name, type],
    );
    expect(Object.fromEntries(deployed)).toEqual(DURABLE_OBJECTS);
    const migrated = /new_sqlite_classes = (\[.*\])/.exec(wrangler)?.[1] ?? "[]";
    expect((JSON.parse(migrated) as string[]).toSorted()).toEqual(Object.values(DURABLE_OBJECTS).toSorted());
  });
});

describe("the size in wrangler's output", () => {
  it.each([
    ["Total Upload: 7030.50 KiB / gzip: 1989.11 KiB", 1989.11 * 1024],
    ["Total Upload: 12.5 MiB / gzip: 3.5 MiB", 3.5 * 1024 * 1024],
    ["nothing of the kind", undefined],
  ])("is read from %j", (line, expected) => {
    expect(uploadedGzip(line)).toBe(expected);
  });
});
