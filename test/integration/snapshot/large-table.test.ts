import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  dropSnapshots,
  endOf,
  problems,
  restore,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const app = { database: "app" };
const rows = 300_000;

beforeAll(async () => {
  server = await startServer({
    name: "large-table",
    settings: { max_worker_processes: 16, max_wal_size: "2GB" },
  });
  await server.createDatabase("app", { extension: true });
  // three chunks of 64 MB, with holes and with rows that were moved by updates
  await server.query(
    `create table large (id serial primary key, n int default 0, filler text);
     insert into large (filler) select repeat(md5(g::text), 15) from generate_series(1, ${rows}) g;
     delete from large where id % 10 = 0;
     update large set n = 1 where id % 7 = 0;
     create table toasted as select g as id, (select string_agg(md5(random()::text), '') from generate_series(1, 3000) where g > 0) as v
       from generate_series(1, 100) g;
     create table hollow (id int, filler char(1000));
     insert into hollow select g, '' from generate_series(1, 100000) g;
     delete from hollow where id < 99999`,
    [],
    app,
  );
});
afterAll(() => server.destroy());
let restored = 0;
afterEach(async () => {
  await dropSnapshots(server, app);
  for (; restored > 0; restored--)
    await server.query(`drop database if exists restored${restored}`);
  await expectNoLeaks(server);
});

interface Frame {
  readonly rows: number;
  readonly blocks: readonly [number, number] | null;
}

async function framesOf(path: string, table: string): Promise<readonly Frame[]> {
  const manifest = JSON.parse(await readFile(join(path, "manifest.json"), "utf8"));
  return manifest.files.find((file: { table?: string }) => file.table === table).frames;
}

test("chunks that several workers copy hold every row once, and every block", async () => {
  const expected = await digests(server, "app");
  const snapshot = await takeSnapshot(server, { ...app, args: "parallel => 4" });
  expect(await problems(server, snapshot.storage_path, app)).toEqual([]);

  const frames = await framesOf(snapshot.storage_path, "large");
  expect(frames.reduce((n, frame) => n + frame.rows, 0)).toBe(rows * 0.9);
  const [size] = await server.query<{ blocks: number }>(
    "select (pg_relation_size('large') / current_setting('block_size')::int)::int as blocks",
    [],
    app,
  );
  const ranges = new Map(frames.flatMap((f) => (f.blocks === null ? [] : [f.blocks])));
  expect(ranges.size).toBeGreaterThan(2);
  let covered = 0;
  while (ranges.has(covered)) covered = ranges.get(covered) ?? 0;
  expect(covered).toBe(size?.blocks);

  const database = `restored${++restored}`;
  await restore(server, snapshot, database);
  expect(await digests(server, database)).toEqual(expected);
});

/** Take a snapshot that has begun to copy; slow enough to do something meanwhile. */
async function copying(args = "compression => 'gzip', level => 9, parallel => 2") {
  const snapshot = await startSnapshot(server, { ...app, args });
  await waitUntil(
    () =>
      server.query<{ bytes: string; phase: string }>(
        "select phase, bytes_processed as bytes from steep_repl.snapshot_progress()",
        [],
        app,
      ),
    (found) => found[0]?.phase === "data" && Number(found[0].bytes) > 1_000_000,
    "the snapshot copies",
    { intervalMs: 5 },
  );
  return snapshot;
}

test("what writers do while a table is copied is not in it, and sequences are not behind", async () => {
  const expected = await digests(server, "app");
  const snapshot = await copying();
  const client = await server.connect(app);
  await client.query("update large set n = n + 1, filler = 'changed' where id % 3 = 0");
  await client.query("delete from large where id % 2 = 0");
  await client.query("insert into large (filler) select 'new' from generate_series(1, 50000)");
  await client.query("vacuum large");
  await client.end();
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe("complete");

  const database = `restored${++restored}`;
  await restore(server, row, database);
  expect(await digests(server, database)).toEqual(expected);
  const [sequence] = await server.query<{ ok: boolean }>(
    "select (select last_value from large_id_seq) >= (select max(id) from large) as ok",
    [],
    { database },
  );
  expect(sequence).toEqual({ ok: true });
});

// Up to level 6 of gzip, and 9 of zstd, a thread compresses a frame of 8 MB in one call.
test.each([
  ["gzip", 6],
  ["gzip", 9],
  ["zstd", 9],
  ["zstd", 19],
])("%s at level %i is cancelled within 2 s", async (codec, level) => {
  const snapshot = await copying(`compression => '${codec}', level => ${level}, parallel => 1`);
  const began = performance.now();
  const [cancelled] = await server.query<{ ok: boolean }>(
    "select steep_repl.cancel_snapshot($1) as ok",
    [snapshot.snapshot_id],
    app,
  );
  expect(cancelled).toEqual({ ok: true });
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "cancelled", phase: "data" });
  expect(performance.now() - began).toBeLessThan(2000);
});

test.each([
  "create index concurrently during_copy on large (n)",
  "reindex table concurrently toasted",
  "vacuum (analyze) large",
  "analyze",
])("%s and a snapshot that copies do not fail each other", async (sql) => {
  const snapshot = await copying();
  const [done] = await Promise.all([endOf(server, snapshot, app), server.query(sql, [], app)]);
  expect(done.status).toBe("complete");
  await server.query("drop index if exists during_copy", [], app);
});

async function pidOf(client: Client): Promise<number> {
  return (await client.query("select pg_backend_pid() as pid")).rows[0].pid;
}

test("VACUUM FULL waits for a snapshot that copies, which has every row", async () => {
  const expected = await digests(server, "app");
  const snapshot = await copying();
  const client = await server.connect(app);
  const pid = await pidOf(client);
  const rewrite = client.query("vacuum full toasted");
  await waitUntil(
    () => server.query("select wait_event_type from pg_stat_activity where pid = $1", [pid]),
    (found) => found[0]?.wait_event_type === "Lock",
    "VACUUM FULL waits",
  );
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe("complete");
  await rewrite;
  await client.end();
  const database = `restored${++restored}`;
  await restore(server, row, database);
  expect(await digests(server, database)).toEqual(expected);
});

test("a table of 1,600 columns and tables of none survive", async () => {
  const columns = Array.from({ length: 1600 }, (_, i) => `c${i} int`).join(", ");
  await server.createDatabase("wide", { extension: true });
  const wide = { database: "wide" };
  await server.query(
    `create table wide (${columns}); insert into wide (c0, c1599) values (1, 2); insert into wide default values;
     create table narrow (); insert into narrow select from generate_series(1, 1000);
     create table newlines (v text); insert into newlines select repeat(E'\\n', g) from generate_series(0, 2000) g`,
    [],
    wide,
  );
  const expected = await digests(server, "wide");
  const snapshot = await takeSnapshot(server, wide);
  expect(await problems(server, snapshot.storage_path, wide)).toEqual([]);
  const database = `restored${++restored}`;
  await restore(server, snapshot, database);
  expect(await digests(server, database)).toEqual(expected);
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], wide);
  await server.query("drop database wide");
});

test("of a large file with few rows left only those are copied", async () => {
  const snapshot = await takeSnapshot(server, { ...app, args: "tables => '{public.hollow}'" });
  const { stdout } = await run(bin("pg_restore"), ["-f", "-", snapshot.storage_path]);
  expect(stdout).toMatch(/COPY public\.hollow \(id, filler\) FROM stdin;\n99999\t/);
  const frames = await framesOf(snapshot.storage_path, "hollow");
  expect(frames.reduce((n, frame) => n + frame.rows, 0)).toBe(2);
});
