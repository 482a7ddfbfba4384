/**
 * Starts the shared system once per test run, for however many projects use it, and gives its addresses to the
 * tests (`inject("stack")`, see stack.ts for the types).
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { buildGateway } from "../../scripts/build/gateway.ts";
import { type StackAddresses, addressesOf, startTestSystem } from "./test-system.ts";

type Shared = { users: number; started: Promise<{ addresses: StackAddresses; stop: () => Promise<void> }> };

/** Each project loads this file anew, so what they share hangs on the process. */
const shared = globalThis as unknown as { sallyportStack?: Shared };

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  shared.sallyportStack ??= { users: 0, started: start() };
  const stack = shared.sallyportStack;
  stack.users++;
  const { addresses, stop } = await stack.started;
  project.provide("stack", addresses);
  return async () => {
    if (--stack.users === 0) {
      delete shared.sallyportStack;
      await stop();
    }
  };
}

async function start(): Promise<{ addresses: StackAddresses; stop: () => Promise<void> }> {
  const directory = await mkdtemp(join(tmpdir(), "sallyport-test-"));
  const clean = async (): Promise<void> => {
    // Kept when asked for, to look at logs after a failure.
    if (process.env["SALLY_KEEP_TEST_STATE"] === undefined)
      await rm(directory, { recursive: true, force: true });
  };
  try {
    const worker = await buildGateway(directory);
    const system = await startTestSystem({ directory: join(directory, "system"), worker });
    return {
      addresses: addressesOf(system, worker),
      stop: async () => {
        await system.stop();
        await clean();
      },
    };
  } catch (error) {
    await clean();
    throw error;
  }
}
