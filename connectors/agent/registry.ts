/** The protocols that the connector reaches. A new one is a folder beside `postgres/` and a line in each list. */
import { z } from "zod";
import { type Result, assertNever } from "../../wire/result.ts";
import { HttpConfig } from "./http/config.ts";
import { http } from "./http/upstream.ts";
import { KubernetesConfig } from "./kubernetes/config.ts";
import { kubernetes } from "./kubernetes/upstream.ts";
import { PostgresConfig } from "./postgres/config.ts";
import { postgres } from "./postgres/upstream.ts";
import { SshConfig } from "./ssh/config.ts";
import { ssh } from "./ssh/upstream.ts";
import type { ConfigComplaint, Upstream } from "./upstream.ts";

/** One resource of the config, of any protocol. */
export const ResourceConfig = z.discriminatedUnion("protocol", [
  PostgresConfig,
  SshConfig,
  HttpConfig,
  KubernetesConfig,
]);
export type ResourceConfig = z.infer<typeof ResourceConfig>;

export function createUpstream(
  name: string,
  config: ResourceConfig,
): Promise<Result<Upstream, ConfigComplaint>> {
  switch (config.protocol) {
    case "postgres":
      return postgres.create(name, config);
    case "ssh":
      return ssh.create(name, config);
    case "http":
      return http.create(name, config);
    case "kubernetes":
      return kubernetes.create(name, config);
    default:
      return assertNever(config);
  }
}
