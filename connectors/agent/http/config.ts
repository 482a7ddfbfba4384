/** An `http` resource in the connector's config. */
import { z } from "zod";
import { Secret } from "../config-values.ts";

/** An https:// or http:// address, which may have a path. */
export const HttpAddress = z.string().transform((text, context): URL => {
  const complain = (message: string): never => {
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  };
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:"))
    return complain("must be an https:// or http:// address");
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    return complain(
      "must be an address without user, query or fragment; credentials have a key of their own",
    );
  return url;
});

const FieldName = z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/, "is not a header's name");

/** How the upstream knows us. The client's own credential never gets this far. */
const HttpCredential = z.union([
  z.strictObject({ bearer: Secret }),
  z.strictObject({ basic: z.strictObject({ user: z.string().regex(/^[^:\p{Cc}]*$/u), password: Secret }) }),
  z.strictObject({ header: z.strictObject({ name: FieldName, value: Secret }) }),
  z.strictObject({
    query: z.strictObject({ name: z.string().regex(/^[A-Za-z0-9_.~-]{1,128}$/), value: Secret }),
  }),
  z.strictObject({
    aws: z.strictObject({
      region: z.string().regex(/^[a-z0-9-]{1,64}$/),
      service: z.string().regex(/^[a-z0-9-]{1,64}$/),
      accessKeyId: Secret,
      secretAccessKey: Secret,
      sessionToken: Secret.optional(),
    }),
  }),
]);
export type HttpCredential = z.infer<typeof HttpCredential>;

export const HttpConfig = z
  .strictObject({
    protocol: z.literal("http"),
    /** May have a path: then requests stay below it. */
    address: HttpAddress,
    credential: HttpCredential.optional(),
    /** Files of PEM: certificates to trust in place of the system's, and our own for mutual TLS. */
    ca: z.string().min(1).optional(),
    clientCertificate: z.strictObject({ certificate: Secret, key: Secret }).optional(),
    /** Name in the server's certificate, when it is not the address's. */
    serverName: z.string().min(1).max(253).optional(),
    /** Speak HTTP/2 where the server offers it. */
    http2: z.boolean().default(true),
    /** The way to an http:// address off this machine is safe. */
    plaintext: z.boolean().default(false),
  })
  .superRefine(({ address, ca, clientCertificate, serverName, plaintext }, context) => {
    const issue = (message: string, path: string): void => {
      context.addIssue({ code: "custom", message, path: [path] });
    };
    if (address.protocol === "https:") return;
    if (!plaintext && !isThisMachine(address.hostname))
      issue("is not this machine: use https://, or plaintext: true if the way is safe", "address");
    const tls = { ca, clientCertificate, serverName };
    for (const [key, value] of Object.entries(tls))
      if (value !== undefined) issue("has no effect with an http:// address", key);
  });
export type HttpConfig = z.infer<typeof HttpConfig>;

export function isThisMachine(host: string): boolean {
  return host === "localhost" || host === "[::1]" || /^127(\.\d{1,3}){3}$/.test(host);
}
