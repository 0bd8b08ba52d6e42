import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { giveToServer } from "../support/data-directory.ts";
import { expectNoLeaks } from "../support/leaks.ts";
import { type Server, startServer } from "../support/server.ts";
import {
  digests,
  endOf,
  freshPath,
  problems,
  restore,
  runSnapshot,
  type SnapshotRow,
  startSnapshot,
  takeSnapshot,
} from "../support/snapshots.ts";

let server: Server;
const app = { database: "app" };
const as = (user: string) => ({ database: "app", user });
const role = as("steep_repl");

// Roles besides the documented one; each has the documented grants, too.
const others = ["stranger", "member", "monitor", "signaller", "reader"];

beforeAll(async () => {
  server = await startServer({
    name: "rights",
    settings: { max_worker_processes: 16, "steep_repl.poll_interval": 100 },
  });
  await server.createDatabase("app", { extension: true });
  await server.query(
    `create table orders (id serial primary key, total numeric);
     insert into orders (total) select g from generate_series(1, 100) g;
     create table items (id int generated always as identity, name text, label text generated always as (upper(name)) stored);
     insert into items (name) values ('one'), ('two');
     create view cheap as select * from orders where total < 10;
     create materialized view totals as select sum(total) from orders;
     -- as documented, word for word
     CREATE ROLE steep_repl WITH LOGIN REPLICATION PASSWORD 'secret';
     GRANT USAGE ON SCHEMA steep_repl TO steep_repl;
     GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA steep_repl TO steep_repl;
     GRANT SELECT ON ALL TABLES IN SCHEMA public TO steep_repl;`,
    [],
    app,
  );
  for (const name of others) await createRole(name);
  await server.query(
    `grant steep_repl to member; grant pg_monitor to monitor;
     grant pg_signal_backend to signaller; grant pg_read_server_files to reader`,
  );
});
afterAll(() => server.destroy());

async function createRole(name: string): Promise<void> {
  await server.query(
    `create role ${name} login;
     grant usage on schema steep_repl to ${name};
     grant select, insert, update, delete on all tables in schema steep_repl to ${name};
     grant select on all tables in schema public to ${name}`,
    [],
    app,
  );
}

afterEach(async () => {
  await server.query(
    "select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots where status not in ('pending', 'running')",
    [],
    app,
  );
  await expectNoLeaks(server);
});

/** Keep jobs from starting for as long as an action runs. */
async function whileJobsWait<T>(action: () => Promise<T>): Promise<T> {
  await server.configure({ "steep_repl.reserved_worker_slots": 1000 });
  try {
    return await action();
  } finally {
    await server.configure({ "steep_repl.reserved_worker_slots": 3 });
  }
}

const denied = { code: "42501" };

describe("the documented grants", () => {
  test("are enough to take a snapshot and to do with it what one does", async () => {
    const client = await server.connect(role);
    const path = freshPath(server);
    const call = async (sql: string, ...params: string[]) =>
      (await client.query(`select * from steep_repl.${sql}`, params)).rows;
    const [{ snapshot_id, operation_id }] = await call("start_snapshot($1, parallel => 2)", path);
    expect(await call("snapshot_progress($1)", snapshot_id)).toMatchObject([{ snapshot_id }]);
    const [snapshot] = await call("wait_snapshot($1)", snapshot_id);
    expect(snapshot).toMatchObject({ status: "complete", error_message: null });
    expect(await call("wait_operation($1)", operation_id)).toMatchObject([{ status: "complete" }]);
    expect(await call("list_operations('complete')")).toMatchObject([{ id: operation_id }]);
    expect(await call("verify_snapshot($1)", path)).toEqual([]);
    expect(await call("stat_operations")).toMatchObject([{ complete: "1" }]);

    await restore(server, snapshot, "restored");
    expect(await digests(server, "restored")).toEqual(await digests(server, "app"));
    expect(
      await server.query("select nextval('orders_id_seq') as n, nextval('items_id_seq') as m", [], {
        database: "restored",
      }),
    ).toEqual([{ n: "101", m: "3" }]);
    await server.query("drop database restored");

    expect(await call("cancel_snapshot($1)", snapshot_id)).toEqual([{ cancel_snapshot: false }]);
    expect(await call("leftovers()")).toEqual([]);
    expect(await call("prune_operations('0 s')")).toEqual([{ prune_operations: "1" }]);
    // the job is forgotten, the snapshot is not
    expect(await call("wait_snapshot($1)", snapshot_id)).toMatchObject([{ status: "complete" }]);
    expect(await call("cancel_snapshot($1)", snapshot_id)).toEqual([{ cancel_snapshot: false }]);
    expect(await call("drop_snapshot($1)", snapshot_id)).toEqual([{ drop_snapshot: true }]);
    expect(existsSync(path)).toBe(false);
    await client.end();
  });

  test("are enough to cancel, retry and wait", async () => {
    const snapshot = await whileJobsWait(async () => {
      const started = await startSnapshot(server, role);
      expect(
        await server.query("select steep_repl.cancel_snapshot($1)", [started.snapshot_id], role),
      ).toEqual([{ cancel_snapshot: true }]);
      return started;
    });
    expect(await endOf(server, snapshot, app)).toMatchObject({ status: "cancelled" });
    await server.query("select steep_repl.retry_operation($1)", [snapshot.operation_id], role);
    const [row] = await server.query(
      "select * from steep_repl.wait_snapshot($1)",
      [snapshot.snapshot_id],
      role,
    );
    expect(row).toMatchObject({ status: "complete", requested_by: "steep_repl" });
  });

  test("are enough to register nodes and to look at them", async () => {
    const call = (sql: string) => server.query(`select * from steep_repl.${sql}`, [], role);
    expect(await call("register_node('n', 'N', host => '192.0.2.1')")).toMatchObject([
      { registered_by: "steep_repl" },
    ]);
    expect(await call("heartbeat('n')")).toEqual([{ heartbeat: true }]);
    expect(await call("node_status('n')")).toMatchObject([{ status: "online" }]);
    expect(await call("remove_node('n')")).toEqual([{ remove_node: true }]);
  });

  test("do not reach further than EXECUTE", async () => {
    await server.query(
      "revoke execute on function steep_repl.start_snapshot from public; revoke execute on function steep_repl.health from public",
      [],
      app,
    );
    await expect(startSnapshot(server, role)).rejects.toMatchObject(denied);
    await expect(server.query("select * from steep_repl.health()", [], role)).rejects.toMatchObject(
      denied,
    );
    await server.query(
      "grant execute on function steep_repl.start_snapshot, steep_repl.health to public",
      [],
      app,
    );
  });
});

describe("a snapshot fails before it copies anything", () => {
  async function expectRefusal(names: readonly string[], args?: string): Promise<void> {
    const row = await runSnapshot(server, { ...role, ...(args ? { args } : {}) });
    expect(row).toMatchObject({ status: "failed", phase: "planning", error_sqlstate: "42501" });
    for (const name of names) expect(row.error_message).toContain(name);
    expect(existsSync(row.storage_path)).toBe(false);
  }

  test("when the role may not read all of it, naming everything that it lacks", async () => {
    await server.query(
      `create table hidden (id int); create table half_hidden (id int, secret int);
       grant select (id) on half_hidden to steep_repl;
       create schema closed; create table closed.inside (id int); grant select on closed.inside to steep_repl;
       create sequence loose; create table "Odd ""name""" (id int);
       create table parts (id int) partition by range (id);
       create table parts_one partition of parts for values from (1) to (2); grant select on parts to steep_repl`,
      [],
      app,
    );
    await expectRefusal([
      "table public.hidden",
      "table public.half_hidden",
      "table closed.inside",
      "sequence public.loose",
      'table public."Odd ""name"""',
      "table public.parts_one",
    ]);
    // what it is limited to is what must be readable
    await expectRefusal(["table public.hidden"], "tables => '{public.orders, public.hidden}'");
    await takeSnapshot(server, { ...role, args: "tables => '{public.orders, public.items}'" });
    await server.query(
      `drop table hidden, half_hidden, "Odd ""name""", parts; drop schema closed cascade; drop sequence loose`,
      [],
      app,
    );
  });

  test("when row security would hide rows, naming the table", async () => {
    await server.query(
      `create table by_role (id int, who name); alter table by_role enable row level security;
       create policy own on by_role using (who = current_user); grant select on by_role to steep_repl`,
      [],
      app,
    );
    await expectRefusal(["row security hides rows of table public.by_role"]);
    // its owner sees all rows, until it is forced
    await server.query("alter table by_role owner to steep_repl", [], app);
    await takeSnapshot(server, role);
    await server.query("alter table by_role force row level security", [], app);
    await expectRefusal(["table public.by_role"]);
    await server.query("drop table by_role", [], app);
  });
});

describe("a path outside of snapshot_directories", () => {
  test("is refused with the setting to change", async () => {
    for (const path of [
      join(server.home, "elsewhere"),
      `${server.snapshotDir}-too`,
      server.snapshotDir,
    ])
      await expect(startSnapshot(server, { ...role, path })).rejects.toMatchObject({
        code: "42501",
        message: expect.stringContaining(path),
        hint: expect.stringContaining("steep_repl.snapshot_directories"),
      });
  });

  test("is allowed to pg_write_server_files, and to whoever the setting is changed for", async () => {
    const elsewhere = join(server.home, "elsewhere");
    await mkdir(elsewhere, { mode: 0o700 });
    await giveToServer(elsewhere);
    const path = join(elsewhere, "snapshot");
    await server.query("grant pg_write_server_files to steep_repl");
    await takeSnapshot(server, { ...role, path });
    await server.query("revoke pg_write_server_files from steep_repl");
    await expect(problems(server, path, role)).rejects.toMatchObject(denied);

    await server.configure({
      "steep_repl.snapshot_directories": `${server.snapshotDir}, "${elsewhere}/"`,
    });
    expect(await problems(server, path, role)).toEqual([]);
    await takeSnapshot(server, { ...role, path: `${path}2` });
    await server.configure({ "steep_repl.snapshot_directories": server.snapshotDir });
    await server.query(
      "select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots",
      [],
      app,
    );
    await rm(elsewhere, { recursive: true });
  });

  test("is looked at again when the job runs", async () => {
    const snapshot = await whileJobsWait(async () => {
      const started = await startSnapshot(server, role);
      await server.configure({ "steep_repl.snapshot_directories": "/nowhere" });
      return started;
    });
    expect(await endOf(server, snapshot, app)).toMatchObject({
      status: "failed",
      error_sqlstate: "42501",
      error_hint: expect.stringContaining("steep_repl.snapshot_directories"),
    });
    await server.configure({ "steep_repl.snapshot_directories": server.snapshotDir });
  });
});

describe("a job of one role", () => {
  let snapshot: SnapshotRow;
  beforeEach(async () => {
    await whileJobsWait(async () => {
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

  test("can be retried, cancelled and waited for by pg_signal_backend", async () => {
    expect(await seenBy("signaller")).toEqual([0, 0, 0, 0, 0]);
    await whileJobsWait(async () => {
      expect(await call("signaller", "retry_operation($1)", snapshot.operation_id)).toMatchObject([
        { id: snapshot.operation_id, status: "pending" },
      ]);
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
    const { operation_id } = await whileJobsWait(async () => {
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
    await createRole("passing");
    await register("passing", "'old', 'Old'");
    await server.query("drop owned by passing; drop role passing", [], app);
    await createRole("passing");
    await expect(register("passing", "'old', 'New'")).rejects.toMatchObject(denied);
    await server.query("alter role passing rename to renamed");
    await register("renamed", "'new', 'New'");
    await server.query("alter role renamed rename to renamed_again");
    await register("renamed_again", "'new', 'Newer'");
    await server.query("delete from steep_repl.nodes where node_id in ('old', 'new')", [], app);
    await server.query("drop owned by renamed_again; drop role renamed_again", [], app);
  });
});

describe("health", () => {
  const health = async (user: string) =>
    (await server.query("select * from steep_repl.health()", [], as(user)))[0];

  test("answers any role that may use the schema, in a new session within 100 ms", async () => {
    await server.query(
      "create role visitor login; grant usage on schema steep_repl to visitor",
      [],
      app,
    );
    const times: number[] = [];
    for (let i = 0; i < 5; i++) {
      const client = await server.connect(as("visitor"));
      const before = performance.now();
      const { rows } = await client.query("select * from steep_repl.health()");
      times.push(performance.now() - before);
      expect(rows).toMatchObject([{ status: "healthy", last_error: null }]);
      await client.end();
    }
    console.log(`ms for health() in a new session: ${times.map((ms) => ms.toFixed(1)).join(", ")}`);
    expect(Math.min(...times)).toBeLessThan(100);
    await server.query("drop owned by visitor; drop role visitor", [], app);
  });

  test("tells the last error to whom the job is shown", async () => {
    await server.query("create table hidden (id int)", [], app);
    await runSnapshot(server, role);
    for (const user of ["steep_repl", "member", "monitor", "postgres"])
      expect((await health(user))?.last_error).toContain("public.hidden");
    for (const user of ["stranger", "signaller"])
      expect((await health(user))?.last_error).toBeNull();
    await server.query("drop table hidden", [], app);
  });

  test("counts the jobs of all", async () => {
    const snapshot = await whileJobsWait(async () => {
      const started = await startSnapshot(server, role);
      expect(await health("stranger")).toMatchObject({
        status: "degraded",
        pending_operations: "1",
        active_operations: "0",
        reasons: [expect.stringContaining("max_worker_processes")],
      });
      return started;
    });
    expect(await endOf(server, snapshot, app)).toMatchObject({ status: "complete" });
  });
});
