import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  freshPath,
  problems,
  runSnapshot,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";

let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({
    name: "mishaps",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": "200ms" },
  });
  await server.createDatabase("app", { extension: true });
  await server.query(
    "create table items as select g as id, repeat(md5(g::text), 10) as v from generate_series(1, 20000) g",
    [],
    app,
  );
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

test("of two jobs for one path one succeeds and the other harms nothing; each logs one line", async () => {
  const before = (await server.log()).length;
  const path = freshPath(server);
  const client = await server.connect(app);
  await client.query("begin");
  const start = "select snapshot_id from steep_repl.start_snapshot($1)";
  const jobs = [
    (await client.query<SnapshotRow>(start, [path])).rows[0],
    (await client.query<SnapshotRow>(start, [path])).rows[0],
  ];
  await client.query("commit");
  await client.end();
  const rows = await Promise.all(jobs.map((job) => endOf(server, job as SnapshotRow, app)));
  const complete = rows.find((row) => row.status === "complete");
  const failed = rows.find((row) => row.status === "failed");
  expect(failed).toMatchObject({ error_sqlstate: "58P02" });
  expect(await problems(server, path, app)).toEqual([]);

  // how a job ended is logged once that is in its row
  await expectNoLeaks(server, { files: [basename(path)] });
  const lines = (await server.log()).slice(before).split("\n");
  const levels = (row: SnapshotRow | undefined) =>
    lines
      .filter((line) => line.includes(row?.snapshot_id ?? "?"))
      .map((line) => / ([A-Z]+): /.exec(line)?.[1]);
  expect(levels(complete)).toEqual(["LOG"]);
  expect(levels(failed)).toEqual(["WARNING"]);

  await server.query("select steep_repl.drop_snapshot($1)", [failed?.snapshot_id], app);
  expect(await problems(server, path, app)).toEqual([]);
});

test.each([
  ["a space and quotes", `it's "a" b`],
  ["a newline", "one\ntwo"],
  ["a backslash and a percent sign", "\\n%s%n"],
  ["letters of other languages", "snäpshot-снимок-🐘"],
  ["a dash at its beginning", "-rf"],
  ["255 bytes", "x".repeat(255)],
])("a directory whose name has %s can be written, verified and restored", async (_, name) => {
  const path = join(server.snapshotDir, name);
  const snapshot = await takeSnapshot(server, { ...app, path });
  expect(snapshot.storage_path).toBe(path);
  expect(await problems(server, path, app)).toEqual([]);
  const { stdout } = await run(bin("pg_restore"), ["-l", path]);
  expect(stdout).toContain("TABLE DATA public items");
});

test("a name that the file system does not take is refused with its own words", async () => {
  const path = join(server.snapshotDir, "x".repeat(256));
  await expect(startSnapshot(server, { ...app, path })).rejects.toThrow("File name too long");
});

test("connection limits of roles and databases are not in the workers' way", async () => {
  await server.query(
    "create role limited login in role pg_read_all_data, pg_write_server_files connection limit 1",
  );
  await server.query(
    `grant usage on schema steep_repl to limited;
     grant select, insert, update, delete on all tables in schema steep_repl to limited;
     alter database app connection limit 1`,
    [],
    app,
  );
  const client = await server.connect({ ...app, user: "limited" });
  await client.query("select snapshot_id from steep_repl.start_snapshot($1)", [freshPath(server)]);
  const { rows } = await client.query(
    "select s.status from steep_repl.snapshots q, steep_repl.wait_snapshot(q.snapshot_id, 50) s",
  );
  expect(rows).toEqual([{ status: "complete" }]);
  await client.end();
  await server.query("alter database app connection limit -1");
});

test("a pending job runs in its database although that was renamed", async () => {
  await server.createDatabase("before", { extension: true });
  await server.configure({ "steep_repl.reserved_worker_slots": 100 });
  const snapshot = await startSnapshot(server, { database: "before" });
  await server.query("alter database before rename to after");
  await server.configure({ "steep_repl.reserved_worker_slots": 3 });
  const after = { database: "after" };
  const row = await endOf(server, snapshot, after);
  expect(row.status).toBe("complete");
  expect(await problems(server, row.storage_path, after)).toEqual([]);
  await server.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], after);
  await server.query("drop database after");
});

test("a damaged page fails the job with its table's name, and other tables can be saved", async () => {
  await server.query(
    "create table damaged as select g as id, 'text' as v from generate_series(1, 20000) g; checkpoint",
    [],
    app,
  );
  const [found] = await server.query<{ path: string }>(
    "select pg_relation_filepath('damaged') as path",
    [],
    app,
  );
  await server.stop();
  const file = await open(join(server.dataDir, found?.path ?? ""), "r+");
  await file.write(Buffer.alloc(100, 0x5a), 0, 100, 3 * 8192 + 4000);
  await file.close();
  await server.start();

  const row = await runSnapshot(server, app);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "XX001" });
  expect(row.error_message).toContain("public.damaged");
  expect(existsSync(row.storage_path)).toBe(false);

  const rest = await takeSnapshot(server, { ...app, args: "tables => '{public.items}'" });
  expect(await problems(server, rest.storage_path, app)).toEqual([]);
  await server.query("drop table damaged", [], app);
});
