/**
 * Proof of possession (RFC 9449): this process has a key of its own, its session tokens are bound to it, and
 * each request proves it. A session token that is copied from here is worth nothing elsewhere.
 */
import { createHash, generateKeyPairSync, randomUUID, sign } from "node:crypto";

export type ProofKey = {
  /** A proof for one request. `url` without query; `token` undefined at the token endpoint. */
  readonly prove: (method: string, url: string, token?: string) => string;
};

/** A new Ed25519 key, kept in memory only. */
export function newProofKey(): ProofKey {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const { kty, crv, x } = publicKey.export({ format: "jwk" });
  const header = encode({ typ: "dpop+jwt", alg: "EdDSA", jwk: { kty, crv, x } });
  return {
    prove: (method, url, token) => {
      const claims = {
        jti: randomUUID(),
        htm: method,
        htu: url,
        iat: Math.floor(Date.now() / 1000),
        ...(token === undefined ? {} : { ath: createHash("sha256").update(token).digest("base64url") }),
      };
      const content = `${header}.${encode(claims)}`;
      return `${content}.${sign(null, Buffer.from(content), privateKey).toString("base64url")}`;
    },
  };
}

function encode(json: unknown): string {
  return Buffer.from(JSON.stringify(json)).toString("base64url");
}
