import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  endOf,
  freshPath,
  problems,
  restore,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * pg_dump's schema holds the passwords of user mappings and subscriptions. No
 * switch of it leaves them out, so that we must.
 */
let server: Server;
let peer: Server;
const app = { database: "app" };

/** Each where it is needed, and none of them anywhere else. */
const passwords = [
  "pw-of-mapping",
  "pw-of-public",
  "pw-of-subscription",
  "pw-of-second",
  "pw-of-probe",
];

function secretsIn(text: Buffer | string): string[] {
  return passwords.filter((password) => text.includes(password));
}

beforeAll(async () => {
  peer = await startServer({
    name: "peer",
    preload: false,
    hba: ["host all prober 127.0.0.1/32 scram-sha-256"],
  });
  await peer.query("create role prober login password 'pw-of-probe'");
  server = await startServer({
    name: "secrets",
    settings: {
      max_worker_processes: 16,
      // what reaches the log when everything is logged
      log_statement: "all",
      log_min_duration_statement: 0,
      log_min_messages: "debug1",
      log_replication_commands: true,
    },
  });
  await server.createDatabase("app", { extension: true });
  const client = await server.connect(app);
  // the test's own statements say the passwords
  await client.query(
    "set log_statement = none; set log_min_duration_statement = -1; set log_min_error_statement = panic; set log_min_messages = panic",
  );
  for (const sql of [
    `create table orders (id serial primary key, total numeric); insert into orders (total) select generate_series(1, 50);
     create role mapped; create role taker login in role pg_read_all_data;
     grant usage on schema steep_repl to taker;
     grant select, insert, update, delete on all tables in schema steep_repl to taker;
     create server elsewhere foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${peer.port}', dbname 'postgres');
     grant usage on foreign server elsewhere to mapped, taker;
     comment on server elsewhere is 'the peer';
     create user mapping for postgres server elsewhere options (user 'a', password 'pw-of-mapping');
     create user mapping for public server elsewhere options (user 'b', password 'pw-of-public');
     create user mapping for taker server elsewhere options (user 'prober', password 'pw-of-probe');
     create publication kept for table orders; comment on publication kept is 'kept'`,
    `create subscription first connection 'host=192.0.2.1 user=x password=pw-of-subscription dbname=x'
       publication p with (connect = false, slot_name = none)`,
    `create subscription "second ""one""" connection 'postgresql://x:pw-of-second@192.0.2.1/x'
       publication p with (connect = false, slot_name = none, password_required = false)`,
    `comment on subscription first is 'about first';
     comment on subscription "second ""one""" is 'about second';
     alter subscription first owner to postgres`,
  ])
    await client.query(sql);
  await client.end();
});
afterAll(async () => {
  await server.destroy();
  await peer.destroy();
});

describe.each([
  ["a superuser", "postgres"],
  ["a role that may read all data", "taker"],
])("a snapshot that %s took", (_, user) => {
  let snapshot: SnapshotRow;
  beforeEach(async () => {
    snapshot = await takeSnapshot(server, { ...app, user });
    return async () => {
      await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
      await expectNoLeaks(server);
    };
  });

  test("holds no password in any of its files", async () => {
    const files = await readdir(snapshot.storage_path);
    expect(files).toContain("toc.dat");
    for (const file of files)
      expect(secretsIn(await readFile(join(snapshot.storage_path, file)))).toEqual([]);
    expect(await problems(server, snapshot.storage_path, app)).toEqual([]);
  });

  test("restores to everything but user mappings and subscriptions", async () => {
    const script = (await run(bin("pg_restore"), ["-f", "-", snapshot.storage_path])).stdout;
    expect(secretsIn(script)).toEqual([]);
    expect(script).not.toMatch(/USER MAPPING|SUBSCRIPTION/);
    expect(script).toContain("CREATE SERVER elsewhere");
    expect(script).toContain("GRANT ALL ON FOREIGN SERVER elsewhere TO mapped");

    await restore(server, snapshot, "restored");
    expect(await digests(server, "restored")).toEqual(await digests(server, "app"));
    expect(
      await server.query(
        `select (select count(*)::int from pg_user_mapping) as mappings,
                (select count(*)::int from pg_subscription s where s.subdbid = (select oid from pg_database where datname = 'restored')) as subscriptions,
                array(select pubname::text from pg_publication) as publications,
                (select obj_description(oid, 'pg_foreign_server') from pg_foreign_server) as comment`,
        [],
        { database: "restored" },
      ),
    ).toEqual([{ mappings: 0, subscriptions: 0, publications: ["kept"], comment: "the peer" }]);
    await server.query("drop database restored");
  });
});

test("nothing is in a partial snapshot of named tables either", async () => {
  const snapshot = await takeSnapshot(server, { ...app, args: "tables => '{public.orders}'" });
  for (const file of await readdir(snapshot.storage_path))
    expect(secretsIn(await readFile(join(snapshot.storage_path, file)))).toEqual([]);
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
});

/** All text that a superuser can read of what sessions and workers do. */
async function everythingThatShows(): Promise<string> {
  const rows = await server.query(
    `select a::text as line from pg_stat_activity a where pid <> pg_backend_pid()
     union all select w::text from steep_repl.work_queue w
     union all select s::text from steep_repl.snapshots s
     union all select n::text from steep_repl.nodes n
     union all select d::text from steep_repl._job_directories d`,
    [],
    app,
  );
  return rows.map((row) => row.line).join("\n");
}

test("pg_dump runs without a password in its arguments, and none shows while it does", async () => {
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table orders in access exclusive mode");
  const snapshot = await startSnapshot(server, { ...app, path: freshPath(server) });
  await waitUntil(
    () => server.pidsByApplicationName(`steep_repl ${snapshot.snapshot_id} pg_dump`),
    (pids) => pids.length > 0,
    "pg_dump waits for the lock",
  );
  expect(secretsIn(await everythingThatShows())).toEqual([]);
  const commands = await run("ps", ["-eo", "args"]);
  expect(commands.stdout).toContain("--schema-only");
  expect(secretsIn(commands.stdout)).toEqual([]);
  await blocker.end();
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
});

test("a node is probed with its user mapping's password, which is written nowhere", async () => {
  const taker = await server.connect({ ...app, user: "taker" });
  await taker.query(
    "select steep_repl.register_node('peer', 'Peer', foreign_server => 'elsewhere')",
  );
  const { rows } = await taker.query(
    "select status, is_healthy from steep_repl.node_status('peer', true)",
  );
  expect(rows).toEqual([{ status: "online", is_healthy: true }]);
  expect(secretsIn(await everythingThatShows())).toEqual([]);
  await taker.end();
});

test("after all that, neither the log nor a table has a password", async () => {
  const log = await server.log();
  // it logs what we run, so it would have logged a password
  expect(log).toContain("steep_repl.start_snapshot");
  expect(secretsIn(log)).toEqual([]);
  expect(secretsIn(await peer.log())).toEqual([]);
  expect(secretsIn(await everythingThatShows())).toEqual([]);
});
