import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { verifyIdentityToken } from "../../../worker/identity/identity-token.ts";
import { type KeySource, type StoredKeys, createKeySource } from "../../../worker/identity/key-source.ts";
import { type KeyServer, NOW, type TestKey, issuerAt, newKey, sign, startKeyServer } from "./key-server.ts";

const MINUTE = 60_000;
let server: KeyServer;
let keySource: KeySource;
let first: TestKey;
let second: TestKey;

beforeEach(async () => {
  first = await newKey("first");
  second = await newKey("second");
  server = await startKeyServer([first.jwk]);
  keySource = createKeySource(fetch);
});
afterEach(() => server.close());

async function outcome(key: TestKey, now: number, source = keySource): Promise<string> {
  const seconds = Math.floor(now / 1000);
  const token = await sign(key, server.url, { iat: seconds, exp: seconds + 3600 });
  const result = await verifyIdentityToken(token, [issuerAt(server.url)], source, now);
  return result.ok ? "ok" : result.error.problem;
}

describe("keys of an identity provider", () => {
  it("are read once for a hundred tokens at the same time", async () => {
    const outcomes = await Promise.all(Array.from({ length: 100 }, () => outcome(first, NOW)));
    expect(new Set(outcomes)).toEqual(new Set(["ok"]));
    expect(server.asked).toBe(1);
  });

  it("are read again for a new key, in the middle of everything", async () => {
    expect(await outcome(first, NOW)).toBe("ok");
    server.keys = [first.jwk, second.jwk];
    const later = NOW + MINUTE;
    const outcomes = await Promise.all(Array.from({ length: 50 }, () => outcome(second, later)));
    expect(new Set(outcomes)).toEqual(new Set(["ok"]));
    expect(server.asked).toBe(2);
  });

  it("are not read again and again for key ids that nobody has", async () => {
    expect(await outcome(first, NOW)).toBe("ok");
    for (let index = 0; index < 100; index++) {
      expect(await outcome({ ...second, kid: `guess-${index}` }, NOW + MINUTE + index)).toBe("key_unknown");
    }
    expect(server.asked).toBe(2);
    expect(await outcome(first, NOW + MINUTE)).toBe("ok");
  });

  it("are dropped when the provider no longer publishes them", async () => {
    expect(await outcome(first, NOW)).toBe("ok");
    server.keys = [second.jwk];
    expect(await outcome(first, NOW + 11 * MINUTE)).toBe("key_unknown");
    expect(await outcome(second, NOW + 11 * MINUTE)).toBe("ok");
  });

  it.each(["status", "not json", "huge", "redirect"] as const)(
    "go on serving while the provider fails (%s), and unknown ones are refused",
    async (failure) => {
      expect(await outcome(first, NOW)).toBe("ok");
      server.failure = failure;
      expect(await outcome(first, NOW + 11 * MINUTE)).toBe("ok");
      expect(await outcome(second, NOW + 12 * MINUTE)).toBe("key_unknown");
      // Not for ever: a day later nobody can say whether the key still holds.
      expect(await outcome(first, NOW + 25 * 60 * MINUTE)).toMatch(/^provider_(unreachable|malformed)$/);
      server.failure = "none";
      expect(await outcome(first, NOW + 26 * 60 * MINUTE)).toBe("ok");
    },
  );

  it("are refused within seconds when the provider hangs, with the provider's name not blamed on the token", async () => {
    server.failure = "hang";
    const began = performance.now();
    expect(await outcome(first, NOW)).toBe("provider_unreachable");
    expect(performance.now() - began).toBeLessThan(8_000);
  }, 15_000);

  it("do not come from an unreachable provider, nor is it asked again at once", async () => {
    server.failure = "status";
    expect(await outcome(first, NOW)).toBe("provider_unreachable");
    server.failure = "none";
    expect(await outcome(first, NOW + 1000)).toBe("provider_unreachable");
    expect(await outcome(first, NOW + 31_000)).toBe("ok");
  });

  it.each([
    ["another issuer", { issuer: "https://evil.example" }],
    ["no issuer", { issuer: undefined }],
    ["the issuer with a slash", { issuer: "/" }],
    ["no address of keys", { jwks_uri: undefined }],
    ["keys in a file", { jwks_uri: "file:///etc/passwd" }],
    ["keys in the address itself", { jwks_uri: "data:application/json,{}" }],
  ])("are not taken from a discovery document with %s", async (_, discovery) => {
    server.discovery = discovery;
    expect(await outcome(first, NOW)).toBe("provider_malformed");
  });

  it("outlive the process that read them, for as long as they would have served there", async () => {
    const kept = new Map<string, StoredKeys>();
    const store = { load: (issuer: string) => kept.get(issuer), save: kept.set.bind(kept) };
    expect(await outcome(first, NOW, createKeySource(fetch, store))).toBe("ok");
    server.failure = "status";
    const asked = server.asked;
    const again = createKeySource(fetch, store);
    expect(await outcome(first, NOW + MINUTE, again)).toBe("ok");
    expect(server.asked).toBe(asked);
    expect(await outcome(second, NOW + MINUTE, again)).not.toBe("ok");
    const dayLater = createKeySource(fetch, store);
    expect(await outcome(first, NOW + 25 * 60 * MINUTE, dayLater)).toBe("provider_unreachable");
  });

  it("are only public ones: a symmetric, private or encryption key in the set is passed over", async () => {
    server.keys = [
      { kty: "oct", k: "c2VjcmV0", kid: "first", alg: "RS256" },
      { ...first.jwk, d: "AAAA" },
      { ...first.jwk, use: "enc" },
    ];
    expect(await outcome(first, NOW)).toBe("key_unknown");
  });
});
