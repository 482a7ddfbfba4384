/** A `kubernetes` resource in the connector's config. */
import { z } from "zod";
import { Secret } from "../config-values.ts";
import { HttpAddress, isThisMachine } from "../http/config.ts";

/** Which name of the principal's the cluster is told, and how its groups are. */
const Impersonate = z.union([
  z.boolean(),
  z.strictObject({
    /** `subject`: `<issuer>#<subject>`, as the API server itself names OIDC users. `name`: e-mail or user name. */
    user: z.enum(["subject", "name"]).default("subject"),
    /** Put before the user's name and before the name of every group. */
    userPrefix: z
      .string()
      .regex(/^[\x21-\x7e]{0,128}$/, "must be visible ASCII characters")
      .default(""),
    groupPrefix: z
      .string()
      .regex(/^[\x21-\x7e]{0,128}$/, "must be visible ASCII characters")
      .default("sallyport:"),
  }),
]);

export const KubernetesConfig = z
  .strictObject({
    protocol: z.literal("kubernetes"),
    /** The API server. In its place: `kubeconfig`, or `inCluster`. */
    address: HttpAddress.optional(),
    /** A bearer token, such as a service account's, read anew for every request. */
    token: Secret.optional(),
    clientCertificate: z.strictObject({ certificate: Secret, key: Secret }).optional(),
    /** A file of PEM: certificates to trust in place of the system's. */
    ca: z.string().min(1).optional(),
    /** Name in the server's certificate, when it is not the address's. */
    serverName: z.string().min(1).max(253).optional(),
    /** A file; its current context counts, or the one that `context` names. */
    kubeconfig: z.string().min(1).optional(),
    context: z.string().min(1).optional(),
    /** The connector runs in the cluster: address, token and authorities are those of its pod. */
    inCluster: z.literal(true).optional(),
    /** Have the cluster treat each request as the principal's own; the credential has to be allowed to impersonate. */
    impersonate: Impersonate.default(false),
    /** The way to an http:// address off this machine is safe. */
    plaintext: z.boolean().default(false),
  })
  .superRefine((config, context) => {
    const issue = (message: string, path: string): void =>
      context.addIssue({ code: "custom", message, path: [path] });
    const { address, kubeconfig, inCluster, plaintext } = config;
    const ways = [address, kubeconfig, inCluster].filter((way) => way !== undefined);
    if (ways.length !== 1) return issue("needs one of address, kubeconfig and inCluster", "address");
    if (config.context !== undefined && kubeconfig === undefined)
      issue("belongs to a kubeconfig, and there is none", "context");
    if (address === undefined) {
      for (const key of ["token", "clientCertificate", "ca", "serverName"] as const)
        if (config[key] !== undefined)
          issue(`comes from ${kubeconfig === undefined ? "the pod" : "the kubeconfig"} here`, key);
      return;
    }
    if (address.protocol === "https:") return;
    if (!plaintext && !isThisMachine(address.hostname))
      issue("is not this machine: use https://, or plaintext: true if the way is safe", "address");
    for (const key of ["clientCertificate", "ca", "serverName"] as const)
      if (config[key] !== undefined) issue("has no effect with an http:// address", key);
  });
export type KubernetesConfig = z.infer<typeof KubernetesConfig>;

export type Impersonation = { user: "subject" | "name"; userPrefix: string; groupPrefix: string };

/** How to impersonate; undefined when not to. */
export function impersonationOf({ impersonate }: KubernetesConfig): Impersonation | undefined {
  if (impersonate === false) return undefined;
  return impersonate === true ? { user: "subject", userPrefix: "", groupPrefix: "sallyport:" } : impersonate;
}
