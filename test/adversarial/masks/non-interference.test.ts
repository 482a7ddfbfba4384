/**
 * The promise, tested: for a principal without `reveal` nothing that is delivered depends on a masked value.
 * Every statement runs on two databases that differ in masked values only, and all that is delivered has to be
 * equal, byte for byte.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FAMILIES } from "./corpus/index.ts";
import { deliver, differenceOf } from "./deliver.ts";
import type { Runner } from "./runner.ts";
import { MASKS } from "./schema.ts";
import { startTwins, type Twins } from "./twins.ts";

let twins: Twins;
const sessions: Runner[] = [];

beforeAll(async () => {
  twins = await startTwins();
  for (const version of [0, 1] as const) sessions.push(await twins.connect(version));
}, 120_000);

afterAll(async () => {
  for (const session of sessions) session.close();
  await twins.stop();
});

const tally = { statements: 0, answered: 0, refused: 0, failed: 0 };

for (const mode of ["simple", "text", "binary"] as const) {
  describe(`${mode} protocol`, () => {
    for (const family of FAMILIES) {
      it(`delivers the same over both databases: ${family.name}`, async () => {
        const differences: string[] = [];
        for (const one of family.cases) {
          const [first, second] = [
            await deliver(sessions[0] as Runner, one, mode),
            await deliver(sessions[1] as Runner, one, mode),
          ];
          const difference = differenceOf(first, second);
          if (difference !== undefined) differences.push(`${JSON.stringify(one)}: ${difference}`);
          for (const outcome of first) {
            tally.statements++;
            if (outcome.refused !== undefined) tally.refused++;
            else if (outcome.error !== undefined) tally.failed++;
            else tally.answered++;
          }
        }
        expect(differences).toEqual([]);
      }, 120_000);
    }
  });
}

it("holds at least 500 statements, and answers most of them", () => {
  process.stdout.write(`non-interference: ${JSON.stringify(tally)}\n`);
  expect(tally.statements).toBeGreaterThanOrEqual(3 * 500);
  expect(tally.answered).toBeGreaterThan(tally.statements / 2);
});

it("runs on databases that do differ in every masked column", async () => {
  const direct = await Promise.all([0, 1].map((version) => twins.connect(version as 0 | 1, () => true)));
  for (const { schema, relation, column } of MASKS) {
    const sql = `SELECT array_agg(${column} ORDER BY id) FROM ${schema}.${relation}`;
    const [one, other] = await Promise.all(direct.map((session) => session.run(sql, "simple")));
    expect(one?.delivered, sql).not.toEqual(other?.delivered);
    expect(one?.error).toBeUndefined();
  }
  for (const session of direct) session.close();
});

it("gives a principal who may reveal everything the client's own text", async () => {
  for (const family of FAMILIES) {
    for (const one of family.cases) {
      for (const sql of typeof one === "string" ? [one] : one.statements) {
        const rewritten = twins.masker.rewrite({ text: sql }, () => true, { created: [] });
        expect(rewritten.ok && rewritten.value.sql, sql).toBeUndefined();
      }
    }
  }
});
