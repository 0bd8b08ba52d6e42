import { afterAll, beforeAll, expect, test } from "vitest";
import { type Server, startServer } from "../../support/server.ts";

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

/*
 * Only C can do more than its caller may: what is written in SQL, PL/pgSQL and JavaScript runs with
 * the caller's rights, above. So each C function has a reason here why everybody may call it.
 */
const reasons: Readonly<Record<string, string>> = {
  _apply_errors: "only to members of pg_monitor and owners of the subscription",
  _cancel: "checks that the caller controls the job",
  _check_input_path: "opens nothing but a snapshot that the caller may read",
  _check_no_transaction_block: "looks at the caller's own transaction",
  _check_output_path: "makes and leaves nothing; directories by the caller's role and the setting",
  _dequeued: "only as the trigger of work_queue",
  _drop_snapshot: "checks that the caller controls the job, and the directory's marker",
  _enqueued: "only as the trigger of work_queue",
  _enter_engine: "the caller's own session; runs no script but an empty one",
  _image_rows: "computes from its argument",
  _insert_images: "COPY with the caller's rights, checked as the statement would",
  _is_here: "compares with what pg_control_system() shows everybody",
  _is_replicated_change: "looks at the caller's own process",
  _json_from_js: "computes from its argument",
  _json_to_js: "computes from its argument",
  _keep_peer:
    "only for a job that the caller's transaction has queued, and whose role the caller can become",
  _launcher_is_alive: "one bit that health() is there to tell",
  _leftovers: "checks that the caller controls each job",
  _level_range: "constants",
  _library_version: "a constant",
  _live_jobs: "only jobs that the caller may see",
  _lock_table_size: "follows from settings that everybody may read",
  _merge_images: "computes from its arguments",
  _merge_other_keys: "computes from its arguments",
  _merge_unchanged: "computes from its arguments",
  _missing_tables: "opens nothing but a snapshot that the caller may read",
  _operation: "checks that the caller may see the job",
  _operation_counts: "numbers; the last error only to who may see that job",
  _overlap_join: "computes from its arguments",
  _peer_answer: "the caller's own session",
  _peer_close: "the caller's own session",
  _pair_forget: "rows of pairs of the caller, or of roles it is a member of",
  _pair_space: "takes no path, and says how much room there is, as to whoever fills a table",
  _pair_subscribe:
    "PostgreSQL checks the rights, as for CREATE SUBSCRIPTION; the server's options are the caller's to use",
  _peer_check: "as _peer_connect, without connecting",
  _peer_connect:
    "checks who may call dblink_connect(), use the foreign server, and connect without a password",
  _peer_send: "the caller's own session, on a connection that it was allowed to make",
  _peer_set_deadline: "the caller's own session",
  _preloaded: "whether a setting, that everybody may read, names us",
  _prune: "checks that the caller controls each job",
  _queue_undo: "checks that the caller is a member of the role that merged; the job is that role's",
  _queued_for: "NULL but in the trigger of a job that _queue_undo queues",
  _raise: "raises what it is given",
  _raise_interruption: "the caller's own session",
  _random_id: "random",
  _resolve_settle:
    "settles a conflict of merges of the caller's own roles, by what the peer says with the caller's rights",
  _resolve_write: "reads the conflict and writes the row with the caller's rights",
  _retry: "checks that the caller can become the job's role",
  _row_digest: "computes from its arguments",
  _row_image: "computes from its arguments",
  _snapshot_manifest: "by the rights that start_apply demands",
  _snapshot_piece: "by the rights that start_apply demands",
  _system_identifier: "what pg_control_system() shows everybody",
  _use_origin: "by the rights on pg_replication_origin_session_setup",
  _waiting_reason: "free slots, from settings and numbers that everybody may see",
  _was_queued_here: "looks at the caller's own transaction",
  verify_snapshot: "opens nothing but a snapshot that the caller may read",
};

test("each function in C has a reason why everybody may execute it", async () => {
  expect(
    await names(
      `select distinct p.proname::text as name from pg_proc p join pg_language l on l.oid = p.prolang
       where p.pronamespace = 'steep_repl'::regnamespace and l.lanname = 'c' order by 1`,
    ),
  ).toEqual(Object.keys(reasons).sort());
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

/*
 * What is parsed as the extension is made (views, policies, defaults, bodies in SQL's own syntax) is
 * parsed with the schema of dblink on the search_path, where others may have prepared functions and
 * operators that fit better than PostgreSQL's own.
 */
test("nothing that others prepared in the schema of dblink is used", async () => {
  const fits = ["name", "text", "oid", "regclass", "int", "bigint", "anyelement"];
  await server.createDatabase("prepared");
  const client = await server.connect({ database: "prepared" });
  for (const left of fits)
    for (const right of fits.filter((type) => type !== left && left !== "anyelement")) {
      if (right === "anyelement") continue;
      await client.query(
        `create function public.trap(${left}, ${right}) returns boolean language plpgsql as $$ begin raise 'trapped'; end $$`,
      );
      for (const operator of ["=", "<>", "<", ">", "~", "->>"])
        await client.query(
          `create operator public.${operator} (leftarg = ${left}, rightarg = ${right}, function = public.trap)`,
        );
    }
  for (const name of [
    "lower",
    "quote_ident",
    "quote_literal",
    "length",
    "concat",
    "format",
    "to_jsonb",
  ])
    for (const type of fits)
      await client.query(
        `create function public.${name}(${type}) returns text language plpgsql as $$ begin raise 'trapped'; end $$`,
      );
  await client.query("create extension steep_repl cascade");
  const { rows } = await client.query(
    `select distinct pg_describe_object(d.classid, d.objid, 0) as ours, pg_describe_object(d.refclassid, d.refobjid, 0) as theirs
     from pg_depend d
     where (pg_identify_object(d.refclassid, d.refobjid, 0)).schema = 'public'
       and ((pg_identify_object(d.classid, d.objid, 0)).schema = 'steep_repl'
         or (pg_identify_object(d.classid, d.objid, 0)).identity ~ 'steep_repl')`,
  );
  expect(rows).toEqual([]);
  expect((await client.query("select status from steep_repl.health()")).rows).toHaveLength(1);
  await client.end();
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
