import { afterAll, beforeAll, test } from "vitest";
import { compareRandomPairs, prepareModel } from "../support/overlap-model.ts";
import { type Server, startServer } from "../support/server.ts";

let local: Server;
let peer: Server;

beforeAll(async () => {
  local = await startServer({ name: "model-local", settings: { fsync: "off" } });
  peer = await startServer({
    name: "model-peer",
    identity: "peer",
    settings: { fsync: "off" },
  });
});
afterAll(async () => {
  await local.destroy();
  await peer.destroy();
});

test("counts of 5000 random pairs of tables are those of a full join", async () => {
  const other = { uri: peer.uri(), query: (sql: string) => peer.query(sql) };
  await prepareModel(local, other);
  await compareRandomPairs(2500, local, other);
  // where both sides have it, rows are digested by a function of ours
  await peer.query("create extension steep_repl cascade");
  await compareRandomPairs(2500, local, other);
});
