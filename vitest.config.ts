import { defineConfig } from "vitest/config";

// Integration tests each run a server; more than two at a time only slow each other down.
export default defineConfig({
  test: {
    projects: [
      {
        // esbuild puts the version of the control file here
        define: { STEEP_VERSION: JSON.stringify("1.2.3") },
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: ["test/support/remove-stale-servers.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
