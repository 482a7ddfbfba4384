import { SignJWT, exportJWK, generateKeyPair } from "jose";
import { describe, expect, it } from "vitest";
import {
  claimedConnector,
  parseConnectorKey,
  verifyConnectorToken,
} from "../../../worker/identity/connector-token.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const SECONDS = NOW / 1000;
const GATEWAY = "https://gateway.example";
const { privateKey, publicKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
const jwk = await exportJWK(publicKey);

async function sign(claims: object = {}, signer = privateKey): Promise<string> {
  const all = {
    iss: "demo",
    sub: "demo",
    aud: GATEWAY,
    iat: SECONDS,
    exp: SECONDS + 60,
    jti: "0123456789abcdef",
    ...claims,
  };
  return await new SignJWT(all).setProtectedHeader({ alg: "EdDSA" }).sign(signer);
}

async function outcome(token: string, name = "demo", now = NOW): Promise<string> {
  const result = await verifyConnectorToken(token, jwk, name, GATEWAY, now);
  return result.ok ? "ok" : result.error.code;
}

describe("a connector's token", () => {
  it("gives its id, and until when to remember it", async () => {
    const token = await sign();
    expect(claimedConnector(token)).toBe("demo");
    expect(await verifyConnectorToken(token, jwk, "demo", GATEWAY, NOW)).toEqual({
      ok: true,
      value: { tokenId: "0123456789abcdef", forgetAt: NOW + 120_000 },
    });
  });

  it("cannot be used any more once its id is forgotten", async () => {
    expect(await outcome(await sign(), "demo", NOW + 119_999)).toBe("ok");
    expect(await outcome(await sign(), "demo", NOW + 121_000)).toBe("connector_not_trusted");
  });

  it.each([
    ["for another connector", { iss: "other", sub: "other" }],
    ["of one connector about another", { sub: "other" }],
    ["for another gateway", { aud: "https://other.example" }],
    ["longer than a minute", { exp: SECONDS + 61 }],
    ["with its end before its start", { exp: SECONDS - 1 }],
    ["from the future", { iat: SECONDS + 61, exp: SECONDS + 100 }],
    ["without an id", { jti: undefined }],
    ["with a short id", { jti: "1" }],
    ["without a start", { iat: undefined }],
    ["without an end", { exp: undefined }],
  ])("is refused: %s", async (_, claims) => {
    expect(await outcome(await sign())).toBe("ok");
    expect(await outcome(await sign(claims))).toBe("connector_not_trusted");
  });

  it("is refused from another key, under another name, or malformed", async () => {
    const stranger = await generateKeyPair("EdDSA", { crv: "Ed25519" });
    expect(await outcome(await sign({}, stranger.privateKey))).toBe("connector_not_trusted");
    expect(await outcome(await sign(), "other")).toBe("connector_not_trusted");
    for (const text of ["", "a.b.c", "x".repeat(100_000)])
      expect(await outcome(text)).toBe("connector_not_trusted");
    expect(claimedConnector("a.b.c")).toBeUndefined();
  });
});

describe("a connector's key", () => {
  it("is an Ed25519 public key and nothing else", () => {
    expect(parseConnectorKey({ ...jwk, kid: "x", use: "sig" })).toEqual({
      kty: "OKP",
      crv: "Ed25519",
      x: jwk.x,
    });
    for (const bad of [
      { ...jwk, d: "AAAA" },
      { ...jwk, crv: "X25519" },
      { ...jwk, kty: "oct" },
      { ...jwk, x: "short" },
      { ...jwk, x: 1 },
      null,
      "key",
      [],
    ]) {
      expect(parseConnectorKey(bad)).toBeUndefined();
    }
  });
});
