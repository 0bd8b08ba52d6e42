import { defineConfig } from "vitest/config";

// esbuild puts the version of the control file here
const define = { STEEP_VERSION: JSON.stringify("1.2.3") };

// Integration tests each run a server or two. One more than there are cores of a small machine uses the time in which others wait.
export default defineConfig({
  test: {
    projects: [
      {
        define: { ...define },
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          sequence: { groupOrder: 0 },
        },
      },
      {
        define: { ...define },
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: ["test/support/remove-stale-servers.ts"],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
