import { createHmac, createPublicKey } from "node:crypto";
import { SignJWT, exportJWK } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { verifyIdentityToken } from "../../../worker/identity/identity-token.ts";
import type { Issuer } from "../../../worker/identity/issuer.ts";
import { type KeySource, createKeySource } from "../../../worker/identity/key-source.ts";
import {
  type KeyServer,
  NOW,
  SECONDS,
  type TestKey,
  issuerAt,
  newKey,
  part,
  sign,
  startKeyServer,
} from "./key-server.ts";

let server: KeyServer;
let other: KeyServer;
let key: TestKey;
let otherKey: TestKey;
let stranger: TestKey;
let issuers: readonly Issuer[];
let keySource: KeySource;

beforeAll(async () => {
  key = await newKey("k1");
  // The same key id at another issuer, and the same id at nobody's.
  otherKey = await newKey("k1", "ES256");
  stranger = await newKey("k1");
  server = await startKeyServer([key.jwk]);
  other = await startKeyServer([otherKey.jwk]);
  issuers = [issuerAt(server.url), issuerAt(other.url, { algorithms: ["ES256"], audience: ["other"] })];
  keySource = createKeySource(fetch);
});
afterAll(async () => {
  await server.close();
  await other.close();
});

async function verify(token: string, configured = issuers, now = NOW) {
  return await verifyIdentityToken(token, configured, keySource, now);
}

/** `ok`, or the problem by which the token was refused. */
async function outcome(token: string, configured = issuers, now = NOW): Promise<string> {
  const result = await verify(token, configured, now);
  return result.ok ? "ok" : result.error.problem;
}

describe("a good token", () => {
  it("gives its owner and its end", async () => {
    expect(await verify(await sign(key, server.url))).toEqual({
      ok: true,
      value: {
        principal: {
          type: "User",
          issuer: server.url,
          subject: "alice",
          name: "alice@example.com",
          groups: ["engineers"],
        },
        issuedAt: (SECONDS - 10) * 1000,
        expiresAt: (SECONDS + 3600) * 1000,
      },
    });
  });

  it("may have no kid, several audiences with us as the party, or be an access token", async () => {
    expect(await outcome(await sign(key, server.url, {}, { kid: undefined }))).toBe("ok");
    expect(await outcome(await sign(key, server.url, { aud: ["x", "sallyport"], azp: "sallyport" }))).toBe(
      "ok",
    );
    expect(await outcome(await sign(key, server.url, {}, { typ: "at+jwt" }))).toBe("ok");
  });

  it("may be a minute early or have groups in one string or none", async () => {
    expect(await outcome(await sign(key, server.url, { iat: SECONDS + 59, nbf: SECONDS + 59 }))).toBe("ok");
    const single = await verify(await sign(key, server.url, { groups: "dba" }));
    expect(single.ok && single.value.principal.groups).toEqual(["dba"]);
    const none = await verify(await sign(key, server.url, { groups: undefined, email: undefined }));
    expect(none.ok && none.value.principal).toMatchObject({ groups: [], name: "alice" });
  });

  it("makes a workload of whom a rule names, and gives the rule's groups", async () => {
    const rules = [{ when: { repository: "acme/*" }, principal: "Workload" as const, groups: ["ci"] }];
    const configured = [issuerAt(server.url, { rules, require: { repository_owner: "acme" } })];
    const token = await sign(key, server.url, { repository: "acme/shop", repository_owner: "acme" });
    const result = await verify(token, configured);
    expect(result.ok && result.value.principal).toMatchObject({
      type: "Workload",
      groups: ["engineers", "ci"],
    });
    expect(await outcome(await sign(key, server.url, { repository_owner: "evil" }), configured)).toBe(
      "requirement_not_met",
    );
    expect(await outcome(await sign(key, server.url), configured)).toBe("requirement_not_met");
  });
});

describe("a hostile token is refused", () => {
  it("with alg none, in any spelling", async () => {
    const payload = (await sign(key, server.url)).split(".")[1] ?? "";
    for (const alg of ["none", "None", "NONE", "nOnE", ""]) {
      expect(await outcome(`${part({ alg, typ: "JWT" })}.${payload}.`)).toBe("algorithm_not_allowed");
    }
    expect(await outcome(`${part({ typ: "JWT" })}.${payload}.`)).toBe("algorithm_not_allowed");
  });

  it("with HS256 keyed by the public key, in each form that it is published in", async () => {
    const pem = createPublicKey({ key: key.jwk, format: "jwk" }).export({
      type: "spki",
      format: "pem",
    });
    for (const secret of [pem, JSON.stringify(key.jwk), String(key.jwk.n)]) {
      const [, payload] = (await sign(key, server.url)).split(".");
      const signed = `${part({ alg: "HS256", kid: "k1" })}.${payload}`;
      const token = `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
      expect(await outcome(token)).toBe("algorithm_not_allowed");
    }
  });

  it("signed with another algorithm than the one pinned, though by the right key", async () => {
    const claims = { iss: server.url, aud: "sallyport", sub: "alice", iat: SECONDS, exp: SECONDS + 60 };
    const token = await new SignJWT(claims)
      .setProtectedHeader({ alg: "RS256", kid: "k1" })
      .sign(key.privateKey);
    const pinned = [issuerAt(server.url, { algorithms: ["PS256"] })];
    expect(await outcome(token, pinned)).toBe("algorithm_not_allowed");
    // With both allowed, the key's own `alg` still decides.
    expect(
      await outcome(`${part({ alg: "PS256", kid: "k1" })}.${token.split(".").slice(1).join(".")}`, [
        issuerAt(server.url, { algorithms: ["RS256", "PS256"] }),
      ]),
    ).toBe("key_unknown");
  });

  it("signed by a key that only claims to be the issuer's", async () => {
    expect(await outcome(await sign(stranger, server.url))).toBe("signature_wrong");
    // Another configured issuer with the same key id cannot speak for this one.
    expect(await outcome(await sign(otherKey, server.url))).toBe("algorithm_not_allowed");
    const both = [issuerAt(server.url, { algorithms: ["RS256", "ES256"] })];
    expect(await outcome(await sign(otherKey, server.url), both)).toBe("key_unknown");
  });

  it("with a changed payload or signature", async () => {
    const [header, , signature] = (await sign(key, server.url)).split(".");
    const forged = part({ iss: server.url, aud: "sallyport", sub: "root", iat: SECONDS, exp: SECONDS + 60 });
    expect(await outcome(`${header}.${forged}.${signature}`)).toBe("signature_wrong");
    const [, payload] = (await sign(key, server.url)).split(".");
    expect(await outcome(`${header}.${payload}.`)).toBe("signature_wrong");
    expect(await outcome(`${header}.${payload}.${"A".repeat(342)}`)).toBe("signature_wrong");
  });

  it("with its own key or an address of keys in the header", async () => {
    const embedded = await exportJWK(createPublicKey({ key: stranger.jwk, format: "jwk" }));
    for (const header of [
      { jwk: embedded },
      { jku: `${other.url}/keys` },
      { x5u: `${other.url}/cert` },
      { x5c: ["MIIB"] },
      { b64: false },
    ]) {
      expect(await outcome(await sign(stranger, server.url, {}, header).catch(() => rawHeader(header)))).toBe(
        "header_not_allowed",
      );
      // Even beside a good signature: nobody has a reason to send them.
      expect(await outcome(await sign(key, server.url, {}, header).catch(() => rawHeader(header)))).toBe(
        "header_not_allowed",
      );
    }
    expect(await outcome(rawHeader({ crit: ["exp"], exp: 1 }))).toBe("header_not_allowed");
  });

  it("with a kid that is a path, a URL or no text", async () => {
    for (const kid of ["../../../dev/null", `${other.url}/keys`, "' OR 1=1 --", "", "__proto__"]) {
      expect(await outcome(await sign(key, server.url, {}, { kid }))).toMatch(/^(key_unknown|ok)$/);
      expect(await outcome(await sign(stranger, server.url, {}, { kid }))).toMatch(
        /^(key_unknown|signature_wrong)$/,
      );
    }
    expect(await outcome(rawHeader({ kid: ["k1"] }))).toBe("header_not_allowed");
    expect(await outcome(rawHeader({ kid: "k".repeat(1000) }))).toBe("header_not_allowed");
  });

  it("of a type that is no identity", async () => {
    for (const typ of ["logout+jwt", "sallyport-session+jwt", "dpop+jwt", "secevent+jwt"]) {
      expect(await outcome(await sign(key, server.url, {}, { typ }))).toBe("type_not_allowed");
    }
  });

  it("from an issuer that is not configured, or only nearly", async () => {
    for (const issuer of [
      `${server.url}/`,
      server.url.toUpperCase(),
      "https://evil.example",
      "",
      undefined,
      [server.url],
    ]) {
      expect(await outcome(await sign(key, server.url, { iss: issuer }))).toBe("issuer_unknown");
    }
  });

  it("for another audience", async () => {
    for (const aud of ["other", "Sallyport", "sallyport ", [], ["other"]]) {
      expect(await outcome(await sign(key, server.url, { aud }))).toBe("audience_wrong");
    }
    expect(await outcome(await sign(key, server.url, { aud: undefined }))).toMatch(
      /claim_missing|audience_wrong/,
    );
    // For us among others, but asked for by somebody else.
    expect(await outcome(await sign(key, server.url, { aud: ["sallyport", "other"], azp: "other" }))).toBe(
      "audience_wrong",
    );
    expect(await outcome(await sign(key, server.url, { aud: ["sallyport", "other"] }))).toBe(
      "audience_wrong",
    );
  });

  it("outside its time", async () => {
    expect(await outcome(await sign(key, server.url, { exp: SECONDS }))).toBe("expired");
    expect(await outcome(await sign(key, server.url, { exp: SECONDS - 3600 }))).toBe("expired");
    expect(await outcome(await sign(key, server.url, { nbf: SECONDS + 61 }))).toBe("not_yet_valid");
    expect(await outcome(await sign(key, server.url, { iat: SECONDS + 61 }))).toBe("not_yet_valid");
    expect(await outcome(await sign(key, server.url, { exp: undefined }))).toBe("claim_missing");
    expect(await outcome(await sign(key, server.url, { iat: undefined }))).toMatch(
      /claim_missing|not_yet_valid/,
    );
    for (const exp of ["9999999999", null, {}]) {
      expect(await outcome(await sign(key, server.url, { exp }))).not.toBe("ok");
    }
    const raw = (exp: string): string =>
      rawToken(`{"iss":"${server.url}","aud":"sallyport","sub":"a","iat":1,"exp":${exp}}`);
    for (const exp of ["1e999", "-1", "99999999999999999999999"])
      expect(await outcome(raw(exp))).not.toBe("ok");
  });

  it("with a subject that is empty, no text, too long or cannot be shown", async () => {
    for (const sub of [
      "",
      7,
      null,
      ["alice"],
      "a".repeat(513),
      "alice\u0000",
      "al\u202eice",
      "alice\n",
      "\ud800",
      "alice\u200b",
    ]) {
      expect(await outcome(await sign(key, server.url, { sub }))).toBe("subject_unusable");
    }
    expect(await outcome(await sign(key, server.url, { sub: undefined }))).toBe("claim_missing");
  });

  it("or stays somebody else, for a subject that only looks alike", async () => {
    // Cyrillic a; a decomposed accent against a composed one.
    for (const [one, two] of [
      ["alice", "\u0430lice"],
      ["ren\u00e9", "rene\u0301"],
    ]) {
      const first = await verify(await sign(key, server.url, { sub: one }));
      const second = await verify(await sign(key, server.url, { sub: two }));
      expect(first.ok && second.ok && first.value.principal.subject !== second.value.principal.subject).toBe(
        true,
      );
    }
  });

  it("with 10,000 groups, or groups that are no names", async () => {
    const many = Array.from({ length: 10_000 }, (_, index) => `g${index}`);
    expect(await outcome(await sign(key, server.url, { groups: many }))).toMatch(
      /groups_over_limit|token_malformed/,
    );
    expect(await outcome(await sign(key, server.url, { groups: many.slice(0, 1001) }))).toBe(
      "groups_over_limit",
    );
    expect(await outcome(await sign(key, server.url, { groups: many.slice(0, 1000) }))).toBe("ok");
    for (const groups of [[1], [""], ["a\u0000"], [["dba"]], { 0: "dba" }, 7, ["x".repeat(513)]]) {
      expect(await outcome(await sign(key, server.url, { groups }))).toBe("groups_malformed");
    }
  });

  it("that names a claim or a header twice", async () => {
    const claims = `"iss":"${server.url}","aud":"sallyport","iat":${SECONDS},"exp":${SECONDS + 60}`;
    expect(await outcome(await signText(`{${claims},"sub":"alice","sub":"root"}`))).toBe("token_malformed");
    expect(await outcome(await signText(`{${claims},"sub":"alice","s\\u0075b":"root"}`))).toBe(
      "token_malformed",
    );
    expect(await outcome(await signText(`{${claims},"sub":"alice","x":{"y":1,"y":2}}`))).toBe(
      "token_malformed",
    );
    expect(
      await outcome(
        await signText(`{${claims},"sub":"alice","x":{"y":1},"z":{"y":2},"l":["y","y"],"s":"a:b"}`),
      ),
    ).toBe("ok");
  });

  it("that is huge, empty or no token", async () => {
    expect(await outcome(await sign(key, server.url, { x: "x".repeat(70_000) }))).toBe("token_malformed");
    const good = await sign(key, server.url);
    for (const text of [
      "",
      ".",
      "..",
      "a.b.c",
      `${good}.x`,
      ` ${good}`,
      `${good}\n`,
      "💥.💥.💥",
      "[]",
      good.replace(".", ".."),
    ]) {
      expect(await outcome(text)).toBe("token_malformed");
    }
    for (const json of ["[]", "null", "1", '"x"', "{", ""]) {
      expect(await outcome(`${part(json)}.${part(json)}.AAAA`)).toMatch(/token_malformed|issuer_unknown/);
    }
  });

  it("with the same words for every reason", async () => {
    const tokens = [
      await sign(stranger, server.url),
      await sign(key, server.url, { aud: "other" }),
      await sign(key, "https://unknown.example"),
      await sign(key, server.url, { sub: "" }),
      rawHeader({ jku: "x" }),
    ];
    const told = new Set<string>();
    for (const token of tokens) {
      const result = await verify(token);
      if (!result.ok) told.add(JSON.stringify(result.error.refusal));
    }
    expect(told.size).toBe(1);
  });
});

function rawHeader(header: Record<string, unknown>): string {
  const claims = { iss: server.url, aud: "sallyport", sub: "alice", iat: SECONDS, exp: SECONDS + 60 };
  return `${part({ alg: "RS256", ...header })}.${part(claims)}.AAAA`;
}

function rawToken(payload: string): string {
  return `${part({ alg: "RS256", kid: "k1" })}.${part(payload)}.AAAA`;
}

/** Signs exact JSON text, which no JSON writer would produce. */
async function signText(payload: string): Promise<string> {
  const signed = `${part({ alg: "RS256", kid: "k1" })}.${part(payload)}`;
  const bytes = await crypto.subtle.sign(
    "RSASSA-PKCS1-v1_5",
    key.privateKey,
    new TextEncoder().encode(signed),
  );
  return `${signed}.${Buffer.from(bytes).toString("base64url")}`;
}
