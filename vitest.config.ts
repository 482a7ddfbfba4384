import { statfsSync } from "node:fs";
import { defineConfig } from "vitest/config";

/**
 * The systems under test write every recording durably. In memory that costs no disk's time, which is not what
 * the tests are about; where there is no such place (or it is small) they use the ordinary one.
 */
const MEMORY = "/dev/shm";
const NEEDED_BYTES = 4 * 1024 ** 3;
if (process.env["TMPDIR"] === undefined && freeBytes(MEMORY) > NEEDED_BYTES) process.env["TMPDIR"] = MEMORY;

/** Once more for what drives real processes on busy machines; attacks and pure code get no second chance. */
const RETRY = 1;

function freeBytes(directory: string): number {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize;
  } catch {
    return 0;
  }
}

/** Tests that start servers of their own (PostgreSQL, workerd, sshd, an identity provider) beside one part of us. */
const WITH_SERVERS = [
  "test/**/workerd.test.ts",
  "test/**/*-server.test.ts",
  "test/**/*clients.test.ts",
  "test/connectors/agent/{connector,control,login}.test.ts",
  "test/connectors/agent/ssh/**/*.test.ts",
  "test/connectors/cli/login.test.ts",
  "test/connectors/lib/*.test.ts",
  "test/scripts/lib/{oidc,processes}.test.ts",
  "test/worker/identity/{oidc-provider,key-source}.test.ts",
  "test/worker/objects/**/*.test.ts",
  "test/worker/policy/sql/{prepared,scoping}.test.ts",
];

/**
 * `unit` needs no server and takes seconds: `npm run check` runs it. `parts` are tests of one part with real
 * servers. `conformance` (real clients, real servers) and `adversarial` share one running system, started once by
 * test/support/global-setup.ts.
 */
export default defineConfig({
  test: {
    // One more than the two cores that we count on: much of what is tested waits.
    maxWorkers: 3,
    // What is waited for comes sooner on an idle machine; a busy one is given its time.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/conformance/**", "test/adversarial/**", ...WITH_SERVERS],
          testTimeout: 20_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "parts",
          retry: RETRY,
          include: WITH_SERVERS,
          exclude: ["test/conformance/**", "test/adversarial/**"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "conformance",
          retry: RETRY,
          include: ["test/conformance/**/*.test.ts"],
          globalSetup: ["test/support/global-setup.ts"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
      {
        extends: true,
        test: {
          name: "adversarial",
          include: ["test/adversarial/**/*.test.ts"],
          globalSetup: ["test/support/global-setup.ts"],
          testTimeout: 60_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});
