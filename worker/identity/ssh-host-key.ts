/** The gateway's SSH host key: one for all SSH resources, made once and kept by the Control object. */
import { exportJWK, generateKeyPair } from "jose";
import { concat } from "../../wire/bytes.ts";
import { toBase64 } from "../../wire/ssh/base64.ts";
import { string } from "../../wire/ssh/reader.ts";

/** An Ed25519 key as JWK (RFC 8037); `d` is the secret. */
export type SshHostKey = {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly x: string;
  readonly d: string;
};

export const HOST_KEY_TYPE = "ssh-ed25519";

export async function generateSshHostKey(): Promise<SshHostKey> {
  const { privateKey } = await generateKeyPair("EdDSA", { crv: "Ed25519", extractable: true });
  const { x, d } = await exportJWK(privateKey);
  if (x === undefined || d === undefined) throw new Error("the new host key has no parts");
  return { kty: "OKP", crv: "Ed25519", x, d };
}

/** The public key as SSH sends it (RFC 8709 section 4). */
export function hostKeyBlob({ x }: Pick<SshHostKey, "x">): Uint8Array {
  const base64 = x.replaceAll("-", "+").replaceAll("_", "/");
  const point = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  return concat([string(HOST_KEY_TYPE), string(point)]);
}

/** The public key as known_hosts has it after the host: type, space, base64. */
export function hostKeyLine(key: Pick<SshHostKey, "x">): string {
  return `${HOST_KEY_TYPE} ${toBase64(hostKeyBlob(key))}`;
}
