import { afterAll, afterEach, beforeAll, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { choices, MergeModel, strategies } from "../../support/merge-model.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";

/** What the cases may take on a busy machine, in ms. */
const patience = 300_000;
const tablesOfCase = 5;

const random = createRandom();
let a: Server;
let b: Server;
let model: MergeModel;

beforeAll(async () => {
  const settings = { fsync: "off", max_worker_processes: 16 };
  a = await startServer({ name: "merge-model-a", settings });
  b = await startServer({ name: "merge-model-b", identity: "peer", settings });
  model = new MergeModel(a, b, random);
  await model.prepare();
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
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
