import { readFile } from "node:fs/promises";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRole, whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  freshPath,
  type SnapshotRow,
  startSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* What one role does must not keep others waiting. */
let server: Server;
const app = { database: "app" };
const others = { database: "others" };
const roles = ["greedy", "modest", "third", "fourth"];

beforeAll(async () => {
  server = await startServer({
    name: "fairness",
    settings: {
      max_worker_processes: 12,
      "steep_repl.poll_interval": "100ms",
      "steep_repl.lock_timeout": "30s",
    },
  });
  for (const name of ["app", "others", "third"])
    await server.createDatabase(name, { extension: true });
  await server.query("create table t as select 1 as id", [], app);
  for (const role of roles) await createRole(server, "app", role);
});
afterAll(() => server.destroy());
afterEach(async () => {
  await server.query(
    "update steep_repl.work_queue set status = 'cancelled' where status = 'pending'",
    [],
    app,
  );
  await waitUntil(
    () => server.query("select from steep_repl.work_queue where status = 'running'", [], app),
    (running) => running.length === 0,
    "no job runs",
  );
  await dropSnapshots(server, app);
  await server.query("delete from steep_repl.work_queue", [], app);
  await expectNoLeaks(server);
});

/** Queue jobs that fail as soon as they run. */
const queueJunk = (user: string, n: number) =>
  server.query(
    "insert into steep_repl.work_queue (operation, params) select 'snapshot_generate', '{}' from generate_series(1, $1)",
    [n],
    { ...app, user },
  );

const allAreOver = () =>
  waitUntil(
    () =>
      server.query(
        "select from steep_repl.work_queue where status in ('pending', 'running')",
        [],
        app,
      ),
    (rows) => rows.length === 0,
    "all jobs are over",
  );

/** How many jobs of a role began after another one was queued and before it began. */
async function begunBefore(snapshot: SnapshotRow, role: string): Promise<number> {
  const [row] = await server.query<{ n: number }>(
    `select count(*)::int as n from steep_repl.work_queue o, steep_repl.work_queue w
     where w.id = $1 and o.requested_by = $2 and o.started_at between w.created_at and w.started_at`,
    [snapshot.operation_id, role],
    app,
  );
  return row?.n ?? -1;
}

test("one role's many jobs do not delay another role's, whether they run or fail at once", async () => {
  await queueJunk("greedy", 200);
  const snapshot = await startSnapshot(server, { ...app, user: "modest" });
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  // what runs is not ended, and slots that are free are used; but nobody passes by
  expect(await begunBefore(snapshot, "greedy")).toBeLessThanOrEqual(6);
});

test("roles are served in turns, and jobs that a role deletes or retries gain it no turn", async () => {
  await whileJobsWait(server, async () => {
    await queueJunk("greedy", 9);
    for (const role of ["modest", "third", "fourth"]) await queueJunk(role, 3);
  });
  await allAreOver();
  const begun = await server.query<{ role: string }>(
    "select requested_by as role from steep_repl.work_queue order by started_at",
    [],
    app,
  );
  const first = begun.slice(0, 8).map(({ role }) => role);
  for (const role of roles)
    expect(first.filter((r) => r === role).length, role).toBeLessThanOrEqual(3);

  // the last one served has all of its history deleted, and so would be thought to be new
  await whileJobsWait(server, async () => {
    await server.query("select steep_repl.prune_operations('0')", [], { ...app, user: "greedy" });
    await queueJunk("greedy", 4);
    await queueJunk("modest", 1);
  });
  await allAreOver();
  const [last] = await server.query<{ role: string }>(
    "select requested_by as role from steep_repl.work_queue where requested_by in ('greedy', 'modest') and attempts > 0 order by started_at desc limit 1",
    [],
    app,
  );
  expect(last).toEqual({ role: "greedy" });
});

test("a role cannot take all places for connection strings, and superusers always get one", async () => {
  await whileJobsWait(server, async () => {
    const sessions: Client[] = [];
    const keep = async (user: string, n: number) => {
      const client = await server.connect({ ...app, user });
      sessions.push(client);
      await client.query("begin");
      const { rows } = await client.query(
        "insert into steep_repl.work_queue (operation, params) select 'overlap', '{}' from generate_series(1, $1::int) returning id",
        [n],
      );
      for (const { id } of rows)
        await client.query("select steep_repl._keep_peer($1, 'host=127.0.0.1')", [id]);
    };
    await expect(keep("greedy", 17)).rejects.toMatchObject({
      code: "53400",
      detail: expect.stringContaining("of one role 16"),
    });
    await sessions.pop()?.end();
    for (const user of ["greedy", "modest", "third"]) await keep(user, 16);
    await expect(keep("fourth", 1)).rejects.toMatchObject({ code: "53400" });
    await keep("postgres", 16);
    for (const session of sessions) await session.end();
    await keep("fourth", 1);
    await sessions.pop()?.end();
  });
});

test("a row that its role has locked does not keep others from being told what they wait for", async () => {
  const locker = await server.connect({ ...app, user: "greedy" });
  await whileJobsWait(server, async () => {
    await queueJunk("greedy", 1);
    await locker.query("begin; select from steep_repl.work_queue for update");
    const snapshot = await startSnapshot(server, { ...app, user: "modest" });
    await waitUntil(
      () =>
        server.query(
          "select status_detail from steep_repl.work_queue where id = $1",
          [snapshot.operation_id],
          app,
        ),
      (rows) => typeof rows[0]?.status_detail === "string",
      "the other's row says what it waits for",
      { timeoutMs: 10_000 },
    );
  });
  await waitUntil(
    () =>
      server.query(
        "select from steep_repl.work_queue where requested_by = 'modest' and status = 'complete'",
        [],
        app,
      ),
    (rows) => rows.length === 1,
    "the other's job runs",
  );
  await locker.query("rollback");
  await locker.end();
});

test("a running job goes on while its role has its row locked", async () => {
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table t in access exclusive mode");
  const snapshot = await startSnapshot(server, app);
  await waitUntil(
    () => server.pidsByApplicationName(`steep_repl ${snapshot.snapshot_id} pg_dump`),
    (pids) => pids.length === 1,
    "pg_dump runs",
  );
  const locker = await server.connect(app);
  await locker.query("begin; select from steep_repl.work_queue for update");
  // what it waits for has changed, which it would write down
  await blocker.query("rollback");
  await waitUntil(
    () =>
      server.query(
        "select phase from steep_repl.snapshot_progress($1)",
        [snapshot.snapshot_id],
        app,
      ),
    ([row]) => row?.phase === "complete",
    "it has done its work",
    { timeoutMs: 10_000 },
  );
  await locker.query("rollback");
  for (const client of [locker, blocker]) await client.end();
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
});

test("a comparison needs one worker slot, and says so where it finds none", async () => {
  // twelve, less the launchers of PostgreSQL and ours
  await server.configure({ "steep_repl.reserved_worker_slots": 9 });
  const waiting = await startSnapshot(server, app);
  const queue = "insert into steep_repl.work_queue (operation, params) values ('overlap', '{}')";
  await server.query(queue, [], { ...app, user: "modest" });
  await server.query("select steep_repl.cancel_operation($1)", [waiting.operation_id], app);
  await waitUntil(
    () =>
      server.query("select status from steep_repl.work_queue where operation = 'overlap'", [], app),
    (rows) => rows[0]?.status === "failed",
    "the comparison ran, and failed for want of a peer",
  );
  const again = await startSnapshot(server, app);
  const detail = "select status_detail from steep_repl.list_operations('pending')";
  expect((await server.query(detail, [], app))[0]?.status_detail).toMatch(/a job needs 3/);
  await server.query("select steep_repl.cancel_operation($1)", [again.operation_id], app);
  await server.configure({ "steep_repl.reserved_worker_slots": 1000 });
  await server.query(queue, [], app);
  expect((await server.query(detail, [], app))[0]?.status_detail).toMatch(/a job needs 1/);
  await server.configure({ "steep_repl.reserved_worker_slots": 3 });
});

test("a launcher sleeps while as many dispatchers run as there may be", async () => {
  const lockers = await Promise.all([app, others].map((options) => server.connect(options)));
  await whileJobsWait(server, async () => {
    for (const options of [app, others, { database: "third" }])
      await startSnapshot(server, { ...options, path: freshPath(server) });
    for (const locker of lockers)
      await locker.query("begin; lock table steep_repl.work_queue in access exclusive mode");
    await waitUntil(
      () => server.pidsByApplicationName("steep_repl dispatcher"),
      (pids) => pids.length === 2,
      "two dispatchers wait for the locks",
    );
    const [pid] = await server.pidsByApplicationName("steep_repl launcher");
    const switches = async () =>
      Number(
        /\nvoluntary_ctxt_switches:\s+(\d+)/.exec(
          await readFile(`/proc/${pid}/status`, "utf8"),
        )?.[1],
      );
    const before = await switches();
    await server.query("select pg_sleep(1)");
    expect((await switches()) - before).toBeLessThanOrEqual(20);
    for (const locker of lockers) await locker.query("rollback");
    for (const options of [others, { database: "third" }])
      await server.query(
        "select steep_repl.cancel_operation(id) from steep_repl.work_queue where status = 'pending'",
        [],
        options,
      );
  });
  for (const locker of lockers) await locker.end();
  for (const options of [others, { database: "third" }]) await dropSnapshots(server, options);
});
