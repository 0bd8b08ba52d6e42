import { afterAll, beforeAll, expect, test } from "vitest";
import { type Server, startServer } from "../support/server.ts";

/* Rules for every object of the extension, whoever adds it. */
let server: Server;
beforeAll(async () => {
  server = await startServer({ name: "catalog" });
  await server.query("create extension steep_repl");
});
afterAll(() => server.destroy());

async function names(sql: string): Promise<string[]> {
  return (await server.query<{ name: string }>(sql)).map((row) => row.name);
}

/** All functions of the schema, those that `wanted` selects. */
const functions = (wanted: string) =>
  names(
    `select p.oid::regprocedure::text as name
     from pg_proc p join pg_language l on l.oid = p.prolang
     where p.pronamespace = 'steep_repl'::regnamespace and (${wanted}) order by 1`,
  );

test("the schema has functions, tables and views to look at", async () => {
  expect((await functions("true")).length).toBeGreaterThan(40);
});

test("no function runs with other rights than its caller's", async () => {
  expect(await functions("p.prosecdef")).toEqual([]);
});

test("every function pins search_path, but those in C, which run no SQL of a caller's", async () => {
  const pinned = "coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)";
  expect(await functions(`not ${pinned} and l.lanname <> 'c'`)).toEqual([]);
});

test("every function is parallel unsafe and leakproof is none", async () => {
  expect(await functions("p.proparallel <> 'u' or p.proleakproof")).toEqual([]);
});

test("every function may be executed by everybody: each checks for itself", async () => {
  expect(await functions("not has_function_privilege('pg_monitor', p.oid, 'EXECUTE')")).toEqual([]);
});

test("every function, table, view and the schema say what they are for", async () => {
  expect(await functions("obj_description(p.oid, 'pg_proc') is null")).toEqual([]);
  expect(
    await names(
      `select c.oid::regclass::text as name from pg_class c
       where c.relnamespace = 'steep_repl'::regnamespace and c.relkind in ('r', 'p', 'v', 'm')
         and obj_description(c.oid, 'pg_class') is null`,
    ),
  ).toEqual([]);
  expect(
    await names(
      `select nspname::text as name from pg_namespace n
       where nspname = 'steep_repl' and obj_description(n.oid, 'pg_namespace') is null`,
    ),
  ).toEqual([]);
});

test("what begins with _ is called private, and nothing else is", async () => {
  expect(
    await functions(
      "(obj_description(p.oid, 'pg_proc') like 'private%') <> (p.proname like '\\_%')",
    ),
  ).toEqual([]);
});

test("every object is a member of the extension, and in its schema", async () => {
  expect(
    await names(
      `select pg_describe_object(classid, objid, 0) as name from (
         select 'pg_proc'::regclass as classid, oid as objid from pg_proc where pronamespace = 'steep_repl'::regnamespace
         union all
         select 'pg_class'::regclass, oid from pg_class
         where relnamespace = 'steep_repl'::regnamespace and relkind in ('r', 'p', 'v', 'm')) o
       where not exists (
         select from pg_depend d join pg_extension e on e.oid = d.refobjid
         where d.classid = o.classid and d.objid = o.objid and d.deptype = 'e'
           and d.refclassid = 'pg_extension'::regclass and e.extname = 'steep_repl')`,
    ),
  ).toEqual([]);
  expect(
    await names(
      `select pg_describe_object(d.classid, d.objid, 0) as name
       from pg_depend d join pg_extension e on e.oid = d.refobjid and d.refclassid = 'pg_extension'::regclass
       where e.extname = 'steep_repl' and d.deptype = 'e'
         and (pg_identify_object(d.classid, d.objid, 0)).schema is distinct from 'steep_repl'
         and d.classid <> 'pg_namespace'::regclass`,
    ),
  ).toEqual([]);
});

test("triggers of ours fire always, and rows of jobs are protected by row security", async () => {
  expect(
    await names(
      `select tgrelid::regclass || ' ' || tgname as name from pg_trigger
       where tgrelid in (select oid from pg_class where relnamespace = 'steep_repl'::regnamespace)
         and not tgisinternal and tgenabled <> 'A'`,
    ),
  ).toEqual([]);
  // whatever table names who asked for something shows it to that role only
  expect(
    await names(
      `select c.relname::text as name from pg_class c join pg_attribute a on a.attrelid = c.oid
       where c.relnamespace = 'steep_repl'::regnamespace and c.relkind = 'r'
         and a.attname in ('requested_by_oid', 'captured_by_oid') and not c.relrowsecurity`,
    ),
  ).toEqual([]);
});

test("views show what their reader may see", async () => {
  expect(
    await names(
      `select c.relname::text as name from pg_class c
       where c.relnamespace = 'steep_repl'::regnamespace and c.relkind = 'v'
         and coalesce('security_invoker=true' = any (c.reloptions), false) is not true`,
    ),
  ).toEqual([]);
});

test("each setting is described, and those that guard something are for superusers", async () => {
  const settings = await server.query<{ name: string; context: string; short_desc: string }>(
    "select name, context, short_desc from pg_settings where name like 'steep_repl.%' order by name",
  );
  expect(settings.map((row) => row.name)).toEqual(
    expect.arrayContaining(["steep_repl.lock_timeout", "steep_repl.snapshot_directories"]),
  );
  // a job runs in a worker: what a session sets would mean nothing there
  for (const setting of settings) {
    expect(setting).toMatchObject({ context: "sighup" });
    expect(setting.short_desc).toMatch(/\.$/);
  }
  await server.query("create role visitor login");
  await expect(
    server.query("show steep_repl.local_conninfo", [], { user: "visitor" }),
  ).rejects.toMatchObject({ code: "42501" });
});

test("nothing is granted on the schema or its tables to everybody", async () => {
  for (const privilege of ["USAGE", "CREATE"])
    expect(
      await server.query(
        `select has_schema_privilege('visitor', 'steep_repl', '${privilege}') as granted`,
      ),
    ).toEqual([{ granted: false }]);
  expect(
    await names(
      `select c.relname::text as name from pg_class c
       where c.relnamespace = 'steep_repl'::regnamespace and c.relkind in ('r', 'v', 'S')
         and has_table_privilege('visitor', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER, MAINTAIN')`,
    ),
  ).toEqual([]);
});
