/**
 * The system under test, with real parts only.
 *
 * `sharedStack()` is the one that runs for the whole test run: use it whenever a test leaves it as it found it
 * (it may create tables of its own in `scratch-db`). `startPrivateStack()` starts a whole system of one's own in
 * two or three seconds: for tests that kill, restart or reconfigure.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { inject } from "vitest";
import { exchangeToken } from "../../scripts/lib/gateway-api.ts";
import type { OidcUserName } from "../../scripts/lib/oidc-users.ts";
import {
  type RunningSally,
  type SallyOptions,
  type SallyResult,
  runSally,
  startSally,
} from "../../scripts/lib/sally.ts";
import type { System, SystemOptions } from "../../scripts/lib/system.ts";
import { type StackAddresses, addressesOf, startTestSystem } from "./test-system.ts";

export type { RunningSally, SallyResult } from "../../scripts/lib/sally.ts";
export type { System } from "../../scripts/lib/system.ts";
export { SCRATCH_RESOURCE, type StackAddresses } from "./test-system.ts";

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
  const system = await startTestSystem({ ...options, directory, worker }).catch(async (error: unknown) => {
    await rm(directory, { recursive: true, force: true });
    throw error;
  });
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
