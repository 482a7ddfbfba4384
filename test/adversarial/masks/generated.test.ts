/**
 * Non-interference over generated statements. The seed is printed; SEED=… runs the same again, and
 * MASK_STATEMENTS=… sets how many.
 */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { deliver, differenceOf } from "./deliver.ts";
import { cases } from "./generator.ts";
import type { Runner } from "./runner.ts";
import { startTwins, type Twins } from "./twins.ts";

const seed = Number(process.env["SEED"] ?? Date.now() % 2_147_483_647);
const runs = Number(process.env["MASK_STATEMENTS"] ?? 2_000);

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

it("delivers the same over both databases for whatever is generated", async () => {
  process.stdout.write(`generated statements: SEED=${seed} MASK_STATEMENTS=${runs}\n`);
  const tally = { answered: 0, refused: 0, failed: 0 };
  const [one, other] = sessions;
  if (one === undefined || other === undefined) throw new Error("no session");
  const mode = fc.constantFrom("simple" as const, "text" as const, "binary" as const);
  await fc.assert(
    fc.asyncProperty(cases, mode, async (generated, protocol) => {
      const first = await deliver(one, generated, protocol);
      const second = await deliver(other, generated, protocol);
      for (const outcome of first) {
        if (outcome.refused !== undefined) tally.refused++;
        else if (outcome.error !== undefined) tally.failed++;
        else tally.answered++;
      }
      expect(differenceOf(first, second)).toBeUndefined();
    }),
    { seed, numRuns: runs, interruptAfterTimeLimit: 240_000, markInterruptAsFailure: true },
  );
  process.stdout.write(`generated statements: ${JSON.stringify(tally)}\n`);
  // A generator whose statements mostly fail would prove nothing.
  expect(tally.answered).toBeGreaterThan(tally.failed + tally.refused);
}, 300_000);
