/** A local port of `sally connect` for clients that are libraries, and a node-postgres client on it. */
import pg from "pg";
import type { OidcUserName } from "../../scripts/lib/oidc-users.ts";
import type { Stack } from "./stack.ts";

export type OpenPort = {
  readonly port: number;
  readonly host: string;
  readonly database: string;
  readonly user: string;
  close(): Promise<void>;
};

/** Every connection to the port becomes a session of that user's. */
export async function openPort(
  stack: Stack,
  user: OidcUserName,
  resource: string,
  options: readonly string[] = [],
): Promise<OpenPort> {
  const running = stack.startSally(user, ["connect", resource, "--json", ...options], { timeout: 600_000 });
  const [line] = await running.waitFor("stdout", /\{[^]*\}\n/);
  const { port, host, database, user: name } = JSON.parse(line) as Omit<OpenPort, "close">;
  return {
    port,
    host,
    database,
    user: name,
    close: async () => {
      running.kill("SIGTERM");
      await running.result;
    },
  };
}

export function clientOptions(port: OpenPort): pg.ClientConfig {
  return { host: port.host, port: port.port, database: port.database, user: port.user, ssl: false };
}

/** Runs `work` on a session of its own. */
export async function withClient<T>(port: OpenPort, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client(clientOptions(port));
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}
