/** Stolen session tokens: DPoP (RFC 9449) against the running gateway, with proofs made by jose. */
import { createHash, randomUUID } from "node:crypto";
import { type JWK, SignJWT, type CryptoKey, exportJWK, generateKeyPair } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { TYPES, tokenRequest } from "../../support/token-endpoint.ts";
import { f } from "../../wire/postgres/support/messages.ts";

type Key = { readonly privateKey: CryptoKey; readonly jwk: JWK; readonly alg: string };

async function newKey(alg = "ES256"): Promise<Key> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { privateKey, jwk: await exportJWK(publicKey), alg };
}

type Changes = {
  readonly claims?: Readonly<Record<string, unknown>>;
  readonly header?: Readonly<Record<string, unknown>>;
};

function prove(
  key: Key,
  method: string,
  url: string,
  token?: string,
  changes: Changes = {},
): Promise<string> {
  const claims = {
    jti: randomUUID(),
    htm: method,
    htu: url,
    iat: Math.floor(Date.now() / 1000),
    ...(token === undefined ? {} : { ath: createHash("sha256").update(token).digest("base64url") }),
    ...changes.claims,
  };
  return new SignJWT(claims)
    .setProtectedHeader({ alg: key.alg, typ: "dpop+jwt", jwk: key.jwk, ...changes.header })
    .sign(key.privateKey);
}

let stack: Stack;
let key: Key;
let token: string;
let whoami: string;
beforeAll(async () => {
  stack = sharedStack();
  key = await newKey();
  whoami = `${stack.gateway}/v1/whoami`;
  const answer = await exchange(await prove(key, "POST", `${stack.gateway}/oauth/token`));
  token = answer.token();
});

async function exchange(proof: string | undefined, subject?: string) {
  const own = subject ?? (await stack.sessionToken("engineer"));
  const fields = { subject_token: own, subject_token_type: TYPES.access };
  return tokenRequest(stack.gateway, fields, proof === undefined ? {} : { dpop: proof });
}

async function ask(proof: string | undefined, scheme = "DPoP", bearer = token): Promise<number> {
  const headers = { authorization: `${scheme} ${bearer}`, ...(proof === undefined ? {} : { dpop: proof }) };
  return (await fetch(whoami, { headers })).status;
}

describe("a bound token", () => {
  it("is good with a proof of its key for this very request", async () => {
    const answer = await exchange(await prove(key, "POST", `${stack.gateway}/oauth/token`));
    expect(answer.body.token_type).toBe("DPoP");
    expect(await ask(await prove(key, "GET", whoami, token))).toBe(200);
    expect(await ask(await prove(key, "GET", whoami, token), "dpop")).toBe(200);
    for (const alg of ["EdDSA", "RS256", "PS256", "ES384"]) {
      const other = await newKey(alg);
      const bound = (await exchange(await prove(other, "POST", `${stack.gateway}/oauth/token`))).token();
      expect(await ask(await prove(other, "GET", whoami, bound), "DPoP", bound), alg).toBe(200);
    }
  });

  it("is useless without one, with a plain Bearer, and as a subject of another exchange", async () => {
    expect(await ask(undefined)).toBe(401);
    expect(await ask(undefined, "Bearer")).toBe(401);
    expect(await ask(await prove(key, "GET", whoami, token), "Bearer")).toBe(401);
    expect((await exchange(undefined, token)).status).toBe(400);
    const thief = await newKey();
    expect((await exchange(await prove(thief, "POST", `${stack.gateway}/oauth/token`), token)).status).toBe(
      400,
    );
    expect((await exchange(await prove(key, "POST", `${stack.gateway}/oauth/token`), token)).status).toBe(
      200,
    );
  });

  it("takes each proof once, also when they come at the same time", async () => {
    const proof = await prove(key, "GET", whoami, token);
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask(proof)));
    expect(answers.toSorted((a, b) => a - b)).toEqual([200, ...Array.from({ length: 9 }, () => 401)]);
  });

  it.each<[string, (stack: Stack) => Promise<string>]>([
    ["another method", () => prove(key, "POST", whoami, token)],
    ["another address", () => prove(key, "GET", `${stack.gateway}/v1/resources`, token)],
    ["another host", () => prove(key, "GET", "https://evil.example/v1/whoami", token)],
    ["an address with a query", () => prove(key, "GET", `${whoami}?x=1`, token)],
    ["no address", () => prove(key, "GET", "", token)],
    ["another token's hash", () => prove(key, "GET", whoami, `${token}x`)],
    ["no token's hash", () => prove(key, "GET", whoami)],
    ["an old time", () => prove(key, "GET", whoami, token, { claims: { iat: Date.now() / 1000 - 130 } })],
    ["a time to come", () => prove(key, "GET", whoami, token, { claims: { iat: Date.now() / 1000 + 130 } })],
    ["no time", () => prove(key, "GET", whoami, token, { claims: { iat: undefined } })],
    ["an empty id", () => prove(key, "GET", whoami, token, { claims: { jti: "" } })],
    ["a huge id", () => prove(key, "GET", whoami, token, { claims: { jti: "x".repeat(5000) } })],
    ["another type", () => prove(key, "GET", whoami, token, { header: { typ: "JWT" } })],
    [
      "a critical extension",
      () => prove(key, "GET", whoami, token, { header: { crit: ["b64"], b64: true } }),
    ],
    [
      "a key by address",
      () => prove(key, "GET", whoami, token, { header: { jku: "https://evil.example/jwks" } }),
    ],
    [
      "another key's name for its own signature",
      async () => prove({ ...(await newKey()), jwk: key.jwk }, "GET", whoami, token),
    ],
    ["another key", async () => prove(await newKey(), "GET", whoami, token)],
    [
      "a private key in it",
      async () => {
        const pair = await generateKeyPair("ES256", { extractable: true });
        const jwk = await exportJWK(pair.privateKey);
        return prove({ privateKey: pair.privateKey, jwk, alg: "ES256" }, "GET", whoami, token);
      },
    ],
    [
      "no signature",
      async () => {
        const encode = (json: unknown) => Buffer.from(JSON.stringify(json)).toString("base64url");
        const ath = createHash("sha256").update(token).digest("base64url");
        const claims = {
          jti: randomUUID(),
          htm: "GET",
          htu: whoami,
          iat: Math.floor(Date.now() / 1000),
          ath,
        };
        return `${encode({ alg: "none", typ: "dpop+jwt", jwk: key.jwk })}.${encode(claims)}.`;
      },
    ],
    [
      "a shared secret",
      async () => {
        const secret = new TextEncoder().encode("x".repeat(32));
        const jwk = { kty: "oct", k: Buffer.from(secret).toString("base64url") };
        const ath = createHash("sha256").update(token).digest("base64url");
        return new SignJWT({ jti: randomUUID(), htm: "GET", htu: whoami, ath })
          .setIssuedAt()
          .setProtectedHeader({ alg: "HS256", typ: "dpop+jwt", jwk })
          .sign(secret);
      },
    ],
    ["garbage", async () => "not.a.proof"],
  ])("is refused with a proof that has %s", async (_, make) => {
    expect(await ask(await make(stack))).toBe(401);
  });

  it("opens a session only with a proof, and is renewed only under the same key", async () => {
    const path = "/connect/scratch-db";
    const url = stack.gateway + path;
    const open = async (headers: Record<string, string>) => GatewayClient.dial(stack.gateway, path, headers);
    expect(await open({ authorization: `Bearer ${token}` })).toMatchObject({ ok: false, status: 401 });
    const dpop = await prove(key, "GET", url, token);
    const opened = await open({ authorization: `DPoP ${token}`, dpop });
    expect(opened.ok).toBe(true);
    expect(await open({ authorization: `DPoP ${token}`, dpop })).toMatchObject({ ok: false, status: 401 });
    if (!opened.ok) return;
    const { client } = opened;
    const { startup } = await import("../../wire/postgres/support/messages.ts");
    client.send(
      startup([
        ["user", "app"],
        ["database", "scratch-db"],
      ]),
    );
    await client.words("Z");
    const same = (await exchange(await prove(key, "POST", `${stack.gateway}/oauth/token`))).token();
    client.sendText(JSON.stringify({ type: "renew", token: same }));
    expect(await client.run(f.query("select 1"))).toContain("C SELECT 1");
    // A token of the same person that is bound to nothing, as a thief of the ID token could have it.
    client.sendText(JSON.stringify({ type: "renew", token: await stack.sessionToken("engineer") }));
    await client.closed;
    expect(client.notices.at(-1)).toMatchObject({ type: "ended", code: "token_invalid" });
  });
});

describe("a token request with a proof", () => {
  it("is refused with a bad one, and with one that was used", async () => {
    const endpoint = `${stack.gateway}/oauth/token`;
    for (const proof of [
      "x",
      await prove(key, "GET", endpoint),
      await prove(key, "POST", whoami),
      await prove(key, "POST", endpoint, undefined, { claims: { iat: 1 } }),
    ]) {
      expect((await exchange(proof)).body.error).toBe("invalid_dpop_proof");
    }
    const proof = await prove(key, "POST", endpoint);
    expect((await exchange(proof)).status).toBe(200);
    expect((await exchange(proof)).body.error).toBe("invalid_dpop_proof");
  });

  it("fills a key's own share of what is remembered and nobody else's", async () => {
    const flood = await newKey("EdDSA");
    const bound = (await exchange(await prove(flood, "POST", `${stack.gateway}/oauth/token`))).token();
    let refused = 0;
    for (let sent = 0; sent < 2100; sent += 50) {
      const proofs = await Promise.all(Array.from({ length: 50 }, () => prove(flood, "GET", whoami, bound)));
      const answers = await Promise.all(proofs.map((proof) => ask(proof, "DPoP", bound)));
      refused += answers.filter((status) => status === 401).length;
    }
    expect(refused).toBeGreaterThan(0);
    expect(await ask(await prove(key, "GET", whoami, token))).toBe(200);
  });
});
