import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, inProject, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  problems,
  type SnapshotRow,
  schemaOf,
  takeSnapshot,
  withoutOurs,
} from "../../support/snapshots.ts";

let server: Server;
let snapshot: SnapshotRow;
let expected: Record<string, string>;
const objects = { database: "objects" };

beforeAll(async () => {
  server = await startServer({ name: "objects", settings: { max_worker_processes: 16 } });
  await server.query("create role objects_owner; create role objects_reader");
  await server.createDatabase("objects", { extension: true });
  const fixture = inProject("test/fixtures/objects.sql");
  await run(bin("psql"), ["-Xqv", "ON_ERROR_STOP=1", "-f", fixture, server.uri("objects")]);
  // what other sessions keep to themselves
  const other = await server.connect(objects);
  await other.query(
    "create temp table temporary as select 1 as id; create temp sequence temporary_seq",
  );
  expected = await digests(server, "objects");
  snapshot = await takeSnapshot(server, objects);
  await other.end();
});
afterAll(() => server.destroy());
afterEach(async () => {
  await server.query("drop database if exists restored");
  await server.query("drop database if exists renamed");
  await expectNoLeaks(server, { files: [snapshot.storage_path.split("/").at(-1) ?? ""] });
});

async function emptyDatabase(): Promise<string> {
  await server.createDatabase("restored", { template: "template0" });
  return "restored";
}

function pgRestore(...args: readonly string[]) {
  return run(bin("pg_restore"), ["--exit-on-error", ...args, snapshot.storage_path]);
}

test("the snapshot is sound and lists every table with data, but nobody's temporary ones", async () => {
  expect(await problems(server, snapshot.storage_path, objects)).toEqual([]);
  const { stdout } = await pgRestore("-l");
  const listed = [...stdout.matchAll(/ TABLE DATA (\S+) (\S+) /g)].map((m) => `${m[1]}.${m[2]}`);
  const tables = await server.query<{ name: string }>(
    `select format('%I.%I', relnamespace::regnamespace, relname) as name from pg_class
     where relkind = 'r' and relnamespace in ('app'::regnamespace, 'public'::regnamespace)`,
    [],
    objects,
  );
  expect(listed.sort()).toEqual(tables.map(({ name }) => name).sort());
  expect(stdout).not.toContain("temporary");
});

test("every kind of object comes back as it was", async () => {
  const database = await emptyDatabase();
  await pgRestore("-j2", "-d", server.uri(database));
  expect(await schemaOf(server, database)).toEqual(await schemaOf(server, "objects"));
  expect(await digests(server, database)).toEqual(expected);
});

test("the sections can be restored one after the other, the data in one transaction", async () => {
  const database = await emptyDatabase();
  await pgRestore("--section=pre-data", "-d", server.uri(database));
  await pgRestore("--section=data", "--single-transaction", "-d", server.uri(database));
  await pgRestore("--section=post-data", "-j2", "-d", server.uri(database));
  expect(await schemaOf(server, database)).toEqual(await schemaOf(server, "objects"));
  expect(await digests(server, database)).toEqual(expected);
});

test("schema and data restored one by one give what pg_dump's own archive gives", async () => {
  const stock = join(server.home, "stock");
  await run(bin("pg_dump"), ["-Fd", "-f", stock, ...withoutOurs, server.uri("objects")]);
  const found: Record<string, string>[] = [];
  for (const archive of [stock, snapshot.storage_path]) {
    const database = await emptyDatabase();
    const target = ["--exit-on-error", "-j2", "-d", server.uri(database), archive];
    await run(bin("pg_restore"), ["--schema-only", ...target]);
    await run(bin("pg_restore"), ["--data-only", "--disable-triggers", ...target]);
    found.push(await digests(server, database));
    await server.query("drop database restored");
  }
  expect(found[1]).toEqual(found[0]);
});

test("--clean --if-exists replaces what is there", async () => {
  const database = await emptyDatabase();
  await pgRestore("-d", server.uri(database));
  await server.query("delete from only app.base; drop view app.counting", [], { database });
  await pgRestore("--clean", "--if-exists", "-d", server.uri(database));
  expect(await schemaOf(server, database)).toEqual(await schemaOf(server, "objects"));
  expect(await digests(server, database)).toEqual(expected);
});

test("--create makes the database by itself", async () => {
  await server.query("alter database objects rename to renamed");
  try {
    await pgRestore("--create", "-d", server.uri("postgres"));
    expect(await digests(server, "objects")).toEqual(expected);
  } finally {
    await server.query("drop database objects");
    await server.query("alter database renamed rename to objects");
  }
});

test("one table, and an edited list, can be restored", async () => {
  const database = await emptyDatabase();
  await server.query("create schema app", [], { database });
  await pgRestore("-t", "circle_a", "-n", "app", "-d", server.uri(database));
  expect(await digests(server, database)).toEqual({ "app.circle_a": expected["app.circle_a"] });

  const { stdout } = await pgRestore("-l");
  const list = join(server.home, "list");
  const chosen = stdout
    .split("\n")
    .filter((line) => / (TABLE|TABLE DATA) app circle_b /.test(line));
  await writeFile(list, `${chosen.join("\n")}\n`);
  await pgRestore("-L", list, "-d", server.uri(database));
  expect(await digests(server, database)).toMatchObject({
    "app.circle_b": expected["app.circle_b"],
  });
});

test("without owners and privileges anybody who may create can restore what is his", async () => {
  const database = await emptyDatabase();
  const { stdout } = await pgRestore("--no-owner", "--no-privileges", "-f", "-");
  expect(stdout).not.toMatch(/OWNER TO|^(GRANT|REVOKE) /m);
  await pgRestore("--no-owner", "--no-privileges", "-d", server.uri(database));
  expect(await digests(server, database)).toEqual(expected);
});

test("pg_dump of a database with steep_repl can be restored, without its jobs", async () => {
  const database = await emptyDatabase();
  const { stdout } = await run(bin("pg_dump"), [server.uri("objects")]);
  await run(bin("psql"), ["-Xqv", "ON_ERROR_STOP=1", server.uri(database)], { input: stdout });
  const rows = await server.query(
    "select (select count(*) from steep_repl.work_queue) as jobs, status from steep_repl.health()",
    [],
    { database },
  );
  expect(rows).toEqual([{ jobs: "0", status: "degraded" }]); // there is a publication for all tables
});
