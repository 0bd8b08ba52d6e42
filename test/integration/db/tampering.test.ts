import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { holdPgDump } from "../../support/pg-dump.ts";
import { createRole, whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  freshPath,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * The documented grants let a role write to our tables. What it can gain by that is what it could
 * do anyway: queue jobs as itself, and cancel its own.
 */
let server: Server;
const app = { database: "app" };
const limited = "tables => '{public.open}'";

beforeAll(async () => {
  server = await startServer({
    name: "tampering",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": 100 },
  });
  await server.createDatabase("app", { extension: true });
  for (const name of ["intruder", "victim"]) await createRole(server, "app", name);
  await server.query(
    `create table open as select 1 as id; create table hidden as select 2 as id;
     create publication open for table open;
     grant select on open to intruder, victim;
     grant set on parameter session_replication_role to intruder`,
    [],
    app,
  );
});
afterAll(() => server.destroy());

afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

const insert =
  "insert into steep_repl.work_queue (operation, params) values ('snapshot_generate', $1) returning *";
const params = (changes: object) => ({
  output_path: freshPath(server),
  compression: "zstd",
  parallel: 1,
  tables: ["public.open"],
  ...changes,
});

async function rowOf(snapshot_id: string): Promise<SnapshotRow> {
  const [row] = await server.query<SnapshotRow>(
    "select * from steep_repl.snapshots where snapshot_id = $1",
    [snapshot_id],
    app,
  );
  if (!row) throw new Error(`there is no ${snapshot_id}`);
  return row;
}

describe.each(["origin", "replica"])("with session_replication_role = %s a role", (setting) => {
  let intruder: Client;
  beforeEach(async () => {
    intruder = await server.connect({ ...app, user: "intruder" });
    await intruder.query(`set session_replication_role = ${setting}`);
  });
  afterEach(() => intruder.end());
  const denied = async (sql: string, values: unknown[] = []) =>
    expect(intruder.query(sql, values)).rejects.toMatchObject({ code: "42501" });

  test("cannot choose who a job runs as, its id, state or process", async () => {
    const bystander = await server.connect({ ...app, user: "victim" });
    const { rows: pids } = await bystander.query("select pg_backend_pid() as pid");
    const { rows } = await intruder.query(
      `insert into steep_repl.work_queue (id, operation, status, status_detail, snapshot_id, merge_id, params,
         requested_by, requested_by_oid, worker_pid, attempts, created_at, started_at, completed_at,
         error_message, error_sqlstate, error_hint, system_identifier, database_oid)
       values (4711, 'snapshot_generate', 'running', 'x', 'snap_chosen', 'merge_chosen', $1,
         'postgres', 10, $2, 9, 'epoch', 'epoch', 'epoch', 'x', 'x', 'x', '1', 1) returning *`,
      [params({ tables: ["public.hidden"] }), pids[0].pid],
    );
    expect(rows[0]).toMatchObject({
      status: "pending",
      requested_by: "intruder",
      worker_pid: null,
      attempts: 0,
      started_at: null,
      error_message: null,
    });
    expect(rows[0].id).not.toBe("4711");
    expect(rows[0].snapshot_id).toMatch(/^snap_\d{8}_\d{6}_[0-9a-f]{8}$/);
    const row = await endOf(server, await rowOf(rows[0].snapshot_id), app);
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(row.error_message).toContain("public.hidden");
    expect(await bystander.query("select 1 as alive")).toMatchObject({ rows: [{ alive: 1 }] });
    await bystander.end();
  });

  test("cannot make a job write where it may not", async () => {
    const path = join(server.home, "anywhere");
    const { rows } = await intruder.query(insert, [params({ output_path: path })]);
    expect(await endOf(server, await rowOf(rows[0].snapshot_id), app)).toMatchObject({
      status: "failed",
      error_sqlstate: "42501",
      error_hint: expect.stringContaining("steep_repl.snapshot_directories"),
    });
    expect(existsSync(path)).toBe(false);
  });

  test("can queue a job by hand, as start_snapshot would", async () => {
    const { rows } = await intruder.query(insert, [params({})]);
    expect(await endOf(server, await rowOf(rows[0].snapshot_id), app)).toMatchObject({
      status: "complete",
      requested_by: "intruder",
    });
  });

  test("cannot queue an operation that does not exist, nor without parameters", async () => {
    for (const [operation, given] of [
      ["format_disk", "{}"],
      ["snapshot_generate", "[]"],
      ["snapshot_generate", "null"],
      ["snapshot_generate", '"x"'],
    ])
      await expect(
        intruder.query("insert into steep_repl.work_queue (operation, params) values ($1, $2)", [
          operation,
          given,
        ]),
      ).rejects.toMatchObject({ code: "23514" });
  });

  test("can cancel its pending job and change nothing else of it", async () => {
    const snapshot = await whileJobsWait(server, async () => {
      const started = await startSnapshot(server, { ...app, user: "intruder", args: limited });
      for (const change of [
        "status = 'complete'",
        "status = 'running'",
        "status = 'cancelled', params = '{}'",
        "status = 'cancelled', error_message = 'x'",
        'params = params || \'{"output_path":"/tmp/x"}\'',
        "requested_by = 'postgres', requested_by_oid = 10",
        "id = 1",
        "snapshot_id = 'x'",
        "worker_pid = pg_backend_pid()",
        "system_identifier = '1'",
        "created_at = 'epoch'",
      ])
        await denied(`update steep_repl.work_queue set ${change}`);
      await denied("delete from steep_repl.work_queue");
      await denied(
        `merge into steep_repl.work_queue w using (values (1)) v on true when matched then delete`,
      );
      await intruder.query("update steep_repl.work_queue set status = 'cancelled'");
      return started;
    });
    expect(await endOf(server, snapshot, app)).toMatchObject({ status: "cancelled" });
    await denied("update steep_repl.work_queue set status = 'pending'");
    await denied("delete from steep_repl.work_queue");
    // as cancelled by hand as by cancel_snapshot: it can be dropped, or tried again
    await intruder.query("select steep_repl.retry_operation($1)", [snapshot.operation_id]);
    expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
    await intruder.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id]);
  });

  test("can write nothing of another role's jobs", async () => {
    const snapshot = await whileJobsWait(server, async () => {
      const started = await startSnapshot(server, { ...app, user: "victim", args: limited });
      for (const sql of [
        "update steep_repl.work_queue set status = 'cancelled'",
        "delete from steep_repl.work_queue",
        "select * from steep_repl.work_queue for update",
        "select * from steep_repl.snapshots for update",
      ])
        expect(await intruder.query(sql)).toMatchObject({ rowCount: 0 });
      return started;
    });
    expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  });

  test("can write nothing to the tables that the workers write", async () => {
    const own = await takeSnapshot(server, { ...app, user: "intruder", args: limited });
    for (const sql of [
      "update steep_repl.snapshots set storage_path = '/etc'",
      "update steep_repl.snapshots set status = 'failed' where false",
      "delete from steep_repl.snapshots",
      `insert into steep_repl.snapshots (snapshot_id, operation_id, requested_by, requested_by_oid, system_identifier)
       values ('x', 1, 'intruder', 'intruder'::regrole, steep_repl._system_identifier())`,
      "merge into steep_repl.snapshots s using (values (1)) v on true when matched then update set status = 'failed'",
      "update steep_repl._job_directories set path = '/etc'",
      "delete from steep_repl._job_directories",
      "insert into steep_repl._job_directories (operation_id, path, token, system_identifier, database_oid) values (1, '/etc', 'token', '1', 1)",
    ])
      await denied(sql);
    expect(await rowOf(own.snapshot_id)).toEqual(own);
    // it cannot lock its own row there, on which workers would wait
    expect(await intruder.query("select * from steep_repl.snapshots for update")).toMatchObject({
      rowCount: 0,
    });
  });

  test("does not see where the jobs' directories are", async () => {
    await takeSnapshot(server, { ...app, user: "intruder", args: limited });
    const all = await server.query("select * from steep_repl._job_directories", [], app);
    expect(all).toHaveLength(1);
    expect(await intruder.query("select * from steep_repl._job_directories")).toMatchObject({
      rowCount: 0,
    });
  });
});

describe("garbage in the parameters of a job fails it cleanly:", () => {
  test.each<[what: string, changes: object, sqlstate: string]>([
    ["no path", { output_path: null }, "22023"],
    ["a number for a path", { output_path: 7 }, "22023"],
    ["an object for a path", { output_path: { a: 1 } }, "22023"],
    ["a relative path", { output_path: "x" }, "22023"],
    ["a path with ..", { output_path: "/tmp/../etc/x" }, "22023"],
    ["a path of 5000 bytes", { output_path: `/${"x".repeat(5000)}` }, "22023"],
    ["a method that is none", { compression: "rar" }, "22023"],
    ["a level beyond the method's", { level: 99 }, "22023"],
    ["a level beyond all numbers", { level: 1e300 }, "22023"],
    ["text for parallel", { parallel: "many" }, "22023"],
    ["parallel beyond the limit", { parallel: 1e9 }, "22023"],
    ["half a worker", { parallel: 2.5 }, "22023"],
    ["text for tables", { tables: "public.open" }, "22023"],
    ["numbers for tables", { tables: [1] }, "22023"],
    ["no table at all", { tables: [] }, "22023"],
    ["a table that is not there", { tables: ["public.open", "public.gone"] }, "42P01"],
    ["a malformed name", { tables: ['public."open'] }, "42P01"],
    ["a system table", { tables: ["pg_catalog.pg_authid"] }, "22023"],
    ["a schema that is not there", { tables: null, schemas: ["public", "gone"] }, "3F000"],
    ["an object for schemas", { tables: null, schemas: { a: 1 } }, "22023"],
    ["tables and schemas", { schemas: ["public"] }, "22023"],
    ["a number for a node", { node_id: 7 }, "22023"],
    ["a slot without publications", { slot_name: "slot" }, "55000"],
    ["a publication that is not there", { slot_name: "slot", publications: ["gone"] }, "55000"],
    ["a slot for which it has no right", { slot_name: "slot", publications: ["open"] }, "42501"],
    ["a name that no slot has", { slot_name: "Slot'", publications: ["open"] }, "22023"],
    ["a number for a slot", { slot_name: 7, publications: ["open"] }, "22023"],
    ["an answer about large objects that is none", { large_objects: true }, "22023"],
  ])("%s", async (_, changes, sqlstate) => {
    const [queued] = await server.query<{ snapshot_id: string }>(insert, [params(changes)], {
      ...app,
      user: "intruder",
    });
    const row = await endOf(server, await rowOf(queued?.snapshot_id ?? ""), app);
    expect(row).toMatchObject({ status: "failed", error_sqlstate: sqlstate });
    expect(await readdir(server.snapshotDir)).toEqual([]);
  });
});

test("internal functions check the caller's rights for themselves", async () => {
  const theirs = await takeSnapshot(server, { ...app, user: "victim", args: limited });
  const intruder = await server.connect({ ...app, user: "intruder" });
  const { operation_id: id, snapshot_id, storage_path } = theirs;
  for (const [call, code] of [
    [`_cancel(${id})`, "42501"],
    [`_retry(${id})`, "42501"],
    [`_operation(${id})`, "42501"],
    [`_drop_snapshot('${snapshot_id}')`, "42501"],
    [`_snapshot('${snapshot_id}')`, "42704"],
    [`verify_snapshot('${storage_path}')`, "42501"],
    ["_check_output_path('/etc/x')", "42501"],
  ])
    await expect(intruder.query(`select * from steep_repl.${call}`)).rejects.toMatchObject({
      code,
    });
  for (const call of ["_leftovers()", "_live_jobs()"])
    expect(await intruder.query(`select * from steep_repl.${call}`)).toMatchObject({ rowCount: 0 });
  // what JavaScript runs, it runs as the caller
  const { rows } = await intruder.query(
    `select steep_repl._sql('{"sql": "select * from hidden"}')::jsonb -> 'error' ->> 'sqlstate' as code`,
  );
  expect(rows).toEqual([{ code: "42P01" }]);
  const { rows: again } = await intruder.query(
    `select steep_repl._sql('{"sql": "select * from public.hidden"}')::jsonb -> 'error' ->> 'sqlstate' as code`,
  );
  expect(again).toEqual([{ code: "42501" }]);
  await intruder.end();
});

test.each(["_enqueued", "_dequeued"])("%s is of no use as a trigger elsewhere", async (fn) => {
  const theirs = await takeSnapshot(server, { ...app, user: "victim", args: limited });
  const intruder = await server.connect({ ...app, user: "intruder" });
  await intruder.query(
    `create temp table work_queue (id bigint, status text);
     create trigger mine after insert on work_queue for each row execute function steep_repl.${fn}()`,
  );
  await expect(
    intruder.query(`insert into work_queue values (${theirs.operation_id}, 'cancelled')`),
  ).rejects.toMatchObject({ code: "39P01" });
  await intruder.end();
  expect(await rowOf(theirs.snapshot_id)).toEqual(theirs);
});

describe("a role that keeps its row locked", () => {
  test("does not hold up the recovery of other jobs, nor their start", async () => {
    const blocker = await server.connect(app);
    await blocker.query("begin; lock table open in access exclusive mode");
    const mine = await startSnapshot(server, { ...app, user: "intruder", args: limited });
    const [coordinator] = await waitUntil(
      () => server.pidsByApplicationName(`steep_repl ${mine.snapshot_id} coordinator`),
      (pids) => pids.length === 1,
      "the coordinator runs",
    );
    const locker = await server.connect({ ...app, user: "intruder" });
    await locker.query("begin; select * from steep_repl.work_queue for update");
    await server.query("select pg_terminate_backend($1)", [coordinator]);
    await blocker.end();

    const theirs = await startSnapshot(server, { ...app, user: "victim", args: limited });
    expect(await endOf(server, theirs, app)).toMatchObject({ status: "complete" });
    expect(await rowOf(mine.snapshot_id)).toMatchObject({ status: "running" });
    await locker.end();
    expect(await endOf(server, mine, app)).toMatchObject({
      status: "failed",
      error_sqlstate: "57P02",
    });
  });

  test("finds its pending job started once it lets go", async () => {
    const locker = await server.connect({ ...app, user: "intruder" });
    const mine = await whileJobsWait(server, async () => {
      const started = await startSnapshot(server, { ...app, user: "intruder", args: limited });
      await locker.query("begin");
      await locker.query("select steep_repl.cancel_snapshot($1)", [started.snapshot_id]);
      return started;
    });
    const theirs = await takeSnapshot(server, { ...app, user: "victim", args: limited });
    expect(theirs.status).toBe("complete");
    await locker.query("rollback");
    await locker.end();
    expect(await endOf(server, mine, app)).toMatchObject({ status: "complete" });
  });
});

test("whoever locks the whole queue holds jobs up, and loses none", async () => {
  await server.configure({ "steep_repl.lock_timeout": "500ms" });
  // neither the coordinator nor a dispatcher may be about to write to the queue when it is locked
  const release = await holdPgDump(server);
  const held = await startSnapshot(server, app);
  await waitUntil(
    () =>
      server.query<{ phase: string; dispatchers: number }>(
        `select p.phase, (select count(*)::int from pg_stat_activity
           where application_name = 'steep_repl dispatcher') as dispatchers
         from steep_repl.snapshot_progress() p`,
        [],
        app,
      ),
    ([row]) => row?.phase === "schema" && row.dispatchers === 0,
    "the job stands at pg_dump",
  );
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table hidden in access exclusive mode");
  const locker = await server.connect(app);
  await locker.query("begin; lock table steep_repl.work_queue in access exclusive mode");
  expect(existsSync(held.storage_path)).toBe(true);
  await release();
  // the lock on its table times out, its files are removed, and then how it ended cannot be written
  await waitUntil(
    async () => ({
      files: existsSync(held.storage_path),
      waits: await server.query<{ long: boolean }>(
        `select clock_timestamp() > l.waitstart + interval '1 s' as long from pg_locks l join pg_stat_activity a using (pid)
         where not l.granted and l.relation = 'steep_repl.work_queue'::regclass and a.application_name like '%coordinator'`,
        [],
        app,
      ),
    }),
    ({ files, waits }) => !files && waits[0]?.long === true,
    "the coordinator waits to write the end for longer than lock_timeout",
  );
  await locker.end();
  await blocker.end();
  // said by pg_dump, or by the coordinator, which could not write what pg_dump waits for
  expect(await endOf(server, held, app)).toMatchObject({
    status: "failed",
    error_sqlstate: "55P03",
    error_message: expect.stringContaining("public.hidden"),
  });
  // only jobs that fail are worth more than a LOG
  expect(await server.log()).not.toContain("ERROR:  canceling statement due to lock timeout");
  await server.configure({ "steep_repl.lock_timeout": "30s" });
});

test("a job can be cancelled and waited for in one transaction", async () => {
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table open in access exclusive mode");
  const client = await server.connect({ ...app, user: "victim" });
  const { snapshot_id } = await startSnapshot(server, { ...app, user: "victim", args: limited });
  await waitUntil(
    () => rowOf(snapshot_id),
    (row) => row.status === "running",
    "the job runs",
  );
  await client.query("begin");
  await client.query("select steep_repl.cancel_snapshot($1)", [snapshot_id]);
  const { rows } = await client.query("select * from steep_repl.wait_snapshot($1, 10)", [
    snapshot_id,
  ]);
  expect(rows).toMatchObject([{ status: "cancelled" }]);
  await client.end();
  await blocker.end();
});
