import { defineConfig } from "vitest/config";

/**
 * `unit` needs no server and takes seconds. `conformance` (real clients, real servers) and `adversarial` share
 * one running system, started once by test/support/global-setup.ts.
 */
export default defineConfig({
  test: {
    // Two cores: more workers would only make timings of the servers under test noisy.
    maxWorkers: 2,
    projects: [
      {
        extends: true,
        test: {
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/conformance/**", "test/adversarial/**"],
          testTimeout: 20_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "conformance",
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
