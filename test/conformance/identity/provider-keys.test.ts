/** Keys of identity providers through the live gateway: two issuers, a rotation in mid-session, an outage. */
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Oidc, startOidc } from "../../../scripts/lib/oidc.ts";
import { freePort } from "../../../scripts/lib/ports.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { TYPES, type TokenAnswer, api, tokenRequest } from "../../support/token-endpoint.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: PrivateStack;
let second: Oidc;
let port: number;
/** Starts the second provider with a key of that name, in the place of the one that ran. */
async function restart(key: string): Promise<void> {
  await second?.stop();
  second = await startOidc({
    port,
    keyFile: join(stack.directory, `second-${key}.json`),
    logFile: join(stack.directory, "second.log"),
  });
}

beforeAll(async () => {
  port = await freePort();
  stack = await startPrivateStack({
    configuration: async (values) => ({
      ...(await testConfiguration(values)),
      "second.yaml": `issuers:\n  - issuer: http://127.0.0.1:${port}\n    audience: sally-cli\n    algorithms: RS256\n    principal: User\n`,
    }),
  });
  await restart("one");
});
afterAll(async () => {
  await second?.stop();
  await stack?.stop();
});

const exchange = (subject_token: string): Promise<TokenAnswer> =>
  tokenRequest(stack.gateway, { subject_token, subject_token_type: TYPES.id });

const ofSecond = (claims: Record<string, unknown> = {}): Promise<string> =>
  second.issueIdToken("engineer", { ttl: 600, claims });

async function keySetReads(): Promise<number> {
  const log = await readFile(join(stack.directory, "second.log"), "utf8");
  return log.split("\n").filter((line) => line === "GET /jwks").length;
}

async function works(client: GatewayClient): Promise<void> {
  expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
}

describe("two issuers", () => {
  it("have people of their own, also where the subject is the same", async () => {
    const first = await stack.sessionToken("engineer");
    const other = (await exchange(await ofSecond())).token();
    const whoami = async (token: string): Promise<unknown> =>
      (await api(stack.gateway, token, "GET", "/v1/whoami")).body["principal"];
    expect(await whoami(first)).toMatchObject({ issuer: stack.issuer, subject: "engineer" });
    expect(await whoami(other)).toMatchObject({ issuer: second.issuer, subject: "engineer" });

    const client = await GatewayClient.open(stack.gateway, "scratch-db", first);
    const stranger = await GatewayClient.open(stack.gateway, "scratch-db", other);
    const reviewer = await stack.sessionToken("reviewer-a");
    const revoked = await api(stack.gateway, reviewer, "POST", "/v1/revocations", {
      issuer: second.issuer,
      subject: "engineer",
    });
    expect(revoked.status).toBeLessThan(300);
    await stranger.closed;
    expect(stranger.notices.at(-1)).toMatchObject({ type: "ended", code: "principal_revoked" });
    await works(client);
    client.close();
    const { id } = revoked.body as { id: string };
    await api(stack.gateway, reviewer, "DELETE", `/v1/revocations/${id}`);
    expect((await exchange(await ofSecond())).status).toBe(200);
  });

  it("may send access tokens in JWT form, which are tokens of theirs like any other (RFC 9068)", async () => {
    const token = await second.issueIdToken("engineer", {
      ttl: 600,
      type: "at+jwt",
      claims: { client_id: "a-service", scope: "openid" },
    });
    for (const type of [TYPES.access, TYPES.jwt]) {
      const answer = await tokenRequest(stack.gateway, { subject_token: token, subject_token_type: type });
      const { body } = await api(stack.gateway, answer.token(), "GET", "/v1/whoami");
      expect(body["principal"]).toMatchObject({ issuer: second.issuer, subject: "engineer" });
    }
    const other = await second.issueIdToken("engineer", { ttl: 600, type: "logout+jwt" });
    expect((await exchange(other)).status).toBe(400);
  });

  it("cannot speak for each other, whatever key id they use", async () => {
    expect((await exchange(await ofSecond({ iss: stack.issuer }))).status).toBe(400);
    const crossed = await stack.system.oidc.issueIdToken("reviewer-a", {
      ttl: 600,
      claims: { iss: second.issuer },
    });
    expect((await exchange(crossed)).status).toBe(400);
  });
});

describe("a provider that rotates its key", () => {
  it("is followed at once by fifty who come with the new one, and native sessions go on", async () => {
    const client = await GatewayClient.open(
      stack.gateway,
      "scratch-db",
      (await exchange(await ofSecond())).token(),
    );
    await works(client);
    const old = await ofSecond();
    await restart("two");
    await works(client);
    const before = await keySetReads();
    const fresh = await ofSecond();
    // A moment after the last reading the gateway does not ask again: nobody can make it ask and ask.
    await expect
      .poll(async () => (await exchange(fresh)).status, { timeout: 40_000, interval: 500 })
      .toBe(200);
    const answers = await Promise.all(
      Array.from({ length: 50 }, async () => exchange(await ofSecond({ nonce: String(Math.random()) }))),
    );
    expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: 50 }, () => 200));
    expect((await keySetReads()) - before).toBe(1);

    client.sendText(JSON.stringify({ type: "renew", token: answers[0]?.token() }));
    await works(client);
    expect(client.notices.filter(({ type }) => type === "ended")).toEqual([]);
    client.close();
    expect((await exchange(old)).status).toBe(400);
  });
});

describe("a provider that is away", () => {
  it("keeps nobody out whose key is known, lets nobody in whose key is not, and is not stampeded", async () => {
    const known = second;
    const token = await ofSecond();
    await known.stop();
    let asked = 0;
    const broken = createServer((_request, response) => {
      asked++;
      response.writeHead(503).end();
    });
    await new Promise<void>((resolve) => broken.listen(port, "127.0.0.1", resolve));
    try {
      expect((broken.address() as AddressInfo).port).toBe(port);
      const elsewhere = await startOidc();
      const strange = await Promise.all(
        Array.from({ length: 60 }, () =>
          elsewhere.issueIdToken("engineer", { ttl: 600, claims: { iss: second.issuer } }),
        ),
      );
      await elsewhere.stop();
      const answers = await Promise.all([token, token, ...strange].map(exchange));
      expect(answers.slice(0, 2).map(({ status }) => status)).toEqual([200, 200]);
      expect(new Set(answers.slice(2).map(({ status }) => status))).toEqual(new Set([400]));
      expect(asked).toBeLessThanOrEqual(1);

      // Nor does a start of the gateway in the middle of it lock anybody out.
      await stack.system.gateway.stop();
      await stack.system.startGateway();
      const after = await exchange(await ofSecond());
      expect(after.status).toBe(200);
      await stack.system.waitUntilOnline("scratch-db");
      const client = await GatewayClient.open(stack.gateway, "scratch-db", after.token());
      await works(client);
      client.close();
      expect((await exchange(strange[0] ?? "")).status).toBe(400);
    } finally {
      await new Promise((resolve) => broken.close(resolve));
    }
  });
});
