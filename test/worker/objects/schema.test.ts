import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ROOT } from "../../../scripts/lib/run.ts";

const OBJECTS = join(ROOT, "worker/objects");

it("SCHEMA.md names every table and the file that makes it", () => {
  const made = readdirSync(OBJECTS, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"))
    .flatMap((file) =>
      [...readFileSync(join(OBJECTS, file), "utf8").matchAll(/CREATE TABLE IF NOT EXISTS (\w+)/g)].map(
        ([, table]) => `${table} ${file}`,
      ),
    );
  const written = readFileSync(join(OBJECTS, "SCHEMA.md"), "utf8")
    .split("\n")
    .flatMap((line) => {
      const [, tables = "", file = ""] = /^\| (`[^|]+`) \| `([^|`]+)` \|/.exec(line) ?? [];
      return [...tables.matchAll(/`(\w+)`/g)].map(([, table]) => `${table} ${file}`);
    });
  expect(written.toSorted()).toEqual(made.toSorted());
});
