/** The token endpoint under attack: what comes out never has more than what went in. */
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { SignJWT, decodeJwt, decodeProtectedHeader } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { TYPES, api, narrower, tokenRequest } from "../../support/token-endpoint.ts";

let stack: PrivateStack;
beforeAll(async () => {
  stack = await startPrivateStack();
});
afterAll(async () => {
  await stack.stop();
});

const TASK = { type: "sallyport", resources: ["scratch-db"], actions: ["postgres:select"] };
const encode = (json: unknown): string => Buffer.from(JSON.stringify(json)).toString("base64url");

describe("a session token as a subject", () => {
  it.each<[string, (token: string) => Promise<string> | string]>([
    [
      "whose claims were changed",
      (token) => {
        const [header = "", , signature = ""] = token.split(".");
        return `${header}.${encode({ ...decodeJwt(token), resources: undefined })}.${signature}`;
      },
    ],
    [
      "without a signature",
      (token) => `${encode({ ...decodeProtectedHeader(token), alg: "none" })}.${token.split(".")[1]}.`,
    ],
    [
      "signed with a key of its own under our key's name",
      async (token) => {
        const { privateKey } = generateKeyPairSync("ed25519");
        return new SignJWT(decodeJwt(token))
          .setProtectedHeader({ ...decodeProtectedHeader(token), alg: "EdDSA" })
          .sign(privateKey);
      },
    ],
    [
      "signed with our public key as a secret",
      async (token) => {
        const jwks = (await (await fetch(`${stack.gateway}/.well-known/jwks.json`)).json()) as {
          keys: { x: string }[];
        };
        return new SignJWT(decodeJwt(token))
          .setProtectedHeader({ ...decodeProtectedHeader(token), alg: "HS256" })
          .sign(Buffer.from(jwks.keys[0]?.x ?? "", "base64url"));
      },
    ],
    [
      "with a path for a key's name",
      async (token) => {
        const { privateKey } = generateKeyPairSync("ed25519");
        return new SignJWT(decodeJwt(token))
          .setProtectedHeader({ typ: "sallyport-session+jwt", alg: "EdDSA", kid: "../../../etc/passwd" })
          .sign(privateKey);
      },
    ],
    ["said to be an ID token", (token) => token],
    [
      "with an unknown type",
      (token) =>
        `${encode({ ...decodeProtectedHeader(token), typ: "JWT" })}.${token.split(".").slice(1).join(".")}`,
    ],
  ])("is refused %s, and the answer does not say why", async (name, forge) => {
    const token = await stack.sessionToken("engineer", ["scratch-db"]);
    const type = name === "said to be an ID token" ? TYPES.id : TYPES.access;
    const answer = await tokenRequest(stack.gateway, {
      subject_token: await forge(token),
      subject_token_type: type,
    });
    expect(answer).toMatchObject({
      status: 400,
      body: { error: "invalid_request", error_description: "the token is not accepted" },
    });
  });

  it("never gets more: resources, task, actor and life only shrink", async () => {
    const token = await stack.sessionToken("reviewer-a", ["scratch-db"]);
    expect((await narrower(stack.gateway, token, { resource: "shop-db" })).body.error).toBe("invalid_target");
    const shop = [{ ...TASK, resources: ["shop-db"] }];
    expect((await narrower(stack.gateway, token, { details: shop })).body.error).toBe("invalid_target");
    const again = (await narrower(stack.gateway, token, {})).token();
    const [before, after] = [decodeJwt(token), decodeJwt(again)];
    expect(after["resources"]).toEqual(["scratch-db"]);
    expect(after.exp ?? 0).toBeLessThanOrEqual(before.exp ?? 0);
    const task = (await narrower(stack.gateway, token, { details: [TASK] })).token();
    const out = (await narrower(stack.gateway, task, {})).token();
    expect(decodeJwt(out)["task"]).toBe(decodeJwt(task)["task"]);
    expect((await api(stack.gateway, out, "GET", "/v1/sessions")).status).toBe(403);
    expect((await api(stack.gateway, out, "PUT", "/v1/config", { files: {} })).status).toBe(403);
    expect((await api(stack.gateway, out, "POST", "/v1/keys/rotate")).status).toBe(403);
    expect(
      (await api(stack.gateway, out, "POST", "/v1/policy/explain", { resource: "shop-db", sql: "select 1" }))
        .status,
    ).toBe(403);
    const shopDial = await GatewayClient.dial(stack.gateway, "/connect/shop-db", {
      authorization: `Bearer ${out}`,
    });
    expect(shopDial).toMatchObject({ ok: false, status: 403 });
  });

  it("reaches no task of anybody else, nor beside its own", async () => {
    const mine = await narrower(stack.gateway, await stack.sessionToken("engineer"), { details: [TASK] });
    const other = await narrower(stack.gateway, await stack.sessionToken("engineer"), { details: [TASK] });
    const named = [{ type: "sallyport", task: mine.body.task }];
    const own = await narrower(stack.gateway, await stack.sessionToken("engineer"), { details: named });
    expect(own.body.task).toBe(mine.body.task);
    for (const stranger of [
      await stack.sessionToken("reviewer-a"),
      await stack.sessionToken("agent"),
      other.token(),
    ]) {
      const joined = await narrower(stack.gateway, stranger, { details: named });
      expect(joined.body.error).toBe("invalid_authorization_details");
      const below = await narrower(stack.gateway, stranger, {
        details: [{ ...TASK, parent: mine.body.task }],
      });
      expect(below.body.error).toBe("invalid_authorization_details");
    }
    const path = `/v1/tasks/${mine.body.task ?? ""}`;
    for (const blind of [await stack.sessionToken("agent"), other.token()]) {
      expect((await api(stack.gateway, blind, "GET", path)).status).toBe(404);
      expect((await api(stack.gateway, blind, "DELETE", path)).status).toBe(404);
    }
    // Nobody takes the actor out of a task.
    const acting = await tokenRequest(stack.gateway, {
      subject_token: await stack.sessionToken("engineer"),
      subject_token_type: TYPES.access,
      actor_token: await stack.sessionToken("agent"),
      actor_token_type: TYPES.access,
      details: [TASK],
    });
    const without = await narrower(stack.gateway, await stack.sessionToken("engineer"), {
      details: [{ type: "sallyport", task: acting.body.task }],
    });
    expect(without.body.error).toBe("invalid_authorization_details");
  });
});

describe("authorization_details", () => {
  it.each<[string, unknown]>([
    ["no object", []],
    ["another type", [{ ...TASK, type: "payment_initiation" }]],
    ["an unknown member", [{ ...TASK, sudo: true }]],
    ["no resource", [{ ...TASK, resources: [] }]],
    ["a star for a resource", [{ ...TASK, resources: ["*"] }]],
    ["a star for an action", [{ ...TASK, actions: ["*"] }]],
    ["an administrator's action by a pattern", [{ ...TASK, actions: ["config:write:*"] }]],
    ["a negative budget", [{ ...TASK, max_operations: -1 }]],
    ["half an operation", [{ ...TASK, max_operations: 0.5 }]],
    ["a budget as text", [{ ...TASK, max_rows: "10" }]],
    ["a deadline in the past", [{ ...TASK, deadline: "2020-01-01T00:00:00Z" }]],
    ["a deadline in a year", [{ ...TASK, deadline: "2099-01-01T00:00:00Z" }]],
    ["an infinite life", [{ ...TASK, expires_in: 1e12 }]],
    ["no quorum", [{ ...TASK, approval: { group: "dba", quorum: 0 } }]],
    ["text that turns around", [{ ...TASK, name: "a\u202eb" }]],
    [
      "a prototype",
      JSON.parse(
        '[{"type":"sallyport","resources":["scratch-db"],"actions":["postgres:select"],"__proto__":{"a":1}}]',
      ),
    ],
    ["70 rights", Array.from({ length: 70 }, () => TASK)],
    ["100 relations", [{ ...TASK, relations: Array.from({ length: 100 }, (_, at) => `r${at}`) }]],
    ["100 KiB", [{ ...TASK, relations: ["x".repeat(100_000)] }]],
  ])("are refused with %s", async (_, details) => {
    const answer = await narrower(stack.gateway, await stack.sessionToken("engineer"), { details });
    expect(answer).toMatchObject({ status: 400, body: { error: "invalid_authorization_details" } });
  });
});

describe("the endpoint", () => {
  it("answers whatever it is sent with an OAuth error, and never with 500", async () => {
    const names = [
      "grant_type",
      "subject_token",
      "subject_token_type",
      "actor_token",
      "actor_token_type",
      "resource",
      "authorization_details",
      "scope",
      "audience",
      "requested_token_type",
    ];
    const value = fc.oneof(
      fc.string({ unit: "binary" }),
      fc.constantFrom(
        ...Object.values(TYPES),
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "a.b.c",
        "e30.e30.e30",
      ),
      fc.json(),
    );
    const forms = fc.sample(fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 12 }), 250);
    const statuses = new Set<number>();
    for (const pairs of forms) {
      const body = new URLSearchParams(pairs);
      const response = await fetch(`${stack.gateway}/oauth/token`, { method: "POST", body });
      statuses.add(response.status);
      expect(await response.json()).toMatchObject({ error: expect.any(String) });
      expect(response.headers.get("cache-control")).toBe("no-store");
    }
    expect([...statuses].every((status) => status === 400 || status === 429)).toBe(true);
  });

  it("takes forms only, of a size that it can bear", async () => {
    const post = (body: string, type: string) =>
      fetch(`${stack.gateway}/oauth/token`, { method: "POST", body, headers: { "content-type": type } });
    expect((await post("{}", "application/json")).status).toBe(400);
    expect((await post("grant_type=x", "text/plain")).status).toBe(400);
    expect(
      (await post(`subject_token=${"x".repeat(3 << 20)}`, "application/x-www-form-urlencoded")).status,
    ).toBe(413);
    expect((await fetch(`${stack.gateway}/oauth/token?grant_type=x`)).status).toBe(404);
  });

  it("turns a source away that does nothing but fail, and lets the others in", async () => {
    const attempt = async (source: string, body = "grant_type=password") => {
      const headers = { "content-type": "application/x-www-form-urlencoded", "cf-connecting-ip": source };
      return (await fetch(`${stack.gateway}/oauth/token`, { method: "POST", body, headers })).status;
    };
    const statuses = [];
    for (let tries = 0; tries < 40; tries++) statuses.push(await attempt("203.0.113.7"));
    expect(statuses.filter((status) => status === 429)).toHaveLength(10);
    expect(statuses.indexOf(429)).toBe(30);
    expect(await attempt("203.0.113.8")).toBe(400);
    expect((await narrower(stack.gateway, await stack.sessionToken("engineer"), {})).status).toBe(200);
  });
});

describe("a gateway that takes bound tokens only", () => {
  it("serves sally, and nobody without a key", async () => {
    const engineer = await stack.sessionToken("engineer");
    const files = await testConfiguration({ issuer: stack.issuer });
    await callApi(stack.gateway, "PUT", "/v1/config", {
      token: await stack.sessionToken("reviewer-a"),
      body: { files: { ...files, "tokens.yaml": "tokens: { requireProof: true, rotateKeys: 24h }" } },
    });
    expect(await api(stack.gateway, engineer, "GET", "/v1/whoami")).toMatchObject({
      status: 401,
      body: { code: "proof_invalid" },
    });
    const dialled = await GatewayClient.dial(stack.gateway, "/connect/scratch-db", {
      authorization: `Bearer ${engineer}`,
    });
    expect(dialled).toMatchObject({ ok: false, status: 401 });
    const idToken = await stack.system.oidc.issueIdToken("engineer", { ttl: 60 });
    const plain = await tokenRequest(stack.gateway, { subject_token: idToken, subject_token_type: TYPES.id });
    expect(plain.body.error).toBe("invalid_dpop_proof");
    const run = await stack.sally("engineer", ["psql", "scratch-db", "--", "-Atc", "select 1"]);
    expect(run).toMatchObject({ code: 0, stdout: "1\n" });
  });
});
