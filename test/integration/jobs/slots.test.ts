import { link, mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { giveToServer } from "../../support/data-directory.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { run } from "../../support/pg.ts";
import { holdPgDump } from "../../support/pg-dump.ts";
import { isAlive, signal } from "../../support/processes.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  freshPath,
  problems,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { canTrace, traceSystemCalls } from "../../support/system-calls.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* What jobs share: slots in shared memory, directories, and files in them. */
let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({
    name: "slots",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": "100ms", fsync: "on" },
  });
  await server.createDatabase("app", { extension: true });
  await server.query(
    `create table small as select 1 as id;
     create table large as select g as id, repeat(md5(g::text), 20) as filler from generate_series(1, 100000) g`,
    [],
    app,
  );
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

const pidOf = async (snapshot: SnapshotRow, what: string): Promise<number> => {
  const [pid] = await waitUntil(
    () => server.pidsByApplicationName(`steep_repl ${snapshot.snapshot_id} ${what}`),
    (pids) => pids.length === 1,
    `${what} of ${snapshot.snapshot_id} runs`,
    { intervalMs: 1 },
  );
  return pid as number;
};
const statusOf = async ({ snapshot_id }: SnapshotRow) =>
  (
    await server.query<{ status: string }>(
      "select status from steep_repl.snapshots where snapshot_id = $1",
      [snapshot_id],
      app,
    )
  )[0]?.status;

test("a job is not over, and its slot is nobody else's, while one of its workers lives", async () => {
  const first = await startSnapshot(server, {
    ...app,
    args: "tables => '{public.large}', parallel => 1, level => 19",
  });
  const copier = await pidOf(first, "copy 1");
  signal(copier, "SIGSTOP");
  try {
    const coordinator = await pidOf(first, "coordinator");
    signal(coordinator, "SIGTERM");
    await waitUntil(
      () => isAlive(coordinator),
      (alive) => !alive,
      "the coordinator is gone",
    );
    const second = await takeSnapshot(server, { ...app, args: "tables => '{public.small}'" });
    expect(second).toMatchObject({ rows_written: "1", table_count: 1 });
    expect(await problems(server, second.storage_path, app)).toEqual([]);
    expect(await statusOf(first)).toBe("running");
  } finally {
    signal(copier, "SIGCONT");
  }
  expect(await endOf(server, first, app)).toMatchObject({
    status: "failed",
    error_sqlstate: "57P02",
  });
});

test("a restarted launcher notices a coordinator that died before it was connected", async () => {
  // a setting of the role alone, for which its sessions look into a catalog when they begin
  await server.query(
    `create role slow; grant usage on schema steep_repl to slow;
     grant select, insert, update, delete on all tables in schema steep_repl to slow;
     alter role slow set default_text_search_config = 'pg_catalog.simple'`,
    [],
    app,
  );
  const locker = await server.connect(app);
  await locker.query("begin; lock table pg_ts_config in access exclusive mode");
  const client = await server.connect(app);
  await client.query("set role slow");
  const { rows } = await client.query<SnapshotRow>("select * from steep_repl.start_snapshot($1)", [
    freshPath(server),
  ]);
  await client.end();
  const snapshot = rows[0] as SnapshotRow;
  const waiting =
    "select pid from pg_locks where relation = 'pg_ts_config'::regclass and not granted";
  const [coordinator] = await waitUntil(
    () => server.query<{ pid: number }>(waiting, [], app),
    (found) => found.length === 1,
    "the coordinator begins",
  );
  const launchers = () => server.pidsByApplicationName("steep_repl launcher");
  const [before] = await launchers();
  await server.query("select pg_terminate_backend($1)", [before]);
  await waitUntil(launchers, ([pid]) => pid !== undefined && pid !== before, "it comes back");
  expect(await statusOf(snapshot)).toBe("running");
  signal(coordinator?.pid as number, "SIGTERM");
  expect(await endOf(server, snapshot, app)).toMatchObject({
    status: "failed",
    error_sqlstate: "57P02",
  });
  await locker.query("rollback");
  await locker.end();
  await dropSnapshots(server, app);
  await server.query("drop owned by slow; drop role slow", [], app);
});

test("a snapshot writes nothing through links that somebody planted for its data files", async () => {
  const args = "tables => '{public.small}'";
  const earlier = await takeSnapshot(server, { ...app, args });
  const names = (await readdir(earlier.storage_path)).filter((name) => /^\d+\.dat/.test(name));
  expect(names).toHaveLength(1);

  const path = freshPath(server);
  const victim = join(server.home, "victim");
  await writeFile(victim, "precious");
  await giveToServer(victim);
  const release = await holdPgDump(server);
  const snapshot = await startSnapshot(server, { ...app, path, args });
  await waitUntil(
    () => stat(join(path, ".steep_repl")).catch(() => undefined),
    (found) => found !== undefined,
    "the directory is marked",
  );
  for (const name of names) await link(victim, join(path, name));
  await release();
  expect(await endOf(server, snapshot, app)).toMatchObject({
    status: "failed",
    error_message: expect.stringContaining(`could not open snapshot file "${names[0]}"`),
  });
  expect(await readFile(victim, "utf8")).toBe("precious");
});

test("several copy workers make each file once and write it together", async () => {
  const tables = Array.from({ length: 30 }, (_, i) => `many_${i}`);
  await server.query(tables.map((t) => `create table ${t} as select 1 as id`).join(";"), [], app);
  const snapshot = await takeSnapshot(server, { ...app, args: "parallel => 4" });
  expect(await problems(server, snapshot.storage_path, app)).toEqual([]);
  await server.query(`drop table ${tables.join(", ")}`, [], app);
});

test.skipIf(!canTrace)(
  "a new directory's parent is synced, and nothing that cannot be",
  async () => {
    const args = "tables => '{public.small}'";
    const calls = await traceSystemCalls(server, ["-e", "trace=fsync,syncfs", "-y"], async () => {
      await takeSnapshot(server, { ...app, args });
    });
    const synced = (directory: string) =>
      calls.filter((line) => line.includes(`<${directory}>) = 0`)).length;
    expect(synced(server.snapshotDir), calls.join("\n")).toBeGreaterThan(0);
    expect(
      calls.filter((line) => line.includes(server.snapshotDir) && line.includes("= -1")),
    ).toEqual([]);

    const locked = join(server.snapshotDir, "locked");
    await mkdir(locked, { mode: 0o300 });
    await giveToServer(locked);
    const path = join(locked, "s");
    const whole = await traceSystemCalls(server, ["-e", "trace=fsync,syncfs", "-y"], async () => {
      await takeSnapshot(server, { ...app, args, path });
    });
    expect(
      whole.some((line) => /syncfs\(\d+<[^>]*>\)\s+= 0/.test(line)),
      whole.join("\n"),
    ).toBe(true);
    await dropSnapshots(server, app);
    await run("rmdir", [locked]);
  },
);

test.skipIf(!canTrace)(
  "a directory on a slow disk holds up nobody else, and only one job makes it",
  async () => {
    const args = "tables => '{public.small}'";
    const path = freshPath(server);
    const slow = ["-e", "trace=mkdirat", "-e", "inject=mkdirat:delay_enter=2500000"];
    await traceSystemCalls(server, slow, async (entered) => {
      const two = [await startSnapshot(server, { ...app, path, args })];
      await entered("mkdirat");
      two.push(await startSnapshot(server, { ...app, path, args }));
      const began = performance.now();
      await server.query("select from steep_repl.snapshot_progress()", [], app);
      await server.query("select from steep_repl.list_operations()", [], app);
      expect(performance.now() - began).toBeLessThan(1000);
      await expect(stat(path)).rejects.toMatchObject({ code: "ENOENT" });
      const ends = await Promise.all(two.map((snapshot) => endOf(server, snapshot, app)));
      expect(ends.map(({ status }) => status).sort()).toEqual(["complete", "failed"]);
      expect(ends.find(({ status }) => status === "failed")).toMatchObject({
        error_message: expect.stringContaining("exists and is not empty"),
      });
    });
  },
);
