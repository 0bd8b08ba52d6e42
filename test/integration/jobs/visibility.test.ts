import { existsSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRole, dropRole, whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  dropSnapshots,
  endOf,
  problems,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";

/* What roles see of each other's jobs, snapshots and nodes, and what they can do to them. */
let server: Server;
const app = { database: "app" };
const as = (user: string) => ({ database: "app", user });
const role = as("steep_repl");

beforeAll(async () => {
  server = await startServer({
    name: "visibility",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": 100 },
  });
  await server.createDatabase("app", { extension: true });
  await server.query("create table orders as select 1 as id", [], app);
  for (const name of ["steep_repl", "stranger", "member", "monitor", "signaller", "reader"])
    await createRole(server, "app", name);
  await server.query(
    `grant steep_repl to member; grant pg_monitor to monitor;
     grant pg_signal_backend to signaller; grant pg_read_server_files to reader`,
  );
});
afterAll(() => server.destroy());

afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

const denied = { code: "42501" };

describe("a job of one role", () => {
  let snapshot: SnapshotRow;
  beforeEach(async () => {
    await whileJobsWait(server, async () => {
      snapshot = await startSnapshot(server, role);
      await server.query("select steep_repl.cancel_snapshot($1)", [snapshot.snapshot_id], role);
    });
  });

  const call = (user: string, sql: string, param: string) =>
    server.query(`select * from steep_repl.${sql}`, [param], as(user));
  const seenBy = async (user: string) => {
    const rows = async (sql: string) =>
      (await server.query(`select * from steep_repl.${sql}`, [], as(user))).length;
    return [
      await rows("work_queue"),
      await rows("snapshots"),
      await rows("list_operations()"),
      await rows("snapshot_progress()"),
      await rows("stat_operations"),
    ];
  };

  test("is nothing that another role sees or touches", async () => {
    expect(await seenBy("stranger")).toEqual([0, 0, 0, 0, 0]);
    for (const sql of ["wait_snapshot($1)", "cancel_snapshot($1)", "snapshot_progress($1)"])
      await expect(call("stranger", sql, snapshot.snapshot_id)).rejects.toMatchObject({
        code: "42704",
      });
    await expect(call("stranger", "drop_snapshot($1)", snapshot.snapshot_id)).rejects.toMatchObject(
      denied,
    );
    for (const sql of ["wait_operation($1)", "cancel_operation($1)", "retry_operation($1)"])
      await expect(call("stranger", sql, snapshot.operation_id)).rejects.toMatchObject(denied);
    expect(await call("stranger", "prune_operations($1::interval)", "0 s")).toEqual([
      { prune_operations: "0" },
    ]);
  });

  test("is its members' as much as its own", async () => {
    expect(await seenBy("member")).toEqual([1, 1, 1, 1, 1]);
    const retried = await call("member", "retry_operation($1)", snapshot.operation_id);
    expect(retried).toMatchObject([{ requested_by: "steep_repl" }]);
    expect(await call("member", "wait_snapshot($1)", snapshot.snapshot_id)).toMatchObject([
      { status: "complete" },
    ]);
    expect(await problems(server, snapshot.storage_path, as("member"))).toEqual([]);
    expect(await call("member", "drop_snapshot($1)", snapshot.snapshot_id)).toEqual([
      { drop_snapshot: true },
    ]);
    expect(existsSync(snapshot.storage_path)).toBe(false);
  });

  test("is in sight of pg_monitor, and out of its reach", async () => {
    expect(await seenBy("monitor")).toEqual([1, 1, 1, 1, 1]);
    expect(await call("monitor", "wait_operation($1)", snapshot.operation_id)).toMatchObject([
      { status: "cancelled" },
    ]);
    for (const sql of ["cancel_operation($1)", "retry_operation($1)"])
      await expect(call("monitor", sql, snapshot.operation_id)).rejects.toMatchObject(denied);
    await expect(call("monitor", "drop_snapshot($1)", snapshot.snapshot_id)).rejects.toMatchObject(
      denied,
    );
    expect(await call("monitor", "prune_operations($1::interval)", "0 s")).toEqual([
      { prune_operations: "0" },
    ]);
  });

  test("is in sight of pg_monitor with the right to read the tables only", async () => {
    await server.query(
      "create role bare login; grant pg_monitor to bare; grant usage on schema steep_repl to bare",
      [],
      app,
    );
    try {
      await expect(seenBy("bare")).rejects.toMatchObject(denied);
      await expect(call("bare", "list_operations($1)", "failed")).rejects.toMatchObject(denied);
      expect(
        await server.query("select status from steep_repl.health()", [], as("bare")),
      ).toHaveLength(1);
      await server.query("grant select on all tables in schema steep_repl to bare", [], app);
      expect(await seenBy("bare")).toEqual([1, 1, 1, 1, 1]);
    } finally {
      await server.query("drop owned by bare; drop role bare", [], app);
    }
  });

  test("can be cancelled and waited for by pg_signal_backend, and not retried", async () => {
    expect(await seenBy("signaller")).toEqual([0, 0, 0, 0, 0]);
    await expect(
      call("signaller", "retry_operation($1)", snapshot.operation_id),
    ).rejects.toMatchObject(denied);
    await whileJobsWait(server, async () => {
      await call("steep_repl", "retry_operation($1)", snapshot.operation_id);
      expect(await call("signaller", "cancel_operation($1)", snapshot.operation_id)).toEqual([
        { cancel_operation: true },
      ]);
    });
    expect(await call("signaller", "wait_operation($1)", snapshot.operation_id)).toMatchObject([
      { status: "cancelled" },
    ]);
    await expect(
      call("signaller", "drop_snapshot($1)", snapshot.snapshot_id),
    ).rejects.toMatchObject(denied);
  });

  test("is not pg_signal_backend's if that role is a superuser", async () => {
    const { operation_id } = await whileJobsWait(server, async () => {
      const started = await startSnapshot(server, app);
      for (const sql of ["cancel_operation($1)", "wait_operation($1)"])
        await expect(call("signaller", sql, started.operation_id)).rejects.toMatchObject(denied);
      return started;
    });
    expect(await call("postgres", "wait_operation($1)", operation_id)).toMatchObject([
      { status: "complete" },
    ]);
  });
});

test("progress of a running job is shown to its role, members and monitors only", async () => {
  const blocker = await server.connect(app);
  await blocker.query("begin; lock table orders in access exclusive mode");
  const snapshot = await startSnapshot(server, role);
  for (const [user, rows] of [
    ["steep_repl", 1],
    ["member", 1],
    ["monitor", 1],
    ["stranger", 0],
    ["signaller", 0],
  ] as const) {
    expect(
      await server.query("select * from steep_repl.snapshot_progress()", [], as(user)),
    ).toHaveLength(rows);
  }
  expect(await server.query("select * from steep_repl._live_jobs()", [], as("stranger"))).toEqual(
    [],
  );
  await blocker.end();
  expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
});

test("a snapshot is read by its role's members and pg_read_server_files, and nobody else", async () => {
  const { storage_path } = await takeSnapshot(server, role);
  for (const user of ["steep_repl", "member", "reader", "postgres"])
    expect(await problems(server, storage_path, as(user))).toEqual([]);
  for (const user of ["stranger", "monitor", "signaller"])
    await expect(problems(server, storage_path, as(user))).rejects.toMatchObject({
      code: "42501",
      detail: 'It was made by role "steep_repl".',
    });
});

describe("a node", () => {
  const register = (user: string, args: string) =>
    server.query(`select * from steep_repl.register_node(${args})`, [], as(user));
  beforeAll(() => register("steep_repl", "'theirs', 'Theirs', host => '192.0.2.1'"));
  afterAll(() => server.query("select steep_repl.remove_node('theirs')", [], app));

  test("of another role can get a heartbeat and nothing else", async () => {
    await expect(register("stranger", "'theirs', 'Mine'")).rejects.toMatchObject(denied);
    for (const sql of [
      "select steep_repl.remove_node('theirs')",
      "delete from steep_repl.nodes",
      "update steep_repl.nodes set host = '192.0.2.2'",
      "update steep_repl.nodes set registered_by = 'stranger'",
      "update steep_repl.nodes set registered_by_oid = 'stranger'::regrole",
      "update steep_repl.nodes set system_identifier = '1', last_seen = now()",
      `insert into steep_repl.nodes (node_id, node_name) values ('theirs', 'Mine')
       on conflict (node_id) do update set host = '192.0.2.2'`,
    ])
      await expect(server.query(sql, [], as("stranger"))).rejects.toMatchObject(denied);
    expect(await server.query("select steep_repl.heartbeat('theirs')", [], as("stranger"))).toEqual(
      [{ heartbeat: true }],
    );
    expect(await server.query("select * from steep_repl.nodes", [], app)).toMatchObject([
      { node_name: "Theirs", host: "192.0.2.1", registered_by: "steep_repl" },
    ]);
  });

  test("belongs to members, too, and stays its role's whoever changes it", async () => {
    expect(await register("member", "'theirs', 'Ours'")).toMatchObject([
      { node_name: "Ours", host: "192.0.2.1", registered_by: "steep_repl" },
    ]);
    expect(await register("postgres", "'theirs', 'Theirs'")).toMatchObject([
      { registered_by: "steep_repl" },
    ]);
    await server.query(
      "insert into steep_repl.nodes (node_id, node_name, registered_by, registered_by_oid) values ('forged', 'F', 'postgres', 10)",
      [],
      as("stranger"),
    );
    expect(
      await server.query(
        "select registered_by from steep_repl.nodes where node_id = 'forged'",
        [],
        app,
      ),
    ).toEqual([{ registered_by: "stranger" }]);
    await server.query("select steep_repl.remove_node('forged')", [], as("stranger"));
  });

  test("does not pass to a role that is made later under the same name", async () => {
    await createRole(server, "app", "passing");
    await register("passing", "'old', 'Old'");
    await dropRole(server, "app", "passing");
    await createRole(server, "app", "passing");
    await expect(register("passing", "'old', 'New'")).rejects.toMatchObject(denied);
    await server.query("alter role passing rename to renamed");
    await register("renamed", "'new', 'New'");
    await server.query("alter role renamed rename to renamed_again");
    await register("renamed_again", "'new', 'Newer'");
    await server.query("delete from steep_repl.nodes where node_id in ('old', 'new')", [], app);
    await dropRole(server, "app", "renamed_again");
  });
});
