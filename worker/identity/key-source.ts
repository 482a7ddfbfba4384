/**
 * Verification keys of identity providers: read by OpenID Connect Discovery, kept, and read again when they
 * grow old or a token names a key that they lack. A provider that cannot be reached does not lock anybody
 * out whose key is known, and lets nobody in whose key is not.
 *
 * Keep one KeySource in a Durable Object: its promises are shared by concurrent requests, which Workers
 * allow within one object only.
 */
import { type JSONWebKeySet, type JWTVerifyGetKey, createLocalJWKSet } from "jose";
import { fromUtf8 } from "../../wire/bytes.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";

export type KeyProblem = "provider_unreachable" | "provider_malformed";

export type KeySource = {
  /**
   * Keys to verify a token of `issuer` with key id `kid`. `now` in milliseconds since the epoch. Keys that
   * lack `kid` are given too, when reading them again did not help or was not due.
   */
  readonly keys: (
    issuer: string,
    kid: string | undefined,
    now: number,
  ) => Promise<Result<JWTVerifyGetKey, KeyProblem>>;
};

/** Where key sets outlive the process: a gateway that starts while a provider is away knows the keys it knew. */
export type KeyStore = {
  readonly load: (issuer: string) => StoredKeys | undefined;
  readonly save: (issuer: string, stored: StoredKeys) => void;
};

/** Public keys as they were read at `readAt`, milliseconds since the epoch. */
export type StoredKeys = { readonly jwks: JSONWebKeySet; readonly readAt: number };

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

type Kept = {
  jwks: JSONWebKeySet | undefined;
  getKey: JWTVerifyGetKey | undefined;
  /** When the keys were read, and when that was last tried. */
  readAt: number;
  triedAt: number;
  reading: Promise<void> | undefined;
  problem: KeyProblem;
};

export function createKeySource(fetch: Fetch, store?: KeyStore): KeySource {
  const providers = new Map<string, Kept>();

  const refresh = (issuer: string, kept: Kept, now: number): Promise<void> => {
    kept.triedAt = now;
    const reading = readKeys(fetch, issuer)
      .then((read) => {
        if (read.ok) {
          kept.jwks = read.value;
          kept.getKey = createLocalJWKSet(read.value);
          kept.readAt = now;
          store?.save(issuer, { jwks: read.value, readAt: now });
        } else {
          kept.problem = read.error;
        }
      })
      .finally(() => {
        if (kept.reading === reading) kept.reading = undefined;
      });
    kept.reading = reading;
    return reading;
  };

  return {
    keys: async (issuer, kid, now) => {
      let kept = providers.get(issuer);
      if (kept === undefined) {
        const stored = store?.load(issuer);
        kept = {
          jwks: stored?.jwks,
          getKey: stored === undefined ? undefined : createLocalJWKSet(stored.jwks),
          readAt: stored?.readAt ?? Number.NEGATIVE_INFINITY,
          triedAt: Number.NEGATIVE_INFINITY,
          reading: undefined,
          problem: "provider_unreachable",
        };
        providers.set(issuer, kept);
      }
      const old = now - kept.readAt >= LIMITS.time.providerKeys;
      const lacking = kept.jwks === undefined || (kid !== undefined && !hasKey(kept.jwks, kid));
      const due = now - kept.triedAt >= LIMITS.time.providerCooldown;
      // One reading at a time, whoever waits for it. One that is still not done when the next is due was lost
      // with the request that began it.
      if ((old || lacking) && due) await refresh(issuer, kept, now);
      else if (lacking) await kept.reading;
      const usable = kept.getKey !== undefined && now - kept.readAt < LIMITS.time.providerKeysStale;
      return usable && kept.getKey !== undefined ? ok(kept.getKey) : err(kept.problem);
    },
  };
}

function hasKey(jwks: JSONWebKeySet, kid: string): boolean {
  return jwks.keys.some((key) => key.kid === kid);
}

const MAX_KEYS = 100;

/** OpenID Connect Discovery 1.0 section 4, then the key set (RFC 7517). */
async function readKeys(fetch: Fetch, issuer: string): Promise<Result<JSONWebKeySet, KeyProblem>> {
  const discovery = await readJson(fetch, `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`);
  if (!discovery.ok) return discovery;
  const { issuer: named, jwks_uri: keysUrl } = discovery.value;
  // Section 4.3: the issuer in the document must be the one that was asked for, exactly.
  if (named !== issuer || typeof keysUrl !== "string" || !mayFetch(keysUrl, issuer))
    return err("provider_malformed");
  const document = await readJson(fetch, keysUrl);
  if (!document.ok) return document;
  const { keys } = document.value;
  if (!Array.isArray(keys) || keys.length > MAX_KEYS) return err("provider_malformed");
  // A symmetric or private key in a public document is a mistake that must not become a way in.
  const usable = keys.filter((key: unknown): key is JSONWebKeySet["keys"][number] => isPublicKey(key));
  return ok({ keys: usable });
}

function isPublicKey(key: unknown): boolean {
  if (typeof key !== "object" || key === null) return false;
  const { kty, d, use } = key as Record<string, unknown>;
  return (
    (kty === "RSA" || kty === "EC" || kty === "OKP") &&
    d === undefined &&
    (use === undefined || use === "sig")
  );
}

/** Keys travel over TLS, except from a provider that itself runs on this machine. */
function mayFetch(url: string, issuer: string): boolean {
  const parsed = URL.parse(url);
  return (
    parsed !== null &&
    (parsed.protocol === "https:" || (parsed.protocol === "http:" && issuer.startsWith("http:")))
  );
}

async function readJson(fetch: Fetch, url: string): Promise<Result<Record<string, unknown>, KeyProblem>> {
  try {
    const response = await fetch(url, {
      headers: { accept: "application/json" },
      // A redirect could lead anywhere; providers answer these two addresses directly.
      redirect: "manual",
      signal: AbortSignal.timeout(LIMITS.time.providerRequest),
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      return err("provider_unreachable");
    }
    const text = await readText(response);
    if (text === undefined) return err("provider_malformed");
    const json: unknown = JSON.parse(text);
    return typeof json === "object" && json !== null
      ? ok(json as Record<string, unknown>)
      : err("provider_malformed");
  } catch (error) {
    return err(error instanceof SyntaxError ? "provider_malformed" : "provider_unreachable");
  }
}

/** The body as text, or undefined when it is over the limit or not UTF-8. */
async function readText(response: Response): Promise<string | undefined> {
  if (response.body === null) return undefined;
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > LIMITS.http.providerDocument) return undefined;
    chunks.push(chunk);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return fromUtf8(whole);
}
