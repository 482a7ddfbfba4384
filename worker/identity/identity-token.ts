/**
 * Verifies tokens of identity providers (OpenID Connect Core 1.0 section 3.1.3.7, RFC 8725). The client
 * learns only that its token was refused; which check failed is for our own log and tests.
 */
import {
  type JWTPayload,
  type ProtectedHeaderParameters,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  jwtVerify,
} from "jose";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { Principal } from "../policy/types.ts";
import { type ClaimProblem, toPrincipal } from "./claims.ts";
import { type Issuer } from "./issuer.ts";
import type { KeyProblem, KeySource } from "./key-source.ts";
import { hasDuplicateMembers } from "./token-form.ts";

export type IdentityProblem =
  | "token_malformed"
  | "issuer_unknown"
  | "algorithm_not_allowed"
  | "header_not_allowed"
  | "type_not_allowed"
  | "key_unknown"
  | "signature_wrong"
  | "audience_wrong"
  | "expired"
  | "not_yet_valid"
  | "claim_missing"
  | KeyProblem
  | ClaimProblem;

/** The owner of a verified token, and until when it is good, in milliseconds since the epoch. */
export type VerifiedIdentity = {
  readonly principal: Principal;
  /** When the provider made the token, in milliseconds since the epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
};

/** What the client is told, and the exact reason, which is not for the client. */
export type IdentityRefusal = { readonly refusal: Refusal; readonly problem: IdentityProblem };

// An ID token, an access token in JWT form (RFC 9068), or no type at all. A logout token is neither.
const TYPES: ReadonlySet<string> = new Set(["jwt", "at+jwt", "application/at+jwt", "application/jwt"]);
// RFC 8725 section 3.10: keys come from the issuer's key set, never from the token.
const FORBIDDEN_HEADERS = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip"] as const;

/** `now` in milliseconds since the epoch. */
export async function verifyIdentityToken(
  token: string,
  issuers: readonly Issuer[],
  keySource: KeySource,
  now: number,
): Promise<Result<VerifiedIdentity, IdentityRefusal>> {
  const verified = await verify(token, issuers, keySource, now);
  return verified.ok ? verified : err({ refusal: toRefusal(verified.error), problem: verified.error });
}

async function verify(
  token: string,
  issuers: readonly Issuer[],
  keySource: KeySource,
  now: number,
): Promise<Result<VerifiedIdentity, IdentityProblem>> {
  const read = readUnverified(token);
  if (!read.ok) return read;
  const { header, claimed } = read.value;
  const issuer = issuers.find((candidate) => candidate.issuer === claimed.iss);
  if (issuer === undefined) return err("issuer_unknown");
  const allowed = checkHeader(header, issuer);
  if (!allowed.ok) return allowed;

  const keys = await keySource.keys(issuer.issuer, header.kid, now);
  if (!keys.ok) return keys;
  let payload: JWTPayload;
  try {
    const result = await jwtVerify(token, keys.value, {
      algorithms: [...issuer.algorithms],
      issuer: issuer.issuer,
      audience: [...issuer.audience],
      currentDate: new Date(now),
      clockTolerance: LIMITS.time.clockSkew / 1000,
      requiredClaims: ["iss", "sub", "aud", "exp", "iat"],
    });
    payload = result.payload;
  } catch (error) {
    return err(toProblem(error));
  }
  const { exp, iat } = payload;
  if (typeof exp !== "number" || typeof iat !== "number") return err("claim_missing");
  if (iat * 1000 > now + LIMITS.time.clockSkew) return err("not_yet_valid");
  // The skew forgives a slow clock, but what we issue ends with the token, so an ended one is worth nothing.
  if (exp * 1000 <= now) return err("expired");
  if (!authorizedPartyFits(payload, issuer)) return err("audience_wrong");
  const principal = toPrincipal(issuer, payload);
  return principal.ok
    ? ok({ principal: principal.value, issuedAt: iat * 1000, expiresAt: exp * 1000 })
    : principal;
}

type Unverified = { readonly header: ProtectedHeaderParameters; readonly claimed: JWTPayload };

function readUnverified(token: string): Result<Unverified, IdentityProblem> {
  if (token.length > LIMITS.http.token) return err("token_malformed");
  if (!/^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/.test(token)) return err("token_malformed");
  if (hasDuplicateMembers(token)) return err("token_malformed");
  try {
    return ok({ header: decodeProtectedHeader(token), claimed: decodeJwt(token) });
  } catch {
    return err("token_malformed");
  }
}

function checkHeader(header: ProtectedHeaderParameters, issuer: Issuer): Result<void, IdentityProblem> {
  if (!issuer.algorithms.some((algorithm) => algorithm === header.alg)) return err("algorithm_not_allowed");
  if (FORBIDDEN_HEADERS.some((name) => Object.hasOwn(header, name))) return err("header_not_allowed");
  if (header.typ !== undefined && (typeof header.typ !== "string" || !TYPES.has(header.typ.toLowerCase()))) {
    return err("type_not_allowed");
  }
  if (
    header.kid !== undefined &&
    (typeof header.kid !== "string" || header.kid.length > LIMITS.http.identityName)
  ) {
    return err("header_not_allowed");
  }
  return ok(undefined);
}

/** OpenID Connect Core 3.1.3.7, 4 and 5: a token for several audiences says which of them asked for it. */
function authorizedPartyFits(payload: JWTPayload, issuer: Issuer): boolean {
  const several = Array.isArray(payload.aud) && payload.aud.length > 1;
  if (!several) return true;
  const party = payload["azp"];
  return typeof party === "string" && (issuer.audience.includes(party) || issuer.clientId === party);
}

function toProblem(error: unknown): IdentityProblem {
  if (error instanceof errors.JWTExpired) return "expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === "aud") return "audience_wrong";
    if (error.claim === "nbf" || error.claim === "iat") return "not_yet_valid";
    return "claim_missing";
  }
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys)
    return "key_unknown";
  if (error instanceof errors.JOSEAlgNotAllowed) return "algorithm_not_allowed";
  if (error instanceof errors.JWSSignatureVerificationFailed) return "signature_wrong";
  // Anything else (a key of the wrong kind, a malformed signature) is a token that cannot be verified.
  return "token_malformed";
}

function toRefusal(problem: IdentityProblem): Refusal {
  const hint = "run sally login, or give a fresh token of a configured issuer";
  if (problem === "expired")
    return refusal("token_expired", "your identity provider's token has expired", { hint });
  if (problem === "provider_unreachable" || problem === "provider_malformed") {
    const message = "the gateway cannot read the identity provider's keys, so it cannot check your token";
    return refusal("token_invalid", message, {
      hint: "try again in a minute; if it stays, tell an administrator",
    });
  }
  return refusal("token_invalid", "your identity provider's token is not accepted here", { hint });
}
