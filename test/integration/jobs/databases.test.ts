import { existsSync } from "node:fs";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { holdPgDump } from "../../support/pg-dump.ts";
import { type Server, startServer } from "../../support/server.ts";
import { endOf, type SnapshotRow, startSnapshot, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let server: Server;
const slow = "compression => 'zstd', level => 19, parallel => 1";

beforeAll(async () => {
  server = await startServer({ name: "databases" });
});
afterAll(() => server.destroy());
afterEach(() => expectNoLeaks(server));

async function createFilled(database: string): Promise<void> {
  await server.createDatabase(database, { extension: true });
  await server.query(
    `create table big as
     select g as id, (select string_agg(md5(random()::text), '') from generate_series(1, 30) where g = g) as filler
     from generate_series(1, 10000) g`,
    [],
    { database },
  );
}

async function reachData(database: string): Promise<void> {
  await waitUntil(
    () =>
      server.query(
        "select phase, bytes_processed as bytes from steep_repl.snapshot_progress()",
        [],
        { database },
      ),
    (rows) => rows[0]?.phase === "data" && Number(rows[0].bytes) > 0,
    "the snapshot copies",
    { intervalMs: 2 },
  );
}

async function startSlow(database: string): Promise<SnapshotRow> {
  const snapshot = await startSnapshot(server, { database, args: slow });
  await reachData(database);
  return snapshot;
}

test("an idle database can be dropped at once, also after a snapshot", async () => {
  await createFilled("gone");
  const snapshot = await takeSnapshot(server, { database: "gone" });
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], {
    database: "gone",
  });
  const before = performance.now();
  await server.query("drop database gone");
  // it would wait for five seconds for a worker of ours
  expect(performance.now() - before).toBeLessThan(4000);
});

test("DROP DATABASE is refused while a job runs there; with FORCE the job ends and its files go", async () => {
  await createFilled("busy");
  const release = await holdPgDump(server);
  const snapshot = await startSnapshot(server, { database: "busy", args: slow });
  await waitUntil(
    () => server.pidsByApplicationName(`steep_repl ${snapshot.snapshot_id} holder`),
    (pids) => pids.length === 1,
    "the job is in the database",
  );
  // it waits for 5 s for whoever is there to go: as long as that the job must not end
  await expect(server.query("drop database busy")).rejects.toMatchObject({ code: "55006" });
  await release();
  await reachData("busy");
  await server.query("drop database busy with (force)");
  await waitUntil(
    () => existsSync(snapshot.storage_path),
    (there) => !there,
    "the directory is gone",
  );
  await expectNoLeaks(server);
  await createFilled("busy");
  const again = await takeSnapshot(server, { database: "busy" });
  await server.query("select steep_repl.drop_snapshot($1)", [again.snapshot_id], {
    database: "busy",
  });
  await server.query("drop database busy");
});

test("DROP EXTENSION works while idle, and leaves nothing", async () => {
  await createFilled("plain");
  await takeSnapshot(server, { database: "plain", path: `${server.snapshotDir}/kept` });
  await server.query("drop extension steep_repl", [], { database: "plain" });
  expect(
    await server.query("select nspname from pg_namespace where nspname = 'steep_repl'", [], {
      database: "plain",
    }),
  ).toEqual([]);
  // the snapshot is the user's
  const { rm } = await import("node:fs/promises");
  await rm(`${server.snapshotDir}/kept`, { recursive: true });
  await server.query("create extension steep_repl; drop extension steep_repl", [], {
    database: "plain",
  });
});

test("DROP EXTENSION in mid-job ends the job and removes its files", async () => {
  await createFilled("midway");
  const snapshot = await startSlow("midway");
  await server.query("drop extension steep_repl", [], { database: "midway" });
  await waitUntil(
    () => existsSync(snapshot.storage_path),
    (there) => !there,
    "the directory is gone",
  );
  await expectNoLeaks(server);
  await server.query("create extension steep_repl", [], { database: "midway" });
  expect(
    await server.query("select * from steep_repl.list_operations()", [], { database: "midway" }),
  ).toEqual([]);
});

test("a database cloned with TEMPLATE does not run, fail or show the jobs of its source", async () => {
  await createFilled("source");
  const done = await takeSnapshot(server, { database: "source" });
  await server.configure({ "steep_repl.reserved_worker_slots": 7 });
  const pending = await startSnapshot(server, { database: "source" });
  await waitUntil(
    () => server.query("select 1 from pg_stat_activity where datname = 'source'"),
    (rows) => rows.length === 0,
    "nobody is in the source",
  );
  await server.createDatabase("clone", { template: "source" });
  await server.configure({ "steep_repl.reserved_worker_slots": 3 });
  // a job of the clone's own makes a dispatcher look at all of its rows
  const own = await takeSnapshot(server, { database: "clone" });
  const listed = await server.query("select snapshot_id from steep_repl.list_operations()", [], {
    database: "clone",
  });
  expect(listed).toEqual([{ snapshot_id: own.snapshot_id }]);
  expect(
    await server.query(
      "select status, attempts from steep_repl.work_queue where snapshot_id = $1",
      [pending.snapshot_id],
      {
        database: "clone",
      },
    ),
  ).toEqual([{ status: "pending", attempts: 0 }]);
  await expect(
    server.query("select steep_repl.cancel_operation($1)", [pending.operation_id], {
      database: "clone",
    }),
  ).rejects.toMatchObject({ code: "42704" });

  const end = await endOf(server, pending, { database: "source" });
  expect(end.status).toBe("complete");
  // what the clone's rows say of the source's files is not believed
  await expect(
    server.query("select steep_repl.drop_snapshot($1)", [done.snapshot_id], { database: "clone" }),
  ).rejects.toMatchObject({ code: "42704" });
  expect(existsSync(done.storage_path)).toBe(true);
  for (const [database, row] of [
    ["source", done],
    ["source", end],
    ["clone", own],
  ] as const) {
    await server.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], { database });
  }
});

test("under a FOR ALL TABLES publication each server's queue stays its own", async () => {
  const other = await startServer({
    name: "subscriber",
    identity: "peer",
    settings: { max_worker_processes: 16 },
  });
  try {
    await createFilled("pub");
    await other.createDatabase("pub", { extension: true });
    await other.query("create table big (id int, filler text)", [], { database: "pub" });
    await server.query("create publication everything for all tables", [], { database: "pub" });
    await other.query(
      `create subscription follower connection '${server.uri("pub")}' publication everything with (copy_data = false)`,
      [],
      { database: "pub" },
    );
    await server.query("alter table big replica identity full", [], { database: "pub" });
    const ours = await takeSnapshot(server, { database: "pub" });
    const theirs = await takeSnapshot(other, { database: "pub" });

    await server.query("insert into big values (-1, 'marker')", [], { database: "pub" });
    await waitUntil(
      () => other.query("select 1 from big where id = -1", [], { database: "pub" }),
      (rows) => rows.length === 1,
      "the subscription still applies",
    );
    expect(
      await other.query("select snapshot_id from steep_repl.list_operations()", [], {
        database: "pub",
      }),
    ).toEqual([{ snapshot_id: theirs.snapshot_id }]);
    expect(
      await other.query(
        "select status, count(*)::int as n from steep_repl.work_queue where snapshot_id = $1 and status <> 'pending' group by 1",
        [ours.snapshot_id],
        { database: "pub" },
      ),
    ).toSatisfy((rows: { status: string }[]) => rows.every((row) => row.status !== "failed"));
    const [health] = await server.query(
      "select status, reasons::text from steep_repl.health()",
      [],
      { database: "pub" },
    );
    expect(health).toMatchObject({
      status: "degraded",
      reasons: expect.stringContaining("everything"),
    });
    await server.query("select steep_repl.drop_snapshot($1)", [ours.snapshot_id], {
      database: "pub",
    });
    await other.query("drop subscription follower", [], { database: "pub" });
  } finally {
    await other.destroy();
  }
});

test("databases whose dispatchers wait for a lock do not hold up another one", async () => {
  const locked = ["locked1", "locked2", "locked3"];
  for (const database of [...locked, "free"])
    await server.createDatabase(database, { extension: true });
  const lockers = await Promise.all(locked.map((database) => server.connect({ database })));
  for (const [i, locker] of lockers.entries()) {
    const queuer = await server.connect({ database: locked[i] as string });
    await queuer.query(
      "begin; insert into steep_repl.work_queue (operation, params) values ('overlap', '{}')",
    );
    const locking = locker.query(
      "begin; lock table steep_repl.work_queue in access exclusive mode",
    );
    await waitUntil(
      () => server.query("select from pg_locks where not granted and mode = 'AccessExclusiveLock'"),
      (rows) => rows.length === 1,
      "the lock is waited for",
    );
    await queuer.query("commit");
    await locking;
    await queuer.end();
  }
  const waiting =
    "select from pg_stat_activity where application_name = 'steep_repl dispatcher' and wait_event_type = 'Lock'";
  await waitUntil(
    () => server.query(waiting),
    (rows) => rows.length === 2,
    "dispatchers wait for locks",
  );
  const before = performance.now();
  const snapshot = await takeSnapshot(server, { database: "free" });
  expect(performance.now() - before).toBeLessThan(8000);
  for (const locker of lockers) {
    await locker.query("rollback");
    await locker.end();
  }
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], {
    database: "free",
  });
});
