import { setTimeout as pause } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  problems,
  restore,
  runSnapshot,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({
    name: "locks",
    // long enough for a busy machine, short enough for a test that deadlocks to fail
    settings: {
      "steep_repl.lock_timeout": "20s",
      max_worker_processes: 16,
      max_locks_per_transaction: 64,
    },
  });
  await server.createDatabase("app", { extension: true });
  await server.query(
    `create table first as select g as id, repeat(md5(g::text), 20) as filler from generate_series(1, 20000) g;
     create table second as select * from first;
     create table third as select * from first`,
    [],
    app,
  );
});
afterAll(() => server.destroy());
afterEach(async () => {
  // sessions that a failed test left would fail the others too
  await server.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'",
  );
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** Run SQL in a session that then waits for a lock; `end` is when it got it. */
async function waiting(sql: string): Promise<{ readonly end: Promise<unknown> }> {
  const client = await server.connect(app);
  const [me] = (await client.query("select pg_backend_pid() as pid")).rows;
  const end = client.query(sql).finally(() => client.end());
  await waitUntil(
    () => server.query("select wait_event_type from pg_stat_activity where pid = $1", [me.pid]),
    (rows) => rows[0]?.wait_event_type === "Lock",
    `"${sql}" waits for a lock`,
  );
  return { end };
}

async function reachData(): Promise<void> {
  await waitUntil(
    () => server.query("select phase from steep_repl.snapshot_progress()", [], app),
    (rows) => rows[0]?.phase === "data",
    "the snapshot copies",
    { intervalMs: 2 },
  );
}

test("a table that stays locked fails the job in time, with its name and who holds it", async () => {
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table second in access exclusive mode");
  await server.configure({ "steep_repl.lock_timeout": "1500ms" });
  const row = await runSnapshot(server, app);
  await server.configure({ "steep_repl.lock_timeout": "20s" });
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "55P03" });
  expect(row.error_message).toContain("second");
  await blocker.end();
});

test("while a job waits for a lock, its status_detail says for which table", async () => {
  const blocker = await server.connect(app);
  const [me] = (await blocker.query("select pg_backend_pid() as pid")).rows;
  await blocker.query("begin; lock table second in access exclusive mode");
  const snapshot = await startSnapshot(server, app);
  const rows = await waitUntil(
    () =>
      server.query(
        "select status_detail from steep_repl.work_queue where status = 'running'",
        [],
        app,
      ),
    (found) => typeof found[0]?.status_detail === "string",
    "status_detail is set",
  );
  expect(rows[0]?.status_detail).toContain("public.second");
  expect(rows[0]?.status_detail).toContain(String(me.pid));
  await blocker.query("commit");
  await blocker.end();
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe("complete");
});

test.each([
  ["TRUNCATE", "truncate first, second, third"],
  ["ALTER TABLE", "alter table third add column more int"],
])("a %s that waits when a snapshot starts does not stop it for ever", async (_, sql) => {
  await server.query("create table kept as select * from third", [], app);
  const reader = await server.connect(app);
  await reader.query(
    "begin; select count(*) from first, lateral (select 1) x limit 1; select 1 from third limit 1",
  );
  const ddl = await waiting(`set lock_timeout = '30s'; ${sql}`);
  const snapshot = await startSnapshot(server, app);
  await waitUntil(
    () => server.pidsByApplicationName("steep_repl % pg_dump"),
    (pids) => pids.length > 0,
    "pg_dump waits",
  );
  await reader.end();
  await ddl.end;
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe("complete");
  expect(await problems(server, row.storage_path, app)).toEqual([]);
  await server.query(
    "truncate first, second, third; drop table third; alter table kept rename to third",
    [],
    app,
  );
  await server.query(
    "insert into first select * from third; insert into second select * from third",
    [],
    app,
  );
});

test("TRUNCATE and ALTER TABLE while a snapshot copies wait for it, and it has every row", async () => {
  const snapshot = await startSnapshot(server, {
    ...app,
    args: "compression => 'zstd', level => 19, parallel => 1",
  });
  await reachData();
  const ends = await Promise.all([
    waiting("truncate first"),
    waiting("alter table second drop column filler"),
    waiting("drop table third"),
  ]);
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe("complete");
  await Promise.all(ends.map(({ end }) => end));

  await restore(server, row, "restored");
  for (const table of ["first", "second", "third"]) {
    const rows = await server.query(`select count(*), count(filler) as filled from ${table}`, [], {
      database: "restored",
    });
    expect(rows).toEqual([{ count: "20000", filled: "20000" }]);
  }
  await server.query("drop database restored");
  await server.query(
    `drop table first, second;
     create table first as select g as id, repeat(md5(g::text), 20) as filler from generate_series(1, 20000) g;
     create table second as select * from first; create table third as select * from first`,
    [],
    app,
  );
});

test("tables that come, go and are rewritten all the time never give a half snapshot", async () => {
  const churn = await server.connect(app);
  let stop = false;
  let gap = 300;
  const busy = (async () => {
    for (let i = 0; !stop; i++) {
      await churn.query(
        "begin; truncate first; insert into first select g, 'x' from generate_series(1, 100) g; commit",
      );
      await churn.query(`create table churn_${i} as select 1 as id`);
      if (i > 3) await churn.query(`drop table churn_${i - 3}`);
      // some of the snapshots shall find a gap
      await pause(gap);
    }
  })();
  const seen: string[] = [];
  try {
    for (let i = 0; i < 5; i++) {
      const row = await runSnapshot(server, { ...app, args: "parallel => 2" });
      seen.push(row.status);
      // it may give up in time, with a reason; it may not be wrong
      if (row.status === "failed") {
        expect(row).toMatchObject({
          error_sqlstate: "40001",
          error_hint: expect.stringContaining("Retry"),
        });
        // what the gap has to be for a snapshot to fit in depends on the machine
        gap *= 2;
        continue;
      }
      await restore(server, row, `restored_${i}`);
      const rows = await server.query("select count(*) from first", [], {
        database: `restored_${i}`,
      });
      expect(["100", "20000"]).toContain(rows[0]?.count);
    }
  } finally {
    stop = true;
    await busy;
    await churn.end();
  }
  console.log(`snapshots while tables change all the time: ${seen.join(", ")}`);
  expect(seen).toContain("complete");
});

test("a lock table that is too small is refused with the value to set", async () => {
  await server.query(
    `do $$ begin for i in 1..10000 loop execute format('create table many_%s ()', i); if i % 200 = 0 then commit; end if; end loop; end $$`,
    [],
    app,
  );
  const row = await runSnapshot(server, app);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "53400" });
  expect(row.error_hint).toMatch(/max_locks_per_transaction to at least \d+/);
  const limited = await takeSnapshot(server, { ...app, args: "tables => '{public.first}'" });
  expect(limited.status).toBe("complete");
});
