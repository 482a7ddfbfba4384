import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../../wire/limits.ts";
import { analyse, type AnalysedStatement, withPrepared } from "../../../../worker/policy/sql/analyse.ts";
import type { Node } from "../../../../worker/policy/sql/parser.ts";
import { checkSetting } from "../../../../worker/policy/sql/settings.ts";
import { loadSqlParser } from "../../../support/sql-parser.ts";

const parser = await loadSqlParser();

function analysed(sql: string): AnalysedStatement {
  const parsed = parser.parse(sql);
  if (!parsed.ok || parsed.value[0] === undefined) throw new Error(sql);
  const result = analyse(parsed.value[0]);
  if (!result.ok) throw new Error(result.error.message);
  return result.value;
}

/** As the parser would give it, for nodes that it never gives. */
function statementOf(node: unknown) {
  return { node: node as Node, start: 0, end: 0, text: "", startByte: 0 };
}

describe("the grammar", () => {
  /** Parts of statements, and what only PL/pgSQL or later stages of the server make. */
  const NOT_STATEMENTS = ["PLAssignStmt", "RawStmt", "ReplicaIdentityStmt", "ReturnStmt", "SetOperationStmt"];

  it("has no statement that analysis does not know", () => {
    const path = createRequire(import.meta.url)
      .resolve("@pgsql/types")
      .replace("index.js", "types.d.ts");
    const tags = [...readFileSync(path, "utf8").matchAll(/^ {4}(\w+Stmt): \1;$/gmu)].map(
      (match) => match[1] ?? "",
    );
    expect(tags.length).toBeGreaterThan(110);
    const unknown = tags.filter((tag) => {
      const result = analyse(statementOf({ [tag]: {} }));
      return !result.ok && result.error.message.includes(tag);
    });
    expect(unknown.sort()).toEqual(NOT_STATEMENTS);
  });

  it("refuses a statement of a grammar to come", () => {
    for (const node of [{ FutureStmt: {} }, {}, { ColumnRef: {} }, { __proto__: {} }, { constructor: {} }]) {
      expect(analyse(statementOf(node))).toMatchObject({ ok: false, error: { code: "unknown_operation" } });
    }
  });

  it("refuses a part of a statement that it does not know", () => {
    const node = { SelectStmt: { fromClause: [{ RangeSubselect: { newField: { relname: "secret" } } }] } };
    expect(analyse(statementOf(node))).toMatchObject({ ok: false, error: { code: "unknown_operation" } });
  });
});

describe("facts", () => {
  it("are bounded", () => {
    const names = Array.from({ length: LIMITS.policy.contextSet + 1 }, (_, i) => `t${i}`);
    const parsed = parser.parse(`select 1 from ${names.join(", ")}`);
    const result = parsed.ok && parsed.value[0] && analyse(parsed.value[0]);
    expect(result).toMatchObject({ ok: false, error: { code: "statement_over_limit" } });
  });

  it("do not take a quoted name with a dot for a qualified one", () => {
    expect(analysed('select * from "public.customers"').reads).toEqual(['"public.customers"']);
    expect(analysed("select * from public.customers").reads).toEqual(["public.customers"]);
    expect(analysed('select * from "public"".""customers"').reads).toEqual(['"public"".""customers"']);
  });
});

describe("withPrepared", () => {
  const prepared = analysed("delete from t");
  const verbs = (statement: AnalysedStatement): string[] => statement.actions.map(({ action }) => action);

  it("makes an EXECUTE what it runs", () => {
    const whole = withPrepared(analysed("execute p"), prepared);
    expect(verbs(whole)).toEqual(["postgres:session", "postgres:delete"]);
    expect(whole.writes).toEqual(["t"]);
  });

  it("makes EXPLAIN ANALYZE EXECUTE what it runs, and plain EXPLAIN EXECUTE a look at it", () => {
    expect(verbs(withPrepared(analysed("explain analyze execute p"), prepared))).toContain("postgres:delete");
    const explained = withPrepared(analysed("explain execute p"), prepared);
    expect(verbs(explained)).not.toContain("postgres:delete");
    expect(explained.reads).toEqual(["t"]);
  });

  it("makes CREATE TABLE AS EXECUTE both", () => {
    const whole = withPrepared(analysed("create table x as execute p"), analysed("select * from secret"));
    expect(verbs(whole)).toEqual(["postgres:schema", "postgres:session", "postgres:select"]);
    expect(whole.reads).toEqual(["secret"]);
  });
});

describe("checkSetting", () => {
  it("holds for the parameters of a StartupMessage too", () => {
    expect(checkSetting("client_encoding", "'utf-8'")).toBeUndefined();
    expect(checkSetting("CLIENT_ENCODING", "LATIN1")).toMatchObject({ code: "setting_not_allowed" });
    expect(checkSetting("application_name", "psql")).toBeUndefined();
    expect(checkSetting("role", "postgres")).toMatchObject({ code: "setting_not_allowed" });
  });
});
