import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { endOfMerge, startMerge } from "../../support/merge.ts";
import { type MergePair, password, setMergePair } from "../../support/merge-pair.ts";
import { bin, run } from "../../support/pg.ts";
import { createRole, dropRole } from "../../support/roles.ts";
import { dropSnapshots, runSnapshot, takeSnapshot } from "../../support/snapshots.ts";

/*
 * A superuser looks at tables of a role that wants a superuser's rights. Whatever it has made that the
 * planner, or a change behind our back, would run: it does not run as the superuser.
 */
let pair: MergePair;
setMergePair("hostile-owners", (p) => {
  pair = p;
});
const at = { database: "postgres" };
const mallory = { ...at, user: "mallory" };

beforeAll(async () => {
  await createRole(pair.a, "postgres", "mallory");
});
afterAll(() => dropRole(pair.a, "postgres", "mallory"));
beforeEach(async () => {
  for (const node of [pair.a, pair.b]) await node.query("drop schema if exists m cascade");
  await pair.a.query("create schema m authorization mallory");
  await pair.b.query("create schema m");
  await pair.a.query(
    `create table m.log (ran_as text);
     create function m.note() returns void language plpgsql volatile as $$ begin
       insert into m.log values (current_user); end $$;
     create function m.evil(x int) returns int language plpgsql immutable as $$ begin
       if current_user <> 'mallory' then perform m.note(); end if; return x; end $$;
     create function m.evil_text(x text) returns text language plpgsql volatile as $$ begin
       if current_user <> 'mallory' then perform m.note(); end if; return x; end $$`,
    [],
    mallory,
  );
});

const canary = async () => expect(await pair.a.query("select * from m.log")).toEqual([]);

describe.each([
  ["an index expression", "create index on m.t ((m.evil(1)))"],
  ["an index predicate", "create index on m.t (id) where m.evil(1) = 1"],
  ["extended statistics", "create statistics m.s on (m.evil(1)), id from m.t; analyze m.t"],
])("a constant call in %s", (_, ddl) => {
  const table = "create table m.t (id int primary key, v text)";
  const fill = () =>
    pair.a.query(`${table}; insert into m.t values (1, 'a'), (2, 'b'); ${ddl}`, [], mallory);

  test("is not evaluated as the superuser that takes a snapshot, which has the rows", async () => {
    await fill();
    const snapshot = await takeSnapshot(pair.a);
    const script = await run(bin("pg_restore"), ["-f", "-", "-t", "t", snapshot.storage_path]);
    expect(script.stdout).toContain("COPY m.t (id, v) FROM stdin;\n1\ta\n2\tb\n\\.\n");
    await dropSnapshots(pair.a);
    await canary();
  });

  test("is not evaluated as the superuser that compares or dry-runs", async () => {
    await fill();
    await pair.b.query(`${table}; insert into m.t values (1, 'x')`);
    const peer = pair.b.uri();
    await expect(
      pair.a.query("select * from steep_repl.analyze_overlap($1, '{m.t}')", [peer]),
    ).rejects.toMatchObject({ code: "42501", detail: expect.stringContaining("mallory") });
    const merge = await startMerge(pair.a, peer, { tables: ["m.t"], args: "dry_run => true" });
    expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "failed" });
    await canary();
  });
});

/*
 * A function that everybody trusts may call one that it finds by itself: here a domain's check, and in it a cast that a constructor
 * of JSON looks for. No access hook is asked there.
 */
test("what a trusted function finds by itself to be called is not evaluated either", async () => {
  await pair.both("create extension hstore");
  const made = `set search_path = m, public;
    create type moo as enum ('a', 'b');
    create function m.cj(moo) returns json volatile language plpgsql as $$ begin
      insert into m.log values (current_user); return '1'::json; end $$;
    create cast (moo as json) with function m.cj(moo);
    create domain dj as int check (json_array('a'::moo returning text) is not null);
    create type hold as (f dj);
    create table m.t (id int primary key, v int);
    insert into m.t select g, g from generate_series(1, 1000) g;
    create statistics m.st on ((populate_record(null::hold, 'f=>1'::hstore)).f), v from m.t; delete from m.log; reset search_path`;
  await pair.a.query(made, [], mallory);
  await pair.b.query("create table m.t (id int primary key, v int)");
  const peer = pair.b.uri();
  await expect(
    pair.a.query("select * from steep_repl.analyze_overlap($1, '{m.t}')", [peer]),
  ).rejects.toMatchObject({ code: "42501", message: expect.stringContaining("m.cj") });
  const dryRun = await startMerge(pair.a, peer, { tables: ["m.t"], args: "dry_run => true" });
  expect(await endOfMerge(pair.a, dryRun)).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
  });
  expect(await takeSnapshot(pair.a, { args: "tables => '{m.t}'" })).toMatchObject({
    status: "complete",
  });
  await canary();
  // nor what has changed the guard, or the role, before it is asked
  for (const clause of [
    "volatile set steep_repl.trusted_code_only = off",
    "stable security definer",
    "stable security definer set steep_repl.trusted_code_only = off",
  ]) {
    await pair.a.query(
      `set search_path = m, public; drop statistics if exists m.st;
       create type moo2 as enum ('a');
       create function m.cj2(moo2) returns json language plpgsql ${clause} as $$ begin raise log 'CANARY as %', current_user; return '1'::json; end $$;
       create cast (moo2 as json) with function m.cj2(moo2);
       create domain dj2 as int check (json_array('a'::moo2 returning text) is not null);
       create type hold2 as (f dj2);
       create statistics m.st on ((populate_record(null::hold2, 'f=>1'::hstore)).f), v from m.t; reset search_path`,
      [],
      mallory,
    );
    const before = (await pair.a.log()).split("CANARY").length;
    await expect(
      pair.a.query("select * from steep_repl.analyze_overlap($1, '{m.t}')", [peer]),
      clause,
    ).rejects.toMatchObject({ code: "42501" });
    expect((await pair.a.log()).split("CANARY").length).toBe(before);
    await pair.a.query(
      "drop type m.moo2 cascade; drop type m.hold2 cascade; drop domain m.dj2 cascade",
    );
  }
  // nor what is trusted, and does something
  for (const call of [
    "set_config('steep_repl.trusted_code_only', 'off', true)",
    "nextval('m.counter')",
    "dblink_connect('x', 'host=127.0.0.1')",
  ]) {
    await pair.a.query(
      `set search_path = m, public; create sequence if not exists m.counter; drop domain if exists does cascade;
       create domain does as int check (${call} is not null); create type holds as (e does, f dj);
       drop statistics if exists m.st;
       create statistics m.st on ((populate_record(null::holds, 'e=>1,f=>1'::hstore)).f), v from m.t; reset search_path`,
      [],
      mallory,
    );
    await expect(
      pair.a.query("select * from steep_repl.analyze_overlap($1, '{m.t}')", [peer]),
      call,
    ).rejects.toMatchObject({
      code: "42501",
      detail: expect.stringContaining("could change something"),
    });
    await pair.a.query("drop type m.holds cascade");
  }
  expect(await pair.a.query("select is_called from m.counter")).toEqual([{ is_called: false }]);
  await pair.a.query("drop schema m cascade; create schema m authorization mallory");
  await pair.both("drop extension hstore cascade");
  await dropSnapshots(pair.a);
});

test("what a superuser made is evaluated without rights while a query is planned", async () => {
  await pair.both(
    `create table m.t (id int primary key, v text); insert into m.t values (1, 'a'), (2, 'b');
     create function m.ours(x int) returns int language plpgsql immutable as $$ begin
       raise log 'PLANNED AS %', current_user; return x; end $$;
     create index on m.t ((m.ours(1)))`,
  );
  await pair.a.query("alter table m.t owner to mallory");
  const before = (await pair.a.log()).split("PLANNED AS").length;
  await pair.a.query("select * from steep_repl.analyze_overlap($1, '{m.t}')", [pair.b.uri()]);
  const planned = (await pair.a.log()).split("PLANNED AS ").slice(before);
  expect(planned.length).toBeGreaterThan(0);
  for (const line of planned) expect(line).toMatch(/^pg_use_reserved_connections\b/);
});

test("functions that are not called are in the way of nothing", async () => {
  await pair.a.query(
    `set search_path = m;
     create function f(text) returns text language sql immutable as 'select lower($1)';
     create function diff(int, int) returns float8 language sql immutable as 'select ($1 - $2)::float8';
     create type r as range (subtype = int, subtype_diff = m.diff);
     create table t (id int primary key, v text, x r);
     create index on t (f(v)); create unique index on t (f(v), id); create statistics st on (f(v)), id from t;
     create index on t (id) where f(v) = 'a'; insert into t values (1, 'A', '[1,2)'); reset search_path`,
    [],
    mallory,
  );
  await pair.b.query(
    `create function m.diff(int, int) returns float8 language sql immutable as 'select ($1 - $2)::float8';
     create type m.r as range (subtype = int, subtype_diff = m.diff);
     create table m.t (id int primary key, v text, x m.r); insert into m.t values (1, 'A', '[1,2)')`,
  );
  expect(
    await pair.a.query("select match_count from steep_repl.analyze_overlap($1, '{m.t}')", [
      pair.b.uri(),
    ]),
  ).toEqual([{ match_count: "1" }]);
  await takeSnapshot(pair.a, { args: "tables => '{m.t}'" });
  await dropSnapshots(pair.a);
  await canary();
});

/*
 * A peer that has steep_repl refuses it, too. There it is the owner of the peer's table who wants the rights of the
 * role that we connect as.
 */
test("a constant call at the peer is not evaluated as the role that compares or dry-runs", async () => {
  const table = "create table m.t (id int primary key, v text)";
  await pair.a.query(`${table}; insert into m.t values (1, 'a'), (2, 'b')`, [], mallory);
  await pair.b.query(
    `create role mallory_there; ${table}; create table m.log (ran_as text); grant all on schema m to mallory_there;
     create function m.note() returns void language plpgsql volatile as $$ begin
       insert into m.log values (current_user); end $$;
     create function m.evil(x int) returns int language plpgsql immutable as $$ begin
       perform m.note(); return x; end $$;
     create index on m.t (id) where m.evil(1) = 1; delete from m.log;
     alter function m.evil owner to mallory_there; alter table m.t owner to mallory_there`,
  );
  const peer = pair.b.uri();
  const refused = {
    code: "42501",
    message: expect.stringMatching(/^peer: function m.evil is not/),
  };
  await expect(
    pair.a.query("select * from steep_repl.analyze_overlap($1, '{m.t}')", [peer]),
  ).rejects.toMatchObject(refused);
  const dryRun = await startMerge(pair.a, peer, { tables: ["m.t"], args: "dry_run => true" });
  expect(await endOfMerge(pair.a, dryRun)).toMatchObject({ status: "failed" });
  expect(await pair.b.query("select * from m.log")).toEqual([]);
  await pair.b.query("drop table m.t; drop schema m cascade; drop role mallory_there");
});

test("of an extension's table, some rows of which are selected, no constant call is evaluated", async () => {
  await pair.a.query(
    "create table m.t (id int); insert into m.t values (1); create index on m.t ((m.evil(1)))",
    [],
    mallory,
  );
  // as an extension's script would
  await pair.a.query(
    `alter extension dblink add table m.t;
     update pg_extension set extconfig = array['m.t'::regclass::oid], extcondition = array['where id > 0']
     where extname = 'dblink'`,
  );
  const snapshot = await runSnapshot(pair.a);
  expect(snapshot).toMatchObject({
    status: "failed",
    error_sqlstate: "42501",
    error_message: expect.stringContaining("m.evil"),
  });
  await canary();
  await pair.a.query(
    `update pg_extension set extconfig = null, extcondition = null where extname = 'dblink';
     alter extension dblink drop table m.t`,
  );
});

test("a view that takes a table's place between planning and reading is not read", async () => {
  const table = "create table m.z (id text primary key)";
  await pair.a.query(`${table}; insert into m.z values ('1')`, [], mallory);
  await pair.b.query(`${table}; insert into m.z values ('1')`);
  const client = await pair.a.connect(at);
  const { rows } = await client.query("select steep_repl._peer_open($1) as name", [pair.b.uri()]);
  await client.query("select steep_repl._overlap_plans($1, '{m.z}', null)", [rows[0].name]);
  await pair.a.query(
    "alter table m.z rename to z_old; create view m.z as select m.evil_text(id) as id from m.z_old",
    [],
    mallory,
  );
  await expect(
    client.query(
      "select * from steep_repl._overlap_table($1, (select plan from steep_repl_plans), '1 s')",
      [rows[0].name],
    ),
  ).rejects.toMatchObject({ code: "55000" });
  await client.end();
  await canary();
});

test("a foreign table among the partitions is not read", async () => {
  await pair.a.query("grant usage on foreign data wrapper dblink_fdw to mallory");
  await pair.a.query(
    `create server lo foreign data wrapper dblink_fdw options (host '127.0.0.1');
     create table m.p (id int not null) partition by range (id);
     create foreign table m.p1 partition of m.p for values from (0) to (100) server lo`,
    [],
    mallory,
  );
  await pair.b.query("create table m.p (id int not null)");
  await expect(
    pair.a.query(`select * from steep_repl.analyze_overlap($1, '{m.p}', '{"m.p": ["id"]}')`, [
      pair.b.uri(),
    ]),
  ).rejects.toMatchObject({ code: "55000" });
  await pair.a.query(
    "drop server lo cascade; revoke usage on foreign data wrapper dblink_fdw from mallory",
  );
});

test("a foreign key by a cast of its own is not checked with it", async () => {
  await pair.both("create table parent (id int primary key)");
  await pair.a.query(
    "insert into parent values (1), (2), (3); grant references, select on parent to mallory",
  );
  await pair.b.query("insert into parent values (1), (2)");
  await pair.a.query(
    `create type m.e as enum ('1', '2');
     create function m.as_int(x m.e) returns int language plpgsql as $$ begin
       if current_user <> 'mallory' then perform m.note(); end if; return enum_out(x)::text::int; end $$;
     create cast (m.e as int) with function m.as_int(m.e) as implicit;
     create table m.child (f m.e references public.parent (id)); insert into m.child values ('1')`,
    [],
    mallory,
  );
  // PostgreSQL itself checks a key that is inserted as the owner of the table that it refers to
  await pair.a.query("delete from m.log");
  await pair.merge("local_only => 'delete'", { tables: ["public.parent"] });
  await canary();
  await pair.a.query("drop table m.child");
});

test("a foreign server that is called as a connection string begins takes nobody elsewhere", async () => {
  await pair.both("create table t (id int primary key)");
  await pair.b.query("insert into t values (1)");
  const strings = [
    `host=127.0.0.1 port=${pair.b.port} dbname=postgres user=postgres`,
    `host=127.0.0.1 port=${pair.b.port} dbname=postgres user=postgres keepalives_idle=15`,
  ];
  const names = [
    ...strings,
    "keepalives_idle=15 keepalives_interval=5 keepalives_count=3 tcp_user_timeout",
    pair.b.uri(),
  ].map((name) => name.slice(0, 63));
  await pair.a.query("grant usage on foreign data wrapper dblink_fdw to mallory");
  for (const name of names)
    await pair.a.query(
      `create server "${name}" foreign data wrapper dblink_fdw options (host '127.0.0.1', port '1')`,
      [],
      mallory,
    );
  for (const peer of [...strings, pair.b.uri()])
    expect(
      await pair.a.query(
        "select remote_only_count from steep_repl.analyze_overlap($1, '{public.t}')",
        [peer],
      ),
    ).toEqual([{ remote_only_count: "1" }]);
  for (const name of names) await pair.a.query(`drop server "${name}" cascade`);
  await pair.a.query("revoke usage on foreign data wrapper dblink_fdw from mallory");
});

test.each(["postgresql://u:S3cr3t@word@127.0.0.1:1/d", "postgresql://u:pa@ss%21w@127.0.0.1:1/d"])(
  "of %s no part is in an error",
  async (peer) => {
    const error = await pair.a
      .query("select * from steep_repl.analyze_overlap($1, '{public.t}')", [peer])
      .catch((e) => e);
    for (const part of ["S3cr3t", "@word", "word@", "ss!w", "ss%21w", password])
      expect(`${error.message} ${error.detail} ${error.hint}`).not.toContain(part);
  },
);
