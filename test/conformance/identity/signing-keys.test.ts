/**
 * The gateway's own signing keys over a live gateway. A rotation takes minutes to take effect and the old key a
 * quarter of an hour to go: here the gateway is put down and its stored keys are made older by that much, which is
 * what it finds when it has slept. `SALLY_LONG_TESTS=1` waits instead.
 */
import { decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { LIMITS } from "../../../wire/limits.ts";
import { controlDatabase, controlLog } from "../../support/control-database.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { TYPES, api, tokenRequest } from "../../support/token-endpoint.ts";
import { f } from "../../wire/postgres/support/messages.ts";

const LONG = process.env["SALLY_LONG_TESTS"] !== undefined;
const DAY = 24 * 60 * 60_000;

let stack: PrivateStack;
beforeAll(async () => {
  stack = await startPrivateStack();
});
afterAll(() => stack?.stop());

type Key = { readonly kid: string; readonly status: string };

async function keys(): Promise<Key[]> {
  const { stdout } = await stack.sally("reviewer-a", ["keys", "ls", "--json"]);
  return (JSON.parse(stdout) as { keys: Key[] }).keys;
}

async function published(): Promise<string[]> {
  const answer = await fetch(`${stack.gateway}/.well-known/jwks.json`);
  return ((await answer.json()) as { keys: { kid: string }[] }).keys.map(({ kid }) => kid);
}

async function newToken(): Promise<string> {
  const idToken = await stack.system.oidc.issueIdToken("engineer", { ttl: 3600 });
  return (
    await tokenRequest(stack.gateway, { subject_token: idToken, subject_token_type: TYPES.id })
  ).token();
}

const kidOf = (token: string): string => decodeProtectedHeader(token).kid ?? "";

async function status(token: string): Promise<number> {
  return (await api(stack.gateway, token, "GET", "/v1/whoami")).status;
}

/** The gateway sleeps, and finds its keys older by `ms` when it wakes. */
async function sleep(ms: number): Promise<void> {
  await stack.system.gateway.stop();
  const database = await controlDatabase(stack.system, false);
  database
    .prepare("UPDATE signing_keys SET signs_from = signs_from - ?, verifies_until = verifies_until - ?")
    .run(ms, ms);
  database.close();
  await stack.system.startGateway();
}

async function opens(token: string): Promise<void> {
  const client = await GatewayClient.open(stack.gateway, "scratch-db", token);
  expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
  client.close();
}

describe("a rotation by command", () => {
  it("publishes, then signs with the new key, and takes the old one's tokens until the overlap ends", async () => {
    const old = await newToken();
    const [before] = await published();
    expect(kidOf(old)).toBe(before);
    expect((await stack.sally("reviewer-a", ["keys", "rotate"])).code).toBe(0);
    expect(await published()).toHaveLength(2);
    // Published, and does not sign yet: whoever keeps our keys for a while knows it when it does.
    expect(kidOf(await newToken())).toBe(before);

    await sleep(LIMITS.time.keyPublished);
    const fresh = await newToken();
    expect(kidOf(fresh)).not.toBe(before);
    expect(await published()).toContain(before);
    expect((await keys()).map((key) => key.status)).toEqual(["signing", "verifying"]);
    await stack.system.waitUntilOnline("scratch-db");
    for (const token of [old, fresh]) {
      expect(await status(token)).toBe(200);
      await opens(token);
    }

    await sleep(LIMITS.time.sessionToken + LIMITS.time.clockSkew);
    expect(await published()).toEqual([kidOf(fresh)]);
    // It has not expired; nobody signs for it any more.
    expect(await status(old)).toBe(401);
    const refused = await GatewayClient.dial(stack.gateway, "/connect/scratch-db", {
      authorization: `Bearer ${old}`,
    });
    expect(refused).toMatchObject({ ok: false, status: 401 });
    expect(await status(fresh)).toBe(200);
  });
});

describe("a rotation by schedule", () => {
  it("comes by itself when the signing key is old enough, and is recorded", async () => {
    const [before] = await published();
    await sleep(30 * DAY + 1000);
    // The alarm was set for the time that has been skipped here; whatever is to happen at a time sets it anew.
    const details = JSON.stringify([
      { type: "sallyport", resources: ["scratch-db"], actions: ["postgres:select"] },
    ]);
    await tokenRequest(stack.gateway, {
      subject_token: await stack.system.oidc.issueIdToken("engineer", { ttl: 3600 }),
      subject_token_type: TYPES.id,
      authorization_details: details,
    });
    await expect.poll(async () => (await published()).length, { timeout: 30_000 }).toBe(2);
    expect((await keys()).map((key) => key.status)).toEqual(["published", "signing"]);
    expect((await keys())[1]?.kid).toBe(before);
    const recorded = (await controlLog(stack.system)).filter(({ type }) => type === "signing_key");
    expect(recorded.map(({ by }) => by === undefined)).toEqual([false, true]);
    // Once is enough.
    await newToken();
    expect(await published()).toHaveLength(2);
  });
});

describe.runIf(LONG)("a rotation over a gateway that runs on", () => {
  it("ends no native session, and no token before its time", async () => {
    const first = await newToken();
    const client = await GatewayClient.open(stack.gateway, "scratch-db", first);
    const kid = kidOf(first);
    await stack.sally("reviewer-a", ["keys", "rotate"]);
    const began = performance.now();
    await expect
      .poll(async () => kidOf(await newToken()), { timeout: 2 * LIMITS.time.keyPublished, interval: 1000 })
      .not.toBe(kid);
    const switched = performance.now() - began;
    expect(switched).toBeGreaterThan(LIMITS.time.keyPublished - 5000);
    expect(await status(first)).toBe(200);
    client.sendText(JSON.stringify({ type: "renew", token: await newToken() }));
    expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
    // The last token of the old key: minted just before the switch, good for its quarter of an hour.
    await expect
      .poll(async () => (await published()).includes(kid), { timeout: 20 * 60_000, interval: 5000 })
      .toBe(false);
    const gone = performance.now() - began;
    expect(gone).toBeGreaterThan(LIMITS.time.keyPublished + LIMITS.time.sessionToken);
    expect(await client.run(f.query("select 1")).then((words) => words.join())).toMatch(/C SELECT 1|E /);
    client.close();
  }, 1_500_000);
});
