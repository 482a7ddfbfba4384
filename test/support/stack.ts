/**
 * The system under test, with real parts only.
 *
 * `sharedStack()` is the one that runs for the whole test run: use it whenever a test leaves it as it found it
 * (it may create tables of its own in `scratch-db`). `startPrivateStack()` starts a whole system of one's own in
 * two or three seconds: for tests that kill, restart or reconfigure.
 */
import { randomUUID } from "node:crypto";
import { chmod, mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { inject } from "vitest";
import type { BuiltWorker } from "../../scripts/build/worker.ts";
import { exchangeToken } from "../../scripts/lib/gateway-api.ts";
import type { OidcUserName } from "../../scripts/lib/oidc-users.ts";
import { OIDC_USER_NAMES } from "../../scripts/lib/oidc-users.ts";
import {
  type RunningSally,
  type SallyOptions,
  type SallyResult,
  runSally,
  startSally,
} from "../../scripts/lib/sally.ts";
import { type System, type SystemOptions, demoConfiguration, startSystem } from "../../scripts/lib/system.ts";

export type { RunningSally, SallyResult } from "../../scripts/lib/sally.ts";
export type { System } from "../../scripts/lib/system.ts";

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

declare module "vitest" {
  // oxlint-disable-next-line typescript/consistent-type-definitions -- vitest is extended by declaration merging
  interface ProvidedContext {
    stack: StackAddresses;
  }
}

export type SallyCall = Partial<Omit<SallyOptions, "gateway" | "tokenFile">>;

export type Stack = StackAddresses & {
  /** Runs `bin/sally` as that user and waits for its end. */
  sally(user: OidcUserName, args: readonly string[], options?: SallyCall): Promise<SallyResult>;
  /** Starts `bin/sally` as that user. */
  startSally(user: OidcUserName, args: readonly string[], options?: SallyCall): RunningSally;
  /** A session token of the gateway's. */
  sessionToken(user: OidcUserName, resources?: readonly string[]): Promise<string>;
  /** Runs `work` on a connection to the shop's server without the gateway; default: as the superuser. */
  direct<T>(work: (client: pg.Client) => Promise<T>, url?: string): Promise<T>;
};

/** The system of this test run. Only in the projects `conformance` and `adversarial`. */
export function sharedStack(): Stack {
  const addresses = inject("stack");
  if (addresses === undefined)
    throw new Error("the shared stack runs in test/conformance and test/adversarial only");
  return withHelpers(addresses);
}

export type PrivateStack = Stack & {
  /** Its processes, to kill and to start again. */
  readonly system: System;
  stop(): Promise<void>;
};

/** Starts a system that belongs to one test file. Call `stop` in `afterAll`. */
export async function startPrivateStack(
  options: Partial<Omit<SystemOptions, "directory">> = {},
): Promise<PrivateStack> {
  const directory = await mkdtemp(join(tmpdir(), "sallyport-private-"));
  const worker = options.worker ?? inject("stack").worker;
  const system = await startTestSystem({ ...options, directory, worker });
  // The addresses of processes change when they are started again, so they are read when they are asked for.
  const stack = withHelpers(addressesOf(system, worker));
  return Object.defineProperties({ ...stack } as PrivateStack, {
    system: { value: system },
    workerdPids: { get: () => system.gateway.workerd },
    connectorPid: { get: () => system.connector.pid },
    stop: {
      value: async () => {
        await system.stop();
        if (process.env["SALLY_KEEP_TEST_STATE"] === undefined)
          await rm(directory, { recursive: true, force: true });
      },
    },
  });
}

/** A second resource on the same server, empty, for tests that create tables; masks nothing. */
export const SCRATCH_RESOURCE = "scratch-db";

/** A system as the tests need it: the demo's configuration and `scratch-db`. */
export async function startTestSystem(options: SystemOptions): Promise<System> {
  await mkdir(options.directory, { recursive: true });
  // PostgreSQL's server runs as another user when the tests run as root.
  for (const path of [options.directory, join(options.directory, "..")]) {
    if (path.startsWith(tmpdir()) && path !== tmpdir()) await chmod(path, 0o711);
  }
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

function withHelpers(addresses: StackAddresses): Stack {
  const options = (user: OidcUserName, call: SallyCall): SallyOptions => ({
    configHome: join(addresses.directory, "config-home", randomUUID()),
    ...call,
    gateway: addresses.gateway,
    tokenFile: addresses.tokenFiles[user],
  });
  return {
    ...addresses,
    sally: (user, args, call = {}) => runSally(args, options(user, call)),
    startSally: (user, args, call = {}) => startSally(args, options(user, call)),
    sessionToken: async (user, resources) => {
      const idToken = (await readFile(addresses.tokenFiles[user], "utf8")).trim();
      return (await exchangeToken(addresses.gateway, idToken, resources)).token;
    },
    direct: async (work, url = addresses.superuserUrl) => {
      const client = new pg.Client({ connectionString: url });
      await client.connect();
      try {
        return await work(client);
      } finally {
        await client.end();
      }
    },
  };
}
