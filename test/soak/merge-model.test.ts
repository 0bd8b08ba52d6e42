import { test } from "vitest";
import { choices, type MergeModel, setMergeModel, strategies } from "../support/merge-model.ts";
import { createRandom } from "../support/random.ts";

const tables = 1000;
const tablesOfCase = 20;

const random = createRandom();
let model: MergeModel;
setMergeModel(random, (m) => {
  model = m;
});

test.each(strategies)("%s makes of 1000 random tables what the model does", async (strategy) => {
  for (let done = 0; done < tables; done += 3 * tablesOfCase)
    for (const choice of choices(random)) {
      await model.setPeersHaveExtension(random.next() < 0.5);
      await model.check(tablesOfCase, { strategy, ...choice });
    }
});
