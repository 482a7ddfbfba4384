import { beforeAll, describe, expect, it } from "vitest";
import type { SqlParser } from "../../../../worker/policy/sql/parser.ts";
import { layOut } from "../../../../worker/policy/sql/layout.ts";
import { shapeOf } from "../../../../worker/policy/sql/shape.ts";
import { loadSqlParser } from "../../../support/sql-parser.ts";

let parser: SqlParser;
beforeAll(async () => {
  parser = await loadSqlParser();
});

const shown = (sql: string): string | undefined => shapeOf(sql, parser)?.text;
const same = (a: string, b: string): boolean => {
  const [one, other] = [shapeOf(a, parser), shapeOf(b, parser)];
  return one !== undefined && one.tree === other?.tree;
};

describe("the shape of a statement", () => {
  it.each([
    ["DELETE FROM orders WHERE id = 5", "DELETE FROM orders WHERE id = $1"],
    ["delete from orders where id = -7", "delete from orders where id = $1"],
    [
      "UPDATE p SET n = n - 3, s = 'x' WHERE id IN (1, 2)",
      "UPDATE p SET n = n - $1, s = $2 WHERE id IN ($3, $4)",
    ],
    ["INSERT INTO t (a, b) VALUES (1, 'ä'), ($1, NULL)", "INSERT INTO t (a, b) VALUES ($2, $3), ($1, NULL)"],
    ["SELECT * FROM t WHERE d >= '2024-01-01'::date LIMIT 5", "SELECT * FROM t WHERE d >= $1::date LIMIT 5"],
    [
      "DELETE FROM t WHERE 5 = id AND k BETWEEN 1 AND 9",
      "DELETE FROM t WHERE $1 = id AND k BETWEEN $2 AND $3",
    ],
    ["SELECT 1 FROM t WHERE s = E'a\\'b' AND u = $q$x$q$", "SELECT 1 FROM t WHERE s = $1 AND u = $2"],
  ])("of %s", (sql, text) => {
    expect(shown(sql)).toBe(text);
  });

  it.each([
    ["DELETE FROM t WHERE id = 5", "delete  from t where id = 6 -- comment"],
    ["UPDATE t SET a = 'x' WHERE id = 1", "UPDATE t SET a = 'y; drop table t' WHERE id = 2"],
    ["SELECT * FROM t WHERE a = $1 AND b = 1", "SELECT * FROM t WHERE a = $1 AND b = 2"],
  ])("is the same for %s and %s", (a, b) => {
    expect(same(a, b)).toBe(true);
  });

  it.each([
    ["DELETE FROM t WHERE id = 5 OR false", "DELETE FROM t WHERE id = 5 OR true"],
    ["DELETE FROM t WHERE 1 = 0", "DELETE FROM t WHERE 1 = 1"],
    ["DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id = 5 OR id = 6"],
    ["DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id >= 5"],
    ["DELETE FROM t WHERE id = 5", "DELETE FROM u WHERE id = 5"],
    ["DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id = '5'"],
    ["DELETE FROM t WHERE id IN (1)", "DELETE FROM t WHERE id IN (1, 2)"],
    ["DELETE FROM t WHERE s LIKE 'x%'", "DELETE FROM t WHERE s LIKE '%'"],
    ["SELECT * FROM t LIMIT 1", "SELECT * FROM t LIMIT 1000"],
    ["SELECT set_config('a', 'b', false)", "SELECT set_config('role', 'b', false)"],
    ["SELECT d -> 'name' FROM t", "SELECT d -> 'ssn' FROM t"],
    ["SELECT * FROM t ORDER BY 1", "SELECT * FROM t ORDER BY 2"],
    ["DELETE FROM c WHERE o = 'a'::regclass", "DELETE FROM c WHERE o = 'b'::regclass"],
    ["UPDATE t SET a = NULL WHERE id = 1", "UPDATE t SET a = 1 WHERE id = 1"],
    ["DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id = $1"],
  ])("differs for %s and %s", (a, b) => {
    expect(same(a, b)).toBe(false);
  });

  it.each(["DROP TABLE t", "SELECT 1; SELECT 2", "", "SELECT FROM WHERE", "CALL p(1)"])(
    "there is none of %j",
    (sql) => {
      expect(shown(sql)).toBeUndefined();
    },
  );
});

describe("a statement laid out", () => {
  it("has a line for each clause and changes no word", () => {
    const sql = "delete from orders where id = 5 and (a=1 or b = 2) and c between 1 and 2 returning id";
    const text = layOut(sql) ?? "";
    expect(text).toBe(
      "delete from orders\nwhere id = 5\n  and (a=1 or b = 2)\n  and c between 1 and 2\nreturning id",
    );
  });

  it.each([
    "with x as (select 1) insert into t(a) select * from x on conflict (a) do update set b = 1",
    "select 'from where' || \"select\", extract(year from d) from t left join u on t.a = u.a",
    "begin; update t set a = 1 where b = 2; commit",
  ])("parses to the same tree: %s", (sql) => {
    const strip = (text: string): string => {
      const parsed = parser.parse(text);
      return JSON.stringify(
        parsed.ok ? parsed.value.map(({ node }) => node) : parsed.error,
        (key, value: unknown) => (/location|_start$|_end$/.test(key) ? undefined : value),
      );
    };
    expect(strip(layOut(sql) ?? "")).toBe(strip(sql));
  });

  it("is not made of a text that is too long", () => {
    expect(layOut(`select ${"1,".repeat(40_000)}1`)).toBeUndefined();
  });
});
