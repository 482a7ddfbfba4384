/**
 * Kubernetes resources: HTTP exchanges (connectors/agent/http) with a cluster's API server, in the cluster's
 * credential and, where the config says so, in the principal's name.
 */
import { readFile } from "node:fs/promises";
import type { HeaderField } from "../../../wire/http/headers.ts";
import type { HttpOpen } from "../../../wire/http/open.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { HttpAddress } from "../http/config.ts";
import { type OutgoingRequest, withHeader } from "../http/credential.ts";
import { type TlsOptions, openTarget, readTls, serveExchange } from "../http/upstream.ts";
import type { ConfigComplaint, Protocol } from "../upstream.ts";
import { type Impersonation, KubernetesConfig, impersonationOf } from "./config.ts";
import { impersonationFields } from "./impersonate.ts";
import { type TokenSource, readKubeconfig } from "./kubeconfig.ts";
import { ClusterToken } from "./token.ts";

/** Where a pod finds its account (Kubernetes docs, "Accessing the Kubernetes API from a Pod"). */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** Fields by which a cluster is told who asks: nothing of them may come from the client. */
const OURS = /^(?:authorization|impersonate-.*|x-remote-.*)$/;

type Cluster = { readonly address: URL; readonly tls: TlsOptions; readonly token: ClusterToken };

export const kubernetes: Protocol<KubernetesConfig> = {
  name: "kubernetes",
  config: KubernetesConfig,
  create: async (resource, config) => {
    const cluster = await clusterOf(config);
    if (!cluster.ok) return cluster;
    const { address, tls, token } = cluster.value;
    const impersonation = impersonationOf(config);
    // HTTP/2 has one flow of credit for all; a watch that nobody reads must not hold up the rest.
    const target = openTarget({ address, http2: false }, tls, {
      wholeBody: false,
      put: (request, _body, open) => withIdentity(request, open, token, impersonation),
      forget: () => token.forget(),
    });
    return ok({
      channels: {
        kubernetes: (channel, payload, log) => serveExchange(resource, target, channel, payload, log),
      },
      close: () => void target.pool.destroy(),
    });
  },
};

/** The request as the connector's own, or as the principal's by the connector's right to impersonate. */
async function withIdentity(
  request: OutgoingRequest,
  open: HttpOpen,
  token: ClusterToken,
  impersonation: Impersonation | undefined,
): Promise<Result<OutgoingRequest, string>> {
  const kept = request.headers.filter(([name]) => !OURS.test(name.replaceAll("_", "-").toLowerCase()));
  let added: readonly HeaderField[] = [];
  if (impersonation !== undefined) {
    if (open.principal === undefined) return err("the gateway did not say who asks");
    const fields = impersonationFields(open.principal, impersonation);
    if (!fields.ok) return fields;
    added = fields.value;
  }
  const known = await token.get();
  if (!known.ok) return known;
  const identified = { ...request, headers: [...kept, ...added] };
  return known.value === undefined
    ? ok(identified)
    : withHeader(identified, "authorization", `Bearer ${known.value}`);
}

async function clusterOf(config: KubernetesConfig): Promise<Result<Cluster, ConfigComplaint>> {
  if (config.kubeconfig !== undefined) return fromKubeconfig(config.kubeconfig, config);
  if (config.inCluster === true) return inCluster(process.env, SERVICE_ACCOUNT);
  const { address, token, ...rest } = config;
  if (address === undefined) return err({ path: ["address"], message: "is missing" });
  const tls = await readTls(rest);
  if (!tls.ok) return tls;
  const source: TokenSource | undefined = token === undefined ? undefined : { kind: "secret", source: token };
  return ok({ address, tls: tls.value, token: new ClusterToken(source, async () => source) });
}

async function fromKubeconfig(
  file: string,
  { context, plaintext }: KubernetesConfig,
): Promise<Result<Cluster, ConfigComplaint>> {
  const complain = (message: string): Result<never, ConfigComplaint> =>
    err({ path: ["kubeconfig"], message });
  const read = await readKubeconfig(file, context);
  if (!read.ok) return complain(read.error);
  const { server, ca, cert, key, serverName, token } = read.value;
  const address = KubernetesConfig.safeParse({ protocol: "kubernetes", address: server, plaintext });
  if (!address.success)
    return complain(`its server ${address.error.issues[0]?.message ?? "is not understood"}`);
  const tls = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(serverName === undefined ? {} : { servername: serverName }),
  };
  const again = async (): Promise<TokenSource | undefined> => {
    const reread = await readKubeconfig(file, context);
    return reread.ok ? reread.value.token : undefined;
  };
  return ok({ address: HttpAddress.parse(server), tls, token: new ClusterToken(token, again) });
}

/** The pod's own account. Its token is replaced about every hour: the file is read for each request. */
export async function inCluster(
  environment: Readonly<Record<string, string | undefined>>,
  directory: string,
): Promise<Result<Cluster, ConfigComplaint>> {
  const host = environment["KUBERNETES_SERVICE_HOST"];
  const port = environment["KUBERNETES_SERVICE_PORT"] ?? "443";
  const address = URL.parse(`https://${host?.includes(":") === true ? `[${host}]` : host}:${port}`);
  if (host === undefined || address === null)
    return err({ path: ["inCluster"], message: "is not so: KUBERNETES_SERVICE_HOST is not set" });
  let ca: string;
  try {
    ca = await readFile(`${directory}/ca.crt`, "utf8");
  } catch {
    return err({ path: ["inCluster"], message: `is not so: ${directory}/ca.crt cannot be read` });
  }
  const source: TokenSource = { kind: "secret", source: { kind: "file", path: `${directory}/token` } };
  return ok({ address, tls: { ca }, token: new ClusterToken(source, async () => source) });
}
