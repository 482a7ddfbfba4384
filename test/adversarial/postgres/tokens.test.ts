/** Tokens that must open nothing: at the exchange, at the API, and at the socket of native clients. */
import { createHmac, createPublicKey } from "node:crypto";
import { SignJWT, decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exchangeToken } from "../../../scripts/lib/gateway-api.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";

let stack: PrivateStack;
beforeAll(async () => {
  stack = await startPrivateStack();
});
afterAll(() => stack?.stop());

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");

/** HMAC with the bytes of a public key as the secret: RFC 8725 section 2.1. */
function hs256(header: object, claims: unknown, secret: string | Buffer): string {
  const signed = `${encode({ ...header, alg: "HS256" })}.${encode(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

describe("the exchange refuses an ID token", () => {
  const refused = (token: string): Promise<unknown> =>
    expect(exchangeToken(stack.gateway, token)).rejects.toMatchObject({ status: 400 });

  it("without a signature, and with one by the public key", async () => {
    const { oidc } = stack.system;
    const good = await oidc.issueIdToken("reviewer-a", { ttl: 600 });
    const claims = decodeJwt(good);
    const { kid } = decodeProtectedHeader(good);
    await refused(`${encode({ alg: "none", typ: "JWT" })}.${encode(claims)}.`);
    await refused(`${encode({ alg: "None", kid, typ: "JWT" })}.${good.split(".")[1]}.${good.split(".")[2]}`);
    const pem = createPublicKey({ key: { ...oidc.publicKey }, format: "jwk" }).export({
      type: "spki",
      format: "pem",
    });
    await refused(hs256({ typ: "JWT", kid }, claims, pem));
    await refused(hs256({ typ: "JWT", kid }, claims, Buffer.from(oidc.publicKey.n ?? "", "base64url")));
    await refused(hs256({ typ: "JWT", kid }, claims, JSON.stringify(oidc.publicKey)));
  });

  it("that has expired, is not valid yet, or is for another audience or issuer", async () => {
    const { oidc } = stack.system;
    const hour = Math.floor(Date.now() / 1000) + 3600;
    await refused(await oidc.issueIdToken("engineer", { ttl: -120 }));
    await refused(await oidc.issueIdToken("engineer", { ttl: 7200, claims: { nbf: hour } }));
    await refused(await oidc.issueIdToken("engineer", { ttl: 600, audience: "another-app" }));
    await refused(
      await oidc.issueIdToken("engineer", { ttl: 600, claims: { iss: "https://login.example.com" } }),
    );
    await refused(await oidc.issueIdToken("engineer", { ttl: 600, claims: { sub: undefined } }));
  });

  it("signed by somebody else under the same or another key id", async () => {
    const { oidc } = stack.system;
    const good = await oidc.issueIdToken("engineer", { ttl: 600 });
    const { privateKey, publicKey } = await generateKeyPair("RS256");
    for (const header of [{ kid: oidc.publicKey.kid ?? "" }, { kid: "other" }, {}]) {
      const jwk = { ...(await exportJWK(publicKey)), alg: "RS256" };
      const forged = new SignJWT(decodeJwt(good));
      // RFC 7515 section 4.1.3: a token must not bring the key that verifies it.
      await refused(await forged.setProtectedHeader({ alg: "RS256", ...header, jwk }).sign(privateKey));
    }
    const [header, payload, signature] = good.split(".") as [string, string, string];
    const widened = { ...decodeJwt(good), groups: ["dba"] };
    await refused(`${header}.${encode(widened)}.${signature}`);
    await refused(`${header}.${payload}.`);
    await refused(`${header}.${payload}.${signature.slice(0, -4)}AAAA`);
  });
});

describe("neither the API nor the socket takes a session token", () => {
  async function refused(token: string): Promise<void> {
    const authorization = { authorization: `Bearer ${token}` };
    expect((await fetch(`${stack.gateway}/v1/whoami`, { headers: authorization })).status).toBe(401);
    const dialled = await GatewayClient.dial(stack.gateway, "/connect/shop-db", authorization);
    expect(dialled).toMatchObject({ ok: false, status: 401 });
  }
  type Jwks = { keys: { kid: string; x: string; kty: string; crv: string }[] };
  const ownKey = async () => {
    const response = await fetch(`${stack.gateway}/.well-known/jwks.json`);
    const [key] = ((await response.json()) as Jwks).keys;
    if (key === undefined) throw new Error("the gateway shows no key");
    return key;
  };

  it("without a signature, or with one by the gateway's public key", async () => {
    const good = await stack.sessionToken("reviewer-a");
    const claims = decodeJwt(good);
    const header = decodeProtectedHeader(good);
    await refused(`${encode({ ...header, alg: "none" })}.${encode(claims)}.`);
    const key = await ownKey();
    const pem = createPublicKey({ key, format: "jwk" }).export({ type: "spki", format: "pem" });
    await refused(hs256(header, claims, pem));
    await refused(hs256(header, claims, Buffer.from(key.x, "base64url")));
    await refused(hs256(header, claims, JSON.stringify(key)));
  });

  it("by another key under the gateway's key id, under another, or under none", async () => {
    const good = await stack.sessionToken("engineer");
    const { privateKey } = await generateKeyPair("EdDSA");
    const header = decodeProtectedHeader(good);
    for (const kid of [header.kid, "other", undefined]) {
      const forged = new SignJWT({ ...decodeJwt(good) });
      await refused(
        await forged.setProtectedHeader({ ...header, alg: "EdDSA", kid: kid as string }).sign(privateKey),
      );
    }
  });

  it("that was widened, cut or mixed from two good ones", async () => {
    const [engineer, reviewer] = [
      await stack.sessionToken("engineer"),
      await stack.sessionToken("reviewer-a"),
    ];
    const [header, payload, signature] = engineer.split(".") as [string, string, string];
    const widened = { ...decodeJwt(engineer), principal: decodeJwt(reviewer)["principal"] };
    await refused(`${header}.${encode(widened)}.${signature}`);
    await refused(`${header}.${encode({ ...decodeJwt(engineer), exp: 4_000_000_000 })}.${signature}`);
    await refused(`${header}.${payload}`);
    await refused(`${header}.${payload}.${reviewer.split(".")[2]}`);
    await refused(`${engineer}.${signature}`);
    await refused("");
  });

  it("that is the identity provider's own token, or of another gateway", async () => {
    await refused(await stack.system.oidc.issueIdToken("reviewer-a", { ttl: 600 }));
    await refused(await stack.system.oidc.issueIdToken("reviewer-a", { ttl: 600, audience: stack.gateway }));
    const other = await startPrivateStack();
    try {
      await refused(await other.sessionToken("reviewer-a"));
    } finally {
      await other.stop();
    }
  });

  it("for a resource that it does not name", async () => {
    const token = await stack.sessionToken("reviewer-a", ["scratch-db"]);
    const dialled = await GatewayClient.dial(stack.gateway, "/connect/shop-db", {
      authorization: `Bearer ${token}`,
    });
    expect(dialled).toMatchObject({ ok: false, status: 403, body: expect.stringContaining("does not name") });
  });
});
