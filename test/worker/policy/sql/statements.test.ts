/** The corpus of statements, family by family: kind, actions, reads and writes of each. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { loadSqlParser } from "../../../support/sql-parser.ts";
import { describeStatement } from "./describe-statement.ts";

const parser = await loadSqlParser();

const families = new Map<string, [sql: string, expected: string][]>();
const corpus = readFileSync(new URL("../../../corpus/sql/statements.txt", import.meta.url), "utf8");
let family: [string, string][] = [];
for (const line of corpus.split("\n")) {
  if (line.startsWith("## ")) families.set(line.slice(3), (family = []));
  else if (line.startsWith("# ") || line === "") continue;
  else if (line.startsWith("    ")) family.at(-1)?.splice(1, 1, line.trim());
  else family.push([line, "no expectation"]);
}

describe.each([...families])("%s", (_family, cases) => {
  it.each(cases)("%s", (sql, expected) => {
    expect(describeStatement(parser, sql)).toBe(expected);
  });
});

it("covers at least 300 statements", () => {
  expect([...families.values()].flat().length).toBeGreaterThanOrEqual(300);
});
