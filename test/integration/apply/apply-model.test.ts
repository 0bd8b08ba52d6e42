import { afterAll, beforeAll, expect, test } from "vitest";
import { applySnapshot } from "../../support/apply.ts";
import { createRandom } from "../../support/random.ts";
import { randomSchemaPair } from "../../support/random-schema.ts";
import { databaseDifferences } from "../../support/schema-dump.ts";
import { makeTables, prepareTables } from "../../support/schema-model.ts";
import { type Server, startServer } from "../../support/server.ts";
import { restore, takeSnapshot } from "../../support/snapshots.ts";

/* Random tables of whatever pg_dump can print: a copy's dump is the original's, or else as pg_restore's. */
let server: Server;
const schemas = 30;

beforeAll(async () => {
  server = await startServer({ name: "apply-model" });
  for (const name of ["app", "copy"]) await server.createDatabase(name, { extension: true });
  await prepareTables(server);
});
afterAll(async () => {
  await server.destroy();
});

test(`${schemas} schemas of random tables are applied as they were`, async () => {
  const random = createRandom();
  const made: string[][] = [];
  for (let i = 0; i < schemas; i++) {
    const statements = randomSchemaPair(random).here;
    made.push(await makeTables(server, `s${i}`, statements));
  }
  const snapshot = await takeSnapshot(server, { database: "app" });
  await applySnapshot(server, snapshot.storage_path, { database: "copy" });
  if ((await databaseDifferences(server, "app", "copy")).length === 0) return;
  // pg_dump does not print every name that a NOT NULL has: then pg_restore has to come to the same
  await restore(server, snapshot, "restored");
  await server.query("create extension steep_repl cascade", [], { database: "restored" });
  const differences = await databaseDifferences(server, "restored", "copy");
  expect(differences, JSON.stringify({ seed: random.seed, made }, null, 1)).toEqual([]);
}, 120_000);
