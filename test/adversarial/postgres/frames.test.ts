/** Bytes that no honest client sends, through the whole real gateway. */
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../../wire/limits.ts";
import { encodeFrame } from "../../../wire/tunnel.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { f, i32, message, startup } from "../../wire/postgres/support/messages.ts";

let stack: Stack;
let token: string;
const opened: GatewayClient[] = [];

beforeAll(async () => {
  stack = sharedStack();
  token = await stack.sessionToken("engineer", ["shop-db"]);
});
afterEach(() => {
  for (const client of opened.splice(0)) client.drop();
});

async function session(parameters: readonly (readonly [string, string])[] = []): Promise<GatewayClient> {
  const client = await GatewayClient.open(stack.gateway, "shop-db", token, { parameters });
  opened.push(client);
  return client;
}

/** A WebSocket on which nothing has been said yet. */
async function fresh(): Promise<GatewayClient> {
  const dialled = await GatewayClient.dial(stack.gateway, "/connect/shop-db", {
    authorization: `Bearer ${token}`,
  });
  if (!dialled.ok) throw new Error(dialled.body);
  opened.push(dialled.client);
  return dialled.client;
}

const ALIVE = ["T", "D 1", "C SELECT 1", "Z I"];
const CARD = f.query("select card_number from customers where id = 1");
const HELLO = startup([
  ["user", "app"],
  ["database", "shop"],
]);

async function endOf(client: GatewayClient): Promise<string> {
  const words = await client.words("never");
  await client.closed;
  return words.join(", ");
}

describe("a session ends with FATAL", () => {
  it("for a second StartupMessage, when idle and while a statement runs", async () => {
    const idle = await session();
    idle.send(HELLO);
    expect(await endOf(idle)).toMatch(/^E 08P01 /);
    const busy = await session();
    busy.send(f.query("select pg_sleep(20)"), HELLO);
    expect(await endOf(busy)).toMatch(/E 08P01 /);
    const early = await fresh();
    early.send(HELLO, HELLO);
    expect(await endOf(early)).toMatch(/^E 08P01 /);
  });

  it.each([0, 1, 2, 3, 2 ** 31, 2 ** 32 - 1])(
    "for a message that declares a length of %i, without waiting for it",
    async (length) => {
      for (const type of ["Q", "P", "B", "E", "D", "C", "H", "S", "X", "d", "c", "f", "F"]) {
        const client = await session();
        client.send(Buffer.concat([Buffer.from(type), i32(length)]));
        expect(await endOf(client), type).toMatch(/^E 08P01 /);
      }
    },
    120_000,
  );

  it.each([0, 3, 7, 2 ** 31, 2 ** 32 - 1])(
    "for a startup packet that declares a length of %i",
    async (length) => {
      const client = await fresh();
      client.send(Buffer.concat([i32(length), i32(3 << 16)]));
      expect(await endOf(client)).toMatch(/^E 08P01 /);
    },
  );

  it("for a message of no known type, trailing garbage in one, and a cut string", async () => {
    for (const bytes of [
      message("?", Buffer.from("x")),
      message("S", Buffer.from("x")),
      message("Q", Buffer.from("select 1\0garbage\0")),
      message("Q", Buffer.from("select 1")),
      message("p", Buffer.from("password\0")),
    ]) {
      const client = await session();
      client.send(bytes);
      expect(await endOf(client), bytes.toString()).toMatch(/E 08P01 /);
    }
  });
});

describe("a session goes on after", () => {
  it("a statement of 300 KB, 100 KB of /*, a NUL byte and text that is no UTF-8, each refused", async () => {
    const client = await session();
    for (const [sql, state] of [
      [`select '${"x".repeat(300 << 10)}'`, "54000"],
      ["/*".repeat(50_000), "54000|42601"],
      ["+".repeat(100_000), "54000|42601"],
      [`select ${"(".repeat(20_000)}1${")".repeat(20_000)}`, "54000|54001|42601"],
    ] as const) {
      const started = performance.now();
      const answer = await client.run(f.query(sql));
      expect(answer.join(), sql.slice(0, 20)).toMatch(new RegExp(`^E (${state}) [^]*,Z I$`));
      expect(performance.now() - started).toBeLessThan(5000);
    }
    const invalid = message("Q", Buffer.from("select 'caf\xe9'\0", "latin1"));
    expect((await client.run(invalid)).join()).toMatch(/^E 42601 .*UTF-8,Z I$/);
    expect(await client.run(f.query("select 1"))).toEqual(ALIVE);
  });

  it("a NUL within the text of Parse, which would hide what follows it", async () => {
    const client = await session();
    client.send(message("P", Buffer.from("\0select 1\0; drop table orders\0\0\0")), f.sync);
    expect(await endOf(client)).toMatch(/^E 08P01 /);
  });

  it.each([
    "set standard_conforming_strings = off",
    "set standard_conforming_strings to 'off'",
    "SET LOCAL standard_conforming_strings = off",
    "select set_config('standard_conforming_strings', 'off', false)",
    "select pg_catalog.set_config('client_encoding', 'SJIS', false)",
    "set client_encoding = 'SJIS'",
    "set names 'SJIS'",
    "set role postgres",
    "set session authorization postgres",
    "update pg_settings set setting = 'off' where name = 'standard_conforming_strings'",
    "alter role current_user set standard_conforming_strings = off",
    "do $$ begin perform set_config('client_encoding', 'SJIS', false); end $$",
    "reset all",
    "discard all",
  ])("%s, and card numbers stay masked", async (sql) => {
    const client = await session();
    const answer = (await client.run(f.query(sql))).join();
    if (!/^(reset|discard)/.test(sql)) expect(answer).toMatch(/^E 42501 .*,Z I$/);
    const backslash = await client.run(f.query(String.raw`select 'a\' || length('b') as x`));
    expect(backslash).toContain(String.raw`D a\1`);
    expect((await client.run(CARD)).find((word) => word.startsWith("D"))).toMatch(/^D \*{4}\d{4}$/);
  });

  it.each([
    [["client_encoding", "SJIS"]],
    [["standard_conforming_strings", "off"]],
    [["options", "-c standard_conforming_strings=off"]],
    [["options", String.raw`-c client\_encoding=SJIS`]],
    [["options", "--standard-conforming-strings=off"]],
    [["role", "postgres"]],
    [["session_authorization", "postgres"]],
    [["options", "-c role=postgres"]],
    [["replication", "database"]],
    [["local_preload_libraries", "x"]],
  ] as const)("nothing: startup with %j opens no session", async (pair) => {
    const [name, value] = pair;
    const client = await fresh();
    client.send(
      startup([
        ["user", "app"],
        ["database", "shop"],
        [name, value],
      ]),
    );
    expect(await endOf(client)).toMatch(/^E 42501 .*not allowed/);
  });
});

it(
  "answers the same whatever the bytes' cuts: at every byte, and byte by byte",
  { timeout: 120_000 },
  async () => {
    const bytes = Buffer.concat([
      f.query("select 'ä', card_number from customers where id = 1"),
      f.parse("select id from customers where id = $1", "s"),
      f.bind(["2"], "s"),
      f.describePortal(),
      f.execute(),
      f.sync,
      f.query("drop table customers"),
      f.closeStatement("s"),
      f.sync,
    ]);
    const whole = await session();
    whole.send(bytes);
    const expected = await whole.words("Z", 4);
    expect(expected.filter((word) => word.startsWith("E"))).toHaveLength(1);
    const client = await session();
    for (let at = 1; at < bytes.length; at++) {
      client.send(bytes.subarray(0, at));
      client.send(bytes.subarray(at));
      expect(await client.words("Z", 4), `cut at ${at}`).toEqual(expected);
    }
    for (const byte of bytes) client.send(Buffer.from([byte]));
    expect(await client.words("Z", 4)).toEqual(expected);
  },
);

describe("the tunnel ends", () => {
  const data = (bytes: Uint8Array): Uint8Array => encodeFrame({ kind: "data", channel: 0, bytes });

  it("when the client sends more than its credit", async () => {
    const client = await session();
    // The statement is held, so that nothing behind it is consumed and no credit comes back.
    client.send(f.query("delete from orders where id = 900001"));
    await client.until("N");
    const big = data(f.query(`select '${"x".repeat(100 << 10)}'`));
    for (let sent = 0; sent * big.length < LIMITS.tunnel.window; sent++) client.sendFrame(big);
    expect(await endOf(client)).toMatch(/E 08P01 .*tunnel/);
  });

  it.each([
    ["a frame of no known kind", Buffer.from([99, 0, 0, 0, 0])],
    ["a frame without a channel", Buffer.from([3])],
    ["an empty frame", Buffer.alloc(0)],
    ["data on a channel that never was", encodeFrame({ kind: "data", channel: 2, bytes: Buffer.from("x") })],
    ["data without a byte", Buffer.from([3, 0, 0, 0, 0])],
    ["credit for what it was never sent", encodeFrame({ kind: "credit", channel: 0, amount: 2 ** 31 })],
    ["credit of nothing", Buffer.from([4, 0, 0, 0, 0, 0, 0, 0, 0])],
    ["OPENED for its own channel", encodeFrame({ kind: "opened", channel: 0, payload: {} })],
    ["OPEN of the channel that is open", encodeFrame({ kind: "open", channel: 0, payload: {} })],
    ["OPEN of a channel of the gateway's", encodeFrame({ kind: "open", channel: 1, payload: {} })],
    ["a signal that is no JSON", Buffer.concat([Buffer.from([7, 0, 0, 0, 0]), Buffer.from("{")])],
    ["a frame of over a megabyte", data(Buffer.alloc(LIMITS.tunnel.frame + 1))],
  ])("on %s", async (_what, bytes) => {
    const client = await session();
    client.sendFrame(bytes);
    expect(await endOf(client)).toMatch(/^E 08P01 .*tunnel/);
  });

  it.each([
    "not json",
    "{}",
    `{"type":"session","session":"ses_forged"}`,
    `{"type":"grant","principal":{"groups":["dba"]}}`,
    `{"type":"renew"}`,
    `{"type":"renew","token":"x.y.z"}`,
  ])("on a forged control message: %s", async (text) => {
    const client = await session();
    client.sendText(text);
    expect(await endOf(client)).toMatch(/^E (08P01|28000) /);
  });

  it("on another principal's token as renewal, and the session's authority stays its own", async () => {
    const client = await session();
    client.sendText(JSON.stringify({ type: "renew", token: await stack.sessionToken("reviewer-a") }));
    expect(await endOf(client)).toMatch(/^E 28000 /);
  });

  it("but a channel that the client opens by itself reaches nothing", async () => {
    const client = await session();
    const payload = { protocol: "postgres", resource: "shop-db", parameters: {} };
    client.sendFrame(encodeFrame({ kind: "open", channel: 2, payload }));
    client.sendFrame(encodeFrame({ kind: "data", channel: 2, bytes: f.query("drop table orders") }));
    const ended = await Promise.race([endOf(client), client.run(CARD)]);
    expect(String(ended)).toMatch(/E 08P01|\*{4}\d{4}/);
  });
});
