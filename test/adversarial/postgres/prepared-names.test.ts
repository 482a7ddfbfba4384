/** Names that stand for statements, and what is hidden behind them or beside them. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: Stack;
let token: string;
let client: GatewayClient;

/** Rows that nothing in this file may delete. */
const MARKER = "guarded by prepared-names.test.ts";
const DELETE = `delete from employees where title = '${MARKER}'`;

beforeAll(async () => {
  stack = sharedStack();
  token = await stack.sessionToken("engineer", ["shop-db"]);
  await stack.direct(
    (direct) =>
      direct.query("insert into employees (name, title, salary, hired_on) values ('guard', $1, 1, now())", [
        MARKER,
      ]),
    stack.shopUrl,
  );
});
beforeEach(async () => {
  client = await GatewayClient.open(stack.gateway, "shop-db", token, { noWait: true });
});
afterEach(async () => {
  client.drop();
  if ((await left()) !== 1)
    throw new Error("the guarded row is gone: something was deleted without approval");
});
afterAll(() =>
  stack.direct((direct) => direct.query("delete from employees where title = $1", [MARKER]), stack.shopUrl),
);

async function left(): Promise<number | null> {
  return stack.direct(
    async (direct) => (await direct.query("select 1 from employees where title = $1", [MARKER])).rowCount,
    stack.shopUrl,
  );
}

const refusals = (words: string[]): string[] => words.filter((word) => word.startsWith("E"));

async function held(...messages: Uint8Array[]): Promise<void> {
  const words = await client.run(...messages);
  // EXPLAIN of a prepared statement is refused outright, because of the masks in this database.
  expect(words.join("\n")).toMatch(/E 42501 (this needs the approval of dba|EXPLAIN EXECUTE)/);
}

describe("a delete is held", () => {
  it("behind PREPARE and EXECUTE, in one message and in several", async () => {
    await client.run(f.query(`prepare x as ${DELETE}`));
    await held(f.query("execute x"));
    await held(f.query(`deallocate all; prepare x as ${DELETE}; execute x`));
    await held(f.query('EXECUTE "x"'));
    await held(f.query("explain (analyze) execute x"));
  });

  it("when PREPARE of a harmless text under the same name fails and the older statement stays", async () => {
    await client.run(f.query(`prepare x as ${DELETE}`));
    const again = await client.run(f.query("prepare x as select 1"));
    expect(refusals(again)[0]).toMatch(/^E 42P05 /);
    await held(f.query("execute x"));
    // The same within one pipeline, where the failure is not known yet when EXECUTE is judged.
    client.send(f.query("prepare x as select 1"), f.query("execute x"));
    expect((await client.words("Z", 2)).join("\n")).toMatch(/42P05[^]*E 26000 .*is being replaced/);
  });

  it("when a transaction with DEALLOCATE and a new PREPARE is rolled back or fails", async () => {
    await client.run(f.query(`prepare x as ${DELETE}`));
    await client.run(f.query("begin"));
    await client.run(f.query("deallocate x"));
    await client.run(f.query("prepare x as select 1"));
    await client.run(f.query("rollback"));
    // Prepared statements are not transactional: x is the harmless one now, on both sides.
    expect(await client.run(f.query("execute x"))).toContain("D 1");
    await client.run(f.query("deallocate x"), f.query(`prepare x as ${DELETE}`), f.query("select 1"));
    await client.words("Z", 2);
    await client.run(f.query("begin; select 1/0; deallocate x; prepare x as select 1"));
    await client.run(f.query("rollback"));
    await held(f.query("execute x"));
  });

  it("when protocol and SQL use the same name", async () => {
    await client.run(f.parse(DELETE, "x"), f.sync);
    await held(f.query("execute x"));
    await client.run(f.query("deallocate x"), f.sync);
    await client.words("Z");
    await client.run(f.query(`prepare x as ${DELETE}`));
    await held(f.bind([], "x"), f.execute(), f.sync);
    // A failing Parse leaves SQL's statement in its place.
    const pipelined = await client.run(f.parse("select 1", "x"), f.bind([], "x"), f.execute(), f.sync);
    expect(refusals(pipelined)[0]).toMatch(/^E 42P05 /);
    await held(f.bind([], "x"), f.execute(), f.sync);
  });

  it("behind the unnamed statement, however it was made and unmade", async () => {
    await held(f.parse(DELETE), f.bind(), f.execute(), f.sync);
    await client.run(f.parse(DELETE), f.sync);
    await held(f.bind(), f.execute(), f.sync);
    await client.run(f.parse(DELETE), f.sync);
    const failed = await client.run(f.parse("select nonsense from nowhere"), f.sync);
    expect(refusals(failed)).toHaveLength(1);
    const after = await client.run(f.bind(), f.execute(), f.sync);
    expect(refusals(after)).toHaveLength(1);
  });

  it("when the prepared statement executes another one", async () => {
    await client.run(f.query(`prepare inner_one as ${DELETE}`));
    await client.run(f.parse("execute inner_one", "outer_one"), f.sync);
    await held(f.bind([], "outer_one"), f.execute(), f.sync);
    await client.run(f.query("deallocate inner_one"));
    await client.run(f.query("prepare inner_one as select 1"));
    expect(await client.run(f.bind([], "outer_one"), f.execute(), f.sync)).toContain("D 1");
    await client.run(f.query("deallocate inner_one"));
    await client.run(f.query(`prepare inner_one as ${DELETE}`));
    await held(f.bind([], "outer_one"), f.execute(), f.sync);
  });

  it("as the inside of a CTE, of COPY and of CREATE TABLE AS EXECUTE", async () => {
    await held(f.query(`with gone as (${DELETE} returning id) select count(*) from gone`));
    await held(f.query(`copy (${DELETE} returning id) to stdout`));
    await client.run(f.query(`prepare x as with gone as (${DELETE} returning id) select id from gone`));
    const made = await client.run(f.query("create table smuggled as execute x"));
    expect(refusals(made)[0]).toMatch(/^E 42501 /);
    await held(f.query("explain analyze execute x"));
  });
});

describe("nothing of a message runs", () => {
  it.each([
    [`select 1; ${DELETE}`],
    [`select 1;;;; -- ${MARKER}\n ; /* ; */ ${DELETE}`],
    [`begin; ${DELETE}; commit`],
    [`select $x$ ; $x$; ${DELETE}`],
    [`select 'a'';'; ${DELETE}; --'`],
    [`select E'\\'; ${DELETE}; --'; ${DELETE}`],
    [`select U&'\\0027; ${DELETE}'; ${DELETE}`],
    [`/* /* nested */ ; */ ${DELETE} /* ; select 1 */`],
    [`set local statement_timeout = 0; ${DELETE}`],
  ])("when a delete is smuggled into %s", async (sql) => {
    const words = await client.run(f.query(sql));
    expect(refusals(words)[0]).toMatch(/^E 42/);
    expect(words.filter((word) => word.startsWith("D"))).toEqual([]);
  });

  it("when Parse brings several statements", async () => {
    const words = await client.run(f.parse(`select 1; ${DELETE}`), f.bind(), f.execute(), f.sync);
    expect(refusals(words)).toHaveLength(1);
  });
});

describe("masks stay on", () => {
  const MASKED = /^D (\*{4}\d{4}|\*+)$/;
  const CARD = "select card_number from customers where id = 5";

  it("for cursors by SQL and by protocol, forwards and backwards", async () => {
    client.send(f.query("begin"), f.query(`declare c scroll cursor for ${CARD}`), f.query("fetch 1 from c"));
    expect((await client.words("Z", 3)).filter((word) => word.startsWith("D"))[0]).toMatch(MASKED);
    client.send(f.query("move absolute 0 in c"), f.execute(0, "c"), f.sync, f.query("fetch first from c"));
    const rows = (await client.words("Z", 3)).filter((word) => word.startsWith("D"));
    expect(rows).not.toEqual([]);
    for (const row of rows) expect(row).toMatch(MASKED);
    await client.run(f.query("close c"));
    const closed = await client.run(f.query("fetch 1 from c"));
    expect(refusals(closed)).toHaveLength(1);
  });

  it("for names that the gateway has never seen", async () => {
    for (const sql of ["execute nobody", "fetch all from nobody", "move 1 in nobody"]) {
      expect(refusals(await client.run(f.query(sql)))[0], sql).toMatch(/^E (26000|34000) /);
    }
    expect(refusals(await client.run(f.bind([], "nobody"), f.execute(), f.sync))[0]).toMatch(/^E 26000 /);
    expect(refusals(await client.run(f.execute(0, "nobody"), f.sync))[0]).toMatch(/^E 34000 /);
  });

  it("for DO, FunctionCall and what reads files or other databases", async () => {
    for (const sql of [
      `do $$ begin ${DELETE}; end $$`,
      "select pg_read_file('/etc/passwd')",
      "select query_to_xml('select card_number from customers', true, true, '')",
      "select * from dblink('', 'select 1') as t(a int)",
      "select lo_import('/etc/passwd')",
      "copy customers to program 'cat'",
      "select * from pg_stats where tablename = 'customers'",
    ]) {
      expect(refusals(await client.run(f.query(sql)))[0], sql).toMatch(/^E (42501|0A000|42883)/);
    }
    expect(refusals(await client.run(f.functionCall))[0]).toMatch(/^E 0A000 /);
  });
});
