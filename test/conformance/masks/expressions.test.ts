/** SQL in the configuration is checked by the gateway itself, before anything is applied. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { sharedStack } from "../../support/stack.ts";

it("is refused by sally policy check with its place, and nothing is applied", async () => {
  const stack = sharedStack();
  const directory = await mkdtemp(join(tmpdir(), "sallyport-expressions-"));
  try {
    await writeFile(
      join(directory, "a.yaml"),
      `resources:
  crooked:
    protocol: postgres
    connector: demo
    masks:
      public.c.a: { mask: sql, expression: "left(value" }
    rows:
      public.c: "id in (select id from secrets)"
`,
    );
    const checked = await stack.sally("reviewer-a", ["policy", "check", "-f", directory]);
    expect(checked.code).not.toBe(0);
    const told = checked.stdout + checked.stderr;
    expect(told).toMatch(/a\.yaml:6:44: syntax error/);
    expect(told).toMatch(/a\.yaml:8:17: .*no subquery/);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
