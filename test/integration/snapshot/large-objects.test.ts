import { appendFile, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { applySnapshot, endOfApply, runApply, startApply } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  problems,
  restore,
  runSnapshot,
  startSnapshot,
  takeSnapshot,
  withoutOurs,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const source = { database: "source" };
const target = { database: "target" };
/** With so many objects that a batch is full. */
const crowded = { database: "crowded" };
const random = createRandom();

// Owners, rights and comments of every sort; sizes around those of a row of pg_largeobject and of a frame; holes.
const roles = `
  create role "lo ""owner""" login; create role lo_reader; create role lo_giver; create role lo_taker`;
const many = "select lo_from_bytea(10000 + n, n::text::bytea) from generate_series(1, 1100) n";
const schema = `
  select lo_from_bytea(3000, ''), lo_from_bytea(3001, '\\x00'),
         lo_from_bytea(3002, convert_to(repeat('x', 2048), 'UTF8')),
         lo_from_bytea(3003, convert_to(repeat('y', 2049), 'UTF8')),
         lo_from_bytea(3004, (select string_agg(sha512(n::text::bytea), '') from generate_series(1, 140000) n)),
         lo_from_bytea(3005, convert_to(repeat('0123456789abcdef', 524289), 'UTF8')),
         lo_from_bytea(4294967295, '\\xff');
  select lo_create(3006); select lo_put(3006, 5000000, 'after a hole');
  select lo_create(3100 + n) from generate_series(0, 7) n;
  alter large object 3100 owner to "lo ""owner"""; alter large object 3101 owner to "lo ""owner""";
  grant select on large object 3100, 3101 to lo_reader, "lo ""owner""";
  grant select on large object 3102 to public; grant all on large object 3103 to lo_reader with grant option;
  revoke all on large object 3104 from postgres; revoke update on large object 3105 from postgres;
  grant select on large object 3106, 3107 to lo_giver with grant option;
  set role lo_giver; grant select on large object 3106, 3107 to lo_taker; reset role;
  comment on large object 3000 is 'nothing''s in \\here'; comment on large object 3101 is 'two
lines';`;

beforeAll(async () => {
  server = await startServer({ name: "objects", settings: { max_worker_processes: 16 } });
  await server.query(roles);
  for (const database of ["source", "crowded"]) {
    await server.createDatabase(database, { extension: true });
    await server.query(schema, [], { database });
  }
  await server.query(many, [], crowded);
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, source);
  await dropSnapshots(server, crowded);
  await server.query("drop database if exists target with (force)");
  await expectNoLeaks(server);
});

/** All that there is of large objects: owner, rights, comment and a digest of the bytes of each. */
function contents(database: string) {
  return server.query(
    `select m.oid, pg_get_userbyid(lomowner) as owner, array(select x::text from unnest(lomacl) x order by 1) as acl,
            obj_description(m.oid, 'pg_largeobject') as comment, length(lo_get(m.oid)) as bytes, md5(lo_get(m.oid)) as digest
     from pg_largeobject_metadata m order by m.oid`,
    [],
    { database },
  );
}

/** The entries that an archive has of large objects, without their numbers. */
async function listed(archive: string): Promise<readonly string[]> {
  const { stdout } = await run(bin("pg_restore"), ["-l", archive]);
  return [...stdout.matchAll(/^\d+; \d+ \d+ ((BLOB|ACL - LARGE|COMMENT - LARGE).*)$/gm)]
    .map(([, entry]) => entry ?? "")
    .sort();
}

test.each([
  ["none", "source"],
  ["gzip", "source"],
  ["lz4", "source"],
  ["zstd", "crowded"],
])(
  "they are in a snapshot (%s) as in pg_dump's archive, and pg_restore brings them back",
  async (compression, database) => {
    const snapshot = await takeSnapshot(server, {
      database,
      args: `compression => '${compression}', parallel => 2`,
    });
    expect(await problems(server, snapshot.storage_path, { database })).toEqual([]);
    const stock = join(server.home, `stock-${compression}`);
    await run(bin("pg_dump"), [
      "-Fd",
      `--compress=${compression}`,
      "-f",
      stock,
      ...withoutOurs,
      server.uri(database),
    ]);
    const ours = await listed(snapshot.storage_path);
    const theirs = await listed(stock);
    // what somebody else granted, pg_dump gives one entry for several, which pg_restore cannot read
    const granted = (entries: readonly string[]) =>
      entries.filter((entry) => !/310[67]/.test(entry));
    expect(granted(ours)).toEqual(granted(theirs));
    const files = async (path: string) =>
      (await readdir(path)).filter((name) => name.startsWith("blob_")).sort();
    expect(await files(snapshot.storage_path)).toEqual(await files(stock));
    await restore(server, snapshot, "target");
    expect(await contents("target")).toEqual(await contents(database));
  },
);

test("an apply brings them back, with owner, rights and comments, or without", async () => {
  const expected = await contents("crowded");
  const snapshot = await takeSnapshot(server, crowded);
  await server.createDatabase("target", { extension: true });
  await applySnapshot(server, snapshot.storage_path, target);
  expect(await contents("target")).toEqual(expected);

  const again = await runApply(server, snapshot.storage_path, {
    ...target,
    args: "sections => '{data}'",
  });
  expect(again).toMatchObject({
    status: "failed",
    error_sqlstate: "42710",
    error_message: expect.stringMatching(/large objects .* exist already: 10001, .* and \d+ more/),
    error_hint: expect.stringContaining("truncate => true"),
  });
  await server.query("select lo_put(3001, 0, 'changed'), lo_unlink(3000)", [], target);
  await applySnapshot(server, snapshot.storage_path, {
    ...target,
    args: "sections => '{data}', truncate => true",
  });
  expect(await contents("target")).toEqual(expected);

  await server.query("drop database target");
  await server.createDatabase("target", { extension: true });
  await applySnapshot(server, snapshot.storage_path, {
    ...target,
    args: "no_owner => true, no_privileges => true",
  });
  expect(await contents("target")).toEqual(
    expected.map((row) => ({ ...row, owner: "postgres", acl: [] })),
  );
});

test("what is limited to tables or schemas, or skips them, has none", async () => {
  for (const args of ["schemas => '{public}'", "large_objects => 'skip'"]) {
    const snapshot = await takeSnapshot(server, { ...source, args });
    expect(await listed(snapshot.storage_path)).toEqual([]);
  }
  expect(await runSnapshot(server, { ...source, args: "large_objects => 'refuse'" })).toMatchObject(
    {
      status: "failed",
      error_sqlstate: "0A000",
      error_message: "this database has 16 large objects",
      error_hint: expect.stringContaining("'copy'"),
    },
  );
});

test("who may not read some of them is told which, before anything is copied", async () => {
  await server.query(
    `create role lo_copier login; grant usage on schema steep_repl to lo_copier;
     grant select, insert, update, delete on all tables in schema steep_repl to lo_copier`,
    [],
    source,
  );
  const copier = { ...source, user: "lo_copier" };
  const refused = await runSnapshot(server, copier);
  expect(refused).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
    error_message: expect.stringMatching(
      /no SELECT on large object 3000, no SELECT on large object 3001, /,
    ),
    error_hint: expect.stringContaining("large_objects => 'skip'"),
  });
  expect(await readdir(server.snapshotDir)).toEqual([]);
  await takeSnapshot(server, { ...copier, args: "large_objects => 'skip'" });
  await server.query("alter database source set lo_compat_privileges = on");
  await takeSnapshot(server, copier);
  await server.query("alter database source reset lo_compat_privileges");
});

test("they are as the snapshot saw them, whatever is written or removed meanwhile", async () => {
  const expected = await contents("source");
  const gate = await server.connect(source);
  await gate.query("create table gate ()");
  await gate.query("begin; lock table gate in access exclusive mode");
  const started = await startSnapshot(server, source);
  await waitUntil(
    () => server.query("select phase from steep_repl.snapshot_progress()", [], source),
    ([row]) => row?.phase === "schema",
    "the snapshot is taken",
  );
  await server.query(
    "select lo_put(3001, 0, 'changed'), lo_unlink(3002), lo_from_bytea(3003000, 'new')",
    [],
    source,
  );
  await gate.query("commit");
  const [row] = await server.query<{ status: string; storage_path: string }>(
    "select status, storage_path from steep_repl.wait_snapshot($1, 50)",
    [started.snapshot_id],
    source,
  );
  await server.query(
    "select lo_unlink(3001), lo_unlink(3003000); select lo_from_bytea(3001, '\\x00'), lo_from_bytea(3002, convert_to(repeat('x', 2048), 'UTF8'))",
    [],
    source,
  );
  await gate.query("drop table gate");
  await gate.end();
  expect(row?.status).toBe("complete");
  await server.createDatabase("target", { extension: true });
  await applySnapshot(server, row?.storage_path ?? "", target);
  expect(await contents("target")).toEqual(expected);
});

test("an apply that is killed goes on, with no piece lost or written twice", async () => {
  const expected = await contents("crowded");
  const snapshot = await takeSnapshot(server, crowded);
  await server.createDatabase("target", { extension: true });
  const started = await startApply(server, snapshot.storage_path, {
    ...target,
    args: "verify => false",
  });
  const marks = 2 + Math.floor(random.next() * 8);
  await waitUntil(
    () =>
      server.query<{ marks: number; status: string }>(
        `select (select count(*)::int from steep_repl._apply_done) as marks, status
         from steep_repl.snapshots where snapshot_id = $1`,
        [started.snapshot_id],
        target,
      ),
    ([row]) => (row?.marks ?? 0) >= marks || row?.status === "complete",
    `the apply has done ${marks} pieces`,
    { intervalMs: 2 },
  );
  await server.kill9();
  await server.start();
  expect(await endOfApply(server, started, target)).toMatchObject({ status: "complete" });
  expect(await contents("target")).toEqual(expected);
});

test("a file that is damaged, exchanged or missing is found, and nothing of it is kept", async () => {
  const snapshot = await takeSnapshot(server, { ...source, args: "compression => 'none'" });
  const file = (name: string) => join(snapshot.storage_path, name);
  const sound = await readFile(file("blob_3002.dat"));
  const found = async () =>
    (await problems(server, snapshot.storage_path, source)).map(
      (row) => `${row.file}: ${row.problem}`,
    );
  await server.createDatabase("target", { extension: true });
  const apply = () =>
    runApply(server, snapshot.storage_path, {
      ...target,
      args: "verify => false, sections => '{data}', truncate => true",
    });

  await writeFile(file("blob_3002.dat"), Buffer.concat([sound.subarray(1), Buffer.from("!")]));
  expect(await found()).toEqual(["blob_3002.dat: frame at offset 0 changed: SHA-256 differs"]);
  expect(await apply()).toMatchObject({ status: "failed", error_sqlstate: "XX001" });
  await appendFile(file("blob_3002.dat"), "x");
  expect(await found()).toEqual(["blob_3002.dat: too long"]);
  await rename(file("blob_3002.dat"), file("blob_9.dat"));
  expect(await found()).toEqual([
    "blob_9.dat: not named in the manifest",
    "blob_3002.dat: missing",
  ]);
  const row = await apply();
  expect(row.error_message).toContain("blob_3002.dat");
  await rename(file("blob_9.dat"), file("blob_3002.dat"));
});
