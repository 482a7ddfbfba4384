import { SignJWT, importJWK, jwtVerify } from "jose";
import { describe, expect, it } from "vitest";
import {
  type SessionTokenRequest,
  type SigningKey,
  generateSigningKey,
  mintSessionToken,
  publicKey,
  verifySessionToken,
} from "../../../worker/identity/session-token.ts";
import type { Principal } from "../../../worker/policy/types.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const GATEWAY = "https://gateway.example";
const ALICE: Principal = {
  type: "User",
  issuer: "https://idp",
  subject: "alice",
  name: "Alice",
  groups: ["dba"],
};
const key = await generateSigningKey();
const keys = [publicKey(key)];

function request(more: Partial<SessionTokenRequest> = {}): SessionTokenRequest {
  const subjectExpiresAt = NOW + 3_600_000;
  return {
    gateway: GATEWAY,
    principal: ALICE,
    resources: null,
    tokenId: "id-1",
    subjectExpiresAt,
    now: NOW,
    ...more,
  };
}

async function outcome(
  token: string,
  now = NOW,
  verificationKeys = keys,
  gateway = GATEWAY,
): Promise<string> {
  const result = await verifySessionToken(token, verificationKeys, gateway, now);
  return result.ok ? "ok" : result.error.code;
}

/** A token that is good in every respect, save for what is changed. */
async function forge(claims: object = {}, header: object = {}, signer: SigningKey = key): Promise<string> {
  const seconds = NOW / 1000;
  const all = {
    iss: GATEWAY,
    aud: GATEWAY,
    sub: "s",
    jti: "j",
    iat: seconds,
    exp: seconds + 900,
    principal: ALICE,
    ...claims,
  };
  return await new SignJWT(all)
    .setProtectedHeader({ alg: "EdDSA", kid: signer.kid, typ: "sallyport-session+jwt", ...header })
    .sign(await importJWK(signer, "EdDSA"));
}

describe("a session token", () => {
  it("gives back its principal, resources, id and times", async () => {
    const { token, expiresAt } = await mintSessionToken(key, request({ resources: ["shop-db"] }));
    expect(expiresAt).toBe(NOW + 900_000);
    expect(await verifySessionToken(token, keys, GATEWAY, NOW + 1000)).toEqual({
      ok: true,
      value: {
        principal: ALICE,
        resources: ["shop-db"],
        tokenId: "id-1",
        issuedAt: NOW,
        expiresAt: NOW + 900_000,
      },
    });
  });

  it("ends with the token that it was given for", async () => {
    const { token, expiresAt } = await mintSessionToken(key, request({ subjectExpiresAt: NOW + 61_500 }));
    expect(expiresAt).toBe(NOW + 61_000);
    expect(await outcome(token, NOW + 60_999)).toBe("ok");
    expect(await outcome(token, NOW + 61_000)).toBe("token_expired");
  });

  it("is over after 15 minutes, to the second", async () => {
    const { token } = await mintSessionToken(key, request());
    expect(await outcome(token, NOW + 899_000)).toBe("ok");
    expect(await outcome(token, NOW + 900_000)).toBe("token_expired");
  });

  it("is checked anew in all that its bytes do not settle, however often it was seen", async () => {
    const { token } = await mintSessionToken(key, request());
    const other = await mintSessionToken(key, request({ principal: { ...ALICE, subject: "mallory" } }));
    for (let time = 0; time < 3; time++) expect(await outcome(token)).toBe("ok");
    const [header, , signature] = token.split(".");
    const mixed = `${header}.${other.token.split(".")[1]}.${signature}`;
    expect(await outcome(mixed)).toBe("token_invalid");
    expect(await outcome(token, NOW, keys, "https://other.example")).toBe("token_invalid");
    expect(await outcome(token, NOW - 10_000)).toBe("token_invalid");
    expect(await outcome(token, NOW + 900_000)).toBe("token_expired");
    expect(await outcome(token, NOW, [publicKey(await generateSigningKey())])).toBe("token_invalid");
  });

  it("can be checked by anybody with the published key", async () => {
    const { token } = await mintSessionToken(key, request());
    const [published] = keys;
    expect(published).not.toHaveProperty("d");
    const verified = await jwtVerify(token, await importJWK(published ?? {}, "EdDSA"), {
      currentDate: new Date(NOW),
    });
    expect(verified.payload.sub).toBe("https://idp#alice");
  });

  it("is accepted under each of several keys while they rotate, and under none that is gone", async () => {
    const next = await generateSigningKey();
    const { token: old } = await mintSessionToken(key, request());
    const { token: young } = await mintSessionToken(next, request());
    const both = [publicKey(next), publicKey(key)];
    expect([await outcome(old, NOW, both), await outcome(young, NOW, both)]).toEqual(["ok", "ok"]);
    expect(await outcome(old, NOW, [publicKey(next)])).toBe("token_invalid");
  });

  it("keeps only the principal's own members", async () => {
    const extended = { ...ALICE, admin: true } as Principal;
    const { token } = await mintSessionToken(key, request({ principal: extended }));
    const result = await verifySessionToken(token, keys, GATEWAY, NOW);
    expect(result.ok && Object.keys(result.value.principal)).toEqual([
      "type",
      "issuer",
      "subject",
      "name",
      "groups",
    ]);
  });

  it.each([
    ["of another gateway", { iss: "https://other.example" }, {}],
    ["for another gateway", { aud: "https://other.example" }, {}],
    ["of another type", {}, { typ: "JWT" }],
    ["of no type", {}, { typ: undefined }],
    ["longer than 15 minutes", { exp: NOW / 1000 + 901 }, {}],
    ["from the future", { iat: NOW / 1000 + 60, exp: NOW / 1000 + 120 }, {}],
    ["without a principal", { principal: undefined }, {}],
    ["with half a principal", { principal: { type: "User", issuer: "x", subject: "y" } }, {}],
    ["with a principal of another kind", { principal: { ...ALICE, type: "Root" } }, {}],
    ["with groups that are no names", { principal: { ...ALICE, groups: [1] } }, {}],
    ["with resources that are no names", { resources: "shop-db" }, {}],
    ["with resources that are no list", { resources: { 0: "shop-db" } }, {}],
    ["without an id", { jti: undefined }, {}],
    ["without an end", { exp: undefined }, {}],
    ["with an unknown kid", {}, { kid: "other" }],
    ["with no kid", {}, { kid: undefined }],
  ])("is refused: %s", async (_, claims, header) => {
    expect(await outcome(await forge())).toBe("ok");
    expect(await outcome(await forge(claims, header))).toBe("token_invalid");
  });

  it("is refused when signed by another key under our kid, or not at all", async () => {
    const stranger = { ...(await generateSigningKey()), kid: key.kid };
    expect(await outcome(await forge({}, {}, stranger))).toBe("token_invalid");
    const [, payload] = (await forge()).split(".");
    for (const alg of ["none", "HS256", "RS256"]) {
      const header = Buffer.from(
        JSON.stringify({ alg, kid: key.kid, typ: "sallyport-session+jwt" }),
      ).toString("base64url");
      expect(await outcome(`${header}.${payload}.`)).toBe("token_invalid");
    }
    for (const text of ["", "a.b.c", "x".repeat(100_000)]) expect(await outcome(text)).toBe("token_invalid");
  });
});
