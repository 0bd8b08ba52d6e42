import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { type Server, startServer } from "../../support/server.ts";
import { dropSnapshots, endOf, startSnapshot, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const databases = ["one", "two", "three"];

beforeAll(async () => {
  server = await startServer({ name: "workers" });
  for (const database of databases) {
    await server.createDatabase(database, { extension: true });
    await server.query(
      "create table t as select g as id, repeat(md5(g::text), 10) as filler from generate_series(1, 20000) g",
      [],
      { database },
    );
  }
});
afterAll(() => server.destroy());
afterEach(async () => {
  for (const database of databases) {
    await dropSnapshots(server, { database });
  }
  await expectNoLeaks(server);
});

test("six jobs at once in three databases all end well under the default settings", async () => {
  const jobs = await Promise.all(
    [...databases, ...databases].map(async (database) => {
      const snapshot = await startSnapshot(server, { database, args: "parallel => 4" });
      return { database, snapshot };
    }),
  );
  let most = 0;
  const ends = Promise.all(
    jobs.map(({ database, snapshot }) => endOf(server, snapshot, { database })),
  );
  let over = false;
  void ends.then(() => {
    over = true;
  });
  await waitUntil(
    async () => {
      const workers = await server.query<{ n: number }>(
        "select count(*)::int as n from pg_stat_activity where application_name like 'steep_repl snap%' and backend_type = 'background worker'",
      );
      most = Math.max(most, workers[0]?.n ?? 0);
      return over;
    },
    Boolean,
    "all jobs are over",
    { timeoutMs: 50_000 },
  );
  for (const row of await ends)
    expect(row).toMatchObject({ status: "complete", error_message: null });
  // max_worker_processes 8, less two launchers and three that stay free
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(3);
});

test("a job that finds no worker slots waits, says why, and starts when there are some", async () => {
  await server.configure({
    "steep_repl.reserved_worker_slots": 7,
    "steep_repl.poll_interval": "200ms",
  });
  const snapshot = await startSnapshot(server, { database: "one" });
  const detail = "select status, status_detail from steep_repl.list_operations('pending')";
  const rows = await waitUntil(
    () => server.query(detail, [], { database: "one" }),
    (found) => typeof found[0]?.status_detail === "string",
    "the job says what it waits for",
  );
  expect(rows[0]?.status_detail).toMatch(
    /waiting for background worker slots.*max_worker_processes = 8/,
  );
  await waitUntil(
    () =>
      server.query("select status_detail from steep_repl.work_queue where status = 'pending'", [], {
        database: "one",
      }),
    (found) => typeof found[0]?.status_detail === "string",
    "the row says it, too",
  );
  const [health] = await server.query("select * from steep_repl.health()", [], { database: "one" });
  expect(health).toMatchObject({ status: "degraded", pending_operations: "1" });

  await server.configure({ "steep_repl.reserved_worker_slots": 3 });
  const row = await endOf(server, snapshot, { database: "one" });
  expect(row.status).toBe("complete");
  await server.configure({ "steep_repl.poll_interval": "5s" });
});

test("a pending job can be cancelled, and then never runs", async () => {
  await server.configure({ "steep_repl.reserved_worker_slots": 7 });
  const snapshot = await startSnapshot(server, { database: "two" });
  expect(
    await server.query("select steep_repl.cancel_snapshot($1) as done", [snapshot.snapshot_id], {
      database: "two",
    }),
  ).toEqual([{ done: true }]);
  await server.configure({ "steep_repl.reserved_worker_slots": 3 });
  const row = await endOf(server, snapshot, { database: "two" });
  expect(row.status).toBe("cancelled");
});

test("with more slots a job uses as many copy workers as were asked for, and no more", async () => {
  // so that the log has each start of a worker: of a short-lived one nothing else need be seen
  await server.configure({ max_worker_processes: 24, log_min_messages: "debug1" });
  await server.restart();
  await server.query(
    "do $$ begin for i in 1..6 loop execute format('create table t%s as select g as id, repeat(md5((g * i)::text), 20) as f from generate_series(1, 20000) g', i); end loop; end $$".replace(
      "(g * i)",
      "(g)",
    ),
    [],
    { database: "three" },
  );
  for (const [wanted, limit] of [
    [3, 8],
    [6, 2],
  ] as const) {
    await server.configure({ "steep_repl.max_parallel_workers": limit });
    const before = (await server.log()).length;
    await takeSnapshot(server, {
      database: "three",
      args: `parallel => ${wanted}, level => 15`,
    });
    const log = (await server.log()).slice(before);
    const started = log.match(/starting background worker process "steep_repl copier"/g) ?? [];
    expect(started).toHaveLength(Math.min(wanted, limit));
  }
  await server.configure({ log_min_messages: "warning" });
});

test("processes can be told apart in pg_stat_activity, as documented", async () => {
  const rows = await server.query<{ application_name: string }>(
    "select application_name from pg_stat_activity where backend_type = 'background worker'",
  );
  expect(rows.map((row) => row.application_name)).toContain("steep_repl launcher");
});

test("an idle launcher sleeps", async () => {
  const cpu = async () => {
    const [pid] = await server.pidsByApplicationName("steep_repl launcher");
    const { readFile } = await import("node:fs/promises");
    const switches = /voluntary_ctxt_switches:\s+(\d+)/.exec(
      await readFile(`/proc/${pid}/status`, "utf8"),
    );
    return Number(switches?.[1]);
  };
  const before = await cpu();
  const started = performance.now();
  await waitUntil(
    () => performance.now() - started,
    (ms) => ms > 1500,
    "1.5 s have passed",
    { intervalMs: 100 },
  );
  expect((await cpu()) - before).toBeLessThanOrEqual(2);
});
