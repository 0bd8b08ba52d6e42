import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { endOfMerge, startMerge } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { createRole, dropRole } from "../../support/roles.ts";

/*
 * Code of a table's owner that the executor would run, or that is planned by a statement which somebody forgot to
 * guard; and what the guard must leave alone.
 */
let pair: MergePair;
setMergePair("hostile-expressions", (p) => {
  pair = p;
});
const mallory = { database: "postgres", user: "mallory" };

const nodes = () => [pair.a, pair.b];

beforeAll(async () => {
  await createRole(pair.a, "postgres", "mallory");
  await pair.b.query("create role mallory login");
  await pair.both("create extension hstore; create extension citext");
});
afterAll(async () => {
  await pair.both(
    "drop schema if exists m, own cascade; drop extension hstore, citext cascade; drop table if exists parent cascade",
  );
  await dropRole(pair.a, "postgres", "mallory");
  await pair.b.query("drop role mallory");
});
beforeEach(async () => {
  for (const node of nodes()) {
    await node.query("drop schema if exists m, own cascade; drop table if exists parent cascade");
    await node.query("create schema m authorization mallory; create schema own");
    await node.query(
      `create table m.log (ran_as text, is_super boolean); grant all on m.log to public;
       create function m.evil() returns int language plpgsql volatile as $$ begin
         insert into m.log select current_user, rolsuper from pg_roles where rolname = current_user; return 1; end $$`,
      [],
      mallory,
    );
  }
});

async function expectNotRun() {
  for (const node of nodes())
    expect(await node.query("select * from m.log where is_super")).toEqual([]);
}

/** Made by mallory on both sides alike; then the peer has fewer rows. */
async function make(ddl: string) {
  for (const node of nodes()) {
    await node.query(`set search_path = m, public; ${ddl}; reset search_path`, [], mallory);
    await node.query("delete from m.log");
  }
  await pair.b.query("delete from m.t where id > 2", [], mallory);
}

async function merged(table: string, args: string) {
  return endOfMerge(pair.a, await startMerge(pair.a, pair.b.uri(), { tables: [table], args }));
}

const switchesOff = `create domain dj as int check (case when current_user <> 'mallory' then
  set_config('steep_repl.trusted_code_only', 'off', false) is not null and query_to_xml('select m.evil()', true, false, '') is not null
  else true end)`;

describe("a unique index that evaluates", () => {
  test.each([
    [
      "a domain's check by way of hstore",
      `${switchesOff}; create type hold as (f dj); create table t (id int primary key, c hold, h hstore);
       create unique index u on t ((hstore(populate_record(c, h))));
       insert into t select g, row(g)::hold, hstore('f', g::text) from generate_series(1, 5) g`,
    ],
    [
      "a domain's check by way of json_value",
      `${switchesOff}; create table t (id int primary key, j jsonb);
       create unique index u on t ((json_value(j, '$.a' returning dj error on empty error on error) + 0));
       insert into t select g, jsonb_build_object('a', g) from generate_series(1, 5) g`,
    ],
    [
      "a cast that turns the guard off before it is asked",
      `create type moo as enum ('a', 'b', 'c', 'd', 'e');
       create function cj(moo) returns json language plpgsql immutable set steep_repl.trusted_code_only = off as $$ begin
         if current_user <> 'mallory' then perform m.evil(); end if; return to_json(enum_out($1)::text); end $$;
       create cast (moo as json) with function cj(moo);
       create table t (id int primary key, c moo); create unique index u on t ((json_array(c returning text)));
       insert into t select g, (enum_range(null::moo))[g] from generate_series(1, 5) g`,
    ],
  ])("%s is not evaluated by a dry run, and named as not checked", async (_, ddl) => {
    await make(ddl);
    const row = await merged("m.t", "dry_run => true");
    expect(row).toMatchObject({ status: "complete", rows_merged: "3" });
    expect(row.warnings).toEqual([expect.stringContaining("not checked")]);
    expect(row.warnings?.[0]).toContain("u of table m.t");
    await expectNotRun();
  });

  test("built-in functions and types only is checked, whoever owns the table", async () => {
    await make(
      `create table t (id int primary key, v text); insert into t select g, 'V' || g from generate_series(1, 5) g;
       create unique index u on t (lower(v), (coalesce(v, 'x') || 'y'), (case when id > 0 then 1 else 2 end)) where v is not null`,
    );
    await pair.b.query("insert into m.t values (10, 'V5')");
    const row = await merged("m.t", "dry_run => true");
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "23505", warnings: null });
  });
});

/* Whether an index may be evaluated is decided by its tree: nothing else protects a peer without steep_repl. */
describe("an index of somebody else's table", () => {
  beforeEach(async () => {
    await pair.a.query(
      `set search_path = m, public; create text search configuration m.cfg (copy = pg_catalog.simple);
       create domain positive as int check (value > 0); create type mood as enum ('a', 'b'); create type pair as (a int, b int);
       create function mine(x int) returns int language sql immutable as 'select x';
       create table t (id int primary key, v text, n numeric, j jsonb, c pair, p positive, m mood, a int[], x xml, e citext); reset search_path`,
      [],
      mallory,
    );
  });

  async function isHarmless(index: string, role: object = {}): Promise<boolean> {
    await pair.a.query(
      `set search_path = m, public; create unique index u on m.t ${index}`,
      [],
      mallory,
    );
    const [row] = await pair.a.query<{ condition: string }>(
      "select steep_repl._index_is_harmless() as condition",
    );
    const [found] = await pair.a.query<{ harmless: boolean }>(
      `select ${row?.condition} as harmless from pg_index i where i.indexrelid = 'm.u'::regclass`,
      [],
      { database: "postgres", ...role },
    );
    return found?.harmless ?? false;
  }

  const dead = "case when length(to_tsvector('m.cfg'::regconfig, 'abc')) = 1 then id::int8 else";

  test.each([
    "(v, n)",
    "(lower(v))",
    "((v || 'x'), (n * 2)) where id > 5 and v is not null",
    "((coalesce(v, 'x'))) where id in (1, 2) or v like 'a%'",
    "(m, p)",
    "(md5(v), abs(id), (case when id > 0 then v end))",
    '((v collate "C"))',
  ])("on %s is harmless", async (index) => {
    expect(await isHarmless(index)).toBe(true);
  });

  test.each([
    "((m.mine(id)))",
    "(id) where m.mine(1) = 1",
    `((${dead} lo_export(1, '/tmp/x')::int8 + id end))`,
    `((${dead} pg_advisory_lock(1)::text::int8 end))`,
    "((length(to_tsvector('m.cfg'::regconfig, v))))",
    "((json_value(j, '$.a' returning m.positive)))",
    "(((c).a))",
    "((p + 1))",
    "((row(id, id)::m.pair))",
    "((v::m.positive))",
    "((id::m.positive))",
    "((m::text))",
    "((e || 'x'))",
    "((array_append(a, id)))",
    "((a[1]))",
    "((id::text))",
  ])("on %s is not", async (index) => {
    let harmless = false;
    try {
      harmless = await isHarmless(index);
    } catch (e) {
      // what PostgreSQL makes no index of is no way in either
      expect(e).toMatchObject({ code: expect.stringMatching(/^(42P17|0A000|42846|42883)$/) });
    }
    expect(harmless).toBe(false);
  });
});

test("a dead branch that comes to life is not run by the check of a unique index", async () => {
  await make(
    `create text search configuration m.cfg (copy = pg_catalog.simple); create table t (id int primary key);
     create unique index u on t ((case when length(to_tsvector('m.cfg'::regconfig, 'abc')) = 1 then id::int8
       else lo_export(1::oid, '/nowhere/x')::int8 + id end));
     insert into t select generate_series(1, 5); alter text search configuration m.cfg drop mapping for asciiword`,
  );
  const row = await merged("m.t", "dry_run => true");
  expect(row).toMatchObject({ status: "complete", rows_merged: "3" });
  expect(row.warnings?.[0]).toContain("u of table m.t");
});

describe("a virtual generated column, whose expression is the owner's and is evaluated for each row", () => {
  const virtual = `create text search configuration m.cfg (copy = pg_catalog.simple); create sequence m.leak;
    create table t (id int primary key, v text, modified int8 generated always as (
      case when length(to_tsvector('m.cfg'::regconfig, 'abc')) = 1 then id else setval('m.leak', 7) end) virtual);
    insert into t (id, v) select g, 'v' from generate_series(1, 5) g;
    alter text search configuration m.cfg drop mapping for asciiword`;

  const expectNotSet = async () => {
    for (const node of nodes())
      expect(await node.query("select is_called from m.leak")).toEqual([{ is_called: false }]);
  };

  test("is not read by a comparison of the other columns", async () => {
    await make(virtual);
    expect(
      await pair.a.query("select match_count from steep_repl.analyze_overlap($1, '{m.t}')", [
        pair.b.uri(),
      ]),
    ).toEqual([{ match_count: "2" }]);
    await expectNotSet();
  });

  test("is refused as the column that says which row is newer", async () => {
    await make(virtual);
    await pair.b.query("update m.t set v = 'w'", [], mallory);
    const args = "strategy => 'last-modified', last_modified_column => 'modified', dry_run => true";
    expect(await merged("m.t", args)).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    await expectNotSet();
  });

  test("is refused as a key", async () => {
    await make(virtual);
    await expect(
      pair.a.query(
        `select * from steep_repl.analyze_overlap($1, '{m.t}', '{"m.t": ["id", "modified"]}')`,
        [pair.b.uri()],
      ),
    ).rejects.toMatchObject({ code: "42501" });
    await expectNotSet();
  });

  test.each(["a", "b"] as const)(
    "is refused on side %s where a column becomes one between planning and reading",
    async (side) => {
      await make(
        "create table t (id int primary key, v int8); insert into t values (1, 1), (2, 2)",
      );
      const session = await pair.a.connect({ database: "postgres" });
      const { rows } = await session.query("select steep_repl._peer_open($1) as name", [
        pair.b.uri(),
      ]);
      await session.query("select steep_repl._overlap_plans($1, '{m.t}', null)", [rows[0].name]);
      await pair[side].query(
        "alter table m.t drop v; alter table m.t add v int8 generated always as (id::int8) virtual",
        [],
        mallory,
      );
      await expect(
        session.query(
          "select * from steep_repl._overlap_table($1, (select plan from steep_repl_plans), '1 s')",
          [rows[0].name],
        ),
      ).rejects.toMatchObject({ code: "42501", message: expect.stringContaining("is not read") });
      await session.end();
    },
  );
});

test.each([
  "pg_ls_dir('.')",
  "query_to_xml('select 1', true, true, '')",
  "dblink_connect('x', 'host=/')",
  "nextval('s')",
  "setval('s', 7)",
  "steep_repl._merge_one_text('select 1')",
])("%s is not called by a query that reads a table of somebody else", async (call) => {
  await pair.a.query(
    "create table m.t (id int primary key); insert into m.t values (1)",
    [],
    mallory,
  );
  await pair.a.query("create sequence if not exists public.s");
  const session = await pair.a.connect({ database: "postgres" });
  await session.query("set steep_repl.trusted_code_only = on");
  await expect(session.query(`select ${call} from m.t`)).rejects.toMatchObject({ code: "42501" });
  expect((await session.query("select id from m.t")).rows).toEqual([{ id: 1 }]);
  await session.end();
});

test("a table that was changed between planning and reading is no result", async () => {
  await pair.both(
    "create table public.z (id int primary key, v bigint); insert into z select g, g from generate_series(1, 9) g",
  );
  for (const change of [
    "alter table z alter v type text",
    "alter table z rename to y; create table z (id int primary key, v bigint)",
    "alter table z add w int",
  ]) {
    const session = await pair.a.connect({ database: "postgres" });
    const { rows } = await session.query("select steep_repl._peer_open($1) as name", [
      pair.b.uri(),
    ]);
    await session.query("select steep_repl._overlap_plans($1, '{public.z}', null)", [rows[0].name]);
    await pair.b.query(change);
    await expect(
      session.query(
        "select * from steep_repl._overlap_table($1, (select plan from steep_repl_plans), '1 s')",
        [rows[0].name],
      ),
      change,
    ).rejects.toMatchObject({ code: expect.stringMatching(/^(55000|42.*)$/) });
    await session.end();
    await pair.b.query(
      "drop table z; drop table if exists y; create table z (id int primary key, v bigint)",
    );
  }
  await pair.both("drop table z");
});

test("statistics are not evaluated either by the queries that ask when rows were modified", async () => {
  await make(
    `create domain dj2 as int check (case when current_user <> 'mallory' then m.evil() = 1 else true end); create type hold2 as (g dj2);
     create domain dj as int check (case when current_setting('steep_repl.trusted_code_only') = 'on' then true
                                    else jsonb_populate_record(null::hold2, '{"g": 1}') is not null end);
     create type hold as (f dj); create table t (id int primary key, ts timestamptz);
     insert into t select g, now() from generate_series(1, 5) g;
     create statistics st on ((populate_record(null::hold, 'f=>1'::hstore)).f), ts from t`,
  );
  await pair.b.query("update m.t set ts = now() + interval '1 s'", [], mallory);
  const args =
    "strategy => 'last-modified', last_modified_column => 'ts', dry_run => true, local_only => 'keep'";
  expect(await merged("m.t", args)).toMatchObject({ status: "complete", rows_merged: "2" });
  await expectNotRun();
});

/* What a merge reads after it has compared: its steps, one by one, with the table changed in between. */
describe("after the comparison of a merge, what the owner has put into a table's place", () => {
  const params = (actions: object) => ({
    ...{ strategy: "prefer-local", dry_run: false, last_modified_column: null, local_only: "push" },
    ...{ remote_only: "pull", backlog: "refuse", other_subscribers: "refuse", tables: ["m.t"] },
    ...actions,
  });

  async function compared(actions: object) {
    await make(
      "create table t (id serial primary key, v text); insert into t (v) select 'v' from generate_series(1, 5); create function quiet(x int) returns int language plpgsql immutable as $$ begin if current_user <> 'mallory' then perform m.evil(); end if; return x; end $$",
    );
    await pair.b.query("update m.t set v = 'w'", [], mallory);
    const session = await pair.a.connect({ database: "postgres" });
    const { rows } = await session.query("select steep_repl._peer_open($1) as name", [
      pair.b.uri(),
    ]);
    const connection = rows[0].name;
    await session.query("select steep_repl._merge_open($1, $2, false)", [
      connection,
      params(actions),
    ]);
    await session.query("select steep_repl._merge_begin($1, 'merge_x', false, false)", [
      connection,
    ]);
    await session.query("select steep_repl._merge_compare($1, 1)", [connection]);
    await session.query("select steep_repl._merge_first_steps($1)", [connection]);
    return { session, connection };
  }

  test.each([
    ["a", "manual"],
    ["b", "manual"],
    ["a", "prefer-local"],
    ["b", "prefer-remote"],
  ] as const)(
    "on side %s is not run by strategy %s, which does not write there",
    async (side, strategy) => {
      const { session, connection } = await compared({
        strategy,
        local_only: "keep",
        remote_only: "keep",
      });
      await pair[side].query("create index on m.t (id) where m.quiet(1) = 1", [], mallory);
      await pair[side].query("delete from m.log");
      await expect(
        session.query("select * from steep_repl._merge_batch($1, 1, false, true, null)", [
          connection,
        ]),
      ).rejects.toMatchObject({ code: "42501" });
      await session.end();
      await expectNotRun();
    },
  );

  test.each(["a", "b"] as const)("on side %s is not read for its sequences", async (side) => {
    const { session, connection } = await compared({});
    await pair[side].query(
      "alter table m.t rename to t_old; create view m.t as select m.evil() as id, 'v'::text as v",
      [],
      mallory,
    );
    await expect(
      session.query("select steep_repl._merge_move_sequences($1)", [connection]),
    ).rejects.toMatchObject({ code: expect.stringMatching(/^(55000|42809)$/) });
    await session.end();
    await expectNotRun();
  });
});

test.each(["a", "b"] as const)(
  "the table of another owner that refers to a merged one is not evaluated on side %s: the row is left, and the foreign key is named",
  async (side) => {
    for (const node of nodes())
      await node.query(
        "create table parent (id int primary key); insert into parent values (1), (2); grant select, references on parent to mallory",
      );
    await pair[side === "a" ? "a" : "b"].query("insert into parent values (3)");
    const node = pair[side];
    await node.query(
      `create function m.quiet(x int) returns int language plpgsql immutable as $$ begin
         if current_user <> 'mallory' then perform m.evil(); end if; return x; end $$;
       create table m.child (f int references parent (id)); insert into m.child values (1);
       create index on m.child ((m.quiet(1)))`,
      [],
      mallory,
    );
    await node.query("delete from m.log");
    const row = await merged("public.parent", "local_only => 'delete', remote_only => 'delete'");
    expect(row).toMatchObject({ status: "complete", rows_merged: "0", rows_left: "1" });
    expect(
      await pair.a.query("select reason from steep_repl.merge_rows_left($1)", [row.merge_id]),
    ).toEqual([
      { reason: expect.stringMatching(/may not be read may refer to it by .* of table m\.child$/) },
    ]);
    await expectNotRun();
  },
);

describe("a session that has compared", () => {
  test("finds its index expressions again in its own queries", async () => {
    await pair.both(
      `create function own.norm(text) returns text language sql immutable as 'select lower($1)';
       revoke execute on function own.norm(text) from public;
       create table own.t (id int primary key, v text); create unique index on own.t (own.norm(v)); insert into own.t values (1, 'A')`,
    );
    await pair.both("create role keeper; alter table own.t owner to keeper");
    const session = await pair.a.connect({ database: "postgres" });
    const peer = pair.b.uri();
    await expect(
      session.query("select * from steep_repl.analyze_overlap($1, '{own.t}')", [peer]),
    ).resolves.toMatchObject({ rows: [{ match_count: "1" }] });
    const again = "insert into own.t values (2, 'a') on conflict (own.norm(v)) do nothing";
    expect((await session.query(again)).rowCount).toBe(0);
    await session.end();
    await pair.both("drop table own.t; drop role keeper");
  });

  test("has no lack of rights where all is its own, or a superuser's", async () => {
    await pair.both(
      `create function own.helper() returns int language plpgsql as 'begin return 1; end';
       create function own.cfg() returns int language plpgsql immutable as 'begin return own.helper(); end';
       revoke execute on function own.cfg() from public;
       create table own.t (id int primary key, v text); create index on own.t (id) where own.cfg() = 1; insert into own.t values (1, 'A')`,
    );
    expect(
      await pair.a.query("select match_count from steep_repl.analyze_overlap($1, '{own.t}')", [
        pair.b.uri(),
      ]),
    ).toEqual([{ match_count: "1" }]);
  });
});

test("a superuser's function that needs rights is refused for another owner's table, with a hint", async () => {
  await pair.both(
    `create function own.cfg() returns int language plpgsql immutable as 'begin return 1; end'; revoke execute on function own.cfg() from public;
     create table own.t (id int primary key); create index on own.t (id) where own.cfg() = 1; alter table own.t owner to mallory`,
  );
  await expect(
    pair.a.query("select * from steep_repl.analyze_overlap($1, '{own.t}')", [pair.b.uri()]),
  ).rejects.toMatchObject({
    code: "42501",
    hint: expect.stringContaining("An index or statistics"),
  });
});

test.each([
  "set_config('steep_repl.trusted_code_only', 'off', false)",
  "set_config('steep_repl.trusted_code_only', null, false)",
])("under the guard %s is refused, and SET is not", async (call) => {
  const session = await pair.a.connect({ database: "postgres" });
  await session.query(
    "create function own.off() returns int language sql set steep_repl.trusted_code_only = off as 'select 1'",
  );
  await session.query("set steep_repl.trusted_code_only = on");
  await expect(session.query(`select ${call}`)).rejects.toMatchObject({ code: "42501" });
  await expect(session.query("select own.off()")).rejects.toMatchObject({ code: "42501" });
  await session.query("set steep_repl.trusted_code_only = off");
  expect((await session.query("select own.off()")).rows).toEqual([{ off: 1 }]);
  await session.end();
});

/* Whoever adds a function that reads users' tables has to think of the guard. */
test("every function of ours that reads users' tables has the guard, or a reason", async () => {
  const reasons = {
    _merge_batch: "writes; reads by _merge_read_here",
    _merge_changed_since: "reads by _merge_read_here",
    _merge_find_locked: "reads by _merge_read_here",
    _merge_plans: "reads catalogs only",
    _overlap_plans: "reads catalogs only",
    _undo_batch: "writes; reads by _merge_read_here",
    _undo_plans: "reads catalogs only",
  };
  expect(
    await pair.a.query(
      `select proname from pg_proc where pronamespace = 'steep_repl'::regnamespace
       and 'enable_sort=off' = any (proconfig) and 'steep_repl.trusted_code_only=on' <> all (proconfig) order by 1`,
    ),
  ).toEqual(Object.keys(reasons).map((proname) => ({ proname })));
});

describe("unique indexes whose equality is not that of texts", () => {
  test("are checked by an extension's operator, and named where it belongs to somebody else", async () => {
    await pair.both("create table ci (id int primary key, email citext unique)");
    await pair.a.query("insert into ci values (1, 'Bob')");
    await pair.b.query("insert into ci values (2, 'BOB')");
    const dryRun = "dry_run => true";
    expect(await merged("public.ci", dryRun)).toMatchObject({
      ...{ status: "failed", error_sqlstate: "23505" },
    });
    await pair.b.query("create role somebody; alter function citext_eq owner to somebody");
    const row = await merged("public.ci", dryRun);
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    expect(row.warnings).toEqual([expect.stringContaining("ci_email_key of table public.ci")]);
    await pair.both("drop table ci");
    await pair.b.query("alter function citext_eq owner to postgres; drop role somebody");
  });

  test("are checked by the collation of the index", async () => {
    await pair.both(
      `create collation nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
       create table co (id int primary key, e text); create unique index on co (e collate nd)`,
    );
    await pair.a.query("insert into co values (1, 'Bob')");
    await pair.b.query("insert into co values (2, 'BOB')");
    expect(await merged("public.co", "dry_run => true")).toMatchObject({
      ...{ status: "failed", error_sqlstate: "23505" },
    });
    await pair.both("drop table co; drop collation nd");
  });
});
