/** Idle sessions are put out of memory and taken up where they were (DESIGN section 9, rule 5). */
import { afterAll, beforeAll, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: PrivateStack;
let token: string;
beforeAll(async () => {
  stack = await startPrivateStack();
  token = await stack.sessionToken("reviewer-a");
});
afterAll(() => stack?.stop());

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Long enough for the session to write itself down. */
const IDLE = 4500;

async function hibernate(client: GatewayClient): Promise<void> {
  await sleep(IDLE);
  await stack.system.gateway.hibernate(client.session);
}

const ended = async (session: string): Promise<{ status: string; endReason?: string }> =>
  (await callApi(stack.gateway, "GET", `/v1/sessions/${session}`, { token })) as { status: string };

it("goes on with a prepared statement, a temporary table, a cursor and an open transaction", async () => {
  const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
  await client.run(f.query("create temp table kept (a int)"));
  await client.run(f.parse("insert into kept values ($1::int)", "by_protocol"), f.sync);
  await client.run(f.query("prepare by_sql as select count(*) from kept"));
  await client.run(f.query("begin; declare c cursor for select generate_series(1, 3); fetch 1 from c"));
  await client.run(f.bind(["1"], "by_protocol"), f.execute(), f.sync);
  for (let round = 0; round < 2; round++) {
    await hibernate(client);
    expect(await client.run(f.bind(["2"], "by_protocol"), f.execute(), f.sync)).toEqual([
      "2",
      "C INSERT 0 1",
      "Z T",
    ]);
  }
  expect(await client.run(f.query("fetch 1 from c"))).toContain("D 2");
  expect(await client.run(f.query("execute by_sql"))).toContain("D 3");
  expect(await client.run(f.query("rollback"))).toEqual(["C ROLLBACK", "Z I"]);
  expect(await client.run(f.query("execute by_sql"))).toContain("D 0");

  const events = (await callApi(stack.gateway, "GET", `/v1/sessions/${client.session}/events?limit=1000`, {
    token,
  })) as {
    events: { seq: number; hash: string; previous: string }[];
  };
  for (const [index, event] of events.events.entries()) {
    expect(event.seq).toBe(index + 1);
    if (index > 0) expect(event.previous).toBe(events.events[index - 1]?.hash);
  }
  const verified = await stack.sally("reviewer-a", ["sessions", "verify", client.session]);
  expect(verified.code).toBe(0);
  client.close();
});

it("keeps policy, masks and the principal, and what the client had not asked for is still refused", async () => {
  const engineer = await stack.sessionToken("engineer");
  const client = await GatewayClient.open(stack.gateway, "shop-db", engineer, { noWait: true });
  await client.run(f.parse("select card_number from customers where id = $1", "card"), f.sync);
  await client.run(f.query("prepare gone as delete from orders where id = 41"));
  await hibernate(client);
  const words = await client.run(f.bind(["1"], "card"), f.execute(), f.sync);
  expect(words[1]).toMatch(/^D \*{4}\d{4}$/);
  expect((await client.run(f.query("execute gone"))).join()).toMatch(/E 42501 this needs the approval/);
  expect((await client.run(f.query("drop table orders"))).join()).toMatch(/E 42501 /);
  client.close();
});

it("hears notifications and ends in good order after it", async () => {
  const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
  await client.run(f.query("listen hibernation"));
  await hibernate(client);
  await stack.direct(
    (direct) => direct.query("notify hibernation, 'wake up'"),
    stack.shopUrl.replace(/shop$/, "scratch"),
  );
  const [notification] = await client.until("A");
  expect(notification?.body.toString()).toContain("wake up");
  await hibernate(client);
  client.send(f.terminate);
  await client.closed;
  await expect
    .poll(async () => ended(client.session), { timeout: 10_000 })
    .toMatchObject({ status: "ended", endReason: "done" });
});

it("ends in good order when its client just disconnects while it is out of memory", async () => {
  const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
  await hibernate(client);
  client.drop();
  await expect
    .poll(async () => ended(client.session), { timeout: 10_000 })
    .toMatchObject({ status: "ended", endReason: "done" });
});

it("can be cancelled, killed and told of a lost connector while it is out of memory", async () => {
  const killed = await GatewayClient.open(stack.gateway, "scratch-db", token);
  await hibernate(killed);
  expect((await stack.sally("reviewer-b", ["sessions", "kill", killed.session])).code).toBe(0);
  expect((await killed.words("never")).join()).toMatch(/^E 57P01 the session was ended by reviewer-b/);

  const orphaned = await GatewayClient.open(stack.gateway, "scratch-db", token);
  await hibernate(orphaned);
  await stack.system.connector.stop("SIGKILL");
  expect((await orphaned.words("never")).join()).toMatch(/^E 08006 the connection between the connector/);
  await stack.system.startConnector();
  await stack.system.waitUntilOnline("scratch-db");
});

it("stays in memory while a statement runs", async () => {
  const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
  await sleep(IDLE);
  client.send(f.query("select pg_sleep(3), 'answered'"));
  await sleep(200);
  await stack.system.gateway.hibernate(client.session);
  expect(await client.words("Z")).toContainEqual(expect.stringMatching(/^D .*answered$/));
  expect(await client.run(f.query("select 1"))).toContain("D 1");
  client.close();
});
