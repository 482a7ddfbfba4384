/**
 * The promise of masking through the whole gateway: real sessions of a principal without `reveal` on two
 * databases that differ in masked values only are given the same bytes; one with `reveal` is given what the
 * database gives without the gateway.
 */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type OpenPort, openPort } from "../../support/native.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { FAMILIES } from "./corpus/index.ts";
import { deliver, differenceOf } from "./deliver.ts";
import { GatewayRunner } from "./runner.ts";
import { MASKS, RESOURCE } from "./schema.ts";
import { type Twins, startTwins } from "./twins.ts";
import { WireClient } from "./wire-client.ts";

const POLICIES = `
@id("engineers-may-run-anything")
permit (principal in Group::"engineers", action, resource) unless { action == Action::"reveal" };
@id("dba-everything")
permit (principal in Group::"dba", action, resource);
`;

const MODES = ["simple", "text", "binary"] as const;

let twins: Twins;
let stack: PrivateStack;
const ports: OpenPort[] = [];

async function configuration(values: { issuer: string }): Promise<Record<string, string>> {
  const files = await testConfiguration(values);
  const masks = MASKS.map(({ schema, relation, column, mask, step }) => {
    const shown = step === undefined ? mask : `{ mask: ${mask}, step: ${step} }`;
    return `      ${schema}.${relation}.${column}: ${shown === "null" ? '"null"' : shown}\n`;
  }).join("");
  const rows = RESOURCE.rows.map(
    ({ schema, relation, condition }) => `      ${schema}.${relation}: ${JSON.stringify(condition)}\n`,
  );
  const twin = (version: number): string =>
    `  twin${version}:\n    protocol: postgres\n    connector: demo\n    database: twin${version}\n` +
    `    trustedFunctions: ${JSON.stringify(RESOURCE.trustedFunctions)}\n` +
    `    masks:\n${masks}    rows:\n${rows.join("")}`;
  return {
    "policies.cedar": POLICIES,
    "sallyport.yaml": `${files["sallyport.yaml"] ?? ""}\n${twin(0)}${twin(1)}`,
  };
}

beforeAll(async () => {
  twins = await startTwins();
  stack = await startPrivateStack({
    configuration,
    resources: () =>
      Object.fromEntries(
        [0, 1].map((version) => [
          `twin${version}`,
          {
            protocol: "postgres",
            address: `127.0.0.1:${twins.port}`,
            database: `twin${version}`,
            user: "postgres",
          },
        ]),
      ),
  });
}, 180_000);

afterAll(async () => {
  for (const port of ports) await port.close();
  await stack?.stop();
  await twins?.stop();
});

async function session(user: "engineer" | "reviewer-a", version: 0 | 1): Promise<GatewayRunner> {
  const resource = `twin${version}`;
  const port = await openPort(stack, user, resource);
  ports.push(port);
  return new GatewayRunner(await WireClient.open(port.port, resource), resource, twins.lastOid);
}

it("delivers the same over both databases, for every family of attacks", async () => {
  const sessions = [await session("engineer", 0), await session("engineer", 1)] as const;
  const differences: string[] = [];
  let answered = 0;
  for (const family of FAMILIES) {
    for (const [index, one] of family.cases.entries()) {
      // non-interference.test.ts runs every case in every mode; here the whole way counts, so they take turns.
      const mode = MODES[index % MODES.length] ?? "simple";
      const [first, second] = await Promise.all([
        deliver(sessions[0], one, mode),
        deliver(sessions[1], one, mode),
      ]);
      const difference = differenceOf(first, second);
      if (difference !== undefined) {
        differences.push(`${family.name}: ${JSON.stringify(one)} (${mode}): ${difference}`);
      }
      answered += first.filter(({ error }) => error === undefined).length;
    }
  }
  for (const one of sessions) one.close();
  expect(differences).toEqual([]);
  expect(answered).toBeGreaterThan(500);
}, 900_000);

it("gives who may reveal exactly what the database gives", async () => {
  const revealed = await session("reviewer-a", 0);
  const direct = new GatewayRunner(await WireClient.open(twins.port, "twin0"), "twin0", twins.lastOid);
  const differences: string[] = [];
  for (const { relation, schema } of MASKS) {
    const sql = `SELECT * FROM ${schema}.${relation} ORDER BY 1 LIMIT 20`;
    for (const mode of ["simple", "binary"] as const) {
      const difference = differenceOf([await direct.run(sql, mode)], [await revealed.run(sql, mode)]);
      if (difference !== undefined) differences.push(`${sql}: ${difference}`);
    }
  }
  for (const one of [revealed, direct]) one.close();
  expect(differences).toEqual([]);
});
