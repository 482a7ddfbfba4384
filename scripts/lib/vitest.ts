/** Runs vitest and counts what it reports, so that a summary line can never say more than what happened. */
import { mkdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ROOT, runForeground } from "./run.ts";

/** The part of vitest's JSON report that is counted. A file that fails to load has no assertions, but a status. */
const Report = z.object({
  testResults: z.array(
    z.object({
      status: z.string(),
      assertionResults: z.array(z.object({ status: z.string() })),
    }),
  ),
});

export type Tally = { readonly passed: number; readonly failed: number; readonly skipped: number };

/** Counts tests; a file that failed without a failed test in it (it did not load) counts as one failure. */
export function tally(report: unknown): Tally {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for (const file of Report.parse(report).testResults) {
    let failedHere = 0;
    for (const { status } of file.assertionResults) {
      if (status === "passed") passed++;
      else if (status === "failed") failedHere++;
      else skipped++;
    }
    if (file.status === "failed" && failedHere === 0) failedHere = 1;
    failed += failedHere;
  }
  return { passed, failed, skipped };
}

/** An error outside any test (a worker that died, an unhandled rejection) is a failure, too. */
export function withErrors(counted: Tally, exitCode: number): Tally {
  return exitCode !== 0 && counted.failed === 0 ? { ...counted, failed: 1 } : counted;
}

/** The line that ends a test run, for people and for scripts. */
export function summary({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? "" : `, ${skipped} skipped`}`;
}

/**
 * Runs the tests, prints the summary line, and returns the exit code: 0 only when something ran, nothing failed
 * and vitest itself was content.
 */
export async function runVitest(args: readonly string[]): Promise<number> {
  const file = join(ROOT, ".test", `report-${process.pid}.json`);
  await mkdir(join(ROOT, ".test"), { recursive: true });
  try {
    const code = await runForeground("vitest", [
      "run",
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${file}`,
      ...args,
    ]);
    const counted = withErrors(tally(JSON.parse(await readFile(file, "utf8"))), code);
    if (counted.passed === 0) console.error("no test passed");
    console.log(summary(counted));
    return counted.failed > 0 || counted.passed === 0 ? 1 : 0;
  } catch (error) {
    console.error(`vitest left no report: ${error instanceof Error ? error.message : String(error)}`);
    return 1;
  } finally {
    await rm(file, { force: true });
  }
}
