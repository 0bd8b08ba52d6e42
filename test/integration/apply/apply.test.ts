import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type ApplyRow, applySnapshot, runApply, startApply } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import type { Row } from "../../support/node.ts";
import { bin, inProject, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  dropSnapshots,
  type SnapshotRow,
  schemaOf,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

const source = { database: "source" };
const target = { database: "target" };
let server: Server;
let other: Server;
let snapshot: SnapshotRow;

beforeAll(async () => {
  [server, other] = await Promise.all([
    startServer({ name: "apply-a", settings: { max_worker_processes: 16 } }),
    startServer({ name: "apply-b", settings: { max_worker_processes: 16 }, identity: "peer" }),
  ]);
  for (const node of [server, other])
    await node.query("create role objects_owner; create role objects_reader");
  await server.createDatabase("source", { extension: true });
  for (const fixture of ["objects", "shop"])
    await run(bin("psql"), [
      ...["-Xqv", "ON_ERROR_STOP=1", "-f", inProject(`test/fixtures/${fixture}.sql`)],
      server.uri("source"),
    ]);
  // more than one frame, so that several workers load one table
  await server.query(
    `create table large as select g as id, md5(g::text) as a, repeat(md5((g % 10)::text), 8) as filler
     from generate_series(1, 100000) g;
     alter table large add primary key (id); create index on large (a)`,
    [],
    source,
  );
  snapshot = await takeSnapshot(server, { ...source, args: "large_objects => 'skip'" });
});
afterAll(() => Promise.all([server.destroy(), other.destroy()]));
afterEach(async () => {
  await other.query("drop database if exists target");
  await expectNoLeaks(other);
});

/** What pg_dump and a digest of every table say of a database, and the values of its sequences. */
async function contents(node: Server, database: string) {
  const sequences = await node.query(
    `select schemaname, sequencename, last_value::text from pg_sequences
     where schemaname <> 'steep_repl' order by 1, 2`,
    [],
    { database },
  );
  return {
    schema: await schemaOf(node, database),
    rows: await digests(node, database),
    sequences,
  };
}

test("a database of many kinds of object comes back on another server as it was", async () => {
  await other.createDatabase("target", { extension: true });
  const row = await applySnapshot(other, snapshot.storage_path, {
    ...target,
    args: "parallel => 3",
  });
  expect(row).toMatchObject({
    operation: "apply",
    phase: "complete",
    overall_percent: "100.00",
    source_snapshot_id: snapshot.snapshot_id,
    storage_path: snapshot.storage_path,
    lsn: snapshot.lsn,
    table_count: snapshot.table_count,
    tables_completed: snapshot.table_count,
    rows_written: snapshot.rows_written,
    bytes_processed: snapshot.bytes_processed,
    compression: "zstd",
    warnings: null,
    error_message: null,
  });
  expect(row.snapshot_id).toMatch(/^apply_\d{8}_\d{6}_[0-9a-f]{8}$/);
  expect(await contents(other, "target")).toEqual(await contents(server, "source"));
});

test("loaded tables have statistics, and materialized views are filled", async () => {
  await other.createDatabase("target", { extension: true });
  await applySnapshot(other, snapshot.storage_path, target);
  const rows = await other.query(
    "select count(*)::int as n from pg_stats where schemaname = 'public' and tablename = 'large'",
    [],
    target,
  );
  expect(rows).toEqual([{ n: 3 }]);
  const unfilled = "select matviewname from pg_matviews where not ispopulated order by matviewname";
  expect(await other.query(unfilled, [], target)).toEqual(await server.query(unfilled, [], source));
});

test.each(["none", "gzip", "lz4"])("%s is read, too", async (codec) => {
  const own = await takeSnapshot(server, {
    ...source,
    args: `compression => '${codec}', tables => '{public.large}'`,
  });
  await other.createDatabase("target", { extension: true });
  await applySnapshot(other, own.storage_path, { ...target, args: "parallel => 2" });
  const digest = "select count(*), sum(hashtextextended(l::text, 0)) from large l";
  expect(await other.query(digest, [], target)).toEqual(await server.query(digest, [], source));
});

test("sections can be applied one by one", async () => {
  await other.createDatabase("target", { extension: true });
  const indexes = "select count(*)::int as n from pg_indexes where tablename = 'large'";
  const rows = "select count(*)::int as n from large";
  const apply = (section: string) =>
    applySnapshot(other, snapshot.storage_path, {
      ...target,
      args: `sections => '{${section}}'`,
    });
  await apply("pre-data");
  expect(await other.query(rows, [], target)).toEqual([{ n: 0 }]);
  await apply("data");
  expect(await other.query(rows, [], target)).toEqual([{ n: 100_000 }]);
  expect(await other.query(indexes, [], target)).toEqual([{ n: 0 }]);
  await apply("post-data");
  expect(await other.query(indexes, [], target)).toEqual([{ n: 2 }]);
  expect(await contents(other, "target")).toEqual(await contents(server, "source"));
});

test("tables limits it to these, with what belongs to them", async () => {
  await other.createDatabase("target", { extension: true });
  const row = await applySnapshot(other, snapshot.storage_path, {
    ...target,
    args: "tables => '{public.large}'",
  });
  expect(row.table_count).toBe(1);
  expect(
    await other.query(
      "select relname, relkind from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'i') order by 1",
      [],
      target,
    ),
  ).toEqual([
    { relname: "large", relkind: "r" },
    { relname: "large_a_idx", relkind: "i" },
    { relname: "large_pkey", relkind: "i" },
  ]);
});

test("a table that the snapshot does not have is refused", async () => {
  await other.createDatabase("target", { extension: true });
  await expect(
    runApply(other, snapshot.storage_path, {
      ...target,
      args: "tables => '{public.large, public.small}'",
    }),
  ).rejects.toMatchObject({
    code: "42P01",
    message: "the snapshot does not contain public.small",
  });
});

test("no_owner and no_privileges leave owners and rights out", async () => {
  await other.createDatabase("target", { extension: true });
  await applySnapshot(other, snapshot.storage_path, {
    ...target,
    args: "no_owner => true, no_privileges => true",
  });
  expect(
    await other.query(
      `select count(*)::int as n from pg_class
       where relnamespace = 'app'::regnamespace and (relowner <> 'postgres'::regrole or relacl is not null)`,
      [],
      target,
    ),
  ).toEqual([{ n: 0 }]);
});

test("a second apply into the same database is refused before it changes anything", async () => {
  await other.createDatabase("target", { extension: true });
  await applySnapshot(other, snapshot.storage_path, target);
  const before = await contents(other, "target");
  const row = await runApply(other, snapshot.storage_path, target);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "42P07", phase: "planning" });
  expect(row.error_message).toContain("public.large");
  expect(row.error_hint).toContain("sections => '{data}'");
  expect(await contents(other, "target")).toEqual(before);
});

test("progress moves through the phases, and listeners hear of them", async () => {
  await other.createDatabase("target", { extension: true });
  const listener = await other.connect(target);
  const heard: Row[] = [];
  listener.on("notification", ({ payload }) => heard.push(JSON.parse(payload ?? "{}")));
  await listener.query("listen steep_repl_progress");
  const apply: ApplyRow = await startApply(other, snapshot.storage_path, target);
  const percents: number[] = [];
  for (let over = false; !over; ) {
    const [row] = await listener
      .query(
        "select p.overall_percent, s.status from steep_repl.snapshot_progress($1) p join steep_repl.snapshots s using (snapshot_id)",
        [apply.snapshot_id],
      )
      .then((result) => result.rows);
    percents.push(Number(row.overall_percent));
    over = row.status === "complete" || row.status === "failed";
  }
  // the row is there a moment before the notification
  await waitUntil(
    () => listener.query("select 1").then(() => heard.at(-1)?.status),
    (status) => status === "complete",
    "the last notification arrived",
  );
  await listener.end();
  expect(percents).toEqual([...percents].sort((a, b) => a - b));
  expect(percents.at(-1)).toBe(100);
  const phases = [...new Set(heard.map((n) => n.phase))];
  expect(phases).toEqual([
    ...["planning", "schema", "data", "sequences", "indexes", "finalizing", "complete"],
  ]);
  expect(heard.at(-1)).toMatchObject({
    op: "apply",
    snapshot_id: apply.snapshot_id,
    status: "complete",
    percent: 100,
  });
});

test("dropping an apply forgets its row and leaves the snapshot alone", async () => {
  await other.createDatabase("target", { extension: true });
  const row = await applySnapshot(other, snapshot.storage_path, {
    ...target,
    args: "tables => '{public.large}'",
  });
  await dropSnapshots(other, target);
  expect(await other.query("select from steep_repl.snapshots", [], target)).toEqual([]);
  expect(
    await server.query("select * from steep_repl.verify_snapshot($1)", [row.storage_path], source),
  ).toEqual([]);
});
