/** Starts a connector process for a running gateway. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { type Supervised, supervise } from "./processes.ts";
import { ROOT } from "./run.ts";

export type ConnectorOptions = {
  readonly name: string;
  readonly gateway: string;
  /** Directory of its configuration, its key and its secrets. Several processes of one name share it. */
  readonly directory: string;
  /** Resources as in the connector's configuration file, by name. */
  readonly resources: Readonly<Record<string, unknown>>;
  /** Enrols first when given; otherwise the key has to be there already. */
  readonly joinToken?: string;
  readonly logFile?: string;
  readonly env?: NodeJS.ProcessEnv;
};

/** Writes the configuration and starts the process. It is online once the gateway lists its resources so. */
export async function startConnector(options: ConnectorOptions): Promise<Supervised> {
  await mkdir(options.directory, { recursive: true, mode: 0o700 });
  const file = join(options.directory, "connector.yaml");
  const configuration = {
    gateway: options.gateway,
    name: options.name,
    stateDirectory: join(options.directory, "state"),
    ...(options.joinToken === undefined ? {} : { joinToken: "env:SALLY_JOIN_TOKEN" }),
    resources: options.resources,
  };
  await writeFile(file, stringify(configuration), { mode: 0o600 });
  return supervise({
    name: "the connector",
    command: process.execPath,
    args: [join(ROOT, "connectors/agent/main.ts"), "--config", file],
    env: {
      ...process.env,
      ...options.env,
      ...(options.joinToken === undefined ? {} : { SALLY_JOIN_TOKEN: options.joinToken }),
    },
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
  });
}
