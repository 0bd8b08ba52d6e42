import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { giveToServer } from "../../support/data-directory.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import {
  digests,
  dropSnapshots,
  endOf,
  freshPath,
  problems,
  restore,
  runSnapshot,
  startSnapshot,
  takeSnapshot,
} from "../../support/snapshots.ts";

let server: Server;
const app = { database: "app" };
const role = { ...app, user: "steep_repl" };

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
});
afterAll(() => server.destroy());

afterEach(async () => {
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

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
    const snapshot = await whileJobsWait(server, async () => {
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
    const snapshot = await whileJobsWait(server, async () => {
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
