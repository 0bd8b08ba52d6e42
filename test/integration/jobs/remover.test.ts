import { chmodSync, existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { holdPgDump } from "../../support/pg-dump.ts";
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

/*
 * The files of a lost job are removed by a process for which nobody waits: they may lie on a disk that does not
 * answer. Here SIGSTOP stands for such a disk.
 */
let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  // as few worker slots as PostgreSQL has by default: one job fits
  server = await startServer({
    name: "remover",
    settings: { max_worker_processes: 8, "steep_repl.poll_interval": 100 },
  });
  await server.createDatabase("app", { extension: true });
  await server.query("create table t as select generate_series(1, 3) as id", [], app);
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** A snapshot that the server's crash has interrupted, with so many files that removing them takes a while. */
async function loseSnapshot(): Promise<SnapshotRow> {
  await holdPgDump(server);
  const snapshot = await startSnapshot(server, app);
  await waitUntil(
    () => server.query("select phase from steep_repl.snapshot_progress()", [], app),
    ([row]) => row?.phase === "schema",
    "the snapshot stands at pg_dump",
  );
  for (let i = 1; i <= 50_000; i++) writeFileSync(join(snapshot.storage_path, `${i}.dat`), "");
  writeFileSync(join(snapshot.storage_path, "manifest.json"), "");
  await server.kill9();
  await server.configure({ "steep_repl.pg_dump_path": "" });
  await server.start();
  return snapshot;
}

/** Stop the remover in the middle of it all. */
async function stopRemover(snapshot: SnapshotRow): Promise<number> {
  await waitUntil(
    () => existsSync(join(snapshot.storage_path, "manifest.json")),
    (exists) => !exists,
    "the manifest is gone, which is the first file to go",
    { intervalMs: 1 },
  );
  const [remover = 0] = await server.pidsByApplicationName("steep_repl remover");
  signal(remover, "SIGSTOP");
  expect(readdirSync(snapshot.storage_path)).toContain(".steep_repl");
  return remover;
}

test("a remover that hangs holds up no other job, nor the next attempt for good", async () => {
  const snapshot = await loseSnapshot();
  const remover = await stopRemover(snapshot);
  expect(await endOf(server, snapshot, app)).toMatchObject({
    status: "failed",
    error_sqlstate: "57P02",
  });
  await takeSnapshot(server, app);

  // what is told of it touches no file
  const left = "select kind, name, retained_bytes from steep_repl.leftovers()";
  expect(await server.query(left, [], app)).toEqual([
    { kind: "directory", name: snapshot.storage_path, retained_bytes: null },
  ]);
  await expect(
    server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app),
  ).rejects.toMatchObject({ code: "55006" });
  await server.query("select steep_repl.prune_operations('0')", [], app);
  expect(await server.query(left, [], app)).toHaveLength(1);

  await takeSnapshot(server, app);
  signal(remover, "SIGCONT");
  await waitUntil(
    () => server.query(left, [], app),
    (rows) => rows.length === 0,
    "nothing is left",
  );
  expect(existsSync(snapshot.storage_path)).toBe(false);
});

test("a job that is retried meanwhile waits until its old files are gone", async () => {
  const snapshot = await loseSnapshot();
  const remover = await stopRemover(snapshot);
  await endOf(server, snapshot, app);
  await server.query("select steep_repl.retry_operation($1)", [snapshot.operation_id], app);
  await waitUntil(
    () =>
      server.query(
        "select status_detail from steep_repl.work_queue where id = $1",
        [snapshot.operation_id],
        app,
      ),
    ([row]) => /the files that one left/.test(String(row?.status_detail)),
    "the job says what it waits for",
  );
  signal(remover, "SIGCONT");
  const row = await endOf(server, snapshot, app);
  expect(row).toMatchObject({ status: "complete", error_message: null });
  expect(await problems(server, row.storage_path, app)).toEqual([]);
});

test("a job that is retried before anybody has removed its old files removes them itself", async () => {
  await holdPgDump(server);
  const snapshot = await startSnapshot(server, app);
  await waitUntil(
    () => server.query("select phase from steep_repl.snapshot_progress()", [], app),
    ([row]) => row?.phase === "schema",
    "the snapshot stands at pg_dump",
  );
  // its own coordinator cannot remove them, and does not try again
  chmodSync(snapshot.storage_path, 0o500);
  await server.query("select steep_repl.cancel_snapshot($1)", [snapshot.snapshot_id], app);
  await endOf(server, snapshot, app);
  expect(readdirSync(snapshot.storage_path)).toContain(".steep_repl");
  chmodSync(snapshot.storage_path, 0o700);
  await server.configure({ "steep_repl.pg_dump_path": "" });
  await server.query("select steep_repl.retry_operation($1)", [snapshot.operation_id], app);
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  expect(await problems(server, snapshot.storage_path, app)).toEqual([]);
});

test("after kill -9 of the remover another one goes on", async () => {
  const snapshot = await loseSnapshot();
  const remover = await stopRemover(snapshot);
  const [launcher] = await server.pidsByApplicationName("steep_repl launcher");
  signal(remover, "SIGKILL");
  await waitUntil(
    () => server.pidsByApplicationName("steep_repl launcher").catch(() => []),
    (pids) => pids.length === 1 && pids[0] !== launcher,
    "the server has restarted itself",
  );
  await expectNoLeaks(server);
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "failed" });
  expect(await server.query("select * from steep_repl.leftovers()", [], app)).toEqual([]);
});
