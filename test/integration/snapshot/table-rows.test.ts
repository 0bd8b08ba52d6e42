import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { bothTexts } from "../../support/copy-text.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRole, dropRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  dropSnapshots,
  endOf,
  restore,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * Copiers read tables as COPY does, without a plan. So what a plan and the executor would do for them,
 * which is to find the columns, to check rights and to divide a table, is up to them.
 */
let server: Server;
const app = { database: "app" };
const reader = { ...app, user: "reader" };

beforeAll(async () => {
  server = await startServer({
    name: "table-rows",
    settings: { max_worker_processes: 16, max_wal_size: "2GB", shared_buffers: "32MB" },
  });
  await server.createDatabase("app", { extension: true });
  await createRole(server, "app", "reader");
  // some chunks of 64 MB with little in them, and holes
  await server.query(
    `create table many (id int, note text, b bigint default 7) with (fillfactor = 10, autovacuum_enabled = off);
     insert into many (id, note) select g, md5(g::text) from generate_series(1, 400000) g;
     delete from many where id % 3 = 0 or id between 50000 and 60000`,
    [],
    app,
  );
});
afterAll(async () => {
  await dropRole(server, "app", "reader");
  await server.destroy();
});
afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** Of the lines, whatever their order. */
const digestOf = (text: string) =>
  createHash("sha256").update(text.split("\n").sort().join("\n")).digest("hex");

describe("rows are those of COPY", () => {
  test.each([1, 3])("of a table of several chunks, by %i workers", async (workers) => {
    const [ours, copy] = await bothTexts(server, "many", app, workers);
    expect(digestOf(ours)).toBe(digestOf(copy));
    expect(ours.split("\n").length).toBe(260_000 + 4);
  });

  test.each([
    ["zero blocks", "create table t (id int, v text)", 0],
    [
      "an index, a predicate and statistics",
      "create table t as select g as id, g % 7 as v from generate_series(1, 1000) g; create index on t ((v + 1)) where id > 5; create statistics on (v + 2), id from t; analyze t",
      1000,
    ],
    [
      "only what was rolled back and deleted",
      "create table t as select g as id from generate_series(1, 1000) g; delete from t",
      0,
    ],
    [
      "columns that were dropped",
      "create table t (a text, b int, c text, d int); insert into t values ('a', 1, 'c', 2), (null, 3, 'c', 4); alter table t drop column a, drop column c; insert into t values (5, 6)",
      3,
    ],
    [
      "columns that were added",
      "create table t (a int); insert into t values (1), (2); alter table t add b text default 'later', add c int default 9, add d numeric; insert into t values (3, 'now', null, 1.50)",
      3,
    ],
    [
      "dropped, added and dropped columns",
      "create table t (a int, b int); insert into t values (1, 2); alter table t drop column a, add c text default 'c', add d int default 4; alter table t drop column c, add e text",
      1,
    ],
    [
      "no column left",
      "create table t (a int); insert into t values (1), (2); alter table t drop column a",
      2,
    ],
    [
      "generated columns",
      "create table t (v int generated always as (a * 2) virtual, a int, s int generated always as (a * 3) stored, z int); insert into t values (default, 1, default, 2), (default, null, default, 4)",
      2,
    ],
    [
      "long values, out of line and compressed",
      "create table t as select g as id, repeat(md5(g::text), 5000) as c, (select string_agg(md5(random()::text), '') from generate_series(1, 300) where g > 0) as x from generate_series(1, 50) g",
      50,
    ],
    ["no log", "create unlogged table t as select g as id from generate_series(1, 100) g", 100],
    [
      "children",
      "create table t (id int); create table child (more text) inherits (t); insert into t values (1); insert into child values (2, 'two')",
      1,
    ],
    [
      "parents, being a child",
      "create table up (id int); create table t (more text) inherits (up); insert into up values (1); insert into t values (2, 'two'), (3, 'three')",
      2,
    ],
    [
      "a partitioned table above, with its columns in another order",
      "create table root (id int, v text) partition by list (id); create table t (dead int, v text, id int); alter table t drop column dead; alter table root attach partition t for values in (1, 2); insert into root values (1, 'one'), (2, 'two')",
      2,
    ],
    [
      "another access method",
      "create access method heap_2 type table handler heap_tableam_handler; create table t (id int, v text) using heap_2; insert into t select g, md5(g::text) from generate_series(1, 1000) g",
      1000,
    ],
  ])("of a table that has %s", async (_, sql, rows) => {
    await server.query(sql, [], app);
    const [ours, copy] = await bothTexts(server, "t", app);
    expect(ours).toBe(copy);
    expect(ours.split("\n").length).toBe(rows + 4);
    await server.query(
      "drop table if exists root, t, up, child cascade; drop access method if exists heap_2",
      [],
      app,
    );
  });

  test("of a partitioned table as a whole, leaf by leaf", async () => {
    await server.query(
      `create table root (id int, v text) partition by range (id);
       create table low partition of root for values from (0) to (10);
       create table high partition of root for values from (10) to (20) partition by list (id);
       create table ten partition of high for values in (10); create table rest partition of high default;
       insert into root select g, 'v' || g from generate_series(0, 19) g`,
      [],
      app,
    );
    const snapshot = await takeSnapshot(server, { ...app, args: "tables => '{public.root}'" });
    await restore(server, snapshot, "leaves");
    const { "public.many": _, ...leaves } = await digests(server, "app");
    expect(await digests(server, "leaves")).toEqual(leaves);
    await server.query("drop database leaves");
    await server.query("drop table root", [], app);
  });
});

describe("rights to the columns that are copied", () => {
  const asReader = { ...reader, args: "tables => '{public.many}', compression => 'none'" };

  test("are enough, for a table of several chunks too", async () => {
    await server.query(
      "alter table many add secret int generated always as (id) stored; grant select (id, note, b) on many to reader",
      [],
      app,
    );
    const snapshot = await takeSnapshot(server, asReader);
    const manifest = JSON.parse(
      await readFile(join(snapshot.storage_path, "manifest.json"), "utf8"),
    );
    expect(manifest.rows).toBe(260_000);
    await server.query(
      "alter table many drop secret; revoke select (id, note, b) on many from reader",
      [],
      app,
    );
  });

  test.each([
    [
      "a column is revoked",
      "grant select (id, note, b) on many to reader",
      "revoke select (b) on many from reader",
      "permission denied for table many",
    ],
    [
      "the table is revoked",
      "grant select on many to reader",
      "revoke select on many from reader",
      "permission denied for table many",
    ],
    [
      "its schema is revoked",
      "grant select on many to reader; revoke usage on schema public from public; grant usage on schema public to reader",
      "revoke usage on schema public from reader",
      "permission denied for schema public",
    ],
    [
      "row security begins to apply",
      "grant select on many to reader; alter table many enable row level security; alter role reader bypassrls",
      "alter role reader nobypassrls",
      "row-level security policy for table",
    ],
  ])("are looked at again with each chunk: %s", async (_, before, meanwhile, message) => {
    await server.query(before, [], app);
    const snapshot = await startSnapshot(server, {
      ...reader,
      args: "tables => '{public.many}', compression => 'gzip', level => 9, parallel => 1",
    });
    await waitUntil(
      () =>
        server.query<{ phase: string; bytes: string }>(
          "select phase, bytes_processed as bytes from steep_repl.snapshot_progress()",
          [],
          app,
        ),
      (found) => found[0]?.phase === "data" && Number(found[0].bytes) > 100_000,
      "the first chunk is being copied",
      { intervalMs: 5 },
    );
    await server.query(meanwhile, [], app);
    expect(await endOf(server, snapshot, app)).toMatchObject({
      status: "failed",
      phase: "data",
      error_sqlstate: "42501",
      error_message: expect.stringContaining(message),
    });
    await server.query(
      `revoke select (id, note, b), select on many from reader; grant usage on schema public to public;
       alter table many disable row level security; alter role reader nobypassrls`,
      [],
      app,
    );
  });
});

test("a table that does not fit into the server's cache does not push everything else out of it", async () => {
  await server.query("create extension pg_buffercache", [], app);
  const cached = async () => {
    const [row] = await server.query<{ n: number }>(
      "select count(*)::int as n from pg_buffercache where relfilenode = pg_relation_filenode('many')",
      [],
      app,
    );
    return row?.n;
  };
  await server.query("select pg_buffercache_evict_all()", [], app);
  await takeSnapshot(server, { ...app, args: "tables => '{public.many}', parallel => 2" });
  // of 4,096 buffers
  expect(await cached()).toBeLessThan(1000);
  await server.query("drop extension pg_buffercache", [], app);
});
