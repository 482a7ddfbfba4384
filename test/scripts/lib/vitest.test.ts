import { describe, expect, it } from "vitest";
import { summary, tally, withErrors } from "../../../scripts/lib/vitest.ts";

const file = (status: string, ...tests: string[]): unknown => ({
  status,
  assertionResults: tests.map((each) => ({ status: each })),
});

describe("the tally of a test run", () => {
  it("counts what passed, failed and was skipped over all files", () => {
    const report = {
      testResults: [
        file("passed", "passed", "passed"),
        file("failed", "failed", "passed", "skipped", "todo"),
      ],
    };
    expect(tally(report)).toEqual({ passed: 3, failed: 1, skipped: 2 });
    expect(summary(tally(report))).toBe("3 passed, 1 failed, 2 skipped");
  });

  it("counts a file that could not be loaded as a failure", () => {
    expect(tally({ testResults: [file("failed"), file("passed", "passed")] })).toEqual({
      passed: 1,
      failed: 1,
      skipped: 0,
    });
  });

  it("counts an error outside any test as a failure", () => {
    const counted = { passed: 3, failed: 0, skipped: 0 };
    expect(withErrors(counted, 1)).toEqual({ passed: 3, failed: 1, skipped: 0 });
    expect(withErrors(counted, 0)).toEqual(counted);
    expect(withErrors({ ...counted, failed: 2 }, 1)).toEqual({ ...counted, failed: 2 });
  });

  it("says nothing of skipped tests when there are none", () => {
    expect(summary({ passed: 7, failed: 0, skipped: 0 })).toBe("7 passed, 0 failed");
  });

  it("does not take something else for a report", () => {
    expect(() => tally({ numPassedTests: 10 })).toThrow();
  });
});
