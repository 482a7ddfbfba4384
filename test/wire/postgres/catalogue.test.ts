import { describe, expect, it } from "vitest";
import { CATALOGUE_QUERIES, decodeCatalogue, type CatalogueRows } from "../../../wire/postgres/catalogue.ts";

const EMPTY = Object.fromEntries(CATALOGUE_QUERIES.map(({ name }) => [name, []])) as unknown as CatalogueRows;
const ROWS: CatalogueRows = {
  ...EMPTY,
  server: [["180004", "shop"]],
  relations: [
    ["100", "public", "customers", "r", "f", null, "f", "f", "t", null],
    ["101", "public", "v", "v", "f", " SELECT customers.ssn FROM public.customers;", "t", "f", "f", null],
  ],
  columns: [
    ["100", "1", "id", "integer", "23", "23", "integer", "N", "b", "t", "f", "t"],
    ["100", "3", "ssn", "public.tax", "900", "25", "text", "S", "d", "f", "t", "f"],
    ["999", "1", "of another", "text", "25", "25", "text", "S", "b", "f", "f", "f"],
  ],
  generated: [["100", "3", "1"]],
  constraints: [
    ["100", "pk", "p", "1", "f", "0", null],
    ["100", "fk", "f", "3 1", "t", "50", "2 1"],
  ],
  indexes: [["100", "unique_index", "1 3"]],
  orders: [["100", "1 3", "t"]],
  partitions: [["100", "3"]],
  dependencies: [
    ["101", "1", "r", "100", "3"],
    ["101", "1", "f", "5000", "0"],
    ["100", "3", "r", "100", "1"],
  ],
  functions: [["5000", "public", "leak", "t", "ext"]],
};

describe("decodeCatalogue", () => {
  it("builds relations with all that belongs to them", () => {
    const decoded = decodeCatalogue(ROWS, 7);
    if (!decoded.ok) throw new Error(decoded.error.problem);
    const [customers, view] = decoded.value.relations;
    expect(decoded.value).toMatchObject({ version: 7, serverVersion: 180_004, database: "shop" });
    expect(customers).toMatchObject({
      triggers: true,
      partitionKey: [3],
      indexes: [{ attributes: [1, 3], partial: true }],
    });
    expect(
      customers?.columns.map(({ name, attribute, generatedFrom, sequence }) => [
        name,
        attribute,
        generatedFrom,
        sequence,
      ]),
    ).toEqual([
      ["id", 1, [], true],
      ["ssn", 3, [1], false],
    ]);
    expect(
      customers?.constraints.map(({ kind, attributes, references }) => [kind, attributes, references]),
    ).toEqual([
      ["p", [1], undefined],
      ["f", [3, 1], { oid: 50, attributes: [2, 1] }],
      ["i", [1, 3], undefined],
    ]);
    expect(customers?.rulesDependOn).toEqual([{ oid: 100, attribute: 1 }]);
    expect(view).toMatchObject({
      securityBarrier: true,
      dependsOn: [{ oid: 100, attribute: 3 }],
      functions: [5000],
    });
    expect(decoded.value.functions).toEqual([
      { oid: 5000, schema: "public", name: "leak", takesRow: true, extension: "ext" },
    ]);
  });

  it("refuses rows that are not what the queries give", () => {
    expect(decodeCatalogue(EMPTY, 1).ok).toBe(false);
    for (const broken of [
      { ...ROWS, columns: [["100", "one", "id", "integer", "23", "23", "integer", "N", "b", "t", "f", "t"]] },
      { ...ROWS, columns: [["100", "1", null, "integer", "23", "23", "integer", "N", "b", "t", "f", "t"]] },
      { ...ROWS, relations: [["4294967296", "public", "x", "r", "f", null, "f", "f", "f", null]] },
      { ...ROWS, constraints: [["100", "k", "z", "1", "f", "0", null]] },
      { ...ROWS, server: [["eighteen", "shop"]] },
    ] as CatalogueRows[]) {
      expect(decodeCatalogue(broken, 1).ok).toBe(false);
    }
  });
});
