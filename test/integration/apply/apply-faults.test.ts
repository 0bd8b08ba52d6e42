import { appendFile, mkdir, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  type ApplyRow,
  applySnapshot,
  endOfApply,
  retryApply,
  runApply,
  startApply,
} from "../../support/apply.ts";
import { giveToServer } from "../../support/data-directory.ts";
import { cancelJob, msUntilEnd } from "../../support/ends.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { signal } from "../../support/processes.ts";
import { type Server, startServer } from "../../support/server.ts";
import { digests, type SnapshotRow, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

const source = { database: "source" };
const target = { database: "target" };
let server: Server;
let snapshot: SnapshotRow;
let expected: Record<string, string>;

// A crash empties it, also where the snapshot is taken from.
const fillUnlogged = `
  truncate app.unlogged restart identity;
  insert into app.unlogged (v) select md5(g::text) from generate_series(1, 5000) g`;

// The advisory locks 1 (a row is checked) and 2 (an index is built) are gates that a session can
// hold shut in the target.
const schema = `
  create role app_owner;
  create schema app;
  create function app.pass(gate int) returns boolean immutable language plpgsql as $$
    begin perform pg_catalog.pg_advisory_xact_lock_shared(gate); return true; end $$;
  create table app.gated (id int primary key, filler text);
  insert into app.gated select g, repeat(md5(g::text), 30) from generate_series(1, 30000) g;
  alter table app.gated add check (id <> 15000 or app.pass(1));
  create table app.early as select g as id, md5(g::text) as v from generate_series(1, 1000) g;
  alter table app.early owner to app_owner;
  create index on app.gated (id) where app.pass(2);
  create unlogged table app.unlogged (id int generated always as identity, v text);
  create table app.plain (id int references app.gated);
  insert into app.plain select generate_series(1, 1000)`;

beforeAll(async () => {
  server = await startServer({ name: "apply-faults", settings: { max_worker_processes: 16 } });
  await server.createDatabase("source", { extension: true });
  await server.query(`${schema};${fillUnlogged}`, [], source);
  expected = await digests(server, "source");
  snapshot = await takeSnapshot(server, source);
});
afterAll(() => server.destroy());
beforeEach(() => server.createDatabase("target", { extension: true }));
afterEach(async () => {
  await server.query("drop database target with (force)");
  await expectNoLeaks(server, { files: [snapshot.storage_path.split("/").at(-1) ?? ""] });
});

/** What holds a job in a phase, in a transaction of another session. */
const gates = {
  planning: "lock table steep_repl._apply_done in access exclusive mode",
  schema: "create schema app",
  data: "select pg_advisory_lock(1)",
  indexes: "select pg_advisory_lock(2)",
} as const;

type Gate = keyof typeof gates;
const everyGate = Object.keys(gates) as Gate[];

async function shut(gate: Gate): Promise<() => Promise<void>> {
  const client = await server.connect(target);
  await client.query(`begin; ${gates[gate]}`);
  return () => client.end();
}

/** Wait until the apply stands at a gate: in its phase, with a worker that waits for a lock. */
async function reach(gate: Gate): Promise<void> {
  await waitUntil(
    () =>
      server.query<{ phase: string; waiting: boolean }>(
        `select p.phase, exists (select from pg_stat_activity
           where application_name like 'steep_repl apply_%' and wait_event_type = 'Lock') as waiting
         from steep_repl.snapshot_progress() p`,
        [],
        target,
      ),
    ([row]) => row?.phase === gate && row.waiting,
    `the apply waits in phase ${gate}`,
  );
}

/** An apply that is held in a phase. */
async function heldAt(gate: Gate): Promise<{ apply: ApplyRow; release: () => Promise<void> }> {
  const release = await shut(gate);
  const apply = await startApply(server, snapshot.storage_path, {
    ...target,
    args: "parallel => 2",
  });
  await reach(gate);
  return { apply, release };
}

async function expectComplete(row: ApplyRow): Promise<void> {
  expect(row).toMatchObject({ status: "complete", error_message: null });
  expect(row.rows_written).toBe("37000");
  expect(await digests(server, "target")).toEqual(expected);
  expect(
    await server.query(
      "select indisvalid from pg_index where indrelid = 'app.gated'::regclass",
      [],
      target,
    ),
  ).toEqual([{ indisvalid: true }, { indisvalid: true }]);
  const sequence = "select last_value::int as last from app.unlogged_id_seq";
  expect(await server.query(sequence, [], target)).toEqual([{ last: 5000 }]);
  expect(await server.query("select from steep_repl._apply_done", [], target)).toEqual([]);
}

/** Wait until the server, which restarts itself after a crash, has a new launcher. */
async function restarted(oldLauncher: number | undefined): Promise<void> {
  await waitUntil(
    () => server.pidsByApplicationName("steep_repl launcher").catch(() => []),
    (pids) => pids.length === 1 && pids[0] !== oldLauncher,
    "there is a new launcher",
    { timeoutMs: 20_000 },
  );
}

describe.each(everyGate)("in phase %s", (gate) => {
  test("cancelling ends the job within 2 seconds, and a retry goes on", async () => {
    const { apply, release } = await heldAt(gate);
    const since = await cancelJob(server, apply, target);
    const row = await endOfApply(server, apply, target);
    expect(await msUntilEnd(server, apply, since, target)).toBeLessThan(2000);
    expect(row).toMatchObject({ status: "cancelled", error_message: null });
    await release();
    await expectComplete(await retryApply(server, apply, target));
  });

  test("kill -9 of the server: the same job goes on by itself", async () => {
    const { apply } = await heldAt(gate);
    await server.kill9();
    await server.start();
    await expectComplete(await endOfApply(server, apply, target));
    const [job] = await server.query(
      "select attempts from steep_repl.work_queue where id = $1",
      [apply.operation_id],
      target,
    );
    expect(job).toEqual({ attempts: 2 });
  });

  test("kill -9 of a worker: the same job goes on by itself", async () => {
    const { apply } = await heldAt(gate);
    const [launcher] = await server.pidsByApplicationName("steep_repl launcher");
    const [worker] = await server.pidsByApplicationName("steep_repl apply_%");
    signal(worker ?? 0, "SIGKILL");
    await restarted(launcher);
    await expectComplete(await endOfApply(server, apply, target));
  });

  test("a fast shutdown is not held up, and the job goes on afterwards", async () => {
    const { apply } = await heldAt(gate);
    await server.restart("fast");
    await expectComplete(await endOfApply(server, apply, target));
  });
});

test("pg_terminate_backend of an applier fails the job, and a retry goes on", async () => {
  const { apply, release } = await heldAt("data");
  // it may be the other one that came first, and waits at the gate
  const [pid] = await waitUntil(
    () => server.pidsByApplicationName("steep_repl % apply 1"),
    (pids) => pids.length === 1,
    "the applier runs",
  );
  await server.query("select pg_terminate_backend($1)", [pid]);
  const row = await endOfApply(server, apply, target);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "57P01" });
  expect(row.error_hint).toContain(`retry_operation(${apply.operation_id})`);
  await release();
  await expectComplete(await retryApply(server, apply, target));
});

test("DROP DATABASE WITH (FORCE) in mid-load leaves nothing behind", async () => {
  const { release } = await heldAt("data");
  await release();
  await server.query("drop database target with (force)");
  await server.createDatabase("target", { extension: true });
});

test("DROP EXTENSION in mid-load ends the workers", async () => {
  const { release } = await heldAt("data");
  const dropping = server.query("drop extension steep_repl", [], target);
  await release();
  await dropping;
  await waitUntil(
    () => server.pidsByApplicationName("steep_repl apply_%"),
    (pids) => pids.length === 0,
    "its workers are gone",
  );
});

test("a role that is missing stops the job with statement and hint; once there, a retry goes on", async () => {
  await server.query("alter role app_owner rename to somebody_else");
  const row = await runApply(server, snapshot.storage_path, target);
  await server.query("alter role somebody_else rename to app_owner");
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "42704", phase: "schema" });
  expect(row.error_message).toMatch(
    /^role "app_owner" does not exist: Statement: .*ALTER TABLE app.early OWNER TO app_owner/s,
  );
  expect(row.error_hint).toMatch(
    /Create what is missing, a role for example .*no_owner.*retry_operation\(\d+\)/,
  );
  await expectComplete(await retryApply(server, row, target));
});

test("an extension that is missing stops the job with statement and hint; once there, it goes on", async () => {
  const directory = join(server.home, "extensions", "extension");
  const control = join(directory, "passing.control");
  await mkdir(directory, { recursive: true });
  await writeFile(control, "default_version = '1'\n");
  await writeFile(
    join(directory, "passing--1.sql"),
    "create function passing() returns int return 1;",
  );
  await giveToServer(join(server.home, "extensions"));
  const [path] = await server.query<{ extension_control_path: string }>(
    "show extension_control_path",
  );
  await server.configure({
    extension_control_path: `${path?.extension_control_path}:${join(server.home, "extensions")}`,
  });
  await server.query(`create extension passing; ${fillUnlogged}`, [], source);
  const extended = await takeSnapshot(server, source);
  await server.query("drop extension passing", [], source);

  await rename(control, `${control}.off`);
  const row = await runApply(server, extended.storage_path, target);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "0A000", phase: "schema" });
  expect(row.error_message).toMatch(
    /^extension "passing" is not available: .*CREATE EXTENSION IF NOT EXISTS passing/s,
  );
  expect(row.error_hint).toMatch(
    /Install what the extension needs on this server, .*retry_operation/,
  );
  await rename(`${control}.off`, control);
  await expectComplete(await retryApply(server, row, target));
  await server.query("select steep_repl.drop_snapshot($1)", [extended.snapshot_id], source);
});

test("another snapshot under the same path is not taken for the first one", async () => {
  const { apply, release } = await heldAt("data");
  await server.query("select steep_repl.cancel_operation($1)", [apply.operation_id], target);
  await endOfApply(server, apply, target);
  await release();
  const other = await takeSnapshot(server, { ...source, args: "compression => 'lz4'" });
  await rename(snapshot.storage_path, `${snapshot.storage_path}.first`);
  await rename(other.storage_path, snapshot.storage_path);
  const row = await retryApply(server, apply, target);
  await rename(snapshot.storage_path, other.storage_path);
  await rename(`${snapshot.storage_path}.first`, snapshot.storage_path);
  await server.query("select steep_repl.drop_snapshot($1)", [other.snapshot_id], source);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "55000" });
  expect(row.error_message).toContain("is not the one that this job began to apply");
  await expectComplete(await retryApply(server, apply, target));
});

test("a snapshot is verified before anything is changed", async () => {
  const damaged = await takeSnapshot(server, source);
  const [data] = (await readdir(damaged.storage_path)).filter((name) => name.endsWith(".dat.zst"));
  await appendFile(join(damaged.storage_path, data ?? ""), "x");
  const row = await runApply(server, damaged.storage_path, target);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "XX001", phase: "planning" });
  expect(row.error_message).toContain(`${data}: too long`);
  await server.query("select steep_repl.drop_snapshot($1)", [damaged.snapshot_id], source);
  expect(await digests(server, "target")).toEqual({});
  await applySnapshot(server, snapshot.storage_path, target);
});
