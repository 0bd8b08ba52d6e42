import { expect, test } from "vitest";
import { cli } from "../../support/cli.ts";
import { olderBin, startOlderServer } from "../../support/older-server.ts";

test.skipIf(olderBin === undefined)("a server before 18 is told to be one", async () => {
  const server = await startOlderServer(olderBin ?? "");
  try {
    const uri = `postgresql://postgres@127.0.0.1:${server.port}/postgres`;
    const { code, stderr } = await cli(["health", "--direct", "-c", uri]);
    expect(code).toBe(6);
    expect(stderr).toMatch(
      /^steep-repl: the server is PostgreSQL 1[4-7]\.\d+.*, and steep_repl needs 18 or newer; hint: [^\n]+\n$/,
    );
  } finally {
    await server.destroy();
  }
});
