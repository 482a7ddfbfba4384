/** OpenSSH user certificates, signed by the connector's own authority (openssh-portable/PROTOCOL.certkeys). */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { concat } from "../../../wire/bytes.ts";
import { string, uint32, uint64 } from "../../../wire/ssh/reader.ts";
import { type Identity, type PrivateKey, sshSignature } from "./identity.ts";

const CERTIFICATE_TYPE = "ssh-ed25519-cert-v01@openssh.com";
const USER_CERTIFICATE = 1;
/** Clocks differ; OpenSSH's own `ssh-keygen -V` examples leave as much. */
const BACKDATE_SECONDS = 60;

export type CertificateRequest = {
  /** Login name, the certificate's only principal. */
  readonly user: string;
  /** Shown in the server's log: which session of the gateway this was. */
  readonly keyId: string;
  /** Seconds since the epoch. */
  readonly now: number;
  readonly seconds: number;
};

/** A fresh key with a certificate for one login. Throws when `user` could be read as several principals. */
export function signCertificate(authority: PrivateKey, request: CertificateRequest): Identity {
  // sshd splits no principals, but tools that list or match them do.
  if (!/^[A-Za-z0-9_][A-Za-z0-9_.@\\+-]*$/.test(request.user))
    throw new Error("login name not fit for a certificate");
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const jwk = publicKey.export({ format: "jwk" });
  const point = new Uint8Array(Buffer.from(jwk.x ?? "", "base64url"));
  const body = concat([
    string(CERTIFICATE_TYPE),
    string(new Uint8Array(randomBytes(32))),
    string(point),
    uint64(0),
    uint32(USER_CERTIFICATE),
    string(request.keyId),
    string(string(request.user)),
    uint64(request.now - BACKDATE_SECONDS),
    uint64(request.now + request.seconds),
    // No critical options; the extensions are in the order of their names.
    string(""),
    string(concat([string("permit-port-forwarding"), string(""), string("permit-pty"), string("")])),
    string(""),
    string(authority.blob),
  ]);
  return {
    algorithm: CERTIFICATE_TYPE,
    blob: concat([body, string(sshSignature(authority, body))]),
    sign: (data) => concat([string("ssh-ed25519"), string(new Uint8Array(sign(null, data, privateKey)))]),
  };
}
