/**
 * What an HTTP resource is told about who is asking: a short-lived JWT in the `sally-identity` header, signed with
 * the keys in `/.well-known/jwks.json`. Its audience is the one resource and its type its own, so that it opens
 * nothing at the gateway and nothing at another resource.
 */
import { SignJWT, importJWK } from "jose";
import type { Principal } from "../policy/types.ts";
import type { SigningKey } from "./session-token.ts";

export type IdentityAssertion = {
  /** The gateway's address, the issuer. */
  readonly gateway: string;
  readonly principal: Principal;
  readonly resource: string;
  readonly session: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly expiresAt: number;
};

/** RFC 8725 section 3.11. */
const TYPE = "sallyport-identity+jwt";
/** Bytes of JSON for the groups: header fields have to stay small. */
const MAX_GROUPS = 2_000;

export async function mintIdentityAssertion(key: SigningKey, assertion: IdentityAssertion): Promise<string> {
  const { gateway, principal, resource, session, now, expiresAt } = assertion;
  const { type, issuer, subject, name, groups } = principal;
  // Without all of them the list would be a wrong one.
  const fits = JSON.stringify(groups).length <= MAX_GROUPS;
  return new SignJWT({ type, principal: { issuer, subject }, name, session, ...(fits ? { groups } : {}) })
    .setProtectedHeader({ alg: "EdDSA", kid: key.kid, typ: TYPE })
    .setIssuer(gateway)
    .setAudience(`${gateway}/http/${resource}`)
    .setSubject(`${issuer}#${subject}`)
    .setIssuedAt(Math.floor(now / 1000))
    .setExpirationTime(Math.floor(expiresAt / 1000))
    .sign(await importJWK(key, "EdDSA"));
}
