import { existsSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRole, dropRole, whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  dropSnapshots,
  endOf,
  freshPath,
  restore,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* What becomes of a role between asking for a job and the job's end. */
let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({
    name: "roles",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": 100 },
  });
  await server.createDatabase("app", { extension: true });
  await server.query(
    `create table data as
     select 1.1::float8 / 3 as f, now() as t, interval '1 year -2 days' as i, '\\x00ff'::bytea as b, 12.5::money as m`,
    [],
    app,
  );
  await createRole(server, "app", "bystander");
});
afterAll(() => server.destroy());

/** Functions and an operator that stand in for those that our SQL calls. */
const evilSchema = `
  create schema evil;
  create function evil.format(text, variadic "any") returns text language internal immutable as 'text_format';
  create function evil.current_setting(text) returns text language sql as $$ select 'evil' $$;
  create function evil.pg_has_role(oid, text) returns bool language sql as $$ select false $$;
  create function evil.to_regclass(text) returns regclass language sql as $$ select null::regclass $$;
  create function evil.jsonb_array_elements_text(jsonb) returns setof text language sql as $$ select 'evil' $$;
  create function evil.equals(text, text) returns bool language sql as $$ select false $$;
  create operator evil.= (leftarg = text, rightarg = text, function = evil.equals);
  grant usage on schema evil to bystander`;

afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** Queue a job of a role and of a bystander, and change something before they can start. */
async function changeWhileQueued(
  user: string,
  change: () => Promise<unknown>,
): Promise<[SnapshotRow, SnapshotRow]> {
  const [theirs, bystanders] = await whileJobsWait(server, async () => {
    const queued = [
      await startSnapshot(server, { ...app, user }),
      await startSnapshot(server, { ...app, user: "bystander" }),
    ] as const;
    await change();
    return queued;
  });
  return [await endOf(server, theirs, app), await endOf(server, bystanders, app)];
}

describe("a queued job fails, and no other does, when its role", () => {
  test.each<[what: string, change: () => Promise<unknown>, gone: string]>([
    ["is dropped", () => dropRole(server, "app", "passing"), ""],
    [
      "is dropped and made again",
      async () => {
        await dropRole(server, "app", "passing");
        await createRole(server, "app", "passing", "login superuser");
      },
      "passing",
    ],
    ["is renamed", () => server.query("alter role passing rename to renamed", [], app), "renamed"],
  ])("%s", async (_, change, left) => {
    await createRole(server, "app", "passing");
    const [theirs, bystanders] = await changeWhileQueued("passing", change);
    expect(theirs).toMatchObject({
      status: "failed",
      error_sqlstate: "42704",
      error_message: expect.stringContaining('role "passing"'),
    });
    expect(existsSync(theirs.storage_path)).toBe(false);
    expect(bystanders).toMatchObject({ status: "complete" });
    if (left !== "") await dropRole(server, "app", left);
  });

  test("may no longer connect to the database", async () => {
    await createRole(server, "app", "passing");
    const [theirs, bystanders] = await changeWhileQueued("passing", () =>
      server.query(
        "revoke connect on database app from public; grant connect on database app to bystander",
      ),
    );
    expect(theirs).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(existsSync(theirs.storage_path)).toBe(false);
    expect(bystanders).toMatchObject({ status: "complete" });
    await server.query(
      "grant connect on database app to public; revoke connect on database app from bystander",
    );
    await dropRole(server, "app", "passing");
  });

  test("may no longer read what it would copy", async () => {
    await createRole(server, "app", "passing");
    const [theirs, bystanders] = await changeWhileQueued("passing", () =>
      server.query("revoke select on data from passing", [], app),
    );
    expect(theirs).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(bystanders).toMatchObject({ status: "complete" });
    await dropRole(server, "app", "passing");
  });
});

test("a role that is dropped while its job runs takes nothing with it", async () => {
  await createRole(server, "app", "passing");
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table data in access exclusive mode");
  const snapshot = await startSnapshot(server, { ...app, user: "passing" });
  await waitUntil(
    () => server.pidsByApplicationName(`steep_repl ${snapshot.snapshot_id} coordinator`),
    (pids) => pids.length === 1,
    "the coordinator runs",
  );
  await dropRole(server, "app", "passing");
  await blocker.end();
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "failed" });
  expect(existsSync(snapshot.storage_path)).toBe(false);
  await takeSnapshot(server, { ...app, user: "bystander" });
});

test("a role that cannot log in takes a snapshot by SET ROLE, as itself", async () => {
  await createRole(server, "app", "nologin_role", "nologin");
  await createRole(server, "app", "deputy");
  await server.query("grant nologin_role to deputy; revoke select on data from deputy", [], app);
  const client = await server.connect({ ...app, user: "deputy" });
  await client.query("set role nologin_role");
  const { rows } = await client.query<SnapshotRow>("select * from steep_repl.start_snapshot($1)", [
    freshPath(server),
  ]);
  await client.end();
  expect(rows[0]).toMatchObject({ requested_by: "nologin_role" });
  expect(await endOf(server, rows[0] as SnapshotRow, app)).toMatchObject({ status: "complete" });
  await dropRole(server, "app", "deputy");
  await dropRole(server, "app", "nologin_role");
});

test("a job belongs to the current user of the statement, not to who logged in", async () => {
  // as an index or a trigger of somebody would have a superuser queue it
  await server.query(
    `create function queue_it(path text) returns text language sql security definer
     as 'select snapshot_id from steep_repl.start_snapshot(path)';
     alter function queue_it(text) owner to bystander; revoke select on data from bystander`,
    [],
    app,
  );
  const [queued] = await server.query<{ id: string }>(
    "select queue_it($1) as id",
    [freshPath(server)],
    app,
  );
  const [row] = await server.query<SnapshotRow>(
    "select * from steep_repl.snapshots where snapshot_id = $1",
    [queued?.id],
    app,
  );
  expect(await endOf(server, row as SnapshotRow, app)).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
    requested_by: "bystander",
  });
  await server.query("drop function queue_it; grant select on data to bystander", [], app);
});

describe("what ALTER ROLE sets for a role does not reach its job:", () => {
  // test/integration/jobs/settings.test.ts has planner settings, and those of databases
  test.each<[what: string, settings: Readonly<Record<string, string>>]>([
    ["another role", { role: "'postgres'" }],
    [
      "what ends or hinders a transaction",
      {
        default_transaction_read_only: "on",
        transaction_timeout: "'1s'",
        statement_timeout: "'1ms'",
        lock_timeout: "'1ms'",
        session_replication_role: "'replica'",
      },
    ],
    [
      "how values are written",
      {
        client_encoding: "'LATIN1'",
        DateStyle: "'German, DMY'",
        TimeZone: "'Asia/Kathmandu'",
        IntervalStyle: "'sql_standard'",
        extra_float_digits: "'-15'",
        bytea_output: "'escape'",
        lc_monetary: "'C.UTF-8'",
      },
    ],
    ["where functions are looked for", { search_path: "evil, pg_catalog" }],
  ])("%s", async (_, settings) => {
    await server.query(evilSchema, [], app);
    const before = await server.connect({ ...app, user: "bystander" });
    for (const [name, value] of Object.entries(settings))
      await server.query(`alter role bystander set ${name} = ${value}`);
    const { rows } = await before.query<SnapshotRow>(
      "select * from steep_repl.start_snapshot($1, tables => '{public.data}')",
      [freshPath(server)],
    );
    await before.end();
    const snapshot = await endOf(server, rows[0] as SnapshotRow, app);
    expect(snapshot).toMatchObject({ status: "complete", error_message: null });
    await server.query("alter role bystander reset all; drop schema evil cascade", [], app);

    await restore(server, snapshot, "restored");
    expect(await digests(server, "restored")).toEqual(await digests(server, "app"));
    await server.query("drop database restored");
  });

  test("a transaction_timeout that the job outlasts", async () => {
    const before = await server.connect({ ...app, user: "bystander" });
    await server.query("alter role bystander set transaction_timeout = '100ms'");
    const blocker = await server.connect(app);
    await blocker.query("begin; lock table data in access exclusive mode");
    const { rows } = await before.query<SnapshotRow>(
      "select * from steep_repl.start_snapshot($1)",
      [freshPath(server)],
    );
    await before.end();
    await waitUntil(
      () =>
        server.query<{ old: boolean }>(
          "select clock_timestamp() > started_at + interval '0.5 s' as old from steep_repl.snapshots where snapshot_id = $1",
          [rows[0]?.snapshot_id],
          app,
        ),
      ([row]) => row?.old === true,
      "the job has waited for half a second",
    );
    await blocker.end();
    expect(await endOf(server, rows[0] as SnapshotRow, app)).toMatchObject({ status: "complete" });
    await server.query("alter role bystander reset all");
  });
});
