import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type OldShape, offerOldExtension } from "../../support/old-extension.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* ALTER EXTENSION steep_repl UPDATE from the predecessor, whatever state of it is there. */

let server: Server;
beforeAll(async () => {
  server = await startServer({ name: "from-old", settings: { wal_level: "logical" } });
  await server.query("create database fresh; ");
  await server.query("create extension steep_repl cascade", [], { database: "fresh" });
  const [row] = await server.query<{ path: string }>(
    "select current_setting('extension_control_path') as path",
  );
  path = row?.path ?? "";
});
afterAll(() => server.destroy());

let path: string;
let database: string;
let number = 0;
const on = <R extends Record<string, unknown>>(sql: string, params: readonly unknown[] = []) =>
  server.query<R>(sql, params as string[], { database });

/** A database that has the predecessor, and what is done then. */
async function withOld(shape: OldShape): Promise<void> {
  database = `old_${++number}`;
  await server.query(`create database ${database}`);
  await server.query(`alter system set extension_control_path = '${path}'`);
  await server.query("select pg_reload_conf()");
  await offerOldExtension(server, shape);
  await waitUntil(
    () => server.query<{ p: string }>("select current_setting('extension_control_path') as p"),
    ([row]) => row?.p.includes(`old-${shape}`) === true,
    "the old extension is offered",
  );
  await on("create extension steep_repl version '0.1.0'");
}

const update = () => on("alter extension steep_repl update");

/** All that an extension has, and how it is declared. */
const membersOf = (at: string) =>
  server.query(
    `select i.type, i.identity, pg_catalog.obj_description(d.objid, d.classid::regclass::name) as comment,
            case when d.classid = 'pg_proc'::regclass then md5(pg_get_functiondef(d.objid))
                 when d.classid = 'pg_class'::regclass then (
                   select string_agg(format('%s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(f.adbin, f.adrelid)), ',' order by a.attnum)
                   from pg_attribute a left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum where a.attrelid = d.objid and a.attnum > 0) end as body,
            case when d.classid = 'pg_class'::regclass then (select c.relacl::text from pg_class c where c.oid = d.objid)
                 when d.classid = 'pg_proc'::regclass then (select p.proacl::text from pg_proc p where p.oid = d.objid) end as rights
     from pg_depend d cross join lateral pg_identify_object(d.classid, d.objid, 0) i
     where d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
       and d.refobjid = (select oid from pg_extension where extname = 'steep_repl')
     order by 1, 2`,
    [],
    { database: at },
  );

describe.each(["minimal", "main", "queue", "all"] as const)("from the state %s", (shape) => {
  beforeEach(() => withOld(shape));

  test("all is as CREATE EXTENSION makes it, and nodes are taken over", async () => {
    await on(`insert into steep_repl.nodes (node_id, node_name, host, port, grpc_host, grpc_port, priority, last_seen)
              values ('a', 'Node A', 'a.example', 5433, 'a.example', 15460, 80, now()), ('b', 'Node B', '', 5432, null, null, 50, null)`);
    await on("insert into steep_repl.audit_log (action) values ('node.registered')");
    await update();
    expect(await membersOf(database)).toEqual(await membersOf("fresh"));
    expect(
      await on(
        "select node_id, node_name, host, port, priority, last_seen from steep_repl.nodes order by 1",
      ),
    ).toEqual([
      {
        node_id: "a",
        node_name: "Node A",
        host: "a.example",
        port: 5433,
        priority: 80,
        last_seen: null,
      },
      { node_id: "b", node_name: "Node B", host: null, port: 5432, priority: 50, last_seen: null },
    ]);
    expect(await on("select grpc_port from steep_repl_archive.nodes order by node_id")).toEqual([
      { grpc_port: 15460 },
      { grpc_port: null },
    ]);
    expect(await on("select action from steep_repl_archive.audit_log")).toEqual([
      { action: "node.registered" },
    ]);
    expect(await on("select status, reasons from steep_repl.health()")).toMatchObject([
      { status: expect.stringMatching(/healthy|degraded/) },
    ]);
    await on("drop extension steep_repl");
    expect(await on("select count(*)::int as n from steep_repl_archive.nodes")).toEqual([{ n: 2 }]);
  });
});

describe("what stands in the way", () => {
  test("jobs that are not over are counted, and nothing is changed", async () => {
    await withOld("all");
    await on(
      "insert into steep_repl.work_queue (operation, status) values ('snapshot', 'running'), ('merge', 'complete')",
    );
    await expect(update()).rejects.toMatchObject({
      ...{ code: "55006", message: "1 jobs of steep_repl 0.1.0 are not over" },
    });
    expect(await on("select extversion from pg_extension where extname = 'steep_repl'")).toEqual([
      { extversion: "0.1.0" },
    ]);
    await on("update steep_repl.work_queue set status = 'cancelled' where status = 'running'");
    await update();
  });

  test("a view of a user's on old tables is named, and updating goes on without it", async () => {
    await withOld("all");
    await on(
      "create view public.mine as select snapshot_id from steep_repl.snapshots; create function public.uses() returns setof steep_repl.overlap_summary language sql as 'select 1::bigint, 1::bigint'",
    );
    await expect(update()).rejects.toMatchObject({
      code: "2BP01",
      detail: expect.stringMatching(/view public\.mine depends on table steep_repl\.snapshots/),
    });
    await on("drop view public.mine");
    await expect(update()).rejects.toMatchObject({
      code: "2BP01",
      detail: expect.stringMatching(
        /function public\.uses\(\) depends on type steep_repl\.overlap_summary/,
      ),
    });
    await on("drop function public.uses()");
    await update();
  });

  test("a schema of the name of the archive", async () => {
    await withOld("minimal");
    await on("create schema steep_repl_archive");
    await expect(update()).rejects.toMatchObject({ code: "42P06" });
    await on("alter schema steep_repl_archive rename to other");
    await update();
  });

  test("an engine or dblink that is missing", async () => {
    await withOld("minimal");
    await on("drop extension dblink");
    await expect(update()).rejects.toMatchObject({
      ...{ code: "42704", message: expect.stringContaining("dblink") },
    });
    await on("create extension dblink");
    await update();
  });
});

test("slots of unfinished initializations are named", async () => {
  await withOld("main");
  await on("select pg_create_logical_replication_slot('steep_init_a', 'pgoutput')");
  await on(
    "insert into steep_repl.init_slots (slot_name) values ('steep_init_a'), ('steep_init_gone')",
  );
  const session = await server.connect({ database });
  const notices: string[] = [];
  session.on("notice", (notice) => notices.push(`${notice.message}`));
  await session.query("alter extension steep_repl update");
  await session.end();
  expect(notices.join("\n")).toMatch(/hold WAL: steep_init_a$/m);
  await on("select pg_drop_replication_slot('steep_init_a')");
});

test("nodes that do not fit are named, and kept in the archive", async () => {
  await withOld("minimal");
  await on(`insert into steep_repl.nodes (node_id, node_name, host, port, priority)
            values ('good', 'Good', 'x', 5432, 50), ('too high', 'x', 'x', 70000, 50), ('urgent', 'x', 'x', 5432, 1000)`);
  const session = await server.connect({ database });
  const notices: string[] = [];
  session.on("notice", (notice) => notices.push(`${notice.message}`));
  await session.query("alter extension steep_repl update");
  await session.end();
  expect(notices.join("\n")).toContain("were not taken over: too high, urgent");
  expect(await on("select node_id from steep_repl.nodes")).toEqual([{ node_id: "good" }]);
});

test("what was merged stays readable, without types of the extension", async () => {
  await withOld("all");
  await on(`insert into steep_repl.merge_audit_log (merge_id, table_schema, table_name, pk_value, category, resolution)
            values ('6f0d7b1e-0000-4000-8000-000000000000', 'public', 'orders', '{"id": 1}', 'remote_only', 'pull')`);
  await update();
  expect(
    await on(
      "select id, table_name, category, pg_typeof(category)::text as type from steep_repl_archive.merge_audit_log",
    ),
  ).toEqual([{ id: "1", table_name: "orders", category: "remote_only", type: "text" }]);
  expect(
    await on("insert into steep_repl_archive.audit_log (action) values ('more') returning id"),
  ).toEqual([{ id: "1" }]);
});
