import { execFileSync } from "node:child_process";
import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { startApply } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { startMerge } from "../../support/merge.ts";
import { holdPgDump } from "../../support/pg-dump.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { dropSnapshots, endOf, startSnapshot, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * What a role with the documented grants, or with none, can lock, fill or plant makes nobody else's
 * job fail.
 */
let server: Server;
const app = { database: "app" };
const lockTimeout = 300;

beforeAll(async () => {
  server = await startServer({
    name: "hold-up",
    settings: {
      max_worker_processes: 16,
      max_notify_queue_pages: 64,
      "steep_repl.poll_interval": 100,
      "steep_repl.lock_timeout": `${lockTimeout}ms`,
    },
  });
  for (const name of ["app", "peer"]) {
    await server.createDatabase(name, { extension: true });
    await server.query(
      `create table t (id int primary key); insert into t select generate_series(1, 3);
       create table u (id int primary key);
       create function slowly() returns trigger language plpgsql as 'begin perform pg_sleep(0.3); return new; end';
       create trigger slow before insert on t for each row execute function slowly();
       alter table t enable always trigger slow`,
      [],
      { database: name },
    );
  }
  for (const role of ["greedy", "modest"]) await createRole(server, "app", role);
  await server.query("grant insert, truncate on t to greedy", [], app);
});
afterAll(() => server.destroy());
afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** The row of a job once it is over. */
async function over(id: string): Promise<Record<string, unknown>> {
  const [row] = await waitUntil(
    () => server.query("select * from steep_repl.work_queue where id = $1", [id], app),
    ([job]) => !["pending", "running"].includes(String(job?.status)),
    "the job is over",
  );
  return row ?? {};
}

/** Jobs of every kind, which have something left to write down when they may go on. */
const jobs: Readonly<Record<string, () => Promise<{ id: string; goOn: () => Promise<unknown> }>>> =
  {
    "a snapshot": async () => {
      const goOn = await holdPgDump(server);
      const { operation_id } = await startSnapshot(server, {
        ...app,
        args: "tables => '{public.t}'",
      });
      return { id: operation_id, goOn };
    },
    "an apply": async () => {
      const { storage_path } = await takeSnapshot(server, {
        ...app,
        args: "tables => '{public.t}'",
      });
      const { operation_id } = await startApply(server, storage_path, {
        ...app,
        args: "sections => '{data}', truncate => true",
      });
      return { id: operation_id, goOn: async () => undefined };
    },
    "a merge": async () => {
      await server.query("delete from t where id > 1", [], app);
      const { operation_id } = await startMerge(server, server.uri("peer"), {
        ...app,
        tables: ["public.t"],
      });
      return { id: operation_id, goOn: async () => undefined };
    },
  };

describe.each(Object.entries(jobs))("%s", (_, begin) => {
  test("waits while our tables are locked for longer than lock_timeout, and is complete then", async () => {
    const { id, goOn } = await begin();
    await waitUntil(
      () => server.query("select worker_pid from steep_repl.work_queue where id = $1", [id], app),
      ([job]) => typeof job?.worker_pid === "number",
      "the job runs",
    );
    const locker = await server.connect(app);
    const { rows } = await locker.query(
      `select string_agg(c.oid::regclass::text, ', ' order by c.relname) as names from pg_class c
       where c.relnamespace = 'steep_repl'::regnamespace and c.relkind = 'r'`,
    );
    await locker.query(`begin; lock table ${rows[0].names} in share mode`);
    await goOn();
    await waitUntil(
      () =>
        server.query<{ long: boolean }>(
          `select bool_or(clock_timestamp() > l.waitstart + $1 * 4 * interval '1 ms') as long
           from pg_locks l join pg_stat_activity a using (pid)
           where not l.granted and a.application_name like 'steep_repl %' and a.backend_type = 'background worker'`,
          [lockTimeout],
          app,
        ),
      ([row]) => row?.long === true,
      "a worker waits for longer than lock_timeout",
    );
    await locker.end();
    expect(await over(id)).toMatchObject({ status: "complete", error_message: null });
  });
});

test("a full queue of notifications loses no job", async () => {
  const listener = await server.connect({ ...app, user: "greedy" });
  await listener.query("listen x; begin; select 1");
  const filler = await server.connect({ ...app, user: "greedy" });
  for (const size of [400, 100, 20, 5, 1])
    for (let full = false; !full; )
      full = await filler
        .query(
          `do $$ begin for i in 1..${size} loop
             perform pg_notify('x', repeat(md5(i::text || clock_timestamp()), 240)); end loop; end $$`,
        )
        .then(
          () => false,
          () => true,
        );
  const snapshot = await startSnapshot(server, { ...app, user: "modest" });
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  await listener.end();
  await filler.end();
  expect(await server.log()).toContain("could not notify of");
});

test("something else in place of a marker is waited for by nobody", async () => {
  const { snapshot_id, storage_path } = await takeSnapshot(server, app);
  const marker = join(storage_path, ".steep_repl");
  await rename(marker, join(server.home, "marker"));
  execFileSync("mkfifo", [marker]);
  const client = await server.connect(app);
  await client.query("set statement_timeout = '5s'");
  // nothing there is known to be ours, so that nothing is removed
  await client.query("select steep_repl.drop_snapshot($1)", [snapshot_id]);
  await client.end();
  await rm(storage_path, { recursive: true });
});

test("long jobs of one role leave room for another's, once that is known to have some", async () => {
  const { storage_path } = await takeSnapshot(server, {
    ...app,
    user: "greedy",
    args: "tables => '{public.t}'",
  });
  await takeSnapshot(server, { ...app, user: "modest", args: "tables => '{public.u}'" });
  await server.query(
    "create or replace function slowly() returns trigger language plpgsql as 'begin perform pg_sleep(600); return new; end'",
    [],
    app,
  );
  await server.query(
    "select count(steep_repl.start_apply($1, sections => '{data}', truncate => true)) from generate_series(1, 20)",
    [storage_path],
    { ...app, user: "greedy" },
  );
  await waitUntil(
    () =>
      server.query<{ n: number; said: boolean }>(
        `select count(*) filter (where status = 'running')::int as n,
                bool_or(status_detail like '%leaves 3 to others') as said
         from steep_repl.work_queue where requested_by = 'greedy'`,
        [],
        app,
      ),
    ([row]) => (row?.n ?? 0) >= 2 && row?.said === true,
    "some of them run, and the others say what they wait for",
  );
  const snapshot = await startSnapshot(server, {
    ...app,
    user: "modest",
    args: "tables => '{public.u}'",
  });
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  await server.query(
    "select steep_repl.cancel_operation(id) from steep_repl.work_queue where status in ('pending', 'running')",
    [],
    app,
  );
});
