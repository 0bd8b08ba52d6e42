import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { applySnapshot } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  dropSnapshots,
  endOf,
  freshPath,
  runSnapshot,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const app = { database: "app" };
const withSlot = "slot_name => 'to_b', publications => '{everything}'";

beforeAll(async () => {
  server = await startServer({
    name: "slot",
    settings: { max_worker_processes: 16, max_prepared_transactions: 5 },
  });
  await server.createDatabase("app", { extension: true });
  await server.query(
    `create table accounts (id int primary key, balance int not null, filler text);
     insert into accounts select g, 100, repeat(md5(g::text), 20) from generate_series(1, 20000) g;
     create table log (id bigint generated always as identity primary key, account int, at timestamptz default clock_timestamp());
     create publication everything for tables in schema public`,
    [],
    app,
  );
});
afterAll(() => server.destroy());
afterEach(async () => {
  await server.query("rollback prepared 'left'").catch(() => {});
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

/** Sessions that change rows until told to stop. */
async function writers(n: number): Promise<() => Promise<void>> {
  let stop = false;
  const sessions = Array.from({ length: n }, async (_, who) => {
    const client = await server.connect(app);
    for (let i = who; !stop; i += 7) {
      await client.query(
        `begin; update accounts set balance = balance - 1 where id = ${1 + (i % 20000)};
         insert into log (account) values (${i}); commit`,
      );
    }
    await client.end();
  });
  return async () => {
    stop = true;
    await Promise.all(sessions);
  };
}

test("a subscription from the slot misses nothing and repeats nothing, with writers all along", async () => {
  const other = await startServer({ name: "slot-b", settings: { max_worker_processes: 16 } });
  const stop = await writers(3);
  try {
    const snapshot = await takeSnapshot(server, { ...app, args: `parallel => 3, ${withSlot}` });
    expect(snapshot.slot_name).toBe("to_b");
    const [slot] = await server.query(
      "select confirmed_flush_lsn::text as lsn, plugin, temporary from pg_replication_slots",
    );
    expect(slot).toEqual({ lsn: snapshot.lsn, plugin: "pgoutput", temporary: false });

    await other.createDatabase("app", { extension: true });
    await applySnapshot(other, snapshot.storage_path, app);
    await other.query(
      `create subscription from_a connection '${server.uri("app")}' publication everything
       with (copy_data = false, create_slot = false, slot_name = 'to_b')`,
      [],
      app,
    );
    await waitUntil(
      () => other.query("select count(*)::int as n from log", [], app),
      (rows) => Number(rows[0]?.n) > 0,
      "changes arrive",
    );
    await stop();
    const [end] = await server.query<{ lsn: string }>("select pg_current_wal_lsn()::text as lsn");
    await waitUntil(
      () =>
        server.query(
          "select confirmed_flush_lsn >= $1::pg_lsn as there from pg_replication_slots",
          [end?.lsn],
        ),
      (rows) => rows[0]?.there === true,
      "the subscriber has caught up",
      { timeoutMs: 30_000 },
    );
    expect(await digests(other, "app")).toEqual(await digests(server, "app"));
    expect(await other.log()).not.toContain("duplicate key");

    // the slot is the subscription's now: dropping the snapshot leaves it alone
    expect(await server.query("select * from steep_repl.leftovers()", [], app)).toEqual([]);
    await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
    expect(await server.query("select slot_name from pg_replication_slots")).toEqual([
      { slot_name: "to_b" },
    ]);
    await other.query("drop subscription from_a", [], app);
  } finally {
    await stop();
    await other.destroy();
  }
});

test("leftovers() shows an unused slot with its WAL, and drop_snapshot removes it", async () => {
  const snapshot = await takeSnapshot(server, { ...app, args: withSlot });
  await server.query("insert into log (account) select g from generate_series(1, 1000) g", [], app);
  const [left] = await server.query("select * from steep_repl.leftovers()", [], app);
  expect(left).toMatchObject({ kind: "slot", name: "to_b" });
  expect(Number(left?.retained_bytes)).toBeGreaterThan(50_000);
  await server.query(String(left?.drop_command), [], app);
  expect(await server.query("select slot_name from pg_replication_slots")).toEqual([]);
  expect(snapshot.status).toBe("complete");
});

/** Wait until the running snapshot copies. */
async function reachData(): Promise<void> {
  await waitUntil(
    () => server.query("select phase from steep_repl.snapshot_progress()", [], app),
    (rows) => rows[0]?.phase === "data",
    "the snapshot copies",
    { intervalMs: 2 },
  );
}

test.each(["cancel", "kill -9"])("after %s in mid-copy the slot is gone", async (how) => {
  const snapshot = await startSnapshot(server, { ...app, args: `level => 19, ${withSlot}` });
  await reachData();
  expect(await server.query("select slot_name from pg_replication_slots")).toHaveLength(1);
  if (how === "cancel") {
    await server.query("select steep_repl.cancel_snapshot($1)", [snapshot.snapshot_id], app);
  } else {
    await server.kill9();
    await server.start();
  }
  const row = await endOf(server, snapshot, app);
  expect(row.status).not.toBe("complete");
  await expectNoLeaks(server);
});

test("a prepared transaction that delays the slot is named while the job waits", async () => {
  const client = await server.connect(app);
  await client.query("begin; insert into log (account) values (-1); prepare transaction 'left'");
  const snapshot = await startSnapshot(server, { ...app, args: withSlot });
  const rows = await waitUntil(
    () =>
      server.query(
        "select status_detail from steep_repl.work_queue where status = 'running'",
        [],
        app,
      ),
    (found) => typeof found[0]?.status_detail === "string",
    "the job says what it waits for",
  );
  expect(rows[0]?.status_detail).toContain('prepared transaction "left"');
  await client.query("rollback prepared 'left'");
  await client.end();
  const row = await endOf(server, snapshot, app);
  expect(row.status).toBe("complete");
});

test("a snapshot that holds back much says so in status_detail", async () => {
  await server.configure({ "steep_repl.retention_warning": "1MB" });
  // random, so that compressing it takes a while
  await server.query(
    `create table heavy as
     select g as id, (select string_agg(md5(random()::text), '') from generate_series(1, 30) where g = g) as filler
     from generate_series(1, 10000) g`,
    [],
    app,
  );
  const snapshot = await startSnapshot(server, {
    ...app,
    args: `level => 19, parallel => 1, ${withSlot}`,
  });
  await reachData();
  await server.query(
    "insert into log (account) select g from generate_series(1, 50000) g",
    [],
    app,
  );
  const rows = await waitUntil(
    () =>
      server.query(
        "select status_detail from steep_repl.work_queue where status = 'running'",
        [],
        app,
      ),
    (found) => typeof found[0]?.status_detail === "string",
    "the job says what it holds back",
  );
  expect(rows[0]?.status_detail).toMatch(/holds back vacuum and its slot holds back WAL: \d+ MB/);
  await server.query("select steep_repl.cancel_snapshot($1)", [snapshot.snapshot_id], app);
  await endOf(server, snapshot, app);
  await server.query("drop table heavy", [], app);
  await server.configure({ "steep_repl.retention_warning": "16GB" });
});

test("a role without REPLICATION gets no slot, by whatever way it asks", async () => {
  await server.query(
    `create role plain login; grant usage on schema steep_repl to plain;
     grant select, insert, update, delete on all tables in schema steep_repl to plain;
     grant select on all tables in schema public to plain; grant usage on schema public to plain`,
    [],
    app,
  );
  const plain = { ...app, user: "plain" };
  await expect(startSnapshot(server, { ...plain, args: withSlot })).rejects.toMatchObject({
    code: "42501",
  });
  const params = {
    output_path: freshPath(server),
    compression: "zstd",
    parallel: 1,
    slot_name: "mine",
    publications: ["everything"],
  };
  const [job] = await server.query<{ id: string }>(
    "insert into steep_repl.work_queue (operation, params) values ('snapshot_generate', $1) returning id",
    [JSON.stringify(params)],
    plain,
  );
  const [end] = await server.query(
    "select * from steep_repl.wait_operation($1, 20)",
    [job?.id],
    app,
  );
  expect(end).toMatchObject({ status: "failed", error_sqlstate: "42501" });
  expect(await server.query("select slot_name from pg_replication_slots")).toEqual([]);
});

test("dropping a snapshot whose slot was never made leaves a slot of that name alone", async () => {
  await server.query("select pg_create_logical_replication_slot('taken', 'pgoutput')", [], app);
  const row = await runSnapshot(server, {
    ...app,
    args: "slot_name => 'taken', publications => '{everything}'",
  });
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "42710" });
  await server.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], app);
  expect(await server.query("select slot_name from pg_replication_slots")).toEqual([
    { slot_name: "taken" },
  ]);
  await server.query("select pg_drop_replication_slot('taken')", [], app);
});

test("bad slot arguments are refused before anything is queued", async () => {
  const refused: readonly (readonly [string, string])[] = [
    ["slot_name => 'x'", "55000"],
    ["slot_name => 'x', publications => '{nowhere}'", "55000"],
    ["slot_name => 'Bad Name', publications => '{everything}'", "22023"],
    ["publications => '{everything}'", "22023"],
  ];
  for (const [args, code] of refused) {
    await expect(startSnapshot(server, { ...app, args })).rejects.toMatchObject({ code });
  }
  expect(
    await server.query("select * from steep_repl.list_operations('pending')", [], app),
  ).toEqual([]);
});
