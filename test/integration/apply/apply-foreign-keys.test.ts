import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { applySnapshot, runApply } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { type Server, startServer } from "../../support/server.ts";
import { freshPath, takeSnapshot } from "../../support/snapshots.ts";

/* Foreign keys and deferrable constraints of existing tables, which are checked when their rows are loaded, by PostgreSQL's own rules. */

const source = { database: "source" };
const target = { database: "target" };
let server: Server;
let path: string;

const schema = `
  create extension btree_gist;
  create table period (id int, valid int4range, primary key (id, valid without overlaps));
  create table within (id int primary key, p int, valid int4range, foreign key (p, period valid) references period (id, period valid));
  create table parted (id int primary key) partition by range (id);
  create table parted_1 partition of parted for values from (0) to (100);
  create table parted_2 partition of parted for values from (100) to (200);
  create table refers (id int primary key, p int references parted) partition by range (id);
  create table refers_1 partition of refers for values from (0) to (100)`;

beforeAll(async () => {
  server = await startServer({
    name: "apply-foreign-keys",
    settings: { max_worker_processes: 16 },
  });
  await server.createDatabase("source", { extension: true });
  await server.query(
    `${schema}; insert into period values (1, '[1,5)'), (1, '[5,10)'), (2, '[1,5)');
     insert into within values (1, 1, '[2,9)'), (2, null, '[20,30)'), (3, 1, null);
     insert into parted values (1), (150); insert into refers values (1, 1), (2, 150)`,
    [],
    source,
  );
  path = freshPath(server);
  await takeSnapshot(server, { ...source, path });
});
afterAll(() => server.destroy());
beforeEach(async () => {
  await server.createDatabase("target", { extension: true });
  await server.query(schema, [], target);
});
afterEach(async () => {
  await server.query("drop database target");
  await expectNoLeaks(server, { files: [path.split("/").at(-1) ?? ""] });
});

const dataOnly = "sections => '{data}', parallel => 2";

test("hold where ranges cover one another together, and where parents are in several partitions", async () => {
  expect((await applySnapshot(server, path, { ...target, args: dataOnly })).rows_written).toBe(
    "10",
  );
});

test.each([
  ["within_p_valid_fkey", "insert into period values (1, '[1,5)')", "public.within"],
  ["refers_p_fkey", "insert into parted values (1)", "public.refers_1"],
])("that are violated are named: %s", async (name, parents, table) => {
  await server.query(parents, [], target);
  const row = await runApply(server, path, {
    ...target,
    args: `${dataOnly}, tables => '{${table}}'`,
  });
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "23503", phase: "finalizing" });
  expect(row.error_message).toContain(name);
});

/** A column that has its values twice in the snapshot, and what keeps them apart at the target. */
test.each([
  ["a unique constraint", "add constraint apart unique (p) deferrable", "23505"],
  [
    "one that is deferred",
    "add constraint apart unique (p) deferrable initially deferred",
    "23505",
  ],
  [
    "one for which NULLs are equal",
    "add constraint apart unique nulls not distinct (id, p) deferrable",
    null,
  ],
  [
    "an exclusion constraint",
    "add constraint apart exclude using gist (p with =, (valid * '[0,100)') with &&) where (id < 100) deferrable",
    "23P01",
  ],
  [
    "one that holds",
    "add constraint apart exclude using gist (id with =, valid with &&) deferrable",
    null,
  ],
  [
    "one without overlaps",
    "add constraint apart unique (p, valid without overlaps) deferrable",
    "23P01",
  ],
])("deferrable constraints are checked when triggers did not: %s", async (_, clause, sqlstate) => {
  await server.query("insert into within values (11, 1, '[3,4)')", [], source);
  const doubled = freshPath(server);
  await takeSnapshot(server, { ...source, path: doubled });
  await server.query("delete from within where id = 11", [], source);
  await server.query(`alter table within ${clause}`, [], target);
  const row = await runApply(server, doubled, { ...target, args: dataOnly });
  await server.query(
    "select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots where storage_path = $1",
    [doubled],
    source,
  );
  expect(row).toMatchObject({
    status: sqlstate === null ? "complete" : "failed",
    error_sqlstate: sqlstate,
  });
  if (sqlstate !== null)
    expect(row.error_message).toContain("violate constraint apart of table public.within");
});
