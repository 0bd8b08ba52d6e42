import { defineConfig } from "vitest/config";

// Run by scripts/test-image.sh, which sees to the engine and the image.
export default defineConfig({
  test: {
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/image/**/*.test.ts"],
    // The container that would clean up after us has an image of its own, which not every registry has;
    // the tests remove what they start.
    env: { TESTCONTAINERS_RYUK_DISABLED: "true" },
    // generous, since a busy machine takes some times as long
    testTimeout: 240_000,
    hookTimeout: 240_000,
    maxWorkers: 2,
  },
});
