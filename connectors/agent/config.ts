/** The connector's config file (docs/connector.md). */
import { z } from "zod";
import { type Result, err, ok } from "../../wire/result.ts";
import { type ConfigProblem, readConfigFile } from "../lib/config-file.ts";
import { Secret } from "./config-values.ts";
import { ResourceConfig, createUpstream } from "./registry.ts";
import type { Upstream } from "./upstream.ts";

const GatewayText = z.string().transform((text, context): string => {
  const complain = (message: string) => {
    context.addIssue({ code: "custom", message });
    return z.NEVER;
  };
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "https:" && url.protocol !== "http:"))
    return complain("must be an https:// address");
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return complain("must be an address without user, query or fragment");
  }
  const local =
    url.hostname === "localhost" || url.hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(url.hostname);
  if (url.protocol === "http:" && !local)
    return complain("must be https:// unless the gateway is on this machine");
  return url.origin + url.pathname.replace(/\/+$/, "");
});

const ConnectorConfig = z.strictObject({
  gateway: GatewayText,
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "must be lower case letters, digits and hyphens, at most 63"),
  /** Holds the connector's key after enrolling. */
  stateDirectory: z.string().min(1),
  /** Needed once, to enrol. */
  joinToken: Secret.optional(),
  resources: z.record(
    z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
        "a resource's name is letters, digits, dots, hyphens and underscores",
      ),
    ResourceConfig,
  ),
});
export type ConnectorConfig = z.infer<typeof ConnectorConfig>;

export type Resource = { readonly name: string; readonly protocol: string; readonly upstream: Upstream };

export type LoadedConfig = {
  readonly config: ConnectorConfig;
  readonly resources: ReadonlyMap<string, Resource>;
};

/** Reads the config and makes its upstreams ready. */
export async function loadConfig(file: string): Promise<Result<LoadedConfig, ConfigProblem[]>> {
  const read = await readConfigFile(file, ConnectorConfig);
  if (!read.ok) return read;
  const { value: config, problemAt } = read.value;
  const resources = new Map<string, Resource>();
  const problems: ConfigProblem[] = [];
  for (const [name, resource] of Object.entries(config.resources)) {
    const upstream = await createUpstream(name, resource);
    if (upstream.ok) resources.set(name, { name, protocol: resource.protocol, upstream: upstream.value });
    else {
      const path = ["resources", name, ...upstream.error.path];
      problems.push(problemAt(path, `${path.join(".")}: ${upstream.error.message}`));
    }
  }
  if (resources.size === 0 && problems.length === 0)
    problems.push(problemAt(["resources"], "resources: names no resource"));
  return problems.length > 0 ? err(problems) : ok({ config, resources });
}
