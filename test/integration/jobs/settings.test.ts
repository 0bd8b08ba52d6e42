import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import type { Settings } from "../../support/node.ts";
import { hasOldStrings } from "../../support/old-strings.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { digests, dropSnapshots, freshPath, problems } from "../../support/snapshots.ts";

let server: Server;
let expected: Record<string, string>;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({ name: "settings", settings: { max_worker_processes: 16 } });
  await server.query("create role taker login in role pg_read_all_data, pg_write_server_files");
  await server.createDatabase("app", { extension: true });
  await server.query(
    `grant usage on schema steep_repl to taker;
     grant select, insert, update, delete on all tables in schema steep_repl to taker;
     create table items as select g as id, repeat(md5(g::text), 10) as v from generate_series(1, 30000) g;
     create index on items (id);
     create view busy as select count(*) from items`,
    [],
    app,
  );
  expected = await digests(server, "app");
  if (await hasOldStrings(server)) unusual.standard_conforming_strings = "off";
});
afterAll(() => server.destroy());
afterEach(async () => {
  await resetSettings();
  await dropSnapshots(server, app);
  await server.query("drop database if exists restored");
  await expectNoLeaks(server);
});

async function resetSettings(): Promise<void> {
  for (const who of ["database app", "role taker in database app", "role taker"])
    await server.query(`alter ${who} reset all`);
}

/** Settings that end sessions, queries or transactions that take long. */
const impatient: Settings = {
  statement_timeout: "'40ms'",
  lock_timeout: "'10ms'",
  transaction_timeout: "'60ms'",
  idle_in_transaction_session_timeout: "'10ms'",
  idle_session_timeout: "'10ms'",
};

/** Settings that make transactions, plans or languages behave unlike the default. */
const unusual: Record<string, string> = {
  default_transaction_isolation: "'serializable'",
  default_transaction_deferrable: "on",
  session_replication_role: "'replica'",
  row_security: "off",
  synchronous_commit: "off",
  "plpgsql.extra_errors": "'all'",
  "plpgsql.variable_conflict": "'use_column'",
  "plpgsql.check_asserts": "on",
  transform_null_equals: "on",
  quote_all_identifiers: "on",
  array_nulls: "off",
  xmloption: "'document'",
  check_function_bodies: "off",
  search_path: "''",
  debug_parallel_query: "on",
  jit: "on",
  jit_above_cost: "0",
  enable_seqscan: "off",
  enable_tidscan: "off",
  enable_indexscan: "off",
  work_mem: "'64kB'",
  cursor_tuple_fraction: "0.001",
  from_collapse_limit: "1",
  join_collapse_limit: "1",
  plan_cache_mode: "'force_generic_plan'",
  restrict_nonsystem_relation_kind: "'view, foreign-table'",
  client_min_messages: "'error'",
  log_statement: "'all'",
  default_statistics_target: "1",
  createrole_self_grant: "'set'",
  lo_compat_privileges: "on",
  event_triggers: "off",
};

/** Change what new sessions get; returns a session of the same user that began before. */
async function change(who: string, settings: Settings): Promise<Client> {
  const before = await server.connect({ ...app, user: "taker" });
  for (const [name, value] of Object.entries(settings)) {
    await server.query(`alter ${who} set ${name} = ${value}`);
  }
  return before;
}

test.each([
  ["a database's timeouts", "database app", impatient],
  ["a role's timeouts", "role taker", impatient],
  ["a database's unusual settings", "database app", unusual],
  ["a role's unusual settings", "role taker in database app", unusual],
])("%s do not reach the workers", async (_, who, settings) => {
  const caller = await change(who, settings);
  const path = freshPath(server);
  const { rows: queued } = await caller.query(
    "select snapshot_id from steep_repl.start_snapshot($1, level => 9, parallel => 2)",
    [path],
  );
  const { rows: ended } = await caller.query(
    "select status, error_message from steep_repl.wait_snapshot($1, 50)",
    [queued[0].snapshot_id],
  );
  await caller.end();
  expect(ended).toEqual([{ status: "complete", error_message: null }]);
  await resetSettings();
  expect(await problems(server, path, app)).toEqual([]);
  await run(bin("pg_restore"), ["-e", "-d", await restored(), path]);
  expect(await digests(server, "restored")).toEqual(expected);
});

async function restored(): Promise<string> {
  await server.createDatabase("restored", { template: "template0" });
  return server.uri("restored");
}

test("every function works in a session with unusual settings", async () => {
  await (await change("database app", unusual)).end();
  const client = await server.connect({ ...app, user: "taker" });
  const path = freshPath(server);
  const call = async (sql: string, ...params: unknown[]) =>
    (await client.query(`select * from steep_repl.${sql}`, params)).rows;

  const [queued] = await call("start_snapshot($1, tables => '{public.items}')", path);
  await client.query("set default_transaction_isolation = 'read committed'");
  const [ended] = await call("wait_snapshot($1)", queued.snapshot_id);
  expect(ended).toMatchObject({ status: "complete" });
  await client.query("reset default_transaction_isolation");
  expect(await call("snapshot_progress($1)", queued.snapshot_id)).toHaveLength(1);
  expect(await call("list_operations()")).toHaveLength(1);
  expect(await call("verify_snapshot($1)", path)).toEqual([]);
  expect(await call("health()")).toMatchObject([{ status: "healthy" }]);
  expect(await call("register_node('n', 'N', '192.0.2.1')")).toHaveLength(1);
  expect(await call("heartbeat('n')")).toEqual([{ heartbeat: true }]);
  expect(await call("node_status('n')")).toMatchObject([{ status: "online" }]);
  expect(await call("remove_node('n')")).toEqual([{ remove_node: true }]);
  expect(await call("cancel_operation($1)", ended.operation_id)).toEqual([
    { cancel_operation: false },
  ]);
  expect(await call("prune_operations('1 day')")).toEqual([{ prune_operations: "0" }]);
  expect(await call("leftovers()")).toEqual([]);
  expect(await call("drop_snapshot($1)", queued.snapshot_id)).toEqual([{ drop_snapshot: true }]);
  await client.end();
});

test("the extension can be made and dropped in a session with unusual settings", async () => {
  await server.createDatabase("other");
  const client = await server.connect({ database: "other" });
  for (const [name, value] of Object.entries(unusual)) await client.query(`set ${name} = ${value}`);
  await client.query("create extension steep_repl");
  const { rows } = await client.query("select status from steep_repl.health()");
  expect(rows).toEqual([{ status: "healthy" }]);
  await client.query("drop extension steep_repl");
  await client.end();
  await server.query("drop database other");
});

test("a database that is read-only by default can be copied by who may write to its queue", async () => {
  await (await change("database app", { default_transaction_read_only: "on" })).end();
  const client = await server.connect({ ...app, user: "taker" });
  const start = "select snapshot_id from steep_repl.start_snapshot($1)";
  await expect(client.query(start, [freshPath(server)])).rejects.toMatchObject({ code: "25006" });
  await client.query("set default_transaction_read_only = off");
  const { rows } = await client.query(start, [freshPath(server)]);
  const { rows: ended } = await client.query("select status from steep_repl.wait_snapshot($1)", [
    rows[0].snapshot_id,
  ]);
  expect(ended).toEqual([{ status: "complete" }]);
  await client.end();
});

test("a role that is set for the database does not read the schema in the requester's place", async () => {
  await server.query("create role powerless");
  await (await change("database app", { role: "powerless" })).end();
  const client = await server.connect(app);
  await client.query("reset role; set role none");
  const { rows } = await client.query("select snapshot_id from steep_repl.start_snapshot($1)", [
    freshPath(server),
  ]);
  const { rows: ended } = await client.query(
    "select status, error_message from steep_repl.wait_snapshot($1)",
    [rows[0].snapshot_id],
  );
  expect(ended).toEqual([{ status: "complete", error_message: null }]);
  await client.end();
});
