/** The third line of masking through the whole gateway: what no mask names is still found in results. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type OpenPort, openPort, withClient } from "../../support/native.ts";
import { type PrivateStack, SCRATCH_RESOURCE, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";

const CARD = "4111111111111111";

async function configuration(
  detectors: "mask" | "block",
  values: { issuer: string },
): Promise<Record<string, string>> {
  const files = await testConfiguration(values);
  const yaml = (files["sallyport.yaml"] ?? "").replace(
    `  ${SCRATCH_RESOURCE}:\n`,
    `  ${SCRATCH_RESOURCE}:\n    detectors: ${detectors}\n`,
  );
  return { ...files, "sallyport.yaml": yaml };
}

describe.each(["mask", "block"] as const)("detectors that %s", (mode) => {
  let stack: PrivateStack;
  let engineer: OpenPort;
  let reviewer: OpenPort;
  beforeAll(async () => {
    stack = await startPrivateStack({ configuration: (values) => configuration(mode, values) });
    engineer = await openPort(stack, "engineer", SCRATCH_RESOURCE);
    reviewer = await openPort(stack, "reviewer-a", SCRATCH_RESOURCE);
  });
  afterAll(async () => {
    await engineer?.close();
    await reviewer?.close();
    await stack?.stop();
  });

  const ask = (port: OpenPort, sql: string, values: unknown[] = []): Promise<unknown> =>
    withClient(port, async (client) => {
      client.on("error", () => undefined);
      const { rows } = await client.query({ text: sql, values, rowMode: "array" });
      return rows;
    });

  it("deliver no card number to who may not reveal, in a simple or a prepared statement", async () => {
    for (const [sql, values] of [
      [`select 'paid with ${CARD}.'`, []],
      ["select 'paid with ' || $1::text || '.'", [CARD]],
    ] as const) {
      if (mode === "mask") {
        await expect(ask(engineer, sql, [...values])).resolves.toEqual([["paid with ****************."]]);
      } else {
        await expect(ask(engineer, sql, [...values])).rejects.toThrow(/must not leave|terminated/);
      }
    }
  });

  it("leave everything else as it is", async () => {
    await expect(ask(engineer, "select 'order 4111111111111112', 1.5, null, true")).resolves.toEqual([
      ["order 4111111111111112", "1.5", null, true],
    ]);
  });

  it("show it to who may reveal", async () => {
    await expect(ask(reviewer, `select '${CARD}'`)).resolves.toEqual([[CARD]]);
  });

  it("look into COPY, also where messages cut a number in two", async () => {
    const sql = `copy (select '${CARD.slice(0, 8)}' || E'\\t' || 'x' union all select 'card ${CARD}') to stdout`;
    const copied = await stack.sally("engineer", ["psql", SCRATCH_RESOURCE, "--", "-Atc", sql]);
    expect(copied.stdout).not.toContain(CARD);
    if (mode === "mask") expect(copied.stdout).toContain("card ****************");
  });
});
