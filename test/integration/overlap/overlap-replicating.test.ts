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

test("rows that a disabled subscription holds back are unsettled, and match once it goes on", async () => {
  await a.query("alter subscription from_b disable");
  await b.query(
    "update accounts set balance = 77 where id between 11 and 20; insert into hot values (9, 9)",
  );
  const seen = await analyzeOverlap(a, b.uri(), {
    tables: ["public.accounts", "public.hot"],
    args: "catch_up_timeout => '1 s'",
  });
  expect(seen.map(brief)).toEqual([
    [0, 0, 4989, 0, 11],
    [0, 0, 3, 0, 1],
  ]);
  await a.query("alter subscription from_b enable");
  const caughtUp = await analyzeOverlap(a, b.uri(), {
    tables: ["public.accounts", "public.hot"],
    args: "catch_up_timeout => '20 s'",
  });
  expect(caughtUp.map(brief)).toEqual([
    [0, 0, 4999, 1, 0],
    [0, 0, 4, 0, 0],
  ]);
});
