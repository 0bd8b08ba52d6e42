import { afterAll, beforeAll, expect, test } from "vitest";
import { analyzeOverlap, brief } from "../support/overlap.ts";
import { createRandom } from "../support/random.ts";
import { bruteForceSql, randomPair, typesSql } from "../support/random-tables.ts";
import { type Server, startServer } from "../support/server.ts";

const pairs = 1000;
const batch = 100;

let local: Server;
let peer: Server;

beforeAll(async () => {
  local = await startServer({ name: "model-local", settings: { fsync: "off" } });
  peer = await startServer({
    name: "model-peer",
    identity: "model-peer",
    settings: { fsync: "off" },
  });
  await local.query("create extension steep_repl cascade");
  await local.query(typesSql);
  // other oids for the same types
  await peer.query(
    `create type public.unused as enum ('red'); create table public.also_unused ();${typesSql}`,
  );
});
afterAll(async () => {
  await local.destroy();
  await peer.destroy();
});

test(`counts of ${pairs} random pairs of tables are those of a full join, from either side's view`, async () => {
  const random = createRandom();
  for (let done = 0; done < pairs; done += batch) {
    const made = Array.from({ length: batch }, (_, i) => randomPair(random, `t${done + i}`));
    await local.query(made.map((pair) => pair.sql[0]).join("\n"));
    await peer.query(made.map((pair) => pair.sql[1]).join("\n"));
    const counts = await analyzeOverlap(local, peer.uri(), {
      tables: made.map((pair) => `public.${pair.table}`),
    });
    const session = await local.connect();
    await session.query("select dblink_connect('peer', $1)", [peer.uri()]);
    for (const [i, pair] of made.entries()) {
      const [row] = (await session.query(bruteForceSql(pair))).rows;
      expect(brief(counts[i]), `seed ${random.seed}: ${JSON.stringify(pair)}`).toEqual([
        row.local_only,
        row.remote_only,
        row.match,
        row.conflict,
        0,
      ]);
    }
    await session.end();
    await local.query(made.map((pair) => `drop table ${pair.table}`).join(";"));
    await peer.query(made.map((pair) => `drop table ${pair.table}`).join(";"));
  }
});
