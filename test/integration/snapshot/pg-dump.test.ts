import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { cancelJob, msUntilEnd } from "../../support/ends.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { hasOldStrings } from "../../support/old-strings.ts";
import { bin } from "../../support/pg.ts";
import { insteadOfPgDump } from "../../support/pg-dump.ts";
import { descendants } from "../../support/processes.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  problems,
  runSnapshot,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { readToc } from "../../support/toc.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const app = { database: "app" };
const byDefault = { "steep_repl.pg_dump_path": "", "steep_repl.local_conninfo": "" };

beforeAll(async () => {
  server = await startServer({
    name: "pg-dump",
    settings: { max_worker_processes: 16, max_connections: 10 },
    // a role by which nobody gets in over the socket
    hba: ["local all nobody_gets_in reject"],
  });
  await server.query("create role nobody_gets_in login; create role plain login");
  await server.createDatabase("app", { extension: true });
  await server.query(
    "create table items as select g as id from generate_series(1, 100) g; create table secret ()",
    [],
    app,
  );
});
afterAll(() => server.destroy());
afterEach(async () => {
  await server.configure(byDefault);
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** A snapshot that must fail; what a user would read of it. */
async function failure(): Promise<SnapshotRow> {
  const row = await runSnapshot(server, app);
  expect(row.status).toBe("failed");
  return row;
}

test("a path without a program is told with the setting to change", async () => {
  await server.configure({ "steep_repl.pg_dump_path": "/nowhere/pg_dump" });
  expect(await failure()).toMatchObject({
    error_sqlstate: "58P01",
    error_message: expect.stringContaining('could not execute "/nowhere/pg_dump"'),
    error_hint: expect.stringContaining("steep_repl.pg_dump_path"),
  });
});

test("a pg_dump of another version is told with the setting to change", async () => {
  await insteadOfPgDump(
    server,
    'echo "pg_dump: error: aborting because of server version mismatch" >&2; exit 1',
  );
  expect(await failure()).toMatchObject({
    error_sqlstate: "38000",
    error_message: expect.stringContaining("server version mismatch"),
    error_hint: expect.stringContaining("steep_repl.pg_dump_path"),
  });
});

test.each([
  ["says nothing", "exit 0"],
  ["writes no archive", "echo hello"],
  ["writes half an archive", `${"$REAL"} "$@" | head -c 2000`],
  ["fails after a whole archive", `${"$REAL"} "$@"; exit 3`],
  ["is killed", "kill -9 $$"],
  ["complains at length", "yes 'pg_dump: error: ä very long story' | head -c 3000000 >&2; exit 1"],
  ["reads nothing and closes its output", "exec >&- 2>&- 0<&-; sleep 0.2; exit 1"],
])("a program that %s fails the job cleanly", async (_, script) => {
  await insteadOfPgDump(server, `REAL=${bin("pg_dump")}\n${script}`);
  const row = await failure();
  expect(row.error_message).toBeTruthy();
  expect(row.error_message?.length).toBeLessThan(20_000);
});

test("a wrapper around pg_dump works", async () => {
  await insteadOfPgDump(server, `exec ${bin("pg_dump")} "$@"`);
  const snapshot = await takeSnapshot(server, app);
  expect(await problems(server, snapshot.storage_path, app)).toEqual([]);
});

test.each([
  ["hangs", "exec sleep 600"],
  ["has a child of its own that hangs", "sleep 600; exit 1"],
  ["does not heed SIGTERM", "trap '' TERM; while :; do sleep 1; done"],
])("a program that %s is gone within 2 seconds of a cancel", async (_, script) => {
  await insteadOfPgDump(server, script);
  const before = descendants(server.pid).length;
  const snapshot = await startSnapshot(server, app);
  await waitUntil(
    () => server.query("select phase from steep_repl.snapshot_progress()", [], app),
    (rows) => rows[0]?.phase === "schema",
    "pg_dump runs",
  );
  const since = await cancelJob(server, snapshot, app);
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe("cancelled");
  expect(await msUntilEnd(server, snapshot, since, app)).toBeLessThan(2_000);
  await waitUntil(
    () => descendants(server.pid).length,
    (n) => n <= before,
    "no process is left",
  );
});

test.each([
  ["a port where nobody listens", "host=127.0.0.1 port=1"],
  ["a role that is not let in", "user=nobody_gets_in"],
  ["a role that does not exist", "user=no_such_role"],
])("a connection string with %s is told with the setting to change", async (_, conninfo) => {
  const rest = conninfo.includes("host=") ? "" : `host=${server.socketDir} port=${server.port}`;
  await server.configure({ "steep_repl.local_conninfo": `${rest} dbname=app ${conninfo}` });
  expect(await failure()).toMatchObject({
    error_sqlstate: "38000",
    error_hint: expect.stringContaining("steep_repl.local_conninfo"),
  });
});

test("a role that may not read the schema is told so", async () => {
  await server.configure({
    "steep_repl.local_conninfo": `host=127.0.0.1 port=${server.port} dbname=app user=plain`,
  });
  expect(await failure()).toMatchObject({
    error_sqlstate: "38000",
    error_message: expect.stringContaining("permission denied"),
    error_hint: expect.stringContaining("steep_repl.local_conninfo"),
  });
});

test("another way to connect works", async () => {
  await server.configure({
    "steep_repl.local_conninfo": `host=127.0.0.1 port=${server.port} user=postgres`,
  });
  const snapshot = await takeSnapshot(server, app);
  expect(await problems(server, snapshot.storage_path, app)).toEqual([]);
});

test.each(["postgresql://postgres:pw@localhost/app", "host=localhost password=pw"])(
  "a connection string that may hold a password is refused: %s",
  async (conninfo) => {
    await expect(
      server.query(`alter system set steep_repl.local_conninfo = '${conninfo}'`),
    ).rejects.toMatchObject({ code: "22023", hint: expect.stringContaining("passfile") });
  },
);

test("a snapshot needs none of the connections that ordinary users take up", async () => {
  await server.query(
    `grant usage on schema steep_repl to plain;
     grant select, insert, update, delete on all tables in schema steep_repl, public to plain`,
    [],
    app,
  );
  const clients = await Promise.all(
    Array.from({ length: 7 }, () => server.connect({ ...app, user: "plain" })),
  );
  await expect(server.connect({ ...app, user: "plain" })).rejects.toMatchObject({ code: "53300" });
  const snapshot = await takeSnapshot(server, app);
  expect(snapshot.status).toBe("complete");
  await Promise.all(clients.map((client) => client.end()));
});

test("literals are standard whatever the database has set, so that any server reads them", async () => {
  if (await hasOldStrings(server))
    await server.query("alter database app set standard_conforming_strings = off");
  const snapshot = await takeSnapshot(server, app);
  await server.query("alter database app reset standard_conforming_strings");
  const { entries } = readToc(await readFile(join(snapshot.storage_path, "toc.dat")));
  expect(entries.find(({ desc }) => desc === "STDSTRINGS")?.defn).toContain("'on'");
});

test("the environment of the server does not lead pg_dump elsewhere", async () => {
  process.env.PGSERVICE = "no_such_service";
  process.env.PGUSER = "no_such_role";
  try {
    await server.restart();
  } finally {
    delete process.env.PGSERVICE;
    delete process.env.PGUSER;
  }
  const snapshot = await takeSnapshot(server, app);
  expect(await problems(server, snapshot.storage_path, app)).toEqual([]);
});
