import { afterAll, beforeAll, expect, test } from "vitest";
import { createRandom } from "../../support/random.ts";
import { mendPairs, type SchemaPairServers, startSchemaPair } from "../../support/schema-model.ts";
import { changeTypes } from "../../support/type-pairs.ts";

/* Tables that differ in many ways at once: what is suggested is run as it is, and pg_dump judges. */
let stage: SchemaPairServers;
const pairs = 20;
/** The same ones each time, unless another is given; the soak has others. */
const seed = Number(process.env.STEEP_SEED ?? 16);

beforeAll(async () => {
  stage = await startSchemaPair("schema-model");
});
afterAll(async () => {
  await stage.server.destroy();
  await stage.peer.destroy();
});

test(`of ${pairs} random pairs of tables (seed ${seed}), suggestions mend what they do not explain`, async () => {
  const outcomes = await mendPairs(stage, pairs, 5, createRandom(seed));
  expect(outcomes.filter(({ reasons }) => reasons.length === 0).length).toBeGreaterThan(pairs / 4);
}, 180_000);

test("a change of type keeps each value, or raises an error, or is a comment", async () => {
  const { lost, broken, ...counts } = await changeTypes(stage, { rare: false });
  expect({ lost, broken }).toEqual({ lost: [], broken: [] });
  expect(counts.statements).toBeGreaterThan(200);
  expect(counts.refused).toBeGreaterThan(100);
}, 60_000);
