import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matchesPattern } from "../../../worker/identity/claims.ts";

describe("a claim's pattern", () => {
  it.each([
    ["acme/shop", "acme/shop", true],
    ["acme/shop", "acme/*", true],
    ["acme/", "acme/*", true],
    ["acme", "acme/*", false],
    ["evil/acme/shop", "acme/*", false],
    ["acme/shop", "*", true],
    ["", "*", true],
    ["", "", true],
    ["repo:acme/shop:ref:refs/heads/main", "repo:acme/*:ref:refs/heads/main", true],
    ["repo:acme/shop:ref:refs/heads/main2", "repo:acme/*:ref:refs/heads/main", false],
    ["aXbXc", "a*b*c", true],
    ["abc", "a*bc*c", false],
    ["aa", "a*a", true],
    ["a", "a*a", false],
    ["a.c", "a?c", false],
    ["A", "a", false],
  ])("%j against %j is %s", (text, pattern, expected) => {
    expect(matchesPattern(text, pattern)).toBe(expected);
  });

  it("means the same as the regular expression of its form", () => {
    const word = fc
      .array(fc.constantFrom("a", "b", "/", "*"), { maxLength: 12 })
      .map((parts) => parts.join(""));
    fc.assert(
      fc.property(word, word, (text, pattern) => {
        const form = new RegExp(`^${pattern.replaceAll("*", "[^]*")}$`);
        expect(matchesPattern(text, pattern)).toBe(form.test(text));
      }),
      { numRuns: 3000 },
    );
  });

  it("takes no time that grows with the square of a hostile text", () => {
    const began = performance.now();
    expect(matchesPattern("a".repeat(60_000), `${"*a".repeat(200)}*b`)).toBe(false);
    expect(performance.now() - began).toBeLessThan(500);
  });
});
