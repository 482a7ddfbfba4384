/** Running a case, and comparing what two databases delivered. */
import type { Case } from "./corpus/types.ts";
import type { Outcome, Runner } from "./runner.ts";
import type { Mode } from "./wire-client.ts";

/** Runs a case in a session and takes back what it did. */
export async function deliver(session: Runner, one: Case, mode: Mode): Promise<Outcome[]> {
  const { statements, copyData, bare } = typeof one === "string" ? { statements: [one] } : one;
  const outcomes: Outcome[] = [];
  if (bare !== true) await session.run("BEGIN", "simple");
  for (const sql of statements) {
    if (bare !== true) await session.run("SAVEPOINT before_statement", "simple");
    const outcome = await session.run(sql, mode, copyData);
    outcomes.push(outcome);
    if (bare !== true && outcome.error !== undefined)
      await session.run("ROLLBACK TO before_statement", "simple");
  }
  if (bare !== true) await session.run("ROLLBACK", "simple");
  await session.run("DISCARD ALL", "simple");
  return outcomes;
}

/** Where what two databases delivered differs first. */
export function differenceOf(first: readonly Outcome[], second: readonly Outcome[]): string | undefined {
  const one = first.flatMap((outcome) => outcome.delivered);
  const other = second.flatMap((outcome) => outcome.delivered);
  for (let at = 0; at < Math.max(one.length, other.length); at++) {
    if (one[at] !== other[at]) return JSON.stringify([one[at]?.slice(0, 300), other[at]?.slice(0, 300)]);
  }
  return undefined;
}
