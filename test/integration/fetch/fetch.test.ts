import { afterAll, beforeAll, expect, test } from "vitest";
import { filesOf, startFetch } from "../../support/fetch.ts";
import { type Server, startServer } from "../../support/server.ts";
import { endOf, type SnapshotRow, startSnapshot } from "../../support/snapshots.ts";

let a: Server;
let b: Server;
let peer: string;
const secret = "hush hush";

beforeAll(async () => {
  [a, b] = await Promise.all([
    startServer({ name: "fetch" }),
    startServer({ name: "fetch-b", identity: "peer" }),
  ]);
  for (const server of [a, b])
    await server.query(
      `create extension steep_repl cascade; create role visitor login password '${secret}' in role pg_monitor`,
    );
  await b.query(
    `create table t (id int primary key, v text); create table "a""b" (x int); create table empty ();
     insert into t select g, md5(g::text) from generate_series(1, 200000) g; insert into "a""b" values (1);
     select lo_from_bytea(4711, decode(repeat('00ff', 100000), 'hex'));`,
  );
  peer = `host=127.0.0.1 port=${b.port} dbname=postgres user=postgres`;
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});

async function snapshotOf(server: Server, args?: string): Promise<SnapshotRow> {
  const row = await endOf(server, await startSnapshot(server, args === undefined ? {} : { args }));
  expect(row).toMatchObject({ status: "complete", error_message: null });
  return row;
}

test("a fetched snapshot is the same, byte by byte", async () => {
  const source = await snapshotOf(b);
  const fetched = await endOf(a, await startFetch(a, peer, source.snapshot_id));
  expect(fetched).toMatchObject({ status: "complete", error_message: null });
  expect(await filesOf(fetched.storage_path)).toEqual(await filesOf(source.storage_path));
  expect(
    await a.query("select * from steep_repl.verify_snapshot($1)", [fetched.storage_path]),
  ).toEqual([]);
  console.log(fetched);
});
