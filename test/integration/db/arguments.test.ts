import { mkdir, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { giveToServer } from "../../support/data-directory.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  endOf,
  freshPath,
  problems,
  restore,
  runSnapshot,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";

let server: Server;
const app = { database: "app" };

/** Directories and files for paths to lead into, and the names of them all. */
const scene = ["real", "link", "dangling", "full", "file", "locked", "empty"];
const inScene = (...parts: string[]) => join(server.snapshotDir, ...parts);

beforeAll(async () => {
  server = await startServer({ name: "arguments", settings: { max_worker_processes: 16 } });
  await server.createDatabase("app", { extension: true });
  await server.query(
    "create table t as select 1 as id; create sequence s; create index i on t (id)",
    [],
    app,
  );
  for (const name of ["real", "full", "empty"]) await mkdir(inScene(name), { mode: 0o700 });
  // the server is its owner and no superuser to the system, so this keeps it from writing
  await mkdir(inScene("locked"), { mode: 0o500 });
  await writeFile(inScene("full", "precious"), "");
  await writeFile(inScene("file"), "");
  await symlink(inScene("real"), inScene("link"));
  await symlink(inScene("nowhere"), inScene("dangling"));
  const tablespace = join(server.home, "tablespace");
  await mkdir(tablespace, { mode: 0o700 });
  await giveToServer(server.snapshotDir, tablespace);
  await server.query(`create tablespace apart location '${tablespace}'`);
});
afterAll(() => server.destroy());

// what a failed test left would fail the others too
afterEach(async ({ task }) => {
  if (task.result?.state !== "fail") return;
  const session = await server.connect(app);
  await session.query("select steep_repl.cancel_operation(id) from steep_repl.work_queue");
  await session.query("select steep_repl.wait_operation(id) from steep_repl.work_queue");
  await session.query("select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots");
  await session.query("delete from steep_repl.nodes");
  await session.end();
});

/** What a caller must not lose by a mistake: nothing is queued, no file is made. */
async function expectNothingHappened(): Promise<void> {
  for (const table of ["work_queue", "snapshots", "_job_directories", "nodes"])
    expect(await server.query(`select * from steep_repl.${table}`, [], app)).toEqual([]);
  expect((await readdir(server.snapshotDir)).sort()).toEqual([...scene].sort());
  for (const name of ["real", "locked", "empty"]) expect(await readdir(inScene(name))).toEqual([]);
  expect(await readdir(inScene("full"))).toEqual(["precious"]);
}

describe("start_snapshot refuses a path", () => {
  test.each<[what: string, path: () => string | null, code: string, says: string]>([
    ["that is NULL", () => null, "22023", "output_path must not be null or empty"],
    ["that is empty", () => "", "22023", "output_path must not be null or empty"],
    ["that is relative", () => "backups/one", "22023", "is not absolute"],
    ["with ..", () => `${inScene("real")}/../x`, "22023", '".." component'],
    ["that ends with ..", () => `${inScene("real")}/..`, "22023", '".." component'],
    ["with .", () => `${server.snapshotDir}/./x`, "22023", '"." or ".." component'],
    ["with an empty component", () => `${server.snapshotDir}//x`, "22023", "has an empty"],
    ["that is the root", () => "/", "22023", "root directory"],
    ["that is only slashes", () => "///", "22023", "root directory"],
    ["of 4 KB", () => `/${"long/".repeat(800)}x`, "22023", "too long"],
    ["with a name of 300 bytes", () => inScene("x".repeat(300)), "58P03", "File name too long"],
    ["that is a symbolic link", () => inScene("link"), "42501", "symbolic link"],
    ["that is a dangling symbolic link", () => inScene("dangling"), "42501", "symbolic link"],
    ["through a symbolic link", () => inScene("link", "x"), "42501", "symbolic link"],
    ["that is the data directory", () => server.dataDir, "42501", "data directory"],
    ["inside the data directory", () => join(server.dataDir, "x"), "42501", "data directory"],
    ["deep inside of it", () => join(server.dataDir, "base/1/x"), "42501", "data directory"],
    ["inside pg_wal", () => join(server.dataDir, "pg_wal/x"), "42501", "data directory"],
    ["that is a tablespace", () => join(server.home, "tablespace"), "42501", "tablespace"],
    ["inside a tablespace", () => join(server.home, "tablespace/x"), "42501", "tablespace"],
    ["below what it may not write", () => inScene("locked", "x"), "42501", "could not create"],
    ["that it may not write", () => inScene("locked"), "42501", "could not write"],
    ["without a parent", () => inScene("missing", "x"), "58P01", "could not create directory"],
    ["that is a file", () => inScene("file"), "42809", "Not a directory"],
    ["below a file", () => inScene("file", "x"), "42809", "Not a directory"],
    ["that is not empty", () => inScene("full"), "58P02", "exists and is not empty"],
  ])("%s", async (_, path, code, says) => {
    await expect(
      server.query("select steep_repl.start_snapshot($1)", [path()], app),
    ).rejects.toMatchObject({ code, message: expect.stringContaining(says) });
    await expectNothingHappened();
  });
});

describe("start_snapshot refuses", () => {
  test.each([
    ["compression => 'rar'", "22023", 'unknown compression "rar"'],
    ["compression => 'ZSTD'", "22023", 'unknown compression "ZSTD"'],
    ["compression => null", "22023", "compression must not be null"],
    ["compression => 'none', level => 1", "22023", "for none"],
    ["compression => 'gzip', level => 0", "22023", "between 1 and 9 for gzip"],
    ["compression => 'gzip', level => 10", "22023", "between 1 and 9 for gzip"],
    ["compression => 'lz4', level => -1", "22023", "between 0 and 12 for lz4"],
    ["compression => 'lz4', level => 13", "22023", "between 0 and 12 for lz4"],
    ["compression => 'zstd', level => 23", "22023", "and 22 for zstd"],
    ["parallel => 0", "22023", "between 1 and 64"],
    ["parallel => -1", "22023", "between 1 and 64"],
    ["parallel => 65", "22023", "between 1 and 64"],
    ["parallel => null", "22023", "between 1 and 64"],
    ["tables => '{}'", "22023", "tables must name at least one"],
    ["tables => array['public.t', null]", "22023", "tables must not contain null"],
    ["tables => array['public.t', '']", "22023", "tables must not contain null or empty"],
    ["tables => '{public.t, public.nothing}'", "42P01", "does not exist: public.nothing"],
    ["tables => '{t}'", "42P01", "does not exist: t"],
    ["tables => '{a.b.c.d}'", "42P01", "does not exist: a.b.c.d"],
    ["tables => array['public.\"t']", "42P01", 'does not exist: public."t'],
    ["tables => array['public.t; drop table t']", "42P01", "does not exist"],
    ["tables => '{pg_catalog.pg_class}'", "22023", "cannot contain pg_catalog.pg_class"],
    ["tables => '{steep_repl.nodes}'", "22023", "cannot contain steep_repl.nodes"],
    ["tables => '{public.i}'", "22023", "cannot contain public.i"],
    ["schemas => '{}'", "22023", "schemas must name at least one"],
    ["schemas => array[null]::text[]", "22023", "schemas must not contain null"],
    ["schemas => '{public, nothing}'", "3F000", "does not exist: nothing"],
    ["schemas => '{pg_catalog}'", "22023", "cannot contain pg_catalog"],
    ["schemas => '{public}', tables => '{public.t}'", "22023", "cannot both be given"],
    ["slot_name => 'slot'", "55000", "needs the publications"],
    ["slot_name => 'slot', publications => '{p}'", "55000", "publication does not exist: p"],
    ["slot_name => 'slot', publications => '{}'", "22023", "publications must name at least one"],
    ["slot_name => 'Slot', publications => '{p}'", "22023", 'invalid slot_name "Slot"'],
    ["slot_name => '', publications => '{p}'", "22023", 'invalid slot_name ""'],
    ["publications => '{p}'", "22023", "only used with slot_name"],
    ["large_objects => 'maybe'", "22023", 'unknown large_objects "maybe"'],
    ["large_objects => null", "22023", "large_objects must not be null"],
  ])("%s", async (args, code, says) => {
    await expect(startSnapshot(server, { ...app, args })).rejects.toMatchObject({
      code,
      message: expect.stringContaining(says),
    });
    await expectNothingHappened();
  });

  test("a temporary table", async () => {
    const client = await server.connect(app);
    await client.query("create temp table fleeting (id int)");
    await expect(
      client.query("select steep_repl.start_snapshot($1, tables => '{pg_temp.fleeting}')", [
        freshPath(server),
      ]),
    ).rejects.toMatchObject({ code: "22023" });
    await client.end();
    await expectNothingHappened();
  });
});

describe("what does not exist, or is no sensible argument, is refused by", () => {
  test.each([
    ["wait_snapshot('snap_x')", "42704", '"snap_x" does not exist'],
    ["cancel_snapshot('snap_x')", "42704", '"snap_x" does not exist'],
    ["drop_snapshot('snap_x')", "42704", '"snap_x" does not exist'],
    ["snapshot_progress('snap_x')", "42704", '"snap_x" does not exist'],
    ["wait_operation(4711)", "42704", "operation 4711 does not exist"],
    ["cancel_operation(4711)", "42704", "operation 4711 does not exist"],
    ["retry_operation(4711)", "42704", "operation 4711 does not exist"],
    ["wait_snapshot(null)", "22023", "snapshot_id must not be null"],
    ["cancel_snapshot(null)", "22023", "snapshot_id must not be null"],
    ["drop_snapshot(null)", "22023", "snapshot_id must not be null"],
    ["wait_operation(null)", "22023", "id must not be null"],
    ["cancel_operation(null)", "22023", "id must not be null"],
    ["retry_operation(null)", "22023", "id must not be null"],
    ["retry_operation(4711, peer => 'x')", "42704", "does not exist"],
    ["wait_operation(4711, -1)", "22023", "timeout_seconds must not be null or negative"],
    ["wait_operation(4711, null)", "22023", "timeout_seconds must not be null or negative"],
    ["list_operations('done')", "22023", 'unknown status "done"'],
    ["list_operations('')", "22023", 'unknown status ""'],
    ["prune_operations(null)", "22023", "older_than must not be null or negative"],
    ["prune_operations('-1 s')", "22023", "older_than must not be null or negative"],
    ["register_node(null, 'A')", "22023", "node_id must not be null or empty"],
    ["register_node('', 'A')", "22023", "node_id must not be null or empty"],
    ["register_node('a', ' ')", "22023", "node_name must not be empty"],
    ["register_node('a', 'A', port => 0)", "22023", "port must be between 1 and 65535"],
    ["register_node('a', 'A', port => 65536)", "22023", "port must be between 1 and 65535"],
    ["register_node('a', 'A', priority => 0)", "22023", "priority must be between 1 and 100"],
    ["register_node('a', 'A', priority => 101)", "22023", "priority must be between 1 and 100"],
    ["register_node(repeat('x', 64), 'A')", "22023", "node_id must have at most 63 bytes"],
    ["register_node(repeat('ä', 32), 'A')", "22023", "node_id must have at most 63 bytes"],
    ["register_node('a', repeat('x', 64))", "22023", "node_name must have at most 63 bytes"],
    ["register_node('a', 'A', repeat('x', 256))", "22023", "host must have at most 255 bytes"],
    ...["dbname", "username", "foreign_server"].map((name): [string, string, string] => [
      `register_node('a', 'A', ${name} => repeat('x', 64))`,
      ...(["22023", `${name} must have at most 63 bytes`] as const),
    ]),
    ...["node_id", "node_name", "host", "dbname", "username", "foreign_server"].map(
      (name): [string, string, string] => [
        `register_node(${name === "node_id" ? "" : "node_id => 'a', "}${name === "node_name" ? "" : "node_name => 'A', "}${name} => e'a\\tb')`,
        ...(["22023", `${name} must not contain control characters`] as const),
      ],
    ),
    ["register_node('a', 'A', foreign_server => 'x')", "22023", 'server "x" does not exist'],
    ["node_status('a')", "42704", 'node "a" is not registered'],
    ["verify_snapshot(null)", "22004", "path must not be null"],
    ["verify_snapshot('')", "22023", "is not absolute"],
    ["verify_snapshot('backups/one')", "22023", "is not absolute"],
    ["verify_snapshot('/nowhere/at/all')", "58P01", "No such file or directory"],
  ])("%s", async (call, code, says) => {
    await expect(server.query(`select * from steep_repl.${call}`, [], app)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(says),
    });
    await expectNothingHappened();
  });
});

test("no progress, no node and no leftover are empty answers", async () => {
  for (const call of ["snapshot_progress()", "node_status()", "leftovers()", "list_operations()"])
    expect(await server.query(`select * from steep_repl.${call}`, [], app)).toEqual([]);
  expect(
    await server.query(
      "select steep_repl.heartbeat('a') as beat, steep_repl.heartbeat(null) as none, steep_repl.remove_node('a') as removed",
      [],
      app,
    ),
  ).toEqual([{ beat: false, none: false, removed: false }]);
});

test("verify_snapshot of a directory without a snapshot says so", async () => {
  expect(await problems(server, inScene("empty"), app)).toMatchObject([{ file: "manifest.json" }]);
});

test("an existing empty directory is used, and stays when the snapshot is dropped", async () => {
  const snapshot = await takeSnapshot(server, { ...app, path: `${inScene("empty")}/` });
  expect(snapshot.storage_path).toBe(inScene("empty"));
  expect(await problems(server, inScene("empty"), app)).toEqual([]);
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
  await expectNothingHappened();
});

test("a complete job cannot be retried, and a running one cannot be dropped or retried", async () => {
  const complete = await takeSnapshot(server, app);
  await expect(
    server.query("select steep_repl.retry_operation($1)", [complete.operation_id], app),
  ).rejects.toMatchObject({ code: "55000", message: expect.stringContaining("is complete") });
  expect(
    await server.query(
      "select steep_repl.cancel_operation($1) as cancelled",
      [complete.operation_id],
      app,
    ),
  ).toEqual([{ cancelled: false }]);

  const blocker = await server.connect(app);
  await blocker.query("begin; lock table t in access exclusive mode");
  const running = await startSnapshot(server, app);
  await expect(
    server.query("select steep_repl.drop_snapshot($1)", [running.snapshot_id], app),
  ).rejects.toMatchObject({ code: "55006", hint: expect.stringContaining("cancel_snapshot") });
  await expect(
    server.query("select steep_repl.retry_operation($1)", [running.operation_id], app),
  ).rejects.toMatchObject({ code: "55000" });
  await server.query("select steep_repl.cancel_snapshot($1)", [running.snapshot_id], app);
  expect(await endOf(server, running, app)).toMatchObject({ status: "cancelled" });
  await blocker.end();

  for (const { snapshot_id } of [complete, running])
    await server.query("select steep_repl.drop_snapshot($1)", [snapshot_id], app);
  await expectNothingHappened();
});

test("large objects are refused with their number, or skipped, when asked", async () => {
  await server.query("select lo_create(0) from generate_series(1, 3)", [], app);
  const refused = await runSnapshot(server, { ...app, args: "large_objects => 'refuse'" });
  expect(refused).toMatchObject({
    status: "failed",
    error_sqlstate: "0A000",
    error_message: expect.stringContaining("has 3 large objects"),
    error_hint: expect.stringContaining("large_objects => 'skip'"),
  });
  const skipped = await takeSnapshot(server, { ...app, args: "large_objects => 'skip'" });
  const listed = await run(bin("pg_restore"), ["-l", skipped.storage_path]);
  expect(listed.stdout).not.toContain("BLOB");
  // a snapshot of named tables never has any
  const limited = await takeSnapshot(server, { ...app, args: "tables => '{public.t}'" });

  await server.query("select lo_unlink(oid) from pg_largeobject_metadata", [], app);
  for (const { snapshot_id } of [refused, skipped, limited])
    await server.query("select steep_repl.drop_snapshot($1)", [snapshot_id], app);
  await expectNothingHappened();
});

/** What a role or a database can be called there: from PostgreSQL 19 on, its name is of one line. */
async function globalName(name: string): Promise<string> {
  const role = pg.escapeIdentifier(name);
  try {
    await server.query(`create role ${role}`);
    await server.query(`drop role ${role}`);
    return name;
  } catch (error) {
    if ((error as { code?: string }).code !== "22023") throw error;
    return name.replace(/[\n\r]/g, " ");
  }
}

test.each([
  ["quotes and a backslash", `a"b'c\\d`],
  ["line ends", "new\nline\r"],
  ["other scripts", "💥 Ünï %20/?&=#"],
  ["63 bytes", `${"x".repeat(59)}💥`],
])("names with %s come back as they were", async (_, name) => {
  const quoted = pg.escapeIdentifier(name);
  const global = await globalName(name);
  const role = pg.escapeIdentifier(global);
  await server.createDatabase(global, { extension: true });
  const database = { database: global };
  await server.query(
    `create schema ${quoted}; create table ${quoted}.${quoted} (${quoted} serial primary key, "text" text);
     insert into ${quoted}.${quoted} ("text") values ('one'), ('two');
     create role ${role} login;
     grant usage on schema steep_repl, ${quoted} to ${role};
     grant select, insert, update, delete on all tables in schema steep_repl to ${role};
     grant select on ${quoted}.${quoted} to ${role}`,
    [],
    database,
  );
  const asRole = { database: global, user: global };
  // a node is named in reports and logs, a line each
  const node = name.replace(/[\n\r]/g, " ");
  expect(
    await server.query(
      "select node_id, node_name, host, registered_by from steep_repl.register_node($1, $1, host => $1)",
      [node],
      asRole,
    ),
  ).toEqual([{ node_id: node, node_name: node, host: node, registered_by: global }]);

  const path = inScene(`of ${name.replaceAll("/", "")}`);
  const snapshot = await takeSnapshot(server, {
    ...asRole,
    path,
    args: `node_id => ${pg.escapeLiteral(name)}, schemas => array[${pg.escapeLiteral(name)}]`,
  });
  expect(snapshot).toMatchObject({ storage_path: path, node_id: name, requested_by: global });
  const manifest = JSON.parse(await readFile(join(path, "manifest.json"), "utf8"));
  expect(manifest).toMatchObject({ creator: global, database: global, node_id: name });
  expect(await problems(server, path, asRole)).toEqual([]);

  await restore(server, snapshot, "restored");
  expect(await digests(server, "restored")).toEqual(await digests(server, global));
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], asRole);
  await server.query("drop database restored");
  await server.query(`drop database ${role}`);
  await server.query(`drop role ${role}`);
  await expectNoLeaks(server, { files: scene });
});

describe("on a server that does not preload the library", () => {
  let plain: Server;
  beforeAll(async () => {
    plain = await startServer({ name: "plain", preload: false });
    await plain.query("create extension steep_repl");
  });
  afterAll(() => plain.destroy());

  const hint = "shared_preload_libraries = 'steep_repl'";

  test("nothing that needs a worker is claimed to work", async () => {
    expect(await plain.query("select steep_repl.bgworker_available() as available")).toEqual([
      { available: false },
    ]);
    const [health] = await plain.query("select * from steep_repl.health()");
    expect(health).toMatchObject({
      status: "degraded",
      background_worker_running: false,
      shared_memory_available: false,
      reasons: [expect.stringContaining(hint)],
    });
    await expect(startSnapshot(plain)).rejects.toMatchObject({
      code: "55000",
      message: expect.stringContaining("not preloaded"),
      hint: expect.stringContaining(hint),
    });
    await expect(plain.query("select steep_repl.retry_operation(1)")).rejects.toMatchObject({
      code: "55000",
      hint: expect.stringContaining(hint),
    });
    expect(await plain.query("select * from steep_repl.work_queue")).toEqual([]);
    expect(await readdir(plain.snapshotDir)).toEqual([]);
  });

  test("everything else works", async () => {
    const [node] = await plain.query(
      "select node_id, system_identifier is not null as known from steep_repl.register_node('me', 'Me')",
    );
    expect(node).toEqual({ node_id: "me", known: true });
    expect(
      await plain.query("select status, is_healthy, is_local from steep_repl.node_status()"),
    ).toEqual([{ status: "offline", is_healthy: false, is_local: true }]);
    for (const call of ["snapshot_progress()", "list_operations()", "leftovers()"])
      expect(await plain.query(`select * from steep_repl.${call}`)).toEqual([]);
    expect(await plain.query("select steep_repl.prune_operations('0 s') as pruned")).toEqual([
      { pruned: "0" },
    ]);
    for (const call of ["wait_operation(1)", "cancel_operation(1)", "drop_snapshot('x')"])
      await expect(plain.query(`select steep_repl.${call}`)).rejects.toMatchObject({
        code: "42704",
      });

    const snapshot = await takeSnapshot(server, app);
    expect(await problems(plain, snapshot.storage_path)).toEqual([]);
    await rm(snapshot.storage_path, { recursive: true });
    await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
  });
});

test("at the end nothing is left behind", () => expectNoLeaks(server, { files: scene }));
