import { beforeAll, describe, expect, it } from "vitest";
import type { Catalogue, CatalogueColumn, CatalogueRelation } from "../../../../wire/postgres/catalogue.ts";
import { createMasker } from "../../../../worker/policy/masks/masker.ts";
import { afterStatement, NO_SESSION_NAMES } from "../../../../worker/policy/masks/session-names.ts";
import type { Masker, Reveals, Rewritten } from "../../../../worker/policy/masks/types.ts";
import type { SqlParser } from "../../../../worker/policy/sql/parser.ts";
import type { ColumnMask, Resource } from "../../../../worker/policy/types.ts";
import { loadSqlParser } from "../../../support/sql-parser.ts";

let parser: SqlParser;
beforeAll(async () => {
  parser = await loadSqlParser();
});

const column = (
  name: string,
  attribute: number,
  type = "text",
  category = "S",
  more: Partial<CatalogueColumn> = {},
): CatalogueColumn => ({
  name,
  attribute,
  type,
  typeOid: 25,
  baseTypeOid: 25,
  baseType: type,
  category,
  typeKind: "b",
  notNull: false,
  generated: false,
  generatedFrom: [],
  sequence: false,
  ...more,
});

const relation = (
  oid: number,
  schema: string,
  name: string,
  columns: readonly CatalogueColumn[],
  more: Partial<CatalogueRelation> = {},
): CatalogueRelation => ({
  oid,
  schema,
  name,
  kind: "r",
  temporary: false,
  columns,
  parents: [],
  constraints: [{ name: "key", kind: "p", attributes: [1], deferrable: false }],
  indexes: [],
  partitionKey: [],
  dependsOn: [],
  rulesDependOn: [],
  rules: false,
  triggers: false,
  functions: [],
  securityBarrier: false,
  ...more,
});

const CUSTOMERS = relation(100, "public", "customers", [
  column("id", 1, "integer", "N"),
  column("name", 2),
  column("ssn", 3),
  column("email", 4),
]);
const catalogueOf = (...relations: CatalogueRelation[]): Catalogue => ({
  version: 1,
  serverVersion: 180_004,
  database: "shop",
  relations,
  functions: [],
  operators: [],
  casts: [],
  types: [],
});
const CATALOGUE = catalogueOf(
  CUSTOMERS,
  relation(101, "public", "products", [column("id", 1, "integer", "N"), column("name", 2)]),
);

const mask = (name: string, kind: ColumnMask["mask"], more: Partial<ColumnMask> = {}): ColumnMask => ({
  schema: "public",
  relation: "customers",
  column: name,
  mask: kind,
  ...more,
});
const resource = (more: Partial<Resource> = {}): Resource => ({
  name: "shop",
  protocol: "postgres",
  connector: "c",
  labels: {},
  masks: [mask("ssn", "full"), mask("email", "email")],
  rows: [],
  trustedFunctions: [],
  detectors: "off",
  recordResultBytes: 0,
  heldInTransaction: 0,
  ...more,
});

function masker(more: Partial<Resource> = {}, catalogue: Catalogue = CATALOGUE): Masker {
  const made = createMasker({ catalogue, resource: resource(more), parser, hashKey: "00".repeat(32) });
  if (!made.ok) throw new Error(JSON.stringify(made.error));
  return made.value;
}
const errorsOf = (more: Partial<Resource>): string[] => {
  const made = createMasker({
    catalogue: CATALOGUE,
    resource: resource(more),
    parser,
    hashKey: "00".repeat(32),
  });
  return made.ok ? [] : made.error.map(({ reason, at }) => `${reason} ${at}`);
};
const nobody: Reveals = () => false;
const run = (one: Masker, text: string, reveals = nobody, names = NO_SESSION_NAMES): Rewritten | string => {
  const rewritten = one.rewrite({ text }, reveals, names);
  return rewritten.ok ? rewritten.value : `${rewritten.error.code}: ${rewritten.error.message}`;
};
const sqlOf = (one: Masker, text: string, reveals = nobody): string | undefined => {
  const rewritten = run(one, text, reveals);
  if (typeof rewritten === "string") throw new Error(rewritten);
  return rewritten.sql;
};

describe("rewriting", () => {
  it("puts a subquery in the relation's place and leaves the rest of the text as it was", () => {
    expect(
      sqlOf(masker({ masks: [mask("ssn", "full")] }), "select  c.ssn -- why\nfrom customers c where c.id=1"),
    ).toBe(
      `select  c.ssn -- why\nfrom (SELECT "id", "name", CAST('****' AS text) AS "ssn", "email" FROM "public"."customers") c where c.id=1`,
    );
  });

  it("leaves a statement alone that cannot mean a masked column", () => {
    for (const text of [
      "SELECT id, name FROM customers",
      "SELECT count(*) FROM customers c JOIN products p ON p.id = c.id",
      "SELECT * FROM products",
    ]) {
      expect(sqlOf(masker(), text), text).toBeUndefined();
    }
  });

  it("masks only what the principal may not reveal", () => {
    const text = sqlOf(masker(), "SELECT * FROM customers", (_, name) => name === "ssn");
    expect(text).toContain('"ssn", CAST(CASE');
    expect(sqlOf(masker(), "SELECT * FROM customers", () => true)).toBeUndefined();
  });

  it("says what it did and why", () => {
    const rewritten = run(masker(), "SELECT * FROM customers");
    expect(typeof rewritten === "string" ? rewritten : rewritten.notes).toEqual([
      "public.customers.ssn: shown as ****",
      "public.customers.email: shown as its first letter and domain",
    ]);
  });

  it("is not active without masks, and then looks at nothing", () => {
    const none = masker({ masks: [] });
    expect(none.active).toBe(false);
    expect(sqlOf(none, "DO $$ anything $$")).toBeUndefined();
  });

  it("replaces value in an administrator's expression, wherever it stands", () => {
    const custom = masker({
      masks: [
        mask("ssn", "sql", { expression: "left(value, 2) || repeat('x', length(value) - 2) || 'value'" }),
      ],
    });
    expect(sqlOf(custom, "SELECT ssn FROM customers")).toContain(
      `CAST((left("ssn", 2) || repeat('x', length("ssn") - 2) || 'value') AS text)`,
    );
  });
});

describe("the guard", () => {
  const guardOf = (text: string, more: Partial<Resource> = {}) => {
    const rewritten = run(masker(more), text);
    if (typeof rewritten === "string") throw new Error(rewritten);
    return rewritten.guard;
  };

  it("withholds the masked attributes from every answer, also of statements that name other relations", () => {
    expect(guardOf("SELECT * FROM products").withheldAttributes).toEqual(["100:3", "100:4"]);
  });

  it("hides the text of errors where they can hold a value", () => {
    expect(guardOf("SELECT ssn FROM customers").hideErrorDetail).toBe(false);
    for (const text of [
      "INSERT INTO customers (id) VALUES (1)",
      "UPDATE customers SET name = 'x'",
      "COMMIT",
      "FETCH c",
      "EXECUTE p",
    ]) {
      expect(guardOf(text).hideErrorDetail, text).toBe(true);
    }
    expect(
      guardOf("SELECT ssn FROM customers", { masks: [mask("ssn", "sql", { expression: "value" })] })
        .hideErrorDetail,
    ).toBe(true);
  });

  it("asks for rows where detectors are on", () => {
    expect(guardOf("SELECT 1", { detectors: "mask" }).inspectRows).toBe(true);
    expect(guardOf("SELECT 1").inspectRows).toBe(false);
  });

  it("knows the error that means a mask was written back", () => {
    expect(guardOf("UPDATE customers SET ssn = $1 WHERE id = $2").errorMeanings).toMatchObject([
      { sqlstate: "2201G", refusal: { code: "mask_written_back" } },
    ]);
  });
});

describe("names", () => {
  const two = catalogueOf(
    CUSTOMERS,
    relation(102, "archive", "customers", [column("id", 1, "integer", "N"), column("ssn", 2)]),
  );

  it("refuses an unknown relation so that the caller can refresh the catalogue", () => {
    expect(run(masker(), "SELECT * FROM nowhere")).toMatch(/^relation_unknown/);
    expect(run(masker(), "SELECT * FROM public.nowhere")).toMatch(/^relation_unknown/);
  });

  it("knows the relations that the session made", () => {
    const parsed = parser.parse("CREATE TEMP TABLE nowhere AS SELECT 1");
    const node = parsed.ok ? parsed.value[0]?.node : undefined;
    const names = node === undefined ? NO_SESSION_NAMES : afterStatement(NO_SESSION_NAMES, node);
    expect(run(masker(), "SELECT * FROM nowhere", nobody, names)).toMatchObject({ sql: undefined });
  });

  it("never takes a name of the session's own for a masked relation's", () => {
    expect(run(masker(), "SELECT ssn FROM customers", nobody, { created: ['["customers"]'] })).toMatchObject({
      sql: expect.stringContaining('FROM "public"."customers"') as string,
    });
    expect(run(masker(), "CREATE TEMP TABLE customers (id int)")).toMatch(/^mask_cannot_rewrite/);
    expect(run(masker(), "ALTER TABLE products RENAME TO customers")).toMatch(/^mask_cannot_rewrite/);
  });

  it("asks for the schema where a name is ambiguous, whatever search_path is", () => {
    const both = masker({}, two);
    expect(run(both, "SELECT * FROM customers")).toMatch(/several schemas/);
    expect(run(both, "SELECT * FROM public.customers")).toMatchObject({
      sql: expect.stringContaining("****") as string,
    });
  });

  it("closes everything when a masked relation is gone, since it may have another name now", () => {
    const renamed = masker({}, catalogueOf({ ...CUSTOMERS, name: "clients" }));
    expect(run(renamed, "SELECT * FROM clients")).toMatch(/names a relation that does not exist/);
    expect(run(renamed, "SELECT * FROM clients", () => true)).toMatchObject({ sql: undefined });
    expect(run(renamed, "SELECT 1")).toMatchObject({ sql: undefined });
  });

  it("closes a relation whose masked column is gone", () => {
    const columns = CUSTOMERS.columns.map((one) => (one.name === "ssn" ? { ...one, name: "code" } : one));
    const changed = masker({}, catalogueOf({ ...CUSTOMERS, columns }));
    expect(run(changed, "SELECT id FROM customers")).toMatch(
      /cannot be read: the mask public.customers.ssn names a column/,
    );
  });
});

describe("what holds the values too", () => {
  it("masks children and parents, foreign keys and generated columns", () => {
    const parent = {
      ...CUSTOMERS,
      columns: [
        ...CUSTOMERS.columns,
        column("last", 5, "text", "S", { generated: true, generatedFrom: [3] }),
      ],
    };
    const child = relation(103, "public", "old_customers", parent.columns, { parents: [100] });
    const claims = relation(104, "public", "claims", [column("id", 1, "integer", "N"), column("holder", 2)], {
      constraints: [
        {
          name: "fk",
          kind: "f",
          attributes: [2],
          deferrable: false,
          references: { oid: 100, attributes: [3] },
        },
      ],
    });
    const one = masker({}, catalogueOf(parent, child, claims));
    expect(sqlOf(one, "SELECT last FROM customers")).toContain(`CAST('****' AS text) AS "last"`);
    expect(sqlOf(one, "SELECT ssn FROM old_customers")).toContain(`CAST('****' AS text) AS "ssn"`);
    expect(sqlOf(one, "SELECT holder FROM claims")).toContain(`CAST('****' AS text) AS "holder"`);
    expect(
      sqlOf(one, "SELECT holder FROM claims", (relationName) => relationName === "public.customers"),
    ).toBeUndefined();
  });

  it("closes a relation that is partitioned by a masked column", () => {
    const one = masker({}, catalogueOf({ ...CUSTOMERS, kind: "p", partitionKey: [3] }));
    expect(run(one, "SELECT count(*) FROM customers")).toMatch(/partitioned by ssn/);
  });

  it("closes the parent of a relation whose rows are filtered", () => {
    const child = relation(103, "public", "eu", CUSTOMERS.columns, { parents: [100] });
    const one = masker(
      { masks: [], rows: [{ schema: "public", relation: "eu", condition: "name = 'x'" }] },
      catalogueOf(CUSTOMERS, child),
    );
    expect(run(one, "SELECT * FROM customers")).toMatch(/rows of its child/);
    expect(sqlOf(one, "SELECT * FROM eu")).toContain("WHERE (name = 'x')");
  });
});

describe("configuration", () => {
  it("refuses masks that cannot work", () => {
    expect(errorsOf({ masks: [mask("ssn", "full"), mask("ssn", "null")] })).toEqual([
      "duplicate public.customers.ssn",
    ]);
    expect(errorsOf({ masks: [mask("id", "email")] })).toEqual(["type_not_suited public.customers.id"]);
    expect(errorsOf({ masks: [mask("id", "round", { step: 0 })] })).toEqual([
      "step_invalid public.customers.id",
    ]);
    expect(
      errorsOf({ rows: [{ schema: "public", relation: "customers", condition: "id = (SELECT 1)" }] }),
    ).toEqual(["expression_invalid public.customers"]);
  });

  it("refuses expressions that read more than the value", () => {
    for (const expression of [
      "name",
      "customers.ssn",
      "(SELECT 1)",
      "value); DROP TABLE x; --",
      "value) FROM customers WHERE (true",
      "$1",
      "query_to_xml(value, true, true, '')",
      "current_setting(value)",
      "",
    ]) {
      expect(errorsOf({ masks: [mask("ssn", "sql", { expression })] }), expression).toEqual([
        "expression_invalid public.customers.ssn",
      ]);
    }
  });

  it("hands out the key of hash masks as startup parameters, and only then", () => {
    expect(masker().startupParameters).toEqual({});
    expect(Object.keys(masker({ masks: [mask("ssn", "hash")] }).startupParameters)).toEqual([
      "sallyport.hash_inner",
      "sallyport.hash_outer",
    ]);
  });
});

describe("limits", () => {
  it("refuses a statement that is nested too deeply, without failing", () => {
    const deep = `SELECT ${"1 + ".repeat(5_000)}1 FROM customers`;
    expect(run(masker(), deep)).toMatch(/^statement_over_limit/);
    expect(run(masker(), `SELECT ${"NOT ".repeat(3_000)}true FROM customers`)).toMatch(/^statement_/);
  });

  it("rewrites a statement with a thousand relations", () => {
    const many = `SELECT 1 FROM ${Array.from({ length: 1_000 }, (_, index) => `customers c${index}`).join(", ")} WHERE c1.ssn = c2.ssn`;
    expect(sqlOf(masker(), many)?.split("****")).toHaveLength(1_001);
  });
});
