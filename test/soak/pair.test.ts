import { test, vi } from "vitest";
import { cancelledCase, killedCase } from "../support/pair-interrupted.ts";
import { setPairNodes } from "../support/pair-nodes.ts";
import { createRandom } from "../support/random.ts";
import type { Server } from "../support/server.ts";

/* Pairs that are killed or cancelled at many moments: STEEP_CASES says how many of each kind. */

const cases = Number(process.env.STEEP_CASES ?? 30);

vi.setConfig({ testTimeout: cases * 120_000 });

const random = createRandom();
let a: Server;
let b: Server;
let before: readonly unknown[];

setPairNodes("pair-soak", (...nodes) => {
  [a, b, before] = nodes;
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
