import { defineConfig } from "vitest/config";

// Hours are fine here: each test bounds its own time.
export default defineConfig({
  test: {
    root: new URL("../..", import.meta.url).pathname,
    include: [
      "test/soak/**/*.test.ts",
      "test/integration/merge/merge-faults.test.ts",
      "test/integration/apply/apply-hostile-files.test.ts",
    ],
    env: { STEEP_SOAK: "1" },
    globalSetup: ["test/support/remove-stale-servers.ts"],
    testTimeout: 3_600_000,
    hookTimeout: 120_000,
    maxWorkers: 1,
    passWithNoTests: true,
  },
});
