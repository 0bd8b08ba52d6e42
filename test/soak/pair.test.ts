import { afterAll, beforeAll, test, vi } from "vitest";
import { cancelledCase, killedCase } from "../support/pair-interrupted.ts";
import { replicationObjects, startNodes } from "../support/pair-nodes.ts";
import { createRandom } from "../support/random.ts";
import type { Server } from "../support/server.ts";

/* Pairs that are killed or cancelled at many moments: STEEP_CASES says how many of each kind. */

const cases = Number(process.env.STEEP_CASES ?? 30);

vi.setConfig({ testTimeout: cases * 120_000 });

const random = createRandom();
let a: Server;
let b: Server;
let before: unknown;

beforeAll(async () => {
  const nodes = await startNodes(["node_a", "node_b"], { file: "pair-soak" });
  a = nodes.node_a;
  b = nodes.node_b;
  before = await Promise.all([a, b].map(replicationObjects));
});
afterAll(async () => {
  await a?.destroy();
  await b?.destroy();
});

for (const existing of ["refuse", "merge"] as const) {
  test(`${existing}: kill -9 at ${cases} moments`, async () => {
    for (let i = 0; i < cases; i++) {
      console.info(i, await killedCase(a, b, random, existing));
    }
  });

  test(`${existing}: cancelled at ${cases} moments`, async () => {
    for (let i = 0; i < cases; i++) {
      console.info(i, await cancelledCase(a, b, random, existing, before));
    }
  });
}
