import { afterAll, beforeAll, expect, test } from "vitest";
import { type OlderServer, olderBin, startOlderServer } from "../support/older-server.ts";
import { analyzeOverlap, brief } from "../support/overlap.ts";
import { createRandom } from "../support/random.ts";
import { bruteForceSql, type RandomPair, randomPair, typesSql } from "../support/random-tables.ts";
import { type Server, startServer } from "../support/server.ts";

const batch = 100;
/** What 1000 pairs may take on a busy machine, in ms. */
const patience = 300_000;
// other oids for the same types
const otherTypesSql = `create type public.unused as enum ('red'); create table public.also_unused (); ${typesSql}`;

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
  await peer.query(otherTypesSql);
});
afterAll(async () => {
  await local.destroy();
  await peer.destroy();
});

/** Make the tables on both sides, count by us and by a full join, and drop them. */
async function checkPairs(
  pairs: readonly RandomPair[],
  seed: number,
  uri: string,
  onPeer: (sql: string) => Promise<unknown>,
): Promise<void> {
  await local.query(pairs.map((pair) => pair.sql[0]).join("\n"));
  await onPeer(pairs.map((pair) => pair.sql[1]).join("\n"));
  const counts = await analyzeOverlap(local, uri, {
    tables: pairs.map((pair) => `public.${pair.table}`),
  });
  const session = await local.connect();
  await session.query("select dblink_connect('peer', $1)", [uri]);
  for (const [i, pair] of pairs.entries()) {
    const [row] = (await session.query(bruteForceSql(pair))).rows;
    expect(brief(counts[i]), `seed ${seed}: ${JSON.stringify(pair)}`).toEqual([
      row.local_only,
      row.remote_only,
      row.match,
      row.conflict,
      0,
    ]);
  }
  await session.end();
  const drop = pairs.map((pair) => `drop table ${pair.table}`).join(";");
  await local.query(drop);
  await onPeer(drop);
}

test(
  "counts of 1000 random pairs of tables are those of a full join",
  async () => {
    const random = createRandom();
    for (let done = 0; done < 1000; done += batch) {
      const pairs = Array.from({ length: batch }, (_, i) => randomPair(random, `t${done + i}`));
      await checkPairs(pairs, random.seed, peer.uri(), (sql) => peer.query(sql));
    }
  },
  patience,
);

test.skipIf(olderBin === undefined)(
  "and so are those of a peer of an older version",
  async () => {
    const older: OlderServer = await startOlderServer(olderBin ?? "");
    try {
      await older.query(otherTypesSql);
      const random = createRandom();
      const pairs = Array.from({ length: batch }, (_, i) =>
        randomPair(random, `older${i}`, { common: true }),
      );
      await checkPairs(
        pairs,
        random.seed,
        `postgresql://postgres@127.0.0.1:${older.port}/postgres`,
        (sql) => older.query(sql),
      );
    } finally {
      await older.destroy();
    }
  },
  patience,
);
