import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { dropKinds, makeKinds, placeKinds } from "../../support/kind-tables.ts";
import { hasOldStrings } from "../../support/old-strings.ts";
import { kinds, rich } from "../../support/schema-kinds.ts";
import { keyed } from "../../support/schema-obstacles.ts";
import {
  compare,
  diff,
  mend,
  queryAndClose,
  type SchemaStage,
  setTables,
  statuses,
  summary,
} from "../../support/schemas.ts";
import { type Server, startServer } from "../../support/server.ts";
import { openConnections } from "../../support/sessions.ts";

/* How two databases' tables differ: every kind of difference, and what mends it. */
let server: Server;
let peer: Server;
let stage: SchemaStage;
const app = { database: "app" };

beforeAll(async () => {
  [server, peer] = await Promise.all([
    startServer({ name: "schema" }),
    startServer({ name: "schema-peer", identity: "peer", preload: false }),
  ]);
  stage = { server, peer };
  await server.createDatabase("app", { extension: true });
  await peer.createDatabase("app");
  const roles = "create role reader; create role writer";
  await Promise.all([server.query(roles), peer.query(roles)]);
  // what would change how definitions are printed, if it were not overridden
  await peer.query(
    `alter database app set search_path = s, public; alter database app set quote_all_identifiers = on;
     alter database app set datestyle = 'German'; alter database app set timezone = 'Asia/Tokyo';
     alter database app set intervalstyle = 'iso_8601'; alter database app set bytea_output = 'escape';
     alter database app set extra_float_digits = 0`,
  );
  if (await hasOldStrings(peer))
    await peer.query("alter database app set standard_conforming_strings = off");
  await server.query(
    `select steep_repl.register_node('a', 'A', dbname => 'app');
     select steep_repl.register_node('b', 'B', '127.0.0.1', ${peer.port}, dbname => 'app')`,
    [],
    app,
  );
});
afterAll(async () => {
  await server.destroy();
  await peer.destroy();
});

describe("tables that are alike match", () => {
  test("whatever the session's and the database's settings are", async () => {
    await setTables(stage, rich);
    expect(await compare(stage)).toEqual({ parent: "match", t: "match" });
    expect(await diff(stage)).toEqual([]);
    const client = await server.connect(app);
    await client.query(
      `set search_path = s; set quote_all_identifiers = on; set datestyle = 'SQL, DMY'; set timezone = 'America/New_York';
       set intervalstyle = sql_standard; set extra_float_digits = 3; set bytea_output = escape`,
    );
    const sql =
      "select distinct status from steep_repl.compare_fingerprints('a', 'b') where schema_name = 's'";
    expect((await client.query(sql)).rows).toEqual([{ status: "match" }]);
    await client.end();
  });

  test("with dropped columns and in another order, which is told", async () => {
    await setTables(
      stage,
      "",
      "create table t (a int, gone int, b text, primary key (a)); alter table t drop column gone",
      "create table t (x point, b text, a int primary key); alter table t drop column x",
    );
    expect(await compare(stage)).toEqual({ t: "match" });
    expect(await diff(stage)).toMatchObject([
      {
        object_type: "column order",
        object_name: "s.t",
        local_definition: "a, b",
        peer_definition: "b, a",
        status: "order",
        suggested_sql: expect.stringMatching(/^-- /),
      },
    ]);
  });

  test("whether a child has a check by itself, from its parent, or both", async () => {
    const check = "constraint pos check (n > 0)";
    await setTables(
      stage,
      `create table p (n int ${check})`,
      "create table t () inherits (p)",
      `create table t (n int ${check}); alter table t inherit p`,
    );
    expect(await compare(stage)).toEqual({ p: "match", t: "match" });
  });

  test("with other options of storage and other sequences", async () => {
    await setTables(
      stage,
      "",
      `create table t (id serial, n int generated always as identity (start 1 increment 2), v text); create index i on t (v) with (fillfactor = 70, deduplicate_items = off) where v <> ''`,
      `create table u (id serial, n int generated always as identity (start 2 increment 2), v text) with (fillfactor = 50);
       alter table u rename to t; create index i on t (v) where v <> ''; alter table t alter v set storage external, alter v set statistics 7`,
    );
    expect(await compare(stage)).toEqual({ t: "match" });
  });

  test("where a definition was printed and read again", async () => {
    const list = "(v in ('a', 'b'' , ''c', 'd'))";
    await setTables(
      stage,
      "create table t (v varchar(3), n int)",
      `alter table t add constraint c check ${list}; create index i on t (n) where ${list}`,
    );
    await mend(stage, await diff(stage));
    expect(await compare(stage)).toEqual({ t: "match" });
    expect(await diff(stage)).toEqual([]);
  });

  test.each(["LATIN1", "SQL_ASCII", "UTF8"])("in a database of encoding %s", async (encoding) => {
    const names = `create table "t\u00e9" ("\u00ff" int, "\u00e0" int default 1, "B" text default '\u00e9', check ("\u00e0" > 0)); create index "i\u00fc" on "t\u00e9" ("B")`;
    await setTables(stage, `${names}; ${rich}`);
    for (const node of [server, peer])
      await node.query(
        `create database other template template0 encoding '${encoding}' locale 'C'`,
      );
    const encoded = { database: "other" };
    await server.query("create extension steep_repl cascade; create schema s", [], encoded);
    // the client sends UTF-8, which a SQL_ASCII database stores as it is
    for (const node of [server, peer])
      await node.query(
        `create schema if not exists s; set search_path = s; ${names}; ${rich}`,
        [],
        encoded,
      );
    await server.query(
      `select steep_repl.register_node('other', 'Other', '127.0.0.1', ${peer.port}, dbname => 'other')`,
      [],
      app,
    );
    expect(await compare(stage, "other")).toEqual({
      parent: "match",
      t: "match",
      "t\u00e9": "match",
    });
    await server.query(
      `select steep_repl.register_node('a', 'A', dbname => 'other');
       select steep_repl.register_node('b', 'B', '127.0.0.1', ${peer.port}, dbname => 'app')`,
      [],
      encoded,
    );
    const statuses = await server.query(
      "select distinct status from steep_repl.compare_fingerprints('a', 'b') where schema_name = 's'",
      [],
      encoded,
    );
    expect(statuses).toEqual([{ status: "match" }]);
    await server.query("drop database other");
    await peer.query("drop database other");
  });
});

const placed = placeKinds(kinds);

describe("compare_fingerprints and schema_diff see", () => {
  let before: Record<string, string>;

  beforeAll(async () => {
    await makeKinds(stage, placed);
    before = await statuses(stage);
  });
  afterAll(() => dropKinds(stage, placed));

  test.each(placed)("%s, and the suggestions run", async (_, { schema, expected }) => {
    expect(before).toMatchObject({ [`${schema}.t`]: "mismatch" });
    const rows = await diff(stage, `${schema}.t`);
    const differing = rows.filter((row) => row.status !== "order");
    expect(summary(differing).sort()).toEqual(expected);
    for (const row of differing) expect(row.local_definition).not.toBe(row.peer_definition);
    await mend(stage, rows);
  });

  test("that all of these are mended then", async () => {
    const after = await statuses(stage);
    for (const [name, { schema }] of placed)
      expect(after, name).toMatchObject({ [`${schema}.t`]: "match" });
  });
});

describe("compare_fingerprints and schema_diff say", () => {
  test.each<[string, string, string, string]>([
    ["a view", "column a", "create view w as select a from t", "view s.w"],
    [
      "a function",
      "column a",
      "create function w() returns int begin atomic select max(a) from t; end",
      "function s.w()",
    ],
    [
      "a policy of another table",
      "column a",
      "create table r (n int); create policy w on r using (exists (select from t where a = n))",
      "policy w on table s.r",
    ],
    [
      "a foreign key of another table",
      "column a",
      "alter table t add unique (a); create table r (n int references t (a))",
      "constraint r_n_fkey on table s.r",
    ],
    [
      "a check of a child",
      "column a",
      "create table r () inherits (t); alter table r add check (a > 1)",
      "constraint r_a_check on table s.r",
    ],
    [
      "a publication",
      "column a",
      "drop publication if exists w; create publication w for table t where (a > 1)",
      "publication of table s.t in publication w",
    ],
  ])("that %s depends on what differs", async (_, object, there, what) => {
    const table = (type: string) => `create table t (a ${type}, b text)`;
    await setTables(stage, "", table("text"), `${table("int")}; ${there}`);
    const rows = await diff(stage);
    const row = rows.find((one) => `${one.object_type} ${one.object_name}` === object);
    const [why, statement] = row?.suggested_sql?.split("\n") ?? [];
    expect(why).toMatch(/^-- .*depends on it: drop it before, and make it again afterwards$/);
    expect(why).toContain(what);
    expect(statement).toBe("-- alter table s.t alter column a type text using a::text;");
    await peer.query("drop publication if exists w", [], app);
  });

  test("that rights on a column go with it", async () => {
    const table = (type: string) =>
      `create table t (a ${type}, g int generated always as (a + 1) stored); grant select (g) on t to reader`;
    await setTables(stage, "", table("int"), table("smallint"));
    const [row] = await diff(stage);
    expect(row?.suggested_sql).toMatch(/^-- rights on column g go with it: grant them again\n/);
  });

  test("what is not there, and who has a name already", async () => {
    await setTables(
      stage,
      "create table t (a int)",
      `create type mood as enum ('x'); create function one() returns int language sql immutable return 1; create table r (id int primary key);
       alter table t add b mood, add check (a > one()), add foreign key (a) references r; create index taken on t (a); create policy p on t to postgres`,
      "create table taken (n int)",
    );
    const suggested = (await diff(stage)).map((row) => row.suggested_sql?.split("\n")[0]).sort();
    expect(suggested).toEqual([
      "-- table s.taken has the name that it would get",
      "-- there is no function s.one()",
      "-- there is no relation s.r",
      "-- there is no type s.mood",
      "CREATE POLICY p ON s.t AS PERMISSIVE FOR ALL TO postgres;",
    ]);
  });

  test("that a new number is none that rows have", async () => {
    await setTables(
      stage,
      `${keyed}; insert into t values (5)`,
      "alter table t alter id add generated always as identity",
    );
    await mend(stage, await diff(stage));
    expect(await peer.query("insert into s.t (v) values ('x') returning id", [], app)).toEqual([
      { id: 6 },
    ]);
  });

  test("a partition key, which cannot be mended", async () => {
    await setTables(
      stage,
      "",
      "create table t (a int) partition by list (a)",
      "create table t (a int) partition by range (a)",
    );
    expect(await diff(stage)).toMatchObject([
      {
        object_type: "partition key",
        status: "mismatch",
        suggested_sql: expect.stringMatching(/^-- /),
      },
    ]);
  });

  test("what a partition has from its parent at the parent", async () => {
    await setTables(
      stage,
      "create table t (id int, v text) partition by range (id); create table t1 partition of t default",
      "alter table t alter v type varchar(9); create index x on t (v)",
    );
    expect(await diff(stage, "s.t1")).toMatchObject([
      {
        object_name: "v",
        status: "mismatch",
        suggested_sql: expect.stringMatching(/^-- .*parent/),
      },
    ]);
    await mend(stage, await diff(stage));
    expect(await compare(stage)).toEqual({ t: "match", t1: "match" });
  });

  test("columns that only the peer has, and does not drop them", async () => {
    await setTables(
      stage,
      keyed,
      "",
      "alter table t add extra int, add g int generated always as (n) stored",
    );
    const rows = await diff(stage);
    expect(rows).toMatchObject([
      { object_name: "g", status: "peer_only", suggested_sql: "alter table s.t drop column g;" },
      {
        object_name: "extra",
        status: "peer_only",
        suggested_sql: expect.stringMatching(/^-- alter table s.t drop column extra;.*lost$/),
      },
    ]);
    await mend(stage, rows);
    expect(summary(await diff(stage))).toEqual(["column extra peer_only"]);
  });
});

describe("a table on one side only", () => {
  test.each<[string, string, string]>([
    [
      "with all that belongs to it",
      rich.replace("create table t", "create table p2 (id int); create table t"),
      "create type mood as enum ('sad', 'ok'); create function touch() returns trigger language plpgsql as 'begin return new; end'; create table parent (id int primary key)",
    ],
    [
      "that is a partition",
      "create table p (id int, v text default 'p', n int) partition by range (id); create table t partition of p (n not null, v default 't') for values from (1) to (5) partition by list (v); alter table t add primary key (id, v); create index on p (n)",
      "create table p (id int, v text default 'p', n int) partition by range (id); create index on p (n)",
    ],
    [
      "that inherits",
      "create table p (id int); create table t (v text) inherits (p)",
      "create table p (id int)",
    ],
    ["without columns", "create unlogged table t ()", ""],
    ["that refers to itself", "create table t (id int primary key, up int references t)", ""],
  ])("%s is created", async (_, here, there) => {
    await setTables(stage, "", here, there);
    expect(await compare(stage)).toMatchObject({ t: "local_only" });
    const rows = await diff(stage);
    expect(rows).toMatchObject([
      { object_type: "table", object_name: "s.t", status: "local_only", peer_definition: null },
    ]);
    await mend(stage, rows);
    expect(await diff(stage)).toEqual([]);
    expect(await compare(stage)).toMatchObject({ t: "match" });
  });

  test("is created with its schema", async () => {
    await setTables(stage, "", "create schema s2; create table s2.t (id serial)");
    await mend(stage, await diff(stage, "s2.t"));
    expect(await diff(stage, "s2.t")).toEqual([]);
  });

  test("is not dropped", async () => {
    await setTables(stage, "", "", keyed);
    expect(await compare(stage)).toEqual({ t: "peer_only" });
    expect(await diff(stage)).toMatchObject([
      {
        status: "peer_only",
        local_definition: null,
        peer_definition: expect.stringContaining("id integer"),
        suggested_sql: expect.stringMatching(/^-- drop table s.t;.*lost$/),
      },
    ]);
  });
});

describe("hostile names", () => {
  const hostile = [
    "a\"b;c'd\\e%I$1 -- \u{1f418}",
    "line\nfeed; drop table s.victim; --",
    "return\rdrop",
    "-- no",
    "A",
    "select",
    "x".repeat(63),
  ];
  const q = (name: string) => `"${name.replaceAll('"', '""')}"`;

  /** Statements for each name; they are run one after the other. */
  const each = (statements: (name: string) => string) =>
    hostile.map((name) => statements(q(name))).join(";");
  const all = (status: string) => Object.fromEntries(hostile.map((name) => [name, status]));
  const mendAll = async () => {
    for (const name of hostile) await mend(stage, await diff(stage, `s.${q(name)}`));
  };

  test("are compared, mended and created", async () => {
    const base = each((n) => {
      const f = `create function ${n}() returns trigger language plpgsql as 'begin return new; end'`;
      return `${f}; create table ${n} (${n} int, k serial)`;
    });
    const rest = each(
      (n) => `alter table ${n} add constraint ${n} check (${n} > 0);
        create index ${n.replace('"', '"i').replace(/x"$/, '"')} on ${n} (${n}); create trigger ${n} before insert on ${n} for each row execute function ${n}();
        create policy ${n} on ${n} using (${n} > 0); alter table ${n} alter ${n} set default 7`,
    );
    await setTables(stage, `create table victim (id int); ${base}`, rest);
    expect(await compare(stage)).toEqual({ ...all("mismatch"), victim: "match" });
    await mendAll();
    expect(await compare(stage)).toEqual({ ...all("match"), victim: "match" });

    await peer.query(
      each((n) => `drop table s.${n}`),
      [],
      app,
    );
    expect(await compare(stage)).toEqual({ ...all("local_only"), victim: "match" });
    await mendAll();
    expect(await compare(stage)).toEqual({ ...all("match"), victim: "match" });
  });

  test("of tables that only the peer has run nothing out of a comment", async () => {
    await setTables(
      stage,
      "create table victim (id int)",
      "",
      each((n) => `create table ${n} (id int)`),
    );
    await mendAll();
    expect(await compare(stage)).toEqual({ ...all("peer_only"), victim: "match" });
  });

  test("of columns that only the peer has run nothing out of a comment", async () => {
    await setTables(
      stage,
      `create table victim (id int); ${each((n) => `create table ${n} (id int)`)}`,
      "",
      each((n) => `alter table ${n} add ${n} int`),
    );
    await mendAll();
    expect(await compare(stage)).toEqual({ ...all("mismatch"), victim: "match" });
    const added =
      "select attname from pg_attribute where attnum = 2 and attrelid = any ($1::regclass[]) order by 1";
    const columns = await peer.query<{ attname: string }>(
      added,
      [hostile.map((name) => `s.${q(name)}`)],
      app,
    );
    expect(columns.map(({ attname }) => attname).sort()).toEqual([...hostile].sort());
  });
});

describe("what is not compared", () => {
  test("are tables of extensions, of the system, and temporary ones", async () => {
    await setTables(stage, "");
    const client = await server.connect(app);
    await client.query("create temp table gone (id int)");
    const { rows } = await client.query("select * from steep_repl.compare_fingerprints('a', 'b')");
    expect(rows).toEqual([]);
    await client.end();
    await expect(diff(stage, "steep_repl.nodes")).rejects.toMatchObject({ code: "42P01" });
    await expect(diff(stage, "pg_catalog.pg_class")).rejects.toMatchObject({ code: "42P01" });
  });
});

describe("another database of this server", () => {
  test("is a peer like any other", async () => {
    await server.createDatabase("second");
    await server.query(
      `select steep_repl.register_node('second', 'Second', dbname => 'second')`,
      [],
      app,
    );
    await server.query(
      "update steep_repl.nodes set host = '127.0.0.1', port = $1 where node_id = 'second'",
      [server.port],
      app,
    );
    await setTables(stage, keyed);
    expect(await compare(stage, "second")).toEqual({ t: "local_only" });
    await server.query(`create schema s; set search_path = s; ${keyed}`, [], {
      database: "second",
    });
    expect(await compare(stage, "second")).toEqual({ t: "match" });
    await expect(
      queryAndClose(server, "select steep_repl.compare_fingerprints('second', 'b')"),
    ).rejects.toMatchObject({
      code: "22023",
      message: 'node "second" is not this database',
      detail: 'It is database "second" of this server.',
    });
    expect(
      await queryAndClose(server, "select steep_repl.capture_fingerprints('second') as n"),
    ).toEqual([{ n: 1 }]);
  });

  test.each([
    ["a connection string", () => `host=127.0.0.1 port=${peer.port} dbname=app user=postgres`],
    ["an address", () => peer.uri("app")],
  ])("%s may be the peer", async (_, conninfo) => {
    await setTables(stage, keyed);
    expect(await compare(stage, conninfo())).toEqual({ t: "match" });
    expect(await diff(stage, "s.t", conninfo())).toEqual([]);
  });
});

describe("errors", () => {
  const calls: [string, string, object][] = [
    [
      "a local node that is null",
      "compare_fingerprints(null, 'b')",
      { code: "22023", message: "local_node must not be null or empty" },
    ],
    [
      "a peer that is null",
      "compare_fingerprints('a', null)",
      { code: "22023", hint: expect.stringContaining("connection string") },
    ],
    [
      "a local node that nobody knows",
      "compare_fingerprints('nobody', 'b')",
      {
        code: "42704",
        message: 'node "nobody" is not registered',
        hint: expect.stringContaining("register_node"),
      },
    ],
    ["a peer that nobody knows", "compare_fingerprints('a', 'nobody')", { code: "42704" }],
    [
      "a local node that is the peer",
      "compare_fingerprints('b', 'a')",
      {
        code: "22023",
        message: 'node "b" is not this database',
        hint: expect.stringContaining("probe => true"),
      },
    ],
    [
      "a peer that is the local node",
      "compare_fingerprints('a', 'a')",
      { code: "22023", message: "peer is this very database" },
    ],
    [
      "a peer that does not answer",
      "compare_fingerprints('a', 'host=127.0.0.1 port=1 user=postgres')",
      { code: "08001" },
    ],
    [
      "no table",
      "schema_diff('a', 'b', null)",
      { code: "22023", message: "table_name must not be null or empty" },
    ],
    [
      "a table without a schema",
      "schema_diff('a', 'b', 't')",
      { code: "22023", hint: expect.stringContaining("schema.table") },
    ],
    [
      "a table that is no name",
      "schema_diff('a', 'b', 's.\"t')",
      { code: "22023", hint: expect.stringContaining("schema.table") },
    ],
    [
      "a table that is nowhere",
      "schema_diff('a', 'b', 's.nothing')",
      { code: "42P01", message: 'table "s.nothing" exists neither here nor at the peer' },
    ],
    [
      "a node to capture that is null",
      "capture_fingerprints(null)",
      { code: "22023", message: "node_id must not be null or empty" },
    ],
    [
      "a node to capture that nobody knows",
      "capture_fingerprints('nobody')",
      { code: "42704", hint: expect.stringContaining("register_node") },
    ],
  ];
  test.each(calls)("%s", async (_, call, error) => {
    await setTables(stage, keyed);
    await expect(queryAndClose(server, `select * from steep_repl.${call}`)).rejects.toMatchObject(
      error,
    );
  });

  test("a peer's own error says that it is the peer's, and closes the connection", async () => {
    await setTables(stage, keyed);
    await peer.query(
      "revoke execute on function pg_get_indexdef(oid) from public; create role limited login",
      [],
      app,
    );
    await expect(
      diff(stage, "s.t", `host=127.0.0.1 port=${peer.port} dbname=app user=limited`),
    ).rejects.toMatchObject({ code: "42501", message: expect.stringMatching(/^peer: /) });
    await peer.query(
      "grant execute on function pg_get_indexdef(oid) to public; drop role limited",
      [],
      app,
    );
  });

  test("a statement_timeout ends it at once and closes the connection", async () => {
    await setTables(stage, keyed);
    const locker = await peer.connect(app);
    await locker.query("begin; lock table pg_catalog.pg_policy in access exclusive mode");
    const client = await server.connect(app);
    await client.query("set statement_timeout = '200ms'");
    for (const call of [
      "compare_fingerprints('a', 'b')",
      "schema_diff('a', 'b', 's.t')",
      "capture_fingerprints('b')",
    ]) {
      const before = performance.now();
      await expect(client.query(`select * from steep_repl.${call}`)).rejects.toMatchObject({
        code: "57014",
      });
      expect(performance.now() - before).toBeLessThan(2500);
      expect(await openConnections(client)).toBe(0);
    }
    await client.end();
    await locker.end();
    expect(await compare(stage)).toEqual({ t: "match" });
  });
});
