/**
 * A connector proves who it is with a JWT that it signs with the Ed25519 key it enrolled, for at most 60
 * seconds and for this gateway. The caller keeps each `tokenId` until `forgetAt` and refuses it again.
 */
import { type JWK, decodeJwt, importJWK, jwtVerify } from "jose";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";

export type VerifiedConnector = {
  readonly tokenId: string;
  /** From when on the token could not be used again anyway, in milliseconds since the epoch. */
  readonly forgetAt: number;
};

/** The name that a connector's token claims, unverified, to find its key by; undefined when there is none. */
export function claimedConnector(token: string): string | undefined {
  if (token.length > LIMITS.http.token) return undefined;
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined;
  }
}

/** Verifies a connector's token. `audience` is the gateway's address, `now` milliseconds since the epoch. */
export async function verifyConnectorToken(
  token: string,
  key: JWK,
  name: string,
  audience: string,
  now: number,
): Promise<Result<VerifiedConnector, Refusal>> {
  const untrusted = err(
    refusal("connector_not_trusted", "the connector's token is not accepted", {
      hint: "check its clock, the gateway's address and that its key is enrolled and not revoked",
    }),
  );
  if (token.length > LIMITS.http.token || parseConnectorKey(key) === undefined) return untrusted;
  try {
    const { payload, protectedHeader } = await jwtVerify(
      token,
      await importJWK({ kty: "OKP", crv: "Ed25519", x: key.x ?? "" }, "EdDSA"),
      {
        algorithms: ["EdDSA"],
        issuer: name,
        subject: name,
        audience,
        currentDate: new Date(now),
        clockTolerance: LIMITS.time.clockSkew / 1000,
        requiredClaims: ["iss", "sub", "aud", "iat", "exp", "jti"],
      },
    );
    const { iat, exp, jti } = payload;
    if (protectedHeader.crit !== undefined || typeof iat !== "number" || typeof exp !== "number")
      return untrusted;
    if (typeof jti !== "string" || jti.length < 16 || jti.length > 128) return untrusted;
    const lifetime = (exp - iat) * 1000;
    if (lifetime <= 0 || lifetime > LIMITS.time.connectorToken || iat * 1000 > now + LIMITS.time.clockSkew) {
      return untrusted;
    }
    return ok({ tokenId: jti, forgetAt: exp * 1000 + LIMITS.time.clockSkew });
  } catch {
    return untrusted;
  }
}

/** A connector's public key in the only form accepted (RFC 8037), reduced to it; a private key is refused. */
export function parseConnectorKey(value: unknown): { kty: "OKP"; crv: "Ed25519"; x: string } | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { kty, crv, x, d } = value as Record<string, unknown>;
  if (kty !== "OKP" || crv !== "Ed25519" || d !== undefined) return undefined;
  return typeof x === "string" && /^[A-Za-z0-9_-]{43}$/.test(x) ? { kty, crv, x } : undefined;
}
