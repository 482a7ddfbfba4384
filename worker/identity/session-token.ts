/**
 * The gateway's own session token: a JWT signed with Ed25519, good for at most 15 minutes, that carries the
 * principal and the resources it is for. Whoever holds the public keys can check it; only `mintSessionToken`
 * makes it.
 */
import { createHash } from "node:crypto";
import {
  type JWK,
  type JWTPayload,
  SignJWT,
  calculateJwkThumbprint,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  exportJWK,
  generateKeyPair,
  importJWK,
  jwtVerify,
} from "jose";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type VerifiedToken, isPrincipal } from "../policy/grant.ts";
import type { Principal } from "../policy/types.ts";

/** A private signing key as a JWK (OKP, Ed25519, with `kid`). A secret. */
export type SigningKey = JWK & { readonly kid: string; readonly d: string };

/** The public half, as published in `/.well-known/jwks.json`. */
export type VerificationKey = JWK & { readonly kid: string };

/** RFC 8725 section 3.11: an explicit type, so that no other token of ours or of anybody is taken for it. */
const TYPE = "sallyport-session+jwt";
const ALGORITHM = "EdDSA";

/** A new signing key from the platform's randomness; its `kid` is its thumbprint (RFC 7638). */
export async function generateSigningKey(): Promise<SigningKey> {
  const { privateKey } = await generateKeyPair(ALGORITHM, { crv: "Ed25519", extractable: true });
  const jwk = await exportJWK(privateKey);
  const kid = await calculateJwkThumbprint(jwk, "sha256");
  return { ...jwk, kid, alg: ALGORITHM, use: "sig" } as SigningKey;
}

export function publicKey(key: SigningKey): VerificationKey {
  const { kty, crv, x, kid } = key as JWK & { kid: string };
  return { kty, crv, x, kid, alg: ALGORITHM, use: "sig" } as VerificationKey;
}

export type SessionTokenRequest = {
  /** The gateway's address: both issuer and audience. */
  readonly gateway: string;
  readonly principal: Principal;
  /** Names of the resources it is for; null for all that policy permits. */
  readonly resources: readonly string[] | null;
  /** Unique, random; at least 128 bits. */
  readonly tokenId: string;
  /** When the token that this one is given for ends, in milliseconds since the epoch. */
  readonly subjectExpiresAt: number;
  /** Who acts for the principal, the one that acts now first. */
  readonly actors?: readonly Principal[];
  /** The task that the token is for. */
  readonly task?: string | undefined;
  /** Thumbprint of the key that the token is bound to (RFC 9449 section 6.1). */
  readonly proofKey?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
};

export type SessionToken = { readonly token: string; readonly expiresAt: number; readonly tokenId: string };

/** Ends after 15 minutes or with the subject token, whichever is first. */
export async function mintSessionToken(key: SigningKey, request: SessionTokenRequest): Promise<SessionToken> {
  const issuedAt = Math.floor(request.now / 1000);
  const end = Math.min(request.now + LIMITS.time.sessionToken, request.subjectExpiresAt);
  const expiresAt = Math.floor(end / 1000);
  const { issuer, subject } = request.principal;
  const act = toActClaim(request.actors ?? []);
  const claims = {
    principal: whole(request.principal),
    ...(act === undefined ? {} : { act }),
    ...(request.task === undefined ? {} : { task: request.task }),
    ...(request.proofKey === undefined ? {} : { cnf: { jkt: request.proofKey } }),
    ...(request.resources === null ? {} : { resources: request.resources }),
  };
  const token = await new SignJWT(claims)
    .setProtectedHeader({ alg: ALGORITHM, kid: key.kid, typ: TYPE })
    .setIssuer(request.gateway)
    .setAudience(request.gateway)
    .setSubject(`${issuer}#${subject}`)
    .setJti(request.tokenId)
    .setIssuedAt(issuedAt)
    .setExpirationTime(expiresAt)
    .sign(await importJWK(key, ALGORITHM));
  return { token, expiresAt: expiresAt * 1000, tokenId: request.tokenId };
}

function whole({ type, issuer, subject, name, groups }: Principal): Principal {
  return { type, issuer, subject, name, groups };
}

/** RFC 8693 section 4.1: the outermost `act` is who acts now, those within it acted before. */
type ActClaim = { readonly sub: string; readonly principal: Principal; readonly act?: ActClaim };

function toActClaim(actors: readonly Principal[]): ActClaim | undefined {
  let claim: ActClaim | undefined;
  for (const actor of actors.toReversed()) {
    const sub = `${actor.issuer}#${actor.subject}`;
    claim = { sub, principal: whole(actor), ...(claim === undefined ? {} : { act: claim }) };
  }
  return claim;
}

/** Undefined when it is not as we make it. */
function readActClaim(claim: unknown): readonly Principal[] | undefined {
  const actors: Principal[] = [];
  for (let next = claim; next !== undefined;) {
    if (typeof next !== "object" || next === null || actors.length === LIMITS.tasks.actors) return undefined;
    const { principal, act } = next as { principal?: unknown; act?: unknown };
    if (!isPrincipal(principal)) return undefined;
    actors.push(whole(principal));
    next = act;
  }
  return actors;
}

/** The key that a token says it is signed with, unverified. */
export function keyIdOf(token: string): string | undefined {
  try {
    return token.length <= LIMITS.http.token ? decodeProtectedHeader(token).kid : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a token says that it is one of ours, unverified: its type, as RFC 8725 section 3.11 has it. */
export function claimsSessionToken(token: string): boolean {
  try {
    return token.length <= LIMITS.http.token && decodeProtectedHeader(token).typ === TYPE;
  } catch {
    return false;
  }
}

/**
 * Verifies a session token against the gateway's keys, of which there are two while they rotate. No leeway:
 * issuer and verifier are the same gateway. `now` in milliseconds since the epoch.
 */
export async function verifySessionToken(
  token: string,
  keys: readonly VerificationKey[],
  gateway: string,
  now: number,
): Promise<Result<VerifiedToken, Refusal>> {
  const invalid = err(
    refusal("token_invalid", "your session token is not valid", { hint: "run sally login" }),
  );
  if (token.length > LIMITS.http.token) return invalid;
  try {
    const header = decodeProtectedHeader(token);
    const key = keys.find((candidate) => candidate.kid === header.kid);
    if (key === undefined) return invalid;
    const payload = await verifiedPayload(token, key, gateway, now);
    const { principal, resources = null, jti, iat, exp, act, task, cnf } = payload as Record<string, unknown>;
    const actors = readActClaim(act);
    const proofKey = cnf === undefined ? undefined : (cnf as Record<string, unknown> | null)?.["jkt"];
    if (actors === undefined || (task !== undefined && typeof task !== "string")) return invalid;
    // A confirmation that is not understood must not turn into a token that anybody may use.
    if (cnf !== undefined && typeof proofKey !== "string") return invalid;
    if (
      !isPrincipal(principal) ||
      typeof jti !== "string" ||
      typeof iat !== "number" ||
      typeof exp !== "number"
    ) {
      return invalid;
    }
    if (!isNames(resources) || (exp - iat) * 1000 > LIMITS.time.sessionToken || iat * 1000 > now + 1000)
      return invalid;
    return ok({
      principal: whole(principal),
      ...(actors.length === 0 ? {} : { actors }),
      ...(task === undefined ? {} : { task }),
      ...(typeof proofKey === "string" ? { proofKey } : {}),
      resources,
      tokenId: jti,
      issuedAt: iat * 1000,
      expiresAt: exp * 1000,
    });
  } catch (error) {
    if (error instanceof errors.JWTExpired) {
      return err(refusal("token_expired", "your session token has expired", { hint: "run sally login" }));
    }
    return invalid;
  }
}

/**
 * The claims of a token whose signature, type, issuer, audience and end have been checked. @throws as `jwtVerify`.
 * That exactly these bytes are signed for this gateway is known after the first time; only the clock goes on.
 */
async function verifiedPayload(
  token: string,
  key: VerificationKey,
  gateway: string,
  now: number,
): Promise<JWTPayload> {
  const seen = signaturesOf(key);
  const digest = createHash("sha256").update(`${gateway}\n${token}`).digest("base64");
  if (!seen.has(digest)) {
    const { payload } = await jwtVerify(token, await importVerificationKey(key), {
      algorithms: [ALGORITHM],
      typ: TYPE,
      issuer: gateway,
      audience: gateway,
      currentDate: new Date(now),
      clockTolerance: 0,
      requiredClaims: ["sub", "jti", "iat", "exp", "principal"],
    });
    if (seen.size >= MOST_SEEN) seen.clear();
    seen.add(digest);
    return payload;
  }
  const payload = decodeJwt(token);
  if (typeof payload.exp !== "number" || payload.exp <= Math.floor(now / 1000)) {
    throw new errors.JWTExpired('"exp" claim timestamp check failed', payload, "exp", "check_failed");
  }
  return payload;
}

/** Digests of tokens that a key has verified: of the key's lifetime here, and nobody's identity. */
const signatures = new WeakMap<VerificationKey, Set<string>>();
const MOST_SEEN = 2_000;

function signaturesOf(key: VerificationKey): Set<string> {
  let seen = signatures.get(key);
  if (seen === undefined) {
    seen = new Set();
    signatures.set(key, seen);
  }
  return seen;
}

function isNames(value: unknown): value is readonly string[] | null {
  return value === null || (Array.isArray(value) && value.every((name) => typeof name === "string"));
}

// Importing costs more than verifying; keys are few and live as long as their JWK objects.
const imported = new WeakMap<VerificationKey, Promise<Awaited<ReturnType<typeof importJWK>>>>();

function importVerificationKey(key: VerificationKey): Promise<Awaited<ReturnType<typeof importJWK>>> {
  let known = imported.get(key);
  if (known === undefined) {
    known = importJWK({ kty: "OKP", crv: "Ed25519", x: key.x ?? "" }, ALGORITHM);
    imported.set(key, known);
  }
  return known;
}
