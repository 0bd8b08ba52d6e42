import type { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* A role with the documented grants neither holds a lock that others' jobs would wait for, nor waits for one. */
let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({ name: "lock-guard" });
  await server.createDatabase("app", { extension: true });
  await createRole(server, "app", "greedy");
});
afterAll(() => server.destroy());

/*
 * Each asks for a lock that jobs would queue behind: LOCK holds it, the others ask for it before they find that
 * they are not allowed, and wait for a transaction that has done nothing but queue a job.
 */
const strongLocks = [
  "lock table steep_repl.work_queue in access exclusive mode",
  "lock table steep_repl.work_queue in share update exclusive mode nowait",
  "lock table steep_repl.stat_operations in share mode",
  "lock table greedy.table, greedy.view in share mode",
  "do $$ begin lock table greedy.nested in exclusive mode; end $$",
  "create trigger t after insert on steep_repl.work_queue for each row execute function greedy.f()",
  "create rule r as on insert to steep_repl.work_queue do nothing",
  "create table greedy.x (id bigint references steep_repl.work_queue)",
  "create table greedy.x partition of steep_repl.work_queue default",
  "create foreign table greedy.x partition of steep_repl.work_queue default server nowhere",
  "create schema other authorization greedy create table x (id bigint references steep_repl.work_queue)",
  "alter table greedy.table add foreign key (id) references steep_repl.work_queue",
  "alter table greedy.table add column y bigint references steep_repl.work_queue",
  "alter table greedy.root attach partition steep_repl.work_queue default",
  "alter table greedy.root detach partition steep_repl.work_queue",
  "alter table greedy.root detach partition steep_repl.work_queue concurrently",
  "alter index greedy.root_idx attach partition steep_repl.work_queue_created_idx",
  "alter index steep_repl.work_queue_created_idx depends on extension dblink",
  "create rule r as on insert to pg_catalog.pg_class do nothing",
];

/** Asks for no such lock, whatever becomes of it. */
const weakLocks = [
  "lock table steep_repl.work_queue in access share mode",
  "lock table greedy.nested in row exclusive mode",
  "create table greedy.x (like steep_repl.work_queue including all)",
  "create table greedy.x () inherits (steep_repl.work_queue)",
  "alter table greedy.table inherit steep_repl.work_queue",
  "alter sequence greedy.s owned by steep_repl.work_queue.id",
  "create statistics greedy.st on id, operation from steep_repl.work_queue",
  "create index on steep_repl.work_queue (id)",
  "create policy p on steep_repl.work_queue",
  "comment on table steep_repl.work_queue is 'x'",
  "comment on trigger guard on steep_repl.work_queue is 'x'",
  "security label on table steep_repl.work_queue is 'x'",
  "alter table steep_repl.work_queue add column x int",
  "alter trigger guard on steep_repl.work_queue rename to x",
  "alter index steep_repl.work_queue_created_idx set (fillfactor = 50)",
  "drop table steep_repl.work_queue",
  "drop index steep_repl.work_queue_created_idx",
  "drop trigger guard on steep_repl.work_queue",
  "drop policy own_jobs on steep_repl.work_queue",
  "drop extension steep_repl",
  "drop owned by greedy",
  "truncate steep_repl.work_queue",
  "vacuum (full) steep_repl.work_queue",
  "cluster steep_repl.work_queue using work_queue_created_idx",
  "reindex table steep_repl.work_queue",
  "create publication p for table steep_repl.work_queue",
  "grant select on steep_repl.work_queue to public",
];

describe("while a job is queued in a transaction that stays open", () => {
  let queuer: Client;
  let session: Client;

  beforeAll(async () => {
    await server.query(
      `create schema greedy authorization greedy; grant create on database app to greedy;
       create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
       grant usage on foreign server nowhere to greedy`,
      [],
      app,
    );
    session = await server.connect({ ...app, user: "greedy" });
    await session.query(
      `create table greedy.table (id bigint primary key);
       create table greedy.root (like steep_repl.work_queue) partition by list (id);
       create index root_idx on greedy.root (created_at desc);
       create function greedy.f() returns trigger language plpgsql as 'begin return null; end';
       create sequence greedy.s;
       create view greedy.view as select * from steep_repl.work_queue;
       create view greedy.nested as select where exists (select from greedy.view);
       create view greedy.harmless as select * from greedy.table;
       set lock_timeout = '5s'`,
    );
    queuer = await server.connect({ ...app, user: "greedy" });
    await queuer.query(
      `begin; select from pg_class limit 1;
       insert into steep_repl.work_queue (operation, params) values ('overlap', '{}')`,
    );
  });
  afterAll(async () => {
    await queuer.query("rollback");
    await queuer.end();
    await session.end();
  });

  /** The error's SQLSTATE, or that there was none; nothing of it stays. */
  async function outcome(sql: string): Promise<string> {
    const alone = /^vacuum|concurrently$/.test(sql);
    try {
      await session.query(alone ? sql : `begin; ${sql}`);
      return "done";
    } catch (error) {
      return (error as { code?: string }).code ?? "";
    } finally {
      await session.query("rollback");
    }
  }

  test.each(strongLocks)("%s: is refused at once", async (sql) => {
    expect(await outcome(sql)).toBe("42501");
  });

  test.each(weakLocks)("%s: waits for nothing", async (sql) => {
    expect(await outcome(sql)).not.toBe("55P03");
  });

  test.each([
    "lock table nodes in access exclusive mode",
    "create rule r as on update to nodes do instead nothing",
  ])("%s: is of the table that was looked at, whatever the name means later", async (sql) => {
    await session.query("create table greedy.nodes (id int)");
    const { rows } = await session.query("select pg_backend_pid() as pid");
    const dropper = await server.connect({ ...app, user: "greedy" });
    const reader = await server.connect({ ...app, user: "greedy" });
    await reader.query("begin; select count(*) from steep_repl.nodes");
    await dropper.query("begin; drop table greedy.nodes");
    await session.query("begin; set local search_path = greedy, steep_repl");
    const locking = session.query(sql).catch((error: { code?: string }) => error);
    await waitUntil(
      () => server.query("select from pg_locks where pid = $1 and not granted", [rows[0].pid]),
      (found) => found.length === 1,
      "the statement waits",
    );
    await dropper.query("commit");
    expect(await locking).toMatchObject({ code: "42P01" });
    await session.query("rollback");
    await dropper.end();
    await reader.end();
  });

  test("a role locks what is its own as it likes, and a superuser everything", async () => {
    expect(await outcome("lock table greedy.table, greedy.root in access exclusive mode")).toBe(
      "done",
    );
    expect(await outcome("lock table greedy.harmless in access exclusive mode nowait")).toBe(
      "done",
    );
    const superuser = await server.connect(app);
    await superuser.query("begin; lock table steep_repl.nodes in access exclusive mode; rollback");
    await superuser.query("begin; lock table greedy.table in access exclusive mode");
    expect(await outcome("lock table greedy.harmless in share mode nowait")).toBe("55P03");
    await superuser.end();
  });

  test("in a database without the extension nothing is refused", async () => {
    await server.createDatabase("other");
    await server.query(
      "create schema steep_repl authorization greedy; create table steep_repl.t (); grant update on steep_repl.t to greedy",
      [],
      { database: "other" },
    );
    await server.query("begin; lock table steep_repl.t in exclusive mode; commit", [], {
      database: "other",
      user: "greedy",
    });
  });
});
