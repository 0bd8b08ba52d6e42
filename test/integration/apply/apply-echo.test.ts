import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { applySnapshot } from "../../support/apply.ts";
import { cli } from "../../support/cli.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { freshPath, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * Two nodes that replicate to each other, with origin = none: what is loaded into one of them is not
 * sent to the other unless it is asked for, and the job says so.
 */

const app = { database: "app" };
const tables = `
  create table items (id int primary key, v text);
  create table one_by_one (id int primary key)`;
let a: Server;
let b: Server;
let path: string;

beforeAll(async () => {
  [a, b] = await Promise.all([
    startServer({
      name: "echo-a",
      settings: { max_worker_processes: 16, track_commit_timestamp: "on" },
    }),
    startServer({ name: "echo-b", settings: { max_worker_processes: 16 }, identity: "peer" }),
  ]);
  await a.createDatabase("source", { extension: true });
  const source = { database: "source" };
  await a.query(
    `${tables}; insert into items select g, md5(g::text) from generate_series(1, 20000) g`,
    [],
    source,
  );
  path = freshPath(a);
  await takeSnapshot(a, { ...source, path });
  for (const node of [a, b]) {
    await node.createDatabase("app", { extension: true });
    await node.query(`${tables}; create publication items for tables in schema public`, [], app);
  }
  for (const [node, peer, name] of [
    [a, b, "from_b"],
    [b, a, "from_a"],
  ] as const)
    await node.query(
      `create subscription ${name} connection '${peer.uri("app")}' publication items with (origin = none, copy_data = false)`,
      [],
      app,
    );
});
afterAll(() => Promise.all([a?.destroy(), b?.destroy()]));
beforeEach(() => a.query("truncate items", [], app).then(caughtUp));

/** Wait until b has replayed all that a has written. */
async function caughtUp(): Promise<void> {
  const [end] = await a.query<{ lsn: string }>("select pg_current_wal_insert_lsn()::text as lsn");
  await waitUntil(
    () =>
      a.query(
        "select confirmed_flush_lsn >= $1::pg_lsn as there from pg_replication_slots where slot_name = 'from_a'",
        [end?.lsn],
      ),
    (rows) => rows[0]?.there === true,
    "b has caught up",
    { timeoutMs: 30_000 },
  );
}

async function countOn(node: Server): Promise<number> {
  const [row] = await node.query("select count(*)::int as n from items", [], app);
  return Number(row?.n);
}

test("rows that are loaded on a node that publishes are not echoed to its peer", async () => {
  const row = await applySnapshot(a, path, { ...app, args: "sections => '{data}', parallel => 2" });
  expect(row.warnings?.join("\n")).toMatch(
    /replicate => true.*tables public.items, public.one_by_one; publications items; slots from_a; subscriptions from_b$/,
  );
  expect(await countOn(a)).toBe(20_000);
  await a.query("insert into one_by_one values (1)", [], app);
  await caughtUp();
  expect(await b.query("select id from one_by_one", [], app)).toEqual([{ id: 1 }]);
  expect(await countOn(b)).toBe(0);
});

test("nor is the TRUNCATE that comes before the load", async () => {
  await b.query("alter subscription from_a disable", [], app);
  await a.query("insert into items values (-1, 'old')", [], app);
  await b.query("insert into items values (-2, 'own')", [], app);
  await waitUntil(
    () => countOn(a),
    (n) => n === 2,
    "a has b's row",
  );
  await applySnapshot(a, path, { ...app, args: "sections => '{data}', truncate => true" });
  await b.query("alter subscription from_a enable", [], app);
  await caughtUp();
  expect(await b.query("select id from items order by id", [], app)).toEqual([
    { id: -2 },
    { id: -1 },
  ]);
  await b.query("delete from items", [], app);
});

test("with replicate, the peer gets the TRUNCATE and the rows, and does not send them back", async () => {
  await a.query("insert into items values (-1, 'old'); delete from one_by_one", [], app);
  await caughtUp();
  await b.query("insert into items values (-2, 'own')", [], app);
  await waitUntil(
    () => countOn(a),
    (n) => n === 2,
    "a has b's row",
  );
  const args = "sections => '{data}', truncate => true, replicate => true";
  const row = await applySnapshot(a, path, { ...app, args });
  expect(row.warnings).toBeNull();
  await caughtUp();
  const digest = "select count(*)::int, sum(hashtext(i::text))::text as digest from items i";
  const [here] = await a.query(digest, [], app);
  expect(here?.count).toBe(20_000);
  expect(await b.query(digest, [], app)).toEqual([here]);
  // what follows is found at the peer
  await a.query("update items set v = 'later' where id = 7", [], app);
  await caughtUp();
  expect(await b.query("select v from items where id = 7", [], app)).toEqual([{ v: "later" }]);
});

test("where two subscriptions bring changes of a loaded row, the first one is logged as a conflict, and applied", async () => {
  const args = "sections => '{data}', truncate => true";
  await a.query(
    `create subscription another connection '${b.uri("app")}' publication items
     with (enabled = false, create_slot = false, slot_name = none, origin = none, copy_data = false)`,
    [],
    app,
  );
  for (const node of [a, b]) await applySnapshot(node, path, { ...app, args });
  await a.query("drop subscription another", [], app);
  const before = (await a.log()).length;
  const seen = (value: string) =>
    waitUntil(
      () => a.query("select v from items where id = 7", [], app),
      (rows) => rows[0]?.v === value,
      `a has ${value}`,
    );
  for (const value of ["once", "twice"]) {
    await b.query("update items set v = $1 where id = 7", [value], app);
    await seen(value);
  }
  await b.query("delete from items where id = 8", [], app);
  await waitUntil(
    () => countOn(a),
    (n) => n === 19_999,
    "a has lost row 8",
  );
  expect((await a.log()).slice(before).match(/conflict=\w+|non-existent origin/g)).toEqual([
    ...["conflict=update_origin_differs", "non-existent origin"],
    ...["conflict=delete_origin_differs", "non-existent origin"],
  ]);
});

test("with replicate, what no publication sends is named", async () => {
  await a.query("create publication rest for table items with (publish = 'update')", [], app);
  await a.query("alter publication items drop tables in schema public", [], app);
  const args = "sections => '{data}', replicate => true";
  try {
    const row = await applySnapshot(a, path, { ...app, args });
    expect(row.warnings?.join("\n")).toMatch(
      /gets their rows: public.one_by_one\n.*inserts.*: rest/,
    );
  } finally {
    await a.query("alter publication items add tables in schema public", [], app);
    await a.query("drop publication rest", [], app);
  }
});

test("the command line says who gets the rows, and asks", async () => {
  const args = ["snapshot", "apply", "-i", path, "--sections", "data", "-c", a.uri("app")];
  const refused = await cli(args);
  expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining("give --yes") });
  expect(refused.stderr).toMatch(
    /publications items; slots from_a; subscriptions from_b; .*do not get the loaded rows/,
  );
  expect(await countOn(a)).toBe(0);
  const done = await cli([...args, "--replicate", "--yes", "--truncate"]);
  expect(done).toMatchObject({ code: 0, stderr: expect.stringContaining("subscribers get") });
  await caughtUp();
  expect(await countOn(b)).toBe(20_000);
});

test("a role that may not set an origin is told which grant that takes, and that rows are sent", async () => {
  await createRole(a, "app", "loader", "login");
  await a.query(
    "grant insert on items, one_by_one to loader; grant pg_read_server_files to loader",
    [],
    app,
  );
  await a.query("delete from one_by_one", [], app);
  const row = await applySnapshot(a, path, {
    ...app,
    user: "loader",
    args: "sections => '{data}'",
  });
  expect(row.warnings?.join("\n")).toContain(
    "GRANT EXECUTE ON FUNCTION pg_replication_origin_session_setup TO loader",
  );
  await caughtUp();
  expect(await countOn(b)).toBe(20_000);
});
