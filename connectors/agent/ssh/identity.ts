/** Keys and certificates with which the connector logs in. */
import keyParser from "ssh2/lib/protocol/keyParser.js";
import protocolUtils from "ssh2/lib/protocol/utils.js";
import { concat } from "../../../wire/bytes.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { Reader, string } from "../../../wire/ssh/reader.ts";

/** What a publickey request needs (RFC 4252 section 7). */
export type Identity = {
  /** Public key algorithm of the request. */
  readonly algorithm: string;
  readonly blob: Uint8Array;
  /** The signature as SSH writes it: algorithm and signature blob. */
  readonly sign: (data: Uint8Array) => Uint8Array;
};

export type PrivateKey = {
  readonly type: string;
  readonly blob: Uint8Array;
  /** Signs with the key's own algorithm; for RSA with SHA-512. */
  readonly rawSign: (data: Uint8Array) => Uint8Array;
  readonly signatureAlgorithm: string;
};

/** Reads a private key in OpenSSH's or PEM form. The error never holds any of it. */
export function readPrivateKey(text: string, passphrase: string | undefined): Result<PrivateKey, string> {
  const parsed = keyParser.parseKey(text.endsWith("\n") ? text : `${text}\n`, passphrase);
  const key = Array.isArray(parsed) ? parsed[0] : parsed;
  if (key === undefined || key instanceof Error) return err("the private key cannot be read");
  if (!key.isPrivateKey()) return err("this is a public key, not a private one");
  const rsa = key.type === "ssh-rsa";
  if (key.type === "ssh-dss") return err("DSA keys are not supported");
  return ok({
    type: key.type,
    blob: new Uint8Array(key.getPublicSSH()),
    signatureAlgorithm: rsa ? "rsa-sha2-512" : key.type,
    rawSign: (data) => {
      const signature = key.sign(Buffer.from(data), rsa ? "sha512" : undefined);
      if (signature instanceof Error) throw signature;
      const converted = protocolUtils.convertSignature(signature, key.type);
      if (converted === false) throw new Error("the signature cannot be converted");
      return new Uint8Array(converted);
    },
  });
}

/** The signature as SSH writes it. */
export function sshSignature(key: PrivateKey, data: Uint8Array): Uint8Array {
  return concat([string(key.signatureAlgorithm), string(key.rawSign(data))]);
}

export function keyIdentity(key: PrivateKey): Identity {
  return { algorithm: key.signatureAlgorithm, blob: key.blob, sign: (data) => sshSignature(key, data) };
}

/** A key with its certificate, the content of a `…-cert.pub` file. */
export function certificateIdentity(key: PrivateKey, certificate: string): Result<Identity, string> {
  const [type = "", base64 = ""] = certificate.trim().split(/\s+/);
  const blob = new Uint8Array(Buffer.from(base64, "base64"));
  if (new Reader(blob).text(128) !== type || !type.endsWith("-cert-v01@openssh.com")) {
    return err("the certificate cannot be read");
  }
  // RSA certificates name the hash in the request, not in the certificate (RFC 8332, OpenSSH's cert variant).
  const algorithm = type === "ssh-rsa-cert-v01@openssh.com" ? "rsa-sha2-512-cert-v01@openssh.com" : type;
  return ok({ algorithm, blob, sign: (data) => sshSignature(key, data) });
}
