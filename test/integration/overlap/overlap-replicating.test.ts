import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { analyzeOverlap, brief } from "../../support/overlap.ts";
import { bin } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

// each comparison may wait for the peer for as long as it is told
vi.setConfig({ testTimeout: 180_000 });

let a: Server;
let b: Server;
const settings = { wal_level: "logical", max_worker_processes: 16 };

beforeAll(async () => {
  a = await startServer({ name: "pair-a", settings });
  b = await startServer({ name: "pair-b", identity: "peer", settings });
  await a.query("create extension steep_repl cascade");
  for (const server of [a, b])
    await server.query(
      `create table accounts (id int primary key, balance numeric not null, seen timestamptz);
       create table hot (id int primary key, n bigint not null);
       create table log (id uuid primary key default gen_random_uuid(), account int, at timestamptz default clock_timestamp());
       insert into accounts select g, 0, null from generate_series(1, 5000) g;
       insert into hot select g, 0 from generate_series(1, 3) g;
       create publication everything for table accounts, hot, log`,
    );
  await a.query(
    `create subscription from_b connection '${b.uri()}' publication everything with (copy_data = false, origin = none)`,
  );
  await b.query(
    `create subscription from_a connection '${a.uri()}' publication everything with (copy_data = false, origin = none)`,
  );
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});

/** pgbench on one node until it is stopped; its writes go to accounts of its own. */
function writer(server: Server, parity: number): () => Promise<void> {
  const script = `\\set id 2 * random(1, 2499) + ${parity}
    update accounts set balance = balance + 0.01, seen = clock_timestamp() where id = :id;
    update hot set n = n + 1 where id = ${parity + 1};
    insert into log (account) values (:id);`;
  const file = join(server.home, "writer.sql");
  writeFileSync(file, script);
  const child = spawn(
    bin("pgbench"),
    [
      "-n",
      "-h",
      "127.0.0.1",
      "-p",
      String(server.port),
      "-U",
      "postgres",
      "-c",
      "2",
      "-T",
      "170",
      "-f",
      file,
      "postgres",
    ],
    { stdio: "ignore" },
  );
  const exit = once(child, "exit");
  return async () => {
    child.kill("SIGTERM");
    await exit;
  };
}

/** Wait until each node has replayed what the other has written. */
async function caughtUp(): Promise<void> {
  for (const node of [a, b]) {
    const [end] = await node.query<{ lsn: string }>(
      "select pg_current_wal_insert_lsn()::text as lsn",
    );
    await waitUntil(
      () =>
        node.query("select confirmed_flush_lsn >= $1::pg_lsn as there from pg_replication_slots", [
          end?.lsn,
        ]),
      (rows) => rows.length === 1 && rows[0]?.there === true,
      `the peer of ${node.name} has caught up`,
    );
  }
}

test("writers on both nodes of a replicating pair make no conflict, and a real one is found among them", async () => {
  const stops = [writer(a, 0), writer(b, 1)];
  await waitUntil(
    () => a.query<{ n: number }>("select count(*)::int as n from log"),
    (rows) => (rows[0]?.n ?? 0) > 200,
    "rows are written",
  );
  try {
    for (let i = 0; i < 4; i++) {
      const counts = await analyzeOverlap(a, b.uri(), { args: "catch_up_timeout => '10 s'" });
      for (const row of counts) {
        const [localOnly, remoteOnly, , conflict] = brief(row);
        expect([row.table_name, localOnly, remoteOnly, conflict]).toEqual([
          row.table_name,
          0,
          0,
          0,
        ]);
      }
    }
    // what is not replicated stays different: an origin that the other side does not want
    const session = await b.connect();
    await session.query("select pg_replication_origin_create('elsewhere')");
    await session.query("select pg_replication_origin_session_setup('elsewhere')");
    await session.query("update accounts set balance = -5 where id = 5000");
    await session.end();
    await a.query("select 1");
    const [accounts] = await analyzeOverlap(a, b.uri(), {
      tables: ["public.accounts"],
      args: "catch_up_timeout => '20 s'",
    });
    expect(brief(accounts).filter((_, i) => i !== 2)).toEqual([0, 0, 1, 0]);
  } finally {
    for (const stop of stops) await stop();
  }
  await caughtUp();
});

const twoTables = ["public.accounts", "public.hot"];

/** A comparison, what is behind in each table, and how long it took. */
async function timed(args: string) {
  const began = Date.now();
  const rows = await analyzeOverlap(a, b.uri(), { tables: twoTables, args });
  return {
    counts: rows.map(brief),
    behind: rows.map((r) => r.behind),
    ms: Date.now() - began,
  };
}

test("who is disabled is not waited for: what differs counts, and who is behind is said", async () => {
  await a.query("alter subscription from_b disable");
  await b.query(
    "update accounts set balance = 77 where id between 11 and 20; insert into hot values (9, 9)",
  );
  const disabled = await timed("catch_up_timeout => '1 min'");
  expect(disabled.counts).toEqual([
    [0, 0, 4989, 11, 0],
    [0, 1, 3, 0, 0],
  ]);
  expect(disabled.ms).toBeLessThan(20_000);
  const said = /^subscription from_b here \(disabled\) is \d+ (bytes|kB) behind$/;
  for (const text of disabled.behind) expect(text).toMatch(said);

  const [job] = await a.query<{ id: string }>(
    "select operation_id as id from steep_repl.start_overlap($1, $2)",
    [b.uri(), twoTables],
  );
  await a.query("select steep_repl.wait_operation($1)", [job?.id]);
  const kept = await a.query<{ behind: string; n: number }>(
    "select behind, (conflict_count + remote_only_count)::int as n from steep_repl.overlap_tables order by table_name",
  );
  expect(kept).toEqual([
    { behind: expect.stringMatching(said), n: 11 },
    { behind: expect.stringMatching(said), n: 1 },
  ]);

  await a.query("alter subscription from_b enable");
  const caughtUp = await timed("catch_up_timeout => '20 s'");
  expect(caughtUp.counts).toEqual([
    [0, 0, 4999, 1, 0],
    [0, 0, 4, 0, 0],
  ]);
  expect(caughtUp.behind).toEqual([null, null]);
});

test("who cannot connect is waited for a moment, once a call; 0 waits for nobody", async () => {
  await a.query("alter subscription from_b connection 'host=127.0.0.1 port=1 dbname=postgres'");
  await waitUntil(
    () => b.query("select active from pg_replication_slots where slot_name = 'from_b'"),
    (rows) => rows[0]?.active === false,
    "the subscription is not connected",
  );
  await b.query(
    "update hot set n = 10 where id = 9; update accounts set balance = 1 where id = 12",
  );
  const refused = await timed("catch_up_timeout => '1 min'");
  expect(refused.counts).toEqual([
    [0, 0, 4998, 2, 0],
    [0, 0, 3, 1, 0],
  ]);
  expect(refused.ms).toBeLessThan(20_000);
  for (const text of refused.behind)
    expect(text).toMatch(/^subscription from_b here \(not connected\) is \d+ (bytes|kB) behind$/);
  await a.query(`alter subscription from_b connection '${b.uri()}'`);
  await waitUntil(
    () => b.query("select active from pg_replication_slots where slot_name = 'from_b'"),
    (rows) => rows[0]?.active === true,
    "the subscription is connected again",
  );
  expect((await timed("catch_up_timeout => '20 s'")).counts).toEqual([
    [0, 0, 4999, 1, 0],
    [0, 0, 4, 0, 0],
  ]);
});

test("who is connected and does not get on is waited for once a call, and not once a table", async () => {
  // an apply worker that waits for a lock is connected
  const holder = await a.connect();
  await holder.query("begin; select * from accounts where id = 13 for update");
  await b.query(
    "update accounts set balance = 5 where id = 13; update hot set n = 11 where id = 9",
  );
  await waitUntil(
    () => a.query("select from pg_locks where not granted"),
    (rows) => rows.length > 0,
    "the apply worker waits",
  );
  const waited = await timed("catch_up_timeout => '2 s'");
  expect(waited.counts.map((c) => c[4])).toEqual([2, 1]);
  expect(waited.ms).toBeLessThan(3_900);
  const [row] = await a.query<{ behind: string }>(
    "select behind from steep_repl.analyze_overlap($1, '{public.hot}', catch_up_timeout => '0')",
    [b.uri()],
  );
  expect(row?.behind).toMatch(/^subscription from_b here is \d+ (bytes|kB) behind$/);
  await holder.query("rollback");
  await holder.end();
  expect((await timed("catch_up_timeout => '20 s'")).counts).toEqual([
    [0, 0, 4999, 1, 0],
    [0, 0, 4, 0, 0],
  ]);
});
