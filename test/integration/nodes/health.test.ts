import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import type { Row } from "../../support/node.ts";
import { computedMs } from "../../support/processes.ts";
import { createRole, whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  freshPath,
  runSnapshot,
  startSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const app = { database: "app" };
const as = (user: string) => ({ database: "app", user });
const role = as("steep_repl");

beforeAll(async () => {
  server = await startServer({
    name: "health",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": 100 },
  });
  await server.createDatabase("app", { extension: true });
  await server.query("create table orders as select 1 as id", [], app);
  for (const name of ["steep_repl", "stranger", "member", "monitor", "signaller"])
    await createRole(server, "app", name);
  await server.query(
    `grant steep_repl to member; grant pg_monitor to monitor; grant pg_signal_backend to signaller`,
  );
});
afterAll(() => server.destroy());

afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

async function health(user = "postgres"): Promise<Row> {
  const [row] = await server.query("select * from steep_repl.health()", [], as(user));
  if (!row) throw new Error("health() answered no row");
  return row;
}

test("health() is healthy where everything is as it should be", async () => {
  const [answers] = await server.query(
    `select steep_repl.version() as version, steep_repl.min_pg_version() as oldest,
            steep_repl.bgworker_available() as available,
            current_setting('server_version') as server`,
    [],
    app,
  );
  expect(answers).toMatchObject({ oldest: 180000, available: true });
  expect(await health()).toMatchObject({
    status: "healthy",
    extension_version: answers?.version,
    library_version: answers?.version,
    pg_version: answers?.server,
    js_engine: server.engine,
    background_worker_running: true,
    shared_memory_available: true,
    active_operations: "0",
    pending_operations: "0",
    last_error: null,
    reasons: [],
  });
});

test.each([
  ["everything", 'create publication "all of it" for all tables', '"all of it"'],
  ["our schema", "create publication ours for tables in schema steep_repl", "ours"],
  ["one of our tables", "create publication one for table steep_repl.nodes", "one"],
])("health() is degraded by a publication of %s, which it names", async (_, create, name) => {
  await server.query(create, [], app);
  expect(await health()).toMatchObject({
    status: "degraded",
    reasons: [expect.stringContaining(`published by ${name}:`)],
  });
  await server.query(`drop publication ${name}`, [], app);
  expect(await health()).toMatchObject({ status: "healthy", reasons: [] });
});

test("health() is not degraded by a publication of other tables", async () => {
  await server.query(
    "create table t (id int primary key); create publication p for table t",
    [],
    app,
  );
  expect(await health()).toMatchObject({ status: "healthy" });
  await server.query("drop publication p; drop table t", [], app);
});

test("health() is not degraded by a publication of all tables except ours", async () => {
  const list = async (where: string) => {
    const [row] = await server.query(
      `select string_agg(oid::regclass::text, ', ') as tables from pg_class
       where relnamespace = 'steep_repl'::regnamespace and relkind in ('r', 'p') and ${where}`,
      [],
      app,
    );
    return `create publication p for all tables except (table ${row?.tables})`;
  };
  const some = await list("relname <> 'nodes'");
  const all = await list("true");
  const code = await server.query(some, [], app).then(
    () => "00000",
    (error) => error.code,
  );
  // PostgreSQL 18 does not know of exceptions
  if (code === "42601") return;
  expect(code).toBe("00000");
  expect(await health()).toMatchObject({ status: "degraded" });
  await server.query("drop publication p", [], app);
  await server.query(all, [], app);
  expect(await health()).toMatchObject({ status: "healthy" });
  await server.query("drop publication p", [], app);
});

test("health() counts jobs, and is degraded while they wait for worker slots", async () => {
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table orders in access exclusive mode");
  const running = await startSnapshot(server, app);
  await waitUntil(
    () => health(),
    (row) => row.active_operations === "1",
    "the job runs",
  );
  expect(await health()).toMatchObject({ status: "healthy", pending_operations: "0" });

  const waiting = await whileJobsWait(server, async () => {
    const started = await startSnapshot(server, { ...role, path: freshPath(server) });
    // counted for any role, whoever's they are
    for (const user of ["postgres", "stranger"])
      expect(await health(user)).toMatchObject({
        status: "degraded",
        active_operations: "1",
        pending_operations: "1",
        reasons: [expect.stringMatching(/max_worker_processes.*steep_repl.reserved_worker_slots/)],
      });
    return started;
  });
  await blocker.end();
  for (const snapshot of [running, waiting])
    expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  expect(await health()).toMatchObject({ status: "healthy", active_operations: "0" });
});

test("health() tells the last error until that job is pruned", async () => {
  await server.query("select lo_create(4711)", [], app);
  const failed = await startSnapshot(server, { ...app, args: "large_objects => 'refuse'" });
  expect(await endOf(server, failed, app)).toMatchObject({ status: "failed" });
  expect((await health()).last_error).toContain("large objects");
  await server.query("select lo_unlink(4711)", [], app);
  await server.query("select steep_repl.prune_operations('0 s')", [], app);
  expect((await health()).last_error).toBeNull();
});

test("health() is healthy again soon after the launcher was terminated", async () => {
  const [launcher] = await server.pidsByApplicationName("steep_repl launcher");
  await server.query("select pg_terminate_backend($1)", [launcher]);
  await waitUntil(
    () => server.pidsByApplicationName("steep_repl launcher"),
    (pids) => pids.length === 1 && pids[0] !== launcher,
    "there is a new launcher",
  );
  await waitUntil(
    () => health(),
    (row) => row.status === "healthy",
    "the server is healthy again",
  );
});

test("health() answers any role that may use the schema, in a new session after computing for 100 ms at most", async () => {
  await server.query(
    "create role visitor login; grant usage on schema steep_repl to visitor",
    [],
    app,
  );
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const client = await server.connect(as("visitor"));
    const pid = Number((await client.query("select pg_backend_pid() as pid")).rows[0].pid);
    const before = computedMs(pid);
    const { rows } = await client.query("select * from steep_repl.health()");
    times.push(computedMs(pid) - before);
    expect(rows).toMatchObject([{ status: "healthy", last_error: null }]);
    await client.end();
  }
  console.log(`ms for health() in a new session: ${times.map((ms) => ms.toFixed(1)).join(", ")}`);
  expect(times.sort((a, b) => a - b)[2]).toBeGreaterThan(0);
  expect(times[2]).toBeLessThan(100);
  await server.query("drop owned by visitor; drop role visitor", [], app);
});

test("health() tells the last error to whom the job is shown", async () => {
  await server.query("create table hidden (id int)", [], app);
  await runSnapshot(server, role);
  for (const user of ["steep_repl", "member", "monitor", "postgres"])
    expect((await health(user))?.last_error).toContain("public.hidden");
  for (const user of ["stranger", "signaller"]) expect((await health(user))?.last_error).toBeNull();
  await server.query("drop table hidden", [], app);
});
