/** The measuring pass against PostgreSQL's own scanner: it must never take code for a string or a comment. */
import fc from "fast-check";
import { loadModule, scanSync } from "libpg-query";
import { beforeAll, describe, expect, it } from "vitest";
import { measure } from "../../../../worker/policy/sql/lexical.ts";

beforeAll(loadModule);

/** Greatest bracket depth by the tokens of PostgreSQL's scanner, or undefined where it fails. */
function scannedNesting(sql: string): number | undefined {
  let tokens;
  try {
    ({ tokens } = scanSync(sql));
  } catch {
    return undefined;
  }
  let depth = 0;
  let nesting = 0;
  for (const { tokenName, text } of tokens) {
    if (tokenName === "SQL_COMMENT" || tokenName === "C_COMMENT") continue;
    if (text === "(" || text === "[") nesting = Math.max(nesting, ++depth);
    if ((text === ")" || text === "]") && depth > 0) depth--;
  }
  return nesting;
}

const pieces = [
  "'", "''", '"', '""', "\\", "\\'", "E'", "e'", "U&'", "u&\"", "B'", "X'", "N'", "xE'", "$", "$$", "$a$", "$b$", "$1", "a$$", "a$b$", "$é$",
  "--", "-", "/*", "*/", "/", "*", "/*/", "+", "@", "=", "(", "(", "[", ")", "]", "\n", "\r", " ", "\t", "\f", "\v", "é", "a", "E", "_", "1", "1a", ";", ",", ".", ":",
]; // prettier-ignore

describe("measure", () => {
  it("finds the same brackets as PostgreSQL's scanner in any mixture of quotes, comments and operators", () => {
    let compared = 0;
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 24 }), (parts) => {
        const sql = parts.join("");
        const scanned = scannedNesting(sql);
        if (scanned === undefined) return;
        compared++;
        expect(measure(sql).nesting).toBe(scanned);
      }),
      { numRuns: 50_000 },
    );
    expect(compared).toBeGreaterThan(5_000);
  });

  it("counts bytes as UTF-8 does", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const wellFormed = text.toWellFormed();
        expect(measure(wellFormed).bytes).toBe(new TextEncoder().encode(wellFormed).length);
      }),
    );
  });

  it("counts no work in strings and line comments, and square work in code", () => {
    expect(measure(`'${"+".repeat(100)}' "${"+".repeat(100)}" $$${"+".repeat(100)}$$`).operatorRunWork).toBe(
      0,
    );
    expect(measure(`--${"+".repeat(100)}\n`).operatorRunWork).toBe(0);
    expect(measure("+".repeat(100)).operatorRunWork).toBe(10_000);
    expect(measure(`1 ${"+".repeat(100)} 1 ${"+".repeat(100)}`).operatorRunWork).toBe(20_000);
  });
});
