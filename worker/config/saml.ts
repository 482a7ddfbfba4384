/** Shape of one SAML identity provider in configuration, `saml: { <name>: … }`. */
import { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import type { SamlProvider } from "../identity/saml/provider.ts";
import { publicKeyOf } from "../identity/saml/signature.ts";
import { duration, object, oneOrMore, text } from "./shapes.ts";

const LOOPBACK: ReadonlySet<string> = new Set(["127.0.0.1", "[::1]", "localhost"]);

const PEM =
  /^-----BEGIN CERTIFICATE-----\r?\n(?:[A-Za-z0-9+/]{1,76}={0,2}\r?\n){1,200}-----END CERTIFICATE-----\s*$/;

const certificate = z
  .string()
  .max(16 << 10, "is too long for a certificate")
  .regex(PEM, "must be one X.509 certificate in PEM: -----BEGIN CERTIFICATE----- …")
  .refine(
    (pem) => publicKeyOf(pem) !== undefined,
    `must hold an RSA key of at least ${LIMITS.saml.keyBits} bits`,
  );

const signOnUrl = text(2_000).refine((given) => {
  const url = URL.parse(given);
  if (url === null || url.hash !== "" || url.username !== "" || url.password !== "") return false;
  return url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.has(url.hostname));
}, "must be an address such as https://login.example.com/sso/saml (http:// only on this machine)");

export const samlShape = object({
  // `#` separates issuer and subject in policies.
  entityId: text(512).refine((id) => !id.includes("#"), "must not hold a #"),
  signOnUrl,
  certificates: oneOrMore(certificate),
  subjectAttribute: text(256).optional(),
  nameAttribute: text(256).default("email"),
  groupsAttribute: text(256).default("groups"),
  session: duration(60_000, LIMITS.time.samlSession).default(8 * 60 * 60_000),
});

export function toSamlProvider(name: string, shape: z.infer<typeof samlShape>): SamlProvider {
  const { subjectAttribute, ...rest } = shape;
  return { name, ...rest, ...(subjectAttribute === undefined ? {} : { subjectAttribute }) };
}
