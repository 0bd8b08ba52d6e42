import { expect } from "vitest";
import { analyzeOverlap, brief } from "./overlap.ts";
import { createRandom } from "./random.ts";
import { bruteForceSql, type RandomPair, randomPair, typesSql } from "./random-tables.ts";
import type { Server } from "./server.ts";

const batch = 100;

/** The other side: any server, with other oids for the same types. */
export interface ModelPeer {
  readonly uri: string;
  readonly query: (sql: string) => Promise<unknown>;
}

/** Make the types that random tables use, and the extension here. */
export async function prepareModel(local: Server, peer: ModelPeer): Promise<void> {
  await local.query("create extension if not exists steep_repl cascade");
  await local.query(
    `do $$ begin if to_regtype('public.color') is null then execute $types$${typesSql}$types$; end if; end $$`,
  );
  await peer.query(
    `create type public.unused as enum ('red'); create table public.also_unused (); ${typesSql}`,
  );
}

/** Make the tables on both sides, count by us and by a full join, and drop them. */
async function checkPairs(
  pairs: readonly RandomPair[],
  seed: number,
  local: Server,
  peer: ModelPeer,
): Promise<void> {
  await local.query(pairs.map((pair) => pair.sql[0]).join("\n"));
  await peer.query(pairs.map((pair) => pair.sql[1]).join("\n"));
  const counts = await analyzeOverlap(local, peer.uri, {
    tables: pairs.map((pair) => `public.${pair.table}`),
  });
  const session = await local.connect();
  await session.query("select dblink_connect('peer', $1)", [peer.uri]);
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
  await peer.query(drop);
}

/** Compare so many random pairs of tables; `common`: as PostgreSQL 14 has them, too. */
export async function compareRandomPairs(
  count: number,
  local: Server,
  peer: ModelPeer,
  { common = false } = {},
): Promise<void> {
  const random = createRandom();
  for (let done = 0; done < count; done += batch) {
    const pairs = Array.from({ length: Math.min(batch, count - done) }, (_, i) =>
      randomPair(random, `t${done + i}`, { common, anyKey: true }),
    );
    await checkPairs(pairs, random.seed, local, peer);
  }
}
