/** What each mask makes of a value, computed by a real PostgreSQL. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startPostgres, type Postgres } from "../../../scripts/lib/postgres.ts";
import { buildMask } from "../../../worker/policy/masks/expressions.ts";
import type { ColumnMask } from "../../../worker/policy/types.ts";

let server: Postgres;
let client: pg.Client;

beforeAll(async () => {
  server = await startPostgres({
    dataDirectory: join(mkdtempSync(join(tmpdir(), "values-")), "data"),
    superuserPassword: "values",
    unsafe: true,
  });
  client = new pg.Client({ connectionString: server.url("postgres") });
  await client.connect();
}, 120_000);

afterAll(async () => {
  await client.end();
  await server.stop();
});

async function shown(
  type: string,
  category: string,
  value: string | null,
  mask: Partial<ColumnMask>,
): Promise<string | null> {
  const built = buildMask(
    {
      attribute: 1,
      name: "v",
      type,
      typeOid: 0,
      baseTypeOid: 0,
      baseType: type,
      category,
      typeKind: "b",
      notNull: false,
      generated: false,
      generatedFrom: [],
      sequence: false,
    },
    { schema: "s", relation: "r", column: "v", mask: "full", ...mask },
  );
  if (!built.ok) throw new Error(built.error);
  const answer = await client.query<{ shown: string | null; type: string }>(
    `SELECT CAST(m AS text) AS shown, CAST(pg_typeof(m) AS text) AS type FROM (SELECT ${built.value.expression('"v"')} AS m FROM (SELECT CAST($1 AS ${type}) AS v) x) y`,
    [value],
  );
  expect(answer.rows[0]?.type).toBe(type.replace(/\(.*\)/, ""));
  return answer.rows[0]?.shown ?? null;
}

const CASES: readonly [string, string, Partial<ColumnMask>, string | null, string | null][] = [
  ["text", "S", { mask: "full" }, "secret", "****"],
  ["text", "S", { mask: "full" }, null, "****"],
  ["character varying(3)", "S", { mask: "full" }, "abc", "***"],
  ["text", "S", { mask: "null" }, "secret", null],
  ["text", "S", { mask: "last4" }, "4111111111111234", "****1234"],
  ["text", "S", { mask: "last4" }, "1234567", "****"],
  ["text", "S", { mask: "last4" }, "", "****"],
  ["text", "S", { mask: "last4" }, null, null],
  ["character(12)", "S", { mask: "last4" }, "abcdefgh", "****efgh"],
  ["bigint", "N", { mask: "last4" }, "4111111111111234", "1234"],
  ["bigint", "N", { mask: "last4" }, "1234", "0"],
  ["bigint", "N", { mask: "last4" }, "-9223372036854775808", "0"],
  ["smallint", "N", { mask: "last4" }, "32767", "0"],
  ["text", "S", { mask: "first1" }, "ézra", "é***"],
  ["text", "S", { mask: "first1" }, "", "***"],
  ["text", "S", { mask: "email" }, "jane@example.com", "j***@example.com"],
  ["text", "S", { mask: "email" }, "a@b@c.org", "a***@c.org"],
  ["text", "S", { mask: "email" }, "no address", "***"],
  ["text", "S", { mask: "email" }, "@x", "***"],
  ["text", "S", { mask: "email" }, null, null],
  ["date", "D", { mask: "date_year" }, "1984-06-07", "1984-01-01"],
  ["date", "D", { mask: "date_year" }, "infinity", null],
  ["date", "D", { mask: "date_year" }, "5874897-12-31", null],
  ["date", "D", { mask: "date_year" }, "0044-03-15 BC", "0044-01-01 BC"],
  ["date", "D", { mask: "date_year" }, null, null],
  ["timestamp without time zone", "D", { mask: "date_year" }, "1984-06-07 10:11:12", "1984-01-01 00:00:00"],
  ["timestamp without time zone", "D", { mask: "date_year" }, "infinity", "infinity"],
  ["integer", "N", { mask: "round", step: 1000 }, "2147483647", "2147483000"],
  ["integer", "N", { mask: "round", step: 1000 }, "-1999", "-1000"],
  ["numeric", "N", { mask: "round", step: 0.5 }, "7.74", "7.5"],
  ["numeric", "N", { mask: "round", step: 10 }, "NaN", "NaN"],
  ["double precision", "N", { mask: "round", step: 10 }, "-Infinity", "-Infinity"],
  ["double precision", "N", { mask: "round", step: 10 }, "99.9", "90"],
  [
    "uuid",
    "U",
    { mask: "full" },
    "8a1b2c3d-0000-0000-0000-000000000001",
    "00000000-0000-0000-0000-000000000000",
  ],
  ["jsonb", "U", { mask: "full" }, '{"a": 1}', "{}"],
  ["text[]", "A", { mask: "full" }, "{a,b}", "{}"],
  ["bytea", "U", { mask: "full" }, "\\x01", "\\x"],
  ["daterange", "R", { mask: "full" }, "[2020-01-01,2021-01-01)", null],
];

for (const [type, category, mask, value, expected] of CASES) {
  it(`shows ${type} ${value ?? "NULL"} as ${expected ?? "NULL"} by ${mask.mask ?? ""}`, async () => {
    expect(await shown(type, category, value, mask)).toEqual(
      expected === null
        ? null
        : expect.stringMatching(new RegExp(`^${expected.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}(\\.0+)?$`)),
    );
  });
}

it("turns the year in UTC, whatever time zone the client sets", async () => {
  for (const zone of ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"]) {
    await client.query(`SET timezone = '${zone}'`);
    await client.query("SET datestyle = 'ISO'");
    const year = await shown("timestamp with time zone", "D", "2024-12-31 23:30:00+00", {
      mask: "date_year",
    });
    const { rows } = await client.query<{ same: boolean }>(
      "SELECT $1::timestamptz = '2024-01-01 00:00:00+00'::timestamptz AS same",
      [year],
    );
    expect(rows[0]?.same, zone).toBe(true);
  }
});
