import { existsSync } from "node:fs";
import { cp, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  expectSameFiles,
  type FetchPair,
  fetcher,
  fetcherPassword,
  runFetch,
  setFetchPair,
  startFetch,
} from "../../support/fetch.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { digests, endOf, freshPath, restore, takeSnapshot } from "../../support/snapshots.ts";

let pair: FetchPair;
setFetchPair("fetch", (made) => {
  pair = made;
});

async function expectDropped(snapshotId: string, options = {}): Promise<void> {
  await pair.a.query("select steep_repl.drop_snapshot($1)", [snapshotId], options);
  await expectNoLeaks(pair.a);
}

test("a fetched snapshot is the same, and is watched, verified, restored and dropped like one", async () => {
  const { a, source } = pair;
  const listener = await a.connect();
  const heard: Record<string, unknown>[] = [];
  listener.on("notification", (n) => heard.push(JSON.parse(n.payload ?? "{}")));
  await listener.query("listen steep_repl_progress");
  const queued = await startFetch(a, pair.peer, source.snapshot_id);
  expect(queued).toMatchObject({ operation: "fetch", status: "pending", peer: "there" });
  const fetched = await endOf(a, queued);
  expect(fetched).toMatchObject({
    status: "complete",
    error_message: null,
    source_snapshot_id: source.snapshot_id,
    checksum: source.checksum,
    lsn: source.lsn,
    compression: "zstd",
    overall_percent: "100.00",
    phase: "complete",
    tables_completed: 25,
    table_count: 25,
  });
  await listener.query("select 1");
  expect(heard.at(-1)).toMatchObject({
    op: "fetch",
    snapshot_id: fetched.snapshot_id,
    status: "complete",
  });
  await expectSameFiles(fetched.storage_path, source.storage_path);
  expect(
    await a.query("select * from steep_repl.verify_snapshot($1)", [fetched.storage_path]),
  ).toEqual([]);
  await a.createDatabase("applied", { extension: true });
  const [apply] = await a.query<typeof fetched>(
    "select * from steep_repl.start_apply($1)",
    [fetched.storage_path],
    { database: "applied" },
  );
  if (!apply) throw new Error("no row");
  expect(await endOf(a, apply, { database: "applied" })).toMatchObject({ status: "complete" });
  const wanted = await digests(pair.b, "postgres");
  expect(await digests(a, "applied")).toEqual(wanted);
  await restore(a, fetched, "restored");
  expect(await digests(a, "restored")).toEqual(wanted);
  await expectDropped(fetched.snapshot_id);
});

test("a fetch may itself be fetched, by its path or its id", async () => {
  const { a, b, source } = pair;
  const fetched = await runFetch(a, pair.peer, source.storage_path, { args: "parallel => 1" });
  expect(fetched).toMatchObject({ status: "complete", source_snapshot_id: source.snapshot_id });
  const back = `host=127.0.0.1 port=${a.port} dbname=postgres user=postgres`;
  const again = await runFetch(b, back, fetched.snapshot_id);
  expect(again).toMatchObject({ status: "complete", peer: back });
  await expectSameFiles(again.storage_path, source.storage_path);
  await b.query("select steep_repl.drop_snapshot($1)", [again.snapshot_id]);
  await expectDropped(fetched.snapshot_id);
});

test("the slot of a fetched snapshot is the peer's: it is named, and none of that name is dropped here", async () => {
  const { a, b } = pair;
  await b.query("create table p (id int primary key); create publication p for table p");
  const taken = await takeSnapshot(b, {
    args: "tables => '{public.p}', slot_name => 's', publications => '{p}'",
  });
  await a.query("select pg_create_logical_replication_slot('s', 'pgoutput')");
  const fetched = await runFetch(a, pair.peer, taken.snapshot_id);
  expect(fetched).toMatchObject({ status: "complete", slot_name: "s", lsn: taken.lsn });
  await a.query("select steep_repl.drop_snapshot($1)", [fetched.snapshot_id]);
  expect(await a.query("select slot_name from pg_replication_slots")).toEqual([{ slot_name: "s" }]);
  await a.query("select pg_drop_replication_slot('s')");
  await b.query("select steep_repl.drop_snapshot($1)", [taken.snapshot_id]);
  await b.query("drop publication p; drop table p");
});

test("roles that are no superusers fetch and read, if both sides let them, and no password shows", async () => {
  const { a, b, source } = pair;
  const as = { user: fetcher };
  const start = () => runFetch(a, pair.conninfo, source.snapshot_id, as);
  expect(await start()).toMatchObject({ status: "failed", error_sqlstate: "42704" });
  expect(await runFetch(a, pair.conninfo, source.storage_path, as)).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
    error_message: expect.stringContaining("peer: permission denied for snapshot"),
    error_hint: "Become a member of that role, or of pg_read_server_files.",
  });
  // one of its own, below snapshot_directories
  const there = { ...as, password: fetcherPassword };
  await b.query(`grant select on t1 to ${fetcher}`);
  const own = await takeSnapshot(b, { ...there, args: "tables => '{public.t1}'" });
  const ofOwn = await runFetch(a, pair.conninfo, own.snapshot_id, as);
  expect(ofOwn).toMatchObject({ status: "complete", error_message: null });
  await expectSameFiles(ofOwn.storage_path, own.storage_path);
  await b.query("select steep_repl.drop_snapshot($1)", [own.snapshot_id], there);
  await b.query(`grant pg_read_server_files, pg_monitor to ${fetcher}`);
  const fetched = await start();
  await b.query(`revoke pg_read_server_files, pg_monitor from ${fetcher}`);
  expect(fetched).toMatchObject({ status: "complete" });
  // the role named in the manifest is here somebody else
  expect(
    await a.query("select * from steep_repl.verify_snapshot($1)", [fetched.storage_path], as),
  ).toEqual([]);
  await a.query("create role stranger login; grant usage on schema steep_repl to stranger");
  await expect(
    a.query("select * from steep_repl.verify_snapshot($1)", [fetched.storage_path], {
      user: "stranger",
    }),
  ).rejects.toMatchObject({ code: "42501" });
  const shown = await a.query(
    `select w::text from steep_repl.work_queue w union all select s::text from steep_repl.snapshots s
     union all select d::text from steep_repl._job_directories d`,
  );
  expect(JSON.stringify(shown) + (await a.log())).not.toContain(fetcherPassword);
  await a.query("drop owned by stranger; drop role stranger");
  for (const { snapshot_id } of await a.query<{ snapshot_id: string }>(
    "select snapshot_id from steep_repl.snapshots where requested_by = $1",
    [fetcher],
  ))
    await a.query("select steep_repl.drop_snapshot($1)", [snapshot_id], as);
  await expectNoLeaks(a);
});

test("what cannot be fetched is refused: when it is asked for, or by the job with what to do", async () => {
  const { a, b, source } = pair;
  const asked = (snapshot: string | null, path: string, args = "") =>
    a.query(`select steep_repl.start_fetch('there', $1, $2${args})`, [snapshot, path]);
  const path = freshPath(a);
  await expect(asked(null, path)).rejects.toMatchObject({ code: "22023" });
  await expect(asked("x", "relative")).rejects.toMatchObject({ code: "22023" });
  await expect(asked("x", path, ", parallel => 0")).rejects.toMatchObject({ code: "22023" });
  for (const rate of ["fast", "-1MB", "0", "1023", "1e3MB", "", "5PB"])
    await expect(asked("x", path, `, max_rate => '${rate}'`)).rejects.toMatchObject({
      code: "22023",
    });
  await expect(
    a.query("select steep_repl.start_fetch('nobody', 'x', $1)", [path]),
  ).rejects.toMatchObject({ code: "42704" });
  await expect(
    a.query("select steep_repl.start_fetch('there', 'x', '/tmp/elsewhere')", [], { user: fetcher }),
  ).rejects.toMatchObject({ code: "42501" });

  await b.query("create database bare");
  const bare = `host=127.0.0.1 port=${b.port} dbname=bare user=postgres`;
  const ends = {
    "0A000": await runFetch(a, bare, source.snapshot_id, { path }),
    "42704": await runFetch(a, "there", "snap_none", { path }),
    "58P01": await runFetch(a, "there", `${b.snapshotDir}/none`, { path }),
    "08001": await runFetch(a, "host=127.0.0.1 port=1 user=postgres", "x", { path }),
  };
  for (const [sqlstate, row] of Object.entries(ends))
    expect(row).toMatchObject({ status: "failed", error_sqlstate: sqlstate });
  expect(existsSync(path)).toBe(false);
  expect(await a.query("select * from steep_repl.leftovers()")).toEqual([]);
});

test("who reads pieces of a snapshot reads its files, and no other", async () => {
  const { b, source } = pair;
  const piece = (
    file: string,
    start = 0,
    length = 10,
    user = "postgres",
    path = source.storage_path,
  ) =>
    b.query(
      "select steep_repl._snapshot_piece($1, $2, $3, $4) as bytes",
      [path, file, start, length],
      { user, password: fetcherPassword },
    );
  expect(await piece("toc.dat", 0, 5)).toEqual([{ bytes: Buffer.from("PGDMP") }]);
  expect(await piece("toc.dat", 2 ** 50)).toEqual([{ bytes: Buffer.alloc(0) }]);
  for (const file of ["", ".", "..", ".steep_repl", "../x", "/etc/passwd", "toc.dat/../toc.dat"])
    await expect(piece(file)).rejects.toThrow(/does not name/);
  for (const [start, length] of [
    [-1, 1],
    [0, 0],
    [0, -1],
    [0, 2 ** 30],
  ] as const)
    await expect(piece("toc.dat", start, length)).rejects.toMatchObject({ code: "22023" });
  await expect(piece("toc.dat", 0, 1, fetcher)).rejects.toMatchObject({ code: "42501" });
  await expect(piece("PG_VERSION", 0, 1, fetcher, b.dataDir)).rejects.toMatchObject({
    code: "42501",
  });
  await expect(piece("PG_VERSION", 0, 1, "postgres", b.dataDir)).rejects.toMatchObject({
    code: "42501",
  });
  const copy = freshPath(b);
  await cp(source.storage_path, copy, { recursive: true });
  await rm(join(copy, "toc.dat"));
  await symlink("/etc/passwd", join(copy, "toc.dat"));
  await expect(piece("toc.dat", 0, 1, "postgres", copy)).rejects.toThrow(/could not open|symbolic/);
  await rm(copy, { recursive: true });
});

test("databases of one server fetch side by side, each its own", async () => {
  const { a, b, source } = pair;
  await a.createDatabase("other", { extension: true });
  const conninfo = `host=127.0.0.1 port=${b.port} dbname=postgres user=postgres`;
  const rows = await Promise.all(
    ["postgres", "other"].map((database) =>
      runFetch(a, conninfo, source.storage_path, { database, args: "parallel => 1" }),
    ),
  );
  for (const [i, row] of rows.entries()) {
    expect(row).toMatchObject({ status: "complete" });
    await expectSameFiles(row.storage_path, source.storage_path);
    const database = i === 0 ? "postgres" : "other";
    expect(
      await a.query("select snapshot_id from steep_repl.snapshots where status = 'complete'", [], {
        database,
      }),
    ).toEqual([{ snapshot_id: row.snapshot_id }]);
    await a.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], { database });
  }
  await expectNoLeaks(a);
});

test("all workers together keep to max_rate", async () => {
  const { a, source } = pair;
  const from = performance.now();
  const row = await runFetch(a, "there", source.storage_path, {
    args: "parallel => 2, max_rate => '8MB'",
  });
  const seconds = (performance.now() - from) / 1000;
  expect(row).toMatchObject({ status: "complete" });
  // half a second is credit
  expect(Number(row.bytes_processed) / 1024 / 1024 / (seconds + 0.6)).toBeLessThan(8);
  await expectDropped(row.snapshot_id);
});
