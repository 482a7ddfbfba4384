/** An `ssh` resource in the connector's config. */
import { z } from "zod";
import { Secret } from "../config-values.ts";

const DEFAULT_PORT = 22;
/** A certificate only has to live until the login is done. */
const DEFAULT_CERTIFICATE_SECONDS = 300;

export type Address = { readonly host: string; readonly port: number };

const AddressText = z.string().transform((text, context): Address => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port };
  context.addIssue({ code: "custom", message: "must be host, host:port or [IPv6]:port" });
  return z.NEVER;
});

/**
 * A login name as sshd may know it. It ends up in a certificate's list of principals, in sshd's log and in
 * paths, so separators, spaces and control characters are out.
 */
const LoginName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@\\+-]{0,63}$/, "must be a plain login name");

/** A line of known_hosts without the host (`ssh-ed25519 AAAA…`), or `SHA256:…` as ssh-keygen -l prints it. */
const HostKey = z
  .string()
  .regex(
    /^(?:(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]+=*(?: .*)?|SHA256:[A-Za-z0-9+/]{43}=?)$/,
    "must be a public key (ssh-ed25519 AAAA…, as ssh-keyscan prints it after the host) or its SHA256:… fingerprint",
  );

const Login = z.strictObject({
  address: AddressText,
  user: LoginName,
  /** The host's keys: any one of them. */
  hostKey: z.union([HostKey.transform((key) => [key]), z.array(HostKey).min(1).max(16)]).optional(),
  /** Trust the key that the host shows first, keep it in this file and insist on it from then on. */
  trustFirstHostKey: z.string().min(1).optional(),
  /** A private key, in OpenSSH's or PEM form. */
  key: Secret.optional(),
  passphrase: Secret.optional(),
  /** An OpenSSH certificate for `key`. */
  certificate: Secret.optional(),
  /** A certificate authority's private key: a certificate for a fresh key is signed for each login. */
  certificateAuthority: Secret.optional(),
  certificateSeconds: z.number().int().min(30).max(86_400).default(DEFAULT_CERTIFICATE_SECONDS),
  password: Secret.optional(),
});
type Login = z.infer<typeof Login>;

function complain(login: Login, context: z.core.$RefinementCtx, path: string[]): void {
  const issue = (message: string, at: string): void => {
    context.addIssue({ code: "custom", message, path: [...path, at] });
  };
  if (login.hostKey === undefined && login.trustFirstHostKey === undefined) {
    issue(
      "is missing: pin the host's key (ssh-keyscan -t ed25519 HOST), or set trustFirstHostKey: FILE",
      "hostKey",
    );
  }
  if (login.hostKey !== undefined && login.trustFirstHostKey !== undefined) {
    issue("has no effect with hostKey", "trustFirstHostKey");
  }
  const ways = [login.key, login.certificateAuthority, login.password].filter((way) => way !== undefined);
  if (ways.length !== 1) issue("give exactly one of key, certificateAuthority and password", "key");
  if (login.certificate !== undefined && login.key === undefined) issue("needs its key", "certificate");
  if (login.passphrase !== undefined && login.key === undefined) issue("needs a key", "passphrase");
}

export const SshConfig = Login.extend({
  protocol: z.literal("ssh"),
  /** Other login names that the gateway may ask for. Without it `user` is the only one. */
  users: z.array(LoginName).max(100).default([]),
  /** Host to reach the server through, with a login of its own. */
  jump: Login.optional(),
}).superRefine((config, context) => {
  complain(config, context, []);
  if (config.jump !== undefined) complain(config.jump, context, ["jump"]);
});
export type SshConfig = z.infer<typeof SshConfig>;
export type SshLogin = Login;
