/**
 * Reads one context of a kubeconfig file (Kubernetes docs, "Organizing Cluster Access Using kubeconfig Files").
 * What would weaken the connection or needs a person is refused with a reason, not ignored.
 */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { SecretSource } from "../../lib/credentials.ts";

const MAX_BYTES = 1 << 20;

const Cluster = z.looseObject({
  server: z.string(),
  "certificate-authority": z.string().optional(),
  "certificate-authority-data": z.string().optional(),
  "tls-server-name": z.string().optional(),
  "insecure-skip-tls-verify": z.boolean().optional(),
  "proxy-url": z.string().optional(),
});
const Plugin = z.looseObject({
  apiVersion: z.string().default("client.authentication.k8s.io/v1"),
  command: z.string().min(1),
  args: z.array(z.string()).nullish(),
  env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
});
const User = z.looseObject({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  "client-certificate": z.string().optional(),
  "client-certificate-data": z.string().optional(),
  "client-key": z.string().optional(),
  "client-key-data": z.string().optional(),
  exec: Plugin.optional(),
});
const named = <T extends z.ZodType>(key: string, value: T) =>
  z.array(z.looseObject({ name: z.string(), [key]: value }));
const Kubeconfig = z.looseObject({
  "current-context": z.string().optional(),
  clusters: named("cluster", Cluster).nullish(),
  users: named("user", User).nullish(),
  contexts: named("context", z.looseObject({ cluster: z.string(), user: z.string().default("") })).nullish(),
});

/** How the API server is reached, and as whom. */
export type ClusterAccess = {
  readonly server: string;
  /** PEM. */
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  readonly token?: TokenSource;
};

export type TokenSource =
  | { readonly kind: "literal"; readonly token: string }
  | { readonly kind: "secret"; readonly source: SecretSource }
  | { readonly kind: "plugin"; readonly plugin: ExecPlugin };

/** A command that prints an ExecCredential. */
export type ExecPlugin = {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
};

/** The error is safe to log: it names keys and files, never values. */
export async function readKubeconfig(
  file: string,
  wanted: string | undefined,
): Promise<Result<ClusterAccess, string>> {
  const text = await readText(file);
  if (!text.ok) return text;
  let json: unknown;
  try {
    json = parse(text.value);
  } catch {
    return err(`${file} is not YAML`);
  }
  const parsed = Kubeconfig.safeParse(json);
  if (!parsed.success) {
    const { path, message } = parsed.error.issues[0] ?? { path: [], message: "is not understood" };
    return err(`${file}: ${path.join(".") || "the file"}: ${message}`);
  }
  const { clusters, users, contexts } = parsed.data;
  const contextName = wanted ?? parsed.data["current-context"] ?? "";
  const context = find(contexts, contextName)?.["context"] as { cluster: string; user: string } | undefined;
  if (context === undefined) return err(`${file} has no context ${JSON.stringify(contextName)}`);
  const cluster = find(clusters, context.cluster)?.["cluster"] as z.infer<typeof Cluster> | undefined;
  if (cluster === undefined) return err(`${file} has no cluster ${JSON.stringify(context.cluster)}`);
  const user = (find(users, context.user)?.["user"] ?? {}) as z.infer<typeof User>;
  return access(dirname(resolve(file)), cluster, user);
}

function find(
  list: readonly Readonly<Record<string, unknown>>[] | null | undefined,
  name: string,
): Readonly<Record<string, unknown>> | undefined {
  return list?.find((entry) => entry["name"] === name);
}

async function access(
  directory: string,
  cluster: z.infer<typeof Cluster>,
  user: z.infer<typeof User>,
): Promise<Result<ClusterAccess, string>> {
  if (cluster["insecure-skip-tls-verify"] === true)
    return err("insecure-skip-tls-verify is not accepted: give the cluster's certificate-authority");
  if (cluster["proxy-url"] !== undefined) return err("proxy-url is not supported");
  for (const key of ["auth-provider", "username", "password", "as", "as-groups", "as-uid"])
    if (user[key] !== undefined) return err(`${key} is not supported: use a token, a certificate or exec`);
  const from = (path: string): string => resolve(directory, path);
  const ca = await pem(cluster["certificate-authority-data"], cluster["certificate-authority"], from);
  if (!ca.ok) return ca;
  const cert = await pem(user["client-certificate-data"], user["client-certificate"], from);
  if (!cert.ok) return cert;
  const key = await pem(user["client-key-data"], user["client-key"], from);
  if (!key.ok) return key;
  const token = tokenOf(user, from);
  const serverName = cluster["tls-server-name"];
  return ok({
    server: cluster.server,
    ...(ca.value === undefined ? {} : { ca: ca.value }),
    ...(cert.value === undefined ? {} : { cert: cert.value }),
    ...(key.value === undefined ? {} : { key: key.value }),
    ...(serverName === undefined ? {} : { serverName }),
    ...(token === undefined ? {} : { token }),
  });
}

/** As client-go: a file is before the token itself, and either is before a plugin. */
function tokenOf(user: z.infer<typeof User>, from: (path: string) => string): TokenSource | undefined {
  if (user.tokenFile !== undefined)
    return { kind: "secret", source: { kind: "file", path: from(user.tokenFile) } };
  if (user.token !== undefined) return { kind: "literal", token: user.token };
  if (user.exec === undefined) return undefined;
  const { apiVersion, command, args, env } = user.exec;
  // A bare name is looked for on the PATH, anything else is relative to the file.
  const program = command.includes("/") ? from(command) : command;
  const variables = Object.fromEntries((env ?? []).map(({ name, value }) => [name, value]));
  return { kind: "plugin", plugin: { apiVersion, command: program, args: args ?? [], env: variables } };
}

async function pem(
  data: string | undefined,
  file: string | undefined,
  from: (path: string) => string,
): Promise<Result<string | undefined, string>> {
  if (data !== undefined && data !== "") return ok(Buffer.from(data, "base64").toString("utf8"));
  return file === undefined || file === "" ? ok(undefined) : readText(from(file));
}

async function readText(file: string): Promise<Result<string, string>> {
  try {
    const bytes = await readFile(file);
    return bytes.length > MAX_BYTES ? err(`${file} is over ${MAX_BYTES} bytes`) : ok(bytes.toString("utf8"));
  } catch (error) {
    return err(`${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`);
  }
}
