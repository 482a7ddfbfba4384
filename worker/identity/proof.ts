/**
 * DPoP proofs (RFC 9449): whoever uses a token shows that it holds the key that the token is bound to, for
 * this one request. Stateless but for the caller's part: each proof's `id` is good once, until `forgetAt`.
 */
import { EmbeddedJWK, calculateJwkThumbprint, decodeProtectedHeader, jwtVerify } from "jose";
import { utf8 } from "../../wire/bytes.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { base64url, hasDuplicateMembers } from "./token-form.ts";

/** Asymmetric ones only (section 4.3, check 5). */
export const PROOF_ALGORITHMS = ["ES256", "EdDSA", "Ed25519", "ES384", "RS256", "PS256"] as const;

export type Proof = {
  /** JWK thumbprint (RFC 7638, SHA-256) of the key. */
  readonly key: string;
  /** The proof's `jti`, hashed, so that its length is known. */
  readonly id: string;
  /** Milliseconds since the epoch; afterwards its age alone refuses it. */
  readonly forgetAt: number;
};

export type ProofRequest = {
  readonly method: string;
  /** The request's address as the client knows it, without query and fragment. */
  readonly url: string;
  /** The token that is sent along; undefined at the token endpoint. */
  readonly accessToken?: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
};

const MAX_ID = 256;

/** The twelve checks of RFC 9449 section 4.3, but for the single use of `jti`. One refusal for all of them. */
export async function verifyProof(proof: string, request: ProofRequest): Promise<Result<Proof, Refusal>> {
  const invalid = err(
    refusal("proof_invalid", "the proof that the token is yours is not valid", {
      hint: "send a fresh DPoP proof for this method and address; check the clock of this machine",
    }),
  );
  if (proof.length > LIMITS.proofs.length || hasDuplicateMembers(proof)) return invalid;
  try {
    const { jwk, crit, jku, x5u, x5c } = decodeProtectedHeader(proof);
    if (
      jwk === undefined ||
      crit !== undefined ||
      jku !== undefined ||
      x5u !== undefined ||
      x5c !== undefined
    ) {
      return invalid;
    }
    if (["d", "p", "q", "k"].some((part) => Object.hasOwn(jwk, part))) return invalid;
    const { payload } = await jwtVerify(proof, EmbeddedJWK, {
      algorithms: [...PROOF_ALGORITHMS],
      typ: "dpop+jwt",
      currentDate: new Date(request.now),
      clockTolerance: LIMITS.time.clockSkew / 1000,
      requiredClaims: ["jti", "htm", "htu", "iat"],
    });
    const { jti, iat, htm, htu, ath } = payload as Record<string, unknown>;
    if (typeof jti !== "string" || jti === "" || jti.length > MAX_ID || typeof iat !== "number")
      return invalid;
    if (htm !== request.method || typeof htu !== "string" || !sameAddress(htu, request.url)) return invalid;
    const madeAt = iat * 1000;
    if (madeAt > request.now + LIMITS.time.clockSkew || madeAt <= request.now - LIMITS.time.proof)
      return invalid;
    if (request.accessToken !== undefined && ath !== (await digest(request.accessToken))) return invalid;
    return ok({
      key: await calculateJwkThumbprint(jwk, "sha256"),
      id: await digest(jti),
      forgetAt: madeAt + LIMITS.time.proof,
    });
  } catch {
    return invalid;
  }
}

/** Section 4.3, check 9: compared after normalisation (RFC 3986 section 6.2.2), without query and fragment. */
function sameAddress(claimed: string, actual: string): boolean {
  const [a, b] = [URL.parse(claimed), URL.parse(actual)];
  if (a === null || b === null || a.search !== "" || a.hash !== "") return false;
  return a.origin === b.origin && a.pathname === b.pathname && a.username === "" && a.password === "";
}

async function digest(text: string): Promise<string> {
  return base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(utf8(text)))));
}
