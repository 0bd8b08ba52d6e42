import { afterAll, beforeAll, test } from "vitest";
import { choices, MergeModel, strategies } from "../support/merge-model.ts";
import { createRandom } from "../support/random.ts";
import { type Server, startServer } from "../support/server.ts";

const tables = 1000;
const tablesOfCase = 20;

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

test.each(strategies)("%s makes of 1000 random tables what the model does", async (strategy) => {
  for (let done = 0; done < tables; done += 3 * tablesOfCase)
    for (const choice of choices(random)) {
      await model.setPeersHaveExtension(random.next() < 0.5);
      await model.check(tablesOfCase, { strategy, ...choice });
    }
});
