import { existsSync } from "node:fs";
import { chmod, mkdir, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { cancelJob, msUntilEnd } from "../../support/ends.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { signal } from "../../support/processes.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  problems,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;

beforeAll(async () => {
  server = await startServer({ name: "faults", settings: { max_worker_processes: 16 } });
  await server.createDatabase("app", { extension: true });
  // values that do not compress, so that copying takes a second or two
  for (const table of ["big", "big_too"]) {
    await server.query(
      `create table ${table} as
       select g as id, (select string_agg(md5(random()::text), '') from generate_series(1, 30) where g = g) as filler
       from generate_series(1, 10000) g`,
      [],
      { database: "app" },
    );
  }
});
beforeAll(() => server.query("create publication everything for all tables", [], app));
afterEach(async () => {
  // what a failed test left would fail the others too
  await dropSnapshots(server, app);
});
afterAll(() => server.destroy());

const app = { database: "app" };
const slow = { ...app, args: "compression => 'zstd', level => 15, parallel => 2" };

/** Wait until the running snapshot is in this phase; in data, until some bytes were copied. */
async function reach(step: string): Promise<void> {
  await waitUntil(
    () =>
      server.query<{ phase: string; bytes: string; status: string }>(
        `select p.phase, p.bytes_processed as bytes, s.status
         from steep_repl.snapshot_progress() p join steep_repl.snapshots s using (snapshot_id)
         where s.status in ('pending', 'running')`,
        [],
        app,
      ),
    ([row]) => row?.phase === phaseOf(step) && (step !== "data" || Number(row.bytes) > 0),
    `the snapshot is at step ${step}`,
    { intervalMs: 2 },
  );
  // one that is killed between making its directory and marking it leaves that, empty
  if (step === "pinning")
    await waitUntil(
      async () =>
        (await readdir(server.snapshotDir)).some((name) =>
          existsSync(join(server.snapshotDir, name, ".steep_repl")),
        ),
      Boolean,
      "the snapshot has marked its directory",
      { intervalMs: 2 },
    );
}

/** What holds a job at a step, in a transaction of another session. */
const gates: Readonly<Record<string, string>> = {
  checking: "lock table pg_largeobject_metadata in access exclusive mode",
  // a slot waits for transactions that are older than itself
  pinning: "select pg_current_xact_id()",
  schema: "lock table big in access exclusive mode",
};

/** The phase in which each step is done. */
function phaseOf(step: string): string {
  return step === "checking" || step === "pinning" ? "planning" : step;
}

/** A session that keeps jobs from getting past a step, until it ends. */
async function holdAt(step: string): Promise<() => Promise<void>> {
  const gate = gates[step];
  if (gate === undefined) return async () => {};
  const client = await server.connect(app);
  await client.query(`begin; ${gate}`);
  return () => client.end();
}

function startAt(step: string): Promise<SnapshotRow> {
  const slot = step === "pinning" ? ", slot_name => 'pinned', publications => '{everything}'" : "";
  return startSnapshot(server, { ...slow, args: slow.args + slot });
}

async function expectCleanFailure(snapshot: SnapshotRow, status = "failed"): Promise<SnapshotRow> {
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe(status);
  // files of a job that was lost go a moment later
  await expectNoLeaks(server);
  expect(existsSync(row.storage_path)).toBe(false);
  return row;
}

describe.each(["checking", "pinning", "schema", "data"])("in step %s", (step) => {
  test("cancelling ends the job within 2 seconds and removes its files", async () => {
    const release = await holdAt(step);
    const snapshot = await startAt(step);
    await reach(step);
    const since = await cancelJob(server, snapshot, app);
    const row = await endOf(server, snapshot, app);
    expect(await msUntilEnd(server, snapshot, since, app)).toBeLessThan(2000);
    expect(row.error_message).toBeNull();
    await release();
    await expectCleanFailure(snapshot, "cancelled");
  });

  // before the planning there is no holder yet
  const processes = step === "checking" ? ["coordinator"] : ["coordinator", "holder"];
  test.each(processes)("kill -9 of the %s fails the job cleanly", async (who) => {
    const release = await holdAt(step);
    const snapshot = await startAt(step);
    await reach(step);
    await crash(`steep_repl ${snapshot.snapshot_id} ${who}`);
    await release();
    const row = await expectCleanFailure(snapshot);
    expect(row.error_sqlstate).toBe("57P02");
    expect(row.error_hint).toContain("retry_operation");
  });

  test("kill -9 of the whole server fails the job within 10 s of the restart", async () => {
    await holdAt(step);
    const snapshot = await startAt(step);
    await reach(step);
    await server.kill9();
    await server.start();
    const [restart] = await server.query<{ at: string }>(
      "select pg_postmaster_start_time()::text as at",
    );
    const row = await expectCleanFailure(snapshot);
    expect(await msUntilEnd(server, snapshot, restart?.at ?? "", app)).toBeLessThan(10_000);
    expect(row.error_message).toContain("ended before the job did");
  });

  test("terminating the coordinator fails the job cleanly", async () => {
    const release = await holdAt(step);
    const snapshot = await startAt(step);
    await reach(step);
    await server.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where application_name = 'steep_repl ${snapshot.snapshot_id} coordinator'`,
    );
    await release();
    await expectCleanFailure(snapshot);
  });

  test("a fast shutdown is not held up, and the job is failed after the restart", async () => {
    await holdAt(step);
    const snapshot = await startAt(step);
    await reach(step);
    const before = performance.now();
    await server.stop("fast");
    // a worker that does not heed the signal would hold it up for ever
    expect(performance.now() - before).toBeLessThan(15_000);
    await server.start();
    await expectCleanFailure(snapshot);
  });
});

/** The process of a worker, which may only just have been started. */
async function pidOf(worker: string): Promise<number> {
  const [pid] = await waitUntil(
    () => server.pidsByApplicationName(worker),
    (pids) => pids.length === 1,
    `${worker} runs`,
    { intervalMs: 2 },
  );
  return pid ?? 0;
}

/** Kill a worker with SIGKILL and wait until the server has restarted itself. */
async function crash(worker: string): Promise<void> {
  const [launcher] = await server.pidsByApplicationName("steep_repl launcher");
  signal(await pidOf(worker), "SIGKILL");
  await launcherIsNot(launcher);
}

/** Wait until another launcher than this one serves. */
async function launcherIsNot(pid: number | undefined): Promise<void> {
  await waitUntil(
    () => server.pidsByApplicationName("steep_repl launcher").catch(() => []),
    (pids) => pids.length === 1 && pids[0] !== pid,
    "there is a new launcher",
    { timeoutMs: 20_000 },
  );
}

test.each([1, 2])("kill -9 of copy worker %s fails the job cleanly", async (number) => {
  const snapshot = await startSnapshot(server, slow);
  await reach("data");
  await crash(`steep_repl ${snapshot.snapshot_id} copy ${number}`);
  await expectCleanFailure(snapshot);
});

test("a terminated copy worker or holder fails the job and says so", async () => {
  for (const who of ["copy 1", "holder"]) {
    const snapshot = await startSnapshot(server, slow);
    await reach("data");
    const pid = await pidOf(`steep_repl ${snapshot.snapshot_id} ${who}`);
    await server.query("select pg_terminate_backend($1)", [pid]);
    const row = await expectCleanFailure(snapshot);
    expect(row.error_message).toContain("terminated");
  }
});

test("a failed job can be retried, and then gives a sound snapshot", async () => {
  const snapshot = await startSnapshot(server, slow);
  await reach("data");
  await server.query("select steep_repl.cancel_snapshot($1)", [snapshot.snapshot_id], app);
  await expectCleanFailure(snapshot, "cancelled");

  const [retried] = await server.query<{ status: string; attempts: number }>(
    "select * from steep_repl.retry_operation($1)",
    [snapshot.operation_id],
    app,
  );
  expect(retried).toMatchObject({ status: "pending", attempts: 1 });
  const row = await endOf(server, snapshot, app);
  expect(row).toMatchObject({ status: "complete", error_message: null });
  expect(await problems(server, row.storage_path, app)).toEqual([]);
  await server.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], app);
  await expectNoLeaks(server);
});

test("a launcher that is terminated comes back and goes on serving", async () => {
  const running = await startSnapshot(server, slow);
  await reach("data");
  const [launcher] = await server.pidsByApplicationName("steep_repl launcher");
  await server.query("select pg_terminate_backend($1)", [launcher]);
  await launcherIsNot(launcher);
  const first = await endOf(server, running, app);
  expect(first.status).toBe("complete");
  const second = await takeSnapshot(server, app);
  for (const row of [first, second]) {
    await server.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], app);
  }
  await expectNoLeaks(server);
});

test("a directory that somebody else took over is not touched", async () => {
  const snapshot = await startSnapshot(server, slow);
  await reach("data");
  const moved = `${snapshot.storage_path}-moved`;
  await rename(snapshot.storage_path, moved);
  await mkdir(snapshot.storage_path);
  await writeFile(`${snapshot.storage_path}/toc.dat`, "precious");
  await server.query("select steep_repl.cancel_snapshot($1)", [snapshot.snapshot_id], app);
  await endOf(server, snapshot, app);
  expect(await readdir(snapshot.storage_path)).toEqual(["toc.dat"]);
  await rm(snapshot.storage_path, { recursive: true });
  await rm(moved, { recursive: true });
  await expectNoLeaks(server);
});

test("what could not be removed shows in leftovers() with the command that removes it", async () => {
  const snapshot = await startSnapshot(server, slow);
  await reach("data");
  await chmod(snapshot.storage_path, 0o500);
  await server.query("select steep_repl.cancel_snapshot($1)", [snapshot.snapshot_id], app);
  await endOf(server, snapshot, app);
  const left = "select * from steep_repl.leftovers()";
  const [found] = await server.query<{ drop_command: string }>(left, [], app);
  expect(found).toMatchObject({ kind: "directory", name: snapshot.storage_path });
  expect(await server.log()).toContain("could not remove directory");

  await chmod(snapshot.storage_path, 0o700);
  await server.query(found?.drop_command ?? "", [], app);
  expect(existsSync(snapshot.storage_path)).toBe(false);
  expect(await server.query(left, [], app)).toEqual([]);
  await expectNoLeaks(server);
});
