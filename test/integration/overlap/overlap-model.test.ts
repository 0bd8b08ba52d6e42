import { afterAll, beforeAll, test } from "vitest";
import { olderBin, startOlderServer } from "../../support/older-server.ts";
import { compareRandomPairs, prepareModel } from "../../support/overlap-model.ts";
import { type Server, startServer } from "../../support/server.ts";

/** What the pairs may take on a busy machine, in ms. */
const patience = 300_000;

let local: Server;

beforeAll(async () => {
  local = await startServer({ name: "model-local", settings: { fsync: "off" } });
});
afterAll(() => local.destroy());

test("counts of random pairs of tables are those of a full join", {
  timeout: patience,
}, async () => {
  const other = await startServer({
    name: "model-peer",
    identity: "peer",
    settings: { fsync: "off" },
  });
  const peer = { uri: other.uri(), query: (sql: string) => other.query(sql) };
  await prepareModel(local, peer);
  await compareRandomPairs(125, local, peer);
  // where both sides have it, rows are digested by a function of ours
  await other.query("create extension steep_repl cascade");
  await compareRandomPairs(125, local, peer);
  await other.destroy();
});

test.skipIf(olderBin === undefined)(
  "and so are those of a peer of an older version",
  { timeout: patience },
  async () => {
    const older = await startOlderServer(olderBin ?? "");
    try {
      const peer = {
        uri: `postgresql://postgres@127.0.0.1:${older.port}/postgres`,
        query: (sql: string) => older.query(sql),
      };
      await prepareModel(local, peer);
      await compareRandomPairs(50, local, peer, { common: true });
    } finally {
      await older.destroy();
    }
  },
);
