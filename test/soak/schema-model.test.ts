import { afterAll, beforeAll, expect, test } from "vitest";
import {
  mendPairs,
  type SchemaPairServers,
  startSchemaPair,
  tally,
} from "../support/schema-model.ts";
import { changeTypes } from "../support/type-pairs.ts";

let stage: SchemaPairServers;

beforeAll(async () => {
  stage = await startSchemaPair("schema-model");
});
afterAll(async () => {
  await stage.server.destroy();
  await stage.peer.destroy();
});

const pairs = Number(process.env.STEEP_PAIRS ?? 2000);

test(`of ${pairs} random pairs of tables, suggestions mend what they do not explain`, async () => {
  const outcomes = await mendPairs(stage, pairs, 1);
  console.info(JSON.stringify(tally(outcomes), null, 1));
  if (process.env.STEEP_ONLY_PAIRS !== undefined) return;
  expect(outcomes.filter(({ reasons }) => reasons.length === 0).length).toBeGreaterThan(pairs / 3);
}, 7_200_000);

test("a change of type keeps each value, or raises an error, or is a comment", async () => {
  const { lost, broken, ...counts } = await changeTypes(stage, { rare: true });
  console.info(JSON.stringify(counts));
  expect({ lost, broken }).toEqual({ lost: [], broken: [] });
}, 600_000);
