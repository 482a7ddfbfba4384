/** The distribution's older PostgreSQL behind the gateway, with its own tools: masks, tools, dump and restore. */
import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createShop } from "../../../scripts/demo/shop.ts";
import {
  type Postgres,
  debianPostgres,
  generatePassword,
  startPostgres,
} from "../../../scripts/lib/postgres.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";

/** The newest one that the distribution installed; the continuous build sees to it that there is one. */
const [newest] = readdirSync("/usr/lib/postgresql").sort((a, b) => Number(b) - Number(a));
const MAJOR = Number(newest);

let stack: PrivateStack;
let server: Postgres;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-older-"));
  server = await startPostgres({
    dataDirectory: join(directory, "data"),
    superuserPassword: generatePassword(),
    binaries: debianPostgres(MAJOR) ?? "",
    unsafe: true,
  });
  const shopPassword = generatePassword();
  await createShop(server, { password: shopPassword });
  stack = await startPrivateStack({ postgres: { server, shopPassword }, databases: ["scratch"] });
});
afterAll(async () => {
  await stack?.stop();
  await server?.stop();
  await rm(directory, { recursive: true, force: true });
});

const tool = (name: string): string => `/usr/lib/postgresql/${MAJOR}/bin/${name}`;

it("is the version that this is about", async () => {
  const { stdout } = await stack.sally("engineer", [
    "psql",
    "shop-db",
    "--",
    "-Atc",
    "show server_version_num",
  ]);
  expect(Math.floor(Number(stdout) / 10_000)).toBe(MAJOR);
});

it("masks, holds and refuses as the newest does", async () => {
  const card = await stack.sally("engineer", [
    "psql",
    "shop-db",
    "--",
    "-Atc",
    "select card_number, ssn, email, date_of_birth from customers where id = 1",
  ]);
  expect(card.stdout).toMatch(/^\*{4}\d{4}\|\*+\|.*\*.*\|\d{4}-01-01\n$/);
  const held = await stack.sally("engineer", [
    "psql",
    "shop-db",
    "--no-wait",
    "--",
    "-c",
    "delete from orders where id = 1",
  ]);
  expect(held.code).toBe(4);
  const dropped = await stack.sally("engineer", ["psql", "shop-db", "--", "-c", "drop table orders"]);
  expect(dropped.stderr).toMatch(/ERROR: .*schema change/);
});

describe("pg_dump | psql", () => {
  const COMPARED = ["customers", "employees", "orders", "payments", "customer_overview", "monthly_revenue"];

  it(
    "of the shop into an empty database, both through the gateway, loses and changes nothing",
    { timeout: 120_000 },
    async () => {
      const piped = await stack.sally(
        "reviewer-a",
        [
          "run",
          "shop-db",
          "--",
          "sh",
          "-c",
          // The inner sally restores; what pg_dump writes goes straight into it.
          `${tool("pg_dump")} --no-owner --no-privileges | PGHOST= PGPORT= PGUSER= PGDATABASE= bin/sally psql scratch-db -- -Xq -v ON_ERROR_STOP=1`,
        ],
        { timeout: 110_000 },
      );
      expect(piped, piped.stderr).toMatchObject({ code: 0 });
      for (const relation of COMPARED) {
        const sql = `select count(*) as rows, md5(string_agg(t::text, '|' order by t::text)) as content from ${relation} t`;
        const [shop, scratch] = await Promise.all(
          ["shop", "scratch"].map((database) =>
            stack.direct(async (client) => (await client.query(sql)).rows as unknown[], server.url(database)),
          ),
        );
        expect(scratch, relation).toEqual(shop);
      }
      const schema = `select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull, pg_get_expr(d.adbin, d.adrelid) as preset
      from pg_class c join pg_attribute a on a.attrelid = c.oid left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
      where c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped order by 1, 2`;
      const [shop, scratch] = await Promise.all(
        ["shop", "scratch"].map((database) =>
          stack.direct(
            async (client) => (await client.query(schema)).rows as unknown[],
            server.url(database),
          ),
        ),
      );
      expect(scratch).toEqual(shop);
    },
  );

  it("gives an engineer no raw value, whatever it gives", async () => {
    const dumped = await stack.sally("engineer", ["run", "shop-db", "--", tool("pg_dump"), "--no-owner"]);
    const cards = await stack.direct(
      async (client) =>
        (await client.query<{ card_number: string }>("select card_number from customers")).rows,
      server.url("shop"),
    );
    expect(cards.filter(({ card_number }) => dumped.stdout.includes(card_number))).toEqual([]);
  });
});

it("runs pgbench in every mode", { timeout: 120_000 }, async () => {
  const pgbench = (...args: string[]) =>
    stack.sally("reviewer-a", ["run", "scratch-db", "--", tool("pgbench"), ...args], { timeout: 100_000 });
  expect((await pgbench("-i", "-q")).code).toBe(0);
  for (const mode of ["simple", "extended", "prepared"]) {
    const ran = await pgbench("-n", "-M", mode, "-c", "2", "-t", "50");
    expect(ran.stdout, ran.stderr).toContain("number of failed transactions: 0");
  }
});
