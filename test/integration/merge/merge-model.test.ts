import { afterEach, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { choices, type MergeModel, setMergeModel, strategies } from "../../support/merge-model.ts";
import { createRandom } from "../../support/random.ts";
import type { Server } from "../../support/server.ts";

/** What the cases may take on a busy machine, in ms. */
const patience = 300_000;
const tablesOfCase = 3;

const random = createRandom();
let model: MergeModel;
let a: Server;
let b: Server;
setMergeModel(random, (...made) => {
  [model, a, b] = made;
});
afterEach(async () => {
  await expectNoLeaks(a);
  await expectNoLeaks(b);
});

test.each(strategies)(
  "%s makes of random tables what the model does, whatever becomes of rows of one side",
  { timeout: patience },
  async (strategy) => {
    for (const choice of choices(random)) {
      await model.setPeersHaveExtension(random.next() < 0.5);
      await model.check(tablesOfCase, { strategy, ...choice });
    }
  },
);
