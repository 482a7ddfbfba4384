/** A system as the tests need it: the demo's configuration and a second, empty database without masks. */
import type { BuiltWorker } from "../../scripts/build/worker.ts";
import { OIDC_USER_NAMES, type OidcUserName } from "../../scripts/lib/oidc-users.ts";
import { type System, type SystemOptions, demoConfiguration, startSystem } from "../../scripts/lib/system.ts";

/** What crosses from the process that started the shared system to those that run the tests: plain data. */
export type StackAddresses = {
  readonly gateway: string;
  readonly issuer: string;
  /** The shop without the gateway, as the connector's role. */
  readonly shopUrl: string;
  /** The server's superuser, database `postgres`. */
  readonly superuserUrl: string;
  readonly tokenFiles: Readonly<Record<OidcUserName, string>>;
  /** Directory of the system's state and logs. */
  readonly directory: string;
  readonly worker: BuiltWorker;
  readonly workerdPids: readonly number[];
  readonly connectorPid: number;
};

/** A second resource on the same server, empty, for tests that create tables; masks nothing. */
export const SCRATCH_RESOURCE = "scratch-db";

/** A system as the tests need it: the demo's configuration and `scratch-db`. */
export async function startTestSystem(options: SystemOptions): Promise<System> {
  return startSystem({
    unsafe: true,
    databases: ["scratch"],
    configuration: testConfiguration,
    resources: (postgres, passwordFile) => ({
      [SCRATCH_RESOURCE]: {
        protocol: "postgres",
        address: `127.0.0.1:${postgres.port}`,
        database: "scratch",
        user: "sallyport",
        password: `file:${passwordFile}`,
      },
    }),
    ...options,
  });
}

/** The demo's configuration and a resource without masks. */
export async function testConfiguration(values: {
  readonly issuer: string;
}): Promise<Record<string, string>> {
  const files = await demoConfiguration(values);
  const scratch = `\n  ${SCRATCH_RESOURCE}:\n    protocol: postgres\n    connector: demo\n    database: scratch\n`;
  return { ...files, "sallyport.yaml": `${files["sallyport.yaml"] ?? ""}${scratch}` };
}

export function addressesOf(system: System, worker: BuiltWorker): StackAddresses {
  return {
    gateway: system.gateway.url,
    issuer: system.oidc.issuer,
    shopUrl: system.shopUrl,
    superuserUrl: system.postgres.url("postgres"),
    tokenFiles: Object.fromEntries(OIDC_USER_NAMES.map((user) => [user, system.tokenFile(user)])) as Record<
      OidcUserName,
      string
    >,
    directory: system.directory,
    worker,
    workerdPids: system.gateway.workerd,
    connectorPid: system.connector.pid,
  };
}
