/** What is wrong with an administrator's SQL, before any database is known (worker/policy/masks/custom.ts). */
import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../../worker/config/parse.ts";
import { createPolicyEngine } from "../../../../worker/policy/cedar/engine.ts";
import { expressionProblem } from "../../../../worker/policy/masks/custom.ts";
import { testCedar } from "../../../support/cedar.ts";
import { loadSqlParser } from "../../../support/sql-parser.ts";

const parser = await loadSqlParser();
const TRUSTED = ["public.total", "odd.na.me"];
const problem = (kind: "rows" | "mask", text: string): string | undefined =>
  expressionProblem(kind, text, parser, TRUSTED);

describe("an expression in the configuration", () => {
  it.each([
    ["mask", "left(value, 2)"],
    ["mask", "public.total(value)"],
    ["mask", "total(value)"],
    ["mask", '"na.me"(value)'],
    ["rows", "region = 'EU' and created_at > now() - interval '1 year'"],
    ["rows", "pg_catalog.length(name) < 10"],
  ] as const)("is taken as a %s: %s", (kind, text) => {
    expect(problem(kind, text)).toBeUndefined();
  });

  it.each([
    ["mask", "left(value", /syntax error/],
    ["mask", "name", /nothing but value, not name/],
    ["mask", "value) FROM secrets WHERE (true", /one expression/],
    ["mask", "value /* x */", /one expression/],
    ["mask", "query_to_xml(value, true, true, '')", /query_to_xml can tell what is stored/],
    ["mask", "mine(value)", /mine is not a function that is known/],
    ["mask", "other.total(value)", /other\.total is not a function that this resource trusts/],
    ["rows", "region =", /syntax error/],
    ["rows", "orders.region = 'EU'", /by their bare names, not orders\.region/],
    ["rows", "id in (select id from secrets)", /no subquery/],
    ["rows", "region = $1", /no parameter/],
    ["rows", "region = current_setting('app.region')", /what the client set/],
  ] as const)("is refused as a %s: %s", (kind, text, says) => {
    expect(problem(kind, text)).toMatch(says);
  });

  it("is told with its file, line and column, by the functions that its own resource trusts", () => {
    const resource = (name: string, trusted: string): string => `  ${name}:
    protocol: postgres
    connector: demo
    trustedFunctions: [${trusted}]
    masks:
      public.c.a: { mask: sql, expression: "total(value)" }
    rows:
      public.c: "region ="
`;
    const text = `resources:\n${resource("one", "public.total")}${resource("two", "")}`;
    const expression = (kind: "rows" | "mask", sql: string, trusted: readonly string[]) =>
      expressionProblem(kind, sql, parser, trusted);
    const parsed = parseConfig({ "a.yaml": text }, createPolicyEngine(testCedar()), { expression });
    const told = parsed.ok ? [] : parsed.error;
    expect(told.map(({ file, line, column, message }) => `${file}:${line}:${column}: ${message}`)).toEqual([
      expect.stringMatching(/^a\.yaml:9:17: syntax error/),
      expect.stringMatching(/^a\.yaml:15:44: total is not a function/),
      expect.stringMatching(/^a\.yaml:17:17: syntax error/),
    ]);
  });
});
