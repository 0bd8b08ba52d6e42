import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { hostileNames } from "../../support/hostile-names.ts";
import { analyzeOverlap, brief, type OverlapCounts } from "../../support/overlap.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

let a: Server;
let b: Server;
let differing: Server;

beforeAll(async () => {
  a = await startServer({ name: "overlap-a", settings: { wal_level: "logical" } });
  b = await startServer({ name: "overlap-b", identity: "peer" });
  differing = await startServer({
    name: "overlap-differing",
    identity: "third",
    settings: {
      timezone: "Asia/Kathmandu",
      datestyle: "SQL, DMY",
      intervalstyle: "iso_8601",
      bytea_output: "escape",
      extra_float_digits: -10,
      quote_all_identifiers: "on",
      statement_timeout: "60s",
      row_security: "off",
    },
  });
  for (const server of [a, b, differing]) await server.query("create extension steep_repl cascade");
});
afterAll(async () => {
  for (const server of [a, b, differing]) await server.destroy();
});
afterEach(async () => {
  for (const server of [a, b, differing])
    await server.query(
      `do $$ declare command text; begin
         for command in
           select format('drop %s if exists public.%I cascade', case c.relkind when 'v' then 'view' else 'table' end, c.relname)
           from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
           union all
           select format('drop type if exists public.%I cascade', t.typname)
           from pg_type t where t.typnamespace = 'public'::regnamespace and t.typtype in ('e', 'd')
         loop execute command; end loop;
       end $$`,
    );
});

/** The same statements on some servers. */
async function on(servers: readonly Server[], sql: string): Promise<void> {
  for (const server of servers) await server.query(sql);
}

function mirrored(counts: readonly OverlapCounts[]): number[][] {
  return counts.map((c) => {
    const [local = 0, remote = 0, ...rest] = brief(c);
    return [remote, local, ...rest];
  });
}

describe("counts", () => {
  test("are those of both sides, and mirrored from the other", async () => {
    await on([a, b], "create table t (id int primary key, v text)");
    await a.query("insert into t select g, 'v' || g from generate_series(1, 20000) g");
    await b.query(
      "insert into t select g, case when g % 1000 = 0 then 'other' else 'v' || g end from generate_series(101, 20300) g",
    );
    await on([a, b], "analyze t");
    const seen = await analyzeOverlap(a, b.uri(), { tables: ["public.t"] });
    expect(seen.map(brief)).toEqual([[100, 300, 19880, 20, 0]]);
    expect(mirrored(await analyzeOverlap(b, a.uri(), { tables: ["public.t"] }))).toEqual(
      seen.map(brief),
    );
  });

  test("see two rows that swapped their values, in one bucket", async () => {
    await on([a, b], "create table t (id int primary key, v int)");
    await a.query("insert into t values (1, 10), (2, 20), (3, 30)");
    await b.query("insert into t values (1, 20), (2, 10), (3, 30)");
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.t"] })).map(brief)).toEqual([
      [0, 0, 1, 2, 0],
    ]);
  });

  test.each([
    ["bigint beyond 2^53", "bigint", "9007199254740992 + g"],
    ["uuid", "uuid", "md5(g::text)::uuid"],
    ["text", "text", "'k' || g"],
    ["timestamptz", "timestamptz", "timestamptz '2024-01-01 00:00+00' + g * interval '1 us'"],
    ["date", "date", "date '1990-01-01' + g"],
    ["numeric", "numeric", "g + 0.5"],
    ["smallint", "smallint", "g - 15000"],
  ])("are exact for a key of type %s", async (_, type, key) => {
    await on([a, b], `create table t (id ${type} primary key, v int)`);
    await on([a, b], `insert into t select ${key}, g from generate_series(1, 20000) g; analyze t`);
    await a.query("delete from t where v <= 7");
    await b.query(
      "delete from t where v > 19990; update t set v = -v where v between 5000 and 5099",
    );
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.t"] })).map(brief)).toEqual([
      [10, 7, 19883, 100, 0],
    ]);
  });

  test("are exact where one side is empty, and where it was never analyzed", async () => {
    await on([a, b], "create table t (id int primary key, v text)");
    await b.query("insert into t select g, 'v' from generate_series(1, 50000) g");
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.t"] })).map(brief)).toEqual([
      [0, 50000, 0, 0, 0],
    ]);
    expect((await analyzeOverlap(b, a.uri(), { tables: ["public.t"] })).map(brief)).toEqual([
      [50000, 0, 0, 0, 0],
    ]);
  });

  test("are of every table that both sides have, where none is named", async () => {
    await on(
      [a, b],
      'create table t (id int primary key); create schema "S x"; create table "S x".u (id int primary key); insert into "S x".u values (1)',
    );
    await a.query("create table only_here (id int)");
    const seen = await analyzeOverlap(a, b.uri());
    expect(seen.map((c) => [c.table_name, ...brief(c)])).toEqual([
      ['"S x".u', 0, 0, 1, 0, 0],
      ["public.t", 0, 0, 0, 0, 0],
    ]);
    await on([a, b], 'drop schema "S x" cascade');
  });
});

describe("the same rows agree", () => {
  test("whatever the settings, collation provider and encoding of the other server are", async () => {
    await differing.query("create database latin encoding 'LATIN1' locale 'C' template template0");
    const inLatin = { database: "latin" };
    const sql = `create type public.mood as enum ('sad', 'fröhlich');
      create table t (id text primary key, at timestamptz, d date, i interval, f float8, b bytea, m money, mood public.mood, j jsonb, js json, moods public.mood[], n numeric, x xml, c "char");
      insert into t values ('ä', '2024-03-31 01:30+00', '2024-02-29', '1 day 02:00', 0.1 + 0.2, '\\x00ff', 1.5, 'fröhlich', '{"ü": 1}', '{"ü":1}', '{fröhlich,sad}', 1.50, '<a>ö</a>', 'x'),
                           ('b', '-infinity', 'infinity', '-1 mon', '-0', '', -3, 'sad', '1.0', '1.0', '{}', 'NaN', null, '');`;
    await differing.query("create type public.unused as enum ('x')", [], inLatin);
    for (const [server, options] of [
      [a, {}],
      [b, {}],
      [differing, {}],
      [differing, inLatin],
    ] as const)
      await server.query(sql, [], options);
    for (const uri of [b.uri(), differing.uri(), differing.uri("latin")])
      expect((await analyzeOverlap(a, uri, { tables: ["public.t"] })).map(brief)).toEqual([
        [0, 0, 2, 0, 0],
      ]);
    await differing.query("create extension steep_repl cascade", [], inLatin);
    expect(
      (await analyzeOverlap(differing, a.uri(), { tables: ["public.t"], ...inLatin })).map(brief),
    ).toEqual([[0, 0, 2, 0, 0]]);
    await differing.query("drop database latin");
  });

  test("in columns of another order, with dropped ones and generated ones", async () => {
    await a.query(
      "create table t (gone int, id int primary key, v text, w int, g int generated always as (w * 2) stored); alter table t drop column gone",
    );
    await b.query(
      "create table t (w int, g int generated always as (w * 2) stored, v text, id int primary key)",
    );
    await on([a, b], "insert into t (id, v, w) values (1, 'a', 2), (2, null, 3)");
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.t"] })).map(brief)).toEqual([
      [0, 0, 2, 0, 0],
    ]);
  });

  test("where text differs but the value does not, and arrays of other bounds differ", async () => {
    await on(
      [a, b],
      "create table t (id int primary key, n numeric, f float8, i interval, j jsonb, c char(5), arr int[])",
    );
    await a.query(
      "insert into t values (1, 1.0, '-0', '24:00', '1.0', 'a', '{1}'), (2, 1, 1, '1 s', '1', '', '{1}')",
    );
    await b.query(
      "insert into t values (1, 1.00, '0', '1 day', '1.00', 'a  ', '{1}'), (2, 1, 1, '1 s', '1', '', '[5:5]={1}')",
    );
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.t"] })).map(brief)).toEqual([
      [0, 0, 1, 1, 0],
    ]);
  });

  test("unless NULL, zero, NaN or an infinity stand for each other, which some hashes do not tell apart", async () => {
    const values = ["null", "'0'", "'NaN'", "'Infinity'", "'-Infinity'"];
    await on(
      [a, b],
      "create domain public.amount as numeric; create table t (id int primary key, n numeric, f float8, arr numeric[], d public.amount, r numrange)",
    );
    const rows = values.flatMap((left, i) =>
      values.map((right, j) => [i * values.length + j, left, right] as const),
    );
    const insert = (side: 1 | 2) =>
      `insert into t select v.id, v.n::numeric, v.n::float8, array[v.n]::numeric[], v.n::public.amount, numrange(v.n::numeric, null)
       from (values ${rows.map((row) => `(${row[0]}, ${row[side]})`).join(", ")}) v(id, n)`;
    await a.query(insert(1));
    await b.query(insert(2));
    for (const column of ["n", "f", "arr", "d", "r"]) {
      await on(
        [a, b],
        `create table only_${column} (id int primary key, v ${{ n: "numeric", f: "float8", arr: "numeric[]", d: "public.amount", r: "numrange" }[column]}); insert into only_${column} select id, ${column} from t`,
      );
      expect(
        (await analyzeOverlap(a, b.uri(), { tables: [`public.only_${column}`] })).map(brief),
      ).toEqual([[0, 0, 5, 20, 0]]);
    }
  });

  test("whose keys are any text are told apart by it, and found again by it", async () => {
    const texts = [
      "",
      " ",
      "NULL",
      "null",
      '"',
      '""',
      "\\",
      "\\\\",
      "{",
      "}",
      "{}",
      ",",
      "a,b",
      "a b",
    ];
    const keys = [...texts, "\n", "a\nb\n", "\\N", '{"a",b}', "'", "🐘", "x".repeat(2000)];
    await on([a, b], "create table t (k text, l text, v text, primary key (k, l))");
    // of each key and its mirror: the same, in conflict, here only, there only
    const insert = (server: Server, odd: string, gone: number) =>
      server.query(
        `insert into t select k.k, l.l, case when (k.i + l.i) % 4 = 1 then $2 else 'same' end
         from unnest($1::text[]) with ordinality k(k, i), unnest($1::text[]) with ordinality l(l, i)
         where (k.i + l.i) % 4 <> $3`,
        [keys, odd, gone],
      );
    await insert(a, "a", 2);
    await insert(b, "b", 3);
    const of = (rest: number) =>
      keys.flatMap((_, i) => keys.map((_, j) => (i + j + 2) % 4)).filter((n) => n === rest).length;
    expect((await analyzeOverlap(a, b.uri())).map(brief)).toEqual([
      [of(3), of(2), of(0), of(1), 0],
    ]);
    const found = await a.query<{ k: string; l: string }>(
      "select key ->> 'k' as k, key ->> 'l' as l from steep_repl.overlap_rows($1, 'public.t') where category = 'conflict'",
      [b.uri()],
    );
    const expected = keys.flatMap((k, i) =>
      keys.flatMap((l, j) => ((i + j + 2) % 4 === 1 ? [[k, l]] : [])),
    );
    expect(found.map(({ k, l }) => [k, l]).sort()).toEqual(expected.sort());
  });

  test.each([
    ["{a}\n{1,2}", "22000", "rows were not read as a comparison reads them"],
    ["{a", "22000", "rows were not read as a comparison reads them"],
    ["{a}\n{1}\n{2}", "22000", "rows were not read as a comparison reads them"],
    [
      "{a,b,a}\n{1,2,3}",
      "23505",
      "rows with the same key were written while the table was compared",
    ],
    ["{NULL}\n{1}", "22000", "rows were not read as a comparison reads them"],
  ])("that read %j are refused", async (answer, code, message) => {
    for (const answers of [
      [answer, "{a}\n{1}"],
      ["{a}\n{1}", answer],
    ])
      await expect(
        a.query("select steep_repl._overlap_join($1, $2, 1)", answers),
      ).rejects.toMatchObject({ code, message });
    for (const n of [null, -1, 0, 2000])
      await expect(
        a.query("select steep_repl._overlap_join(null, null, $1)", [n]),
      ).rejects.toMatchObject({ code: "22000" });
  });

  test("under hostile names", async () => {
    for (const name of hostileNames) {
      const ident = `"${name.replaceAll('"', '""')}"`;
      await on(
        [a, b],
        `create table public.${ident} (${ident} int primary key, "$1" text, "%s" text, "{}" text)`,
      );
      await on([a, b], `insert into public.${ident} values (1, 'a', '%', '{}')`);
      const [row] = await analyzeOverlap(a, b.uri(), { tables: [`public.${ident}`] });
      expect(brief(row)).toEqual([0, 0, 1, 0, 0]);
      await on([a, b], `drop table public.${ident}`);
    }
  });
});

describe("tables", () => {
  test("partitioned on one side only, and with children, are compared as a whole and alone", async () => {
    await a.query(
      "create table t (id int primary key, v text) partition by range (id); create table t1 partition of t for values from (0) to (10); create table t2 partition of t default",
    );
    await b.query(
      "create table t (id int primary key, v text); create table child () inherits (t); insert into child values (5, 'not of t')",
    );
    await on([a, b], "insert into t values (1, 'a'), (20, 'b')");
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.t"] })).map(brief)).toEqual([
      [0, 0, 2, 0, 0],
    ]);
  });

  test("without a primary key take a unique index, or the columns that the caller names", async () => {
    await on(
      [a, b],
      "create table u (id int not null unique, v text); create table k (x int, y int, v text); create index on k (x)",
    );
    await on(
      [a, b],
      "insert into u values (1, 'a'); insert into k values (1, 1, 'a'), (1, 2, 'b')",
    );
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.u"] })).map(brief)).toEqual([
      [0, 0, 1, 0, 0],
    ]);
    await expect(analyzeOverlap(a, b.uri(), { tables: ["public.k"] })).rejects.toMatchObject({
      code: "55000",
      message: "table public.k has no primary key",
      hint: expect.stringContaining(`primary_keys => '{"public.k": ["column"]}'`),
    });
    const args = `primary_keys => '{"public.k": ["y", "x"]}'`;
    expect((await analyzeOverlap(a, b.uri(), { tables: ["public.k"], args })).map(brief)).toEqual([
      [0, 0, 2, 0, 0],
    ]);
  });

  test("whose named key has doubles or NULLs are refused, on either side", async () => {
    await on([a, b], "create table k (x int, v text); insert into k values (1, 'a')");
    const args = `primary_keys => '{"public.k": ["x"]}'`;
    await b.query("insert into k values (1, 'b'), (null, 'c')");
    await expect(analyzeOverlap(a, b.uri(), { tables: ["public.k"], args })).rejects.toMatchObject({
      code: "23505",
      message: "peer: columns (x) do not identify the rows of table public.k",
      detail: "1 rows have a NULL in them, and 1 values occur more than once.",
    });
    await expect(analyzeOverlap(b, a.uri(), { tables: ["public.k"], args })).rejects.toMatchObject({
      code: "23505",
    });
  });

  test("with missing or other columns are refused, all of them named", async () => {
    await a.query("create table t (id int primary key, a int, b int, c text)");
    await b.query("create table t (id int primary key, b bigint, c text, d int)");
    await expect(analyzeOverlap(a, b.uri(), { tables: ["public.t"] })).rejects.toMatchObject({
      code: "42703",
      detail:
        "missing at the peer: a; missing here: d; of another type: b (integer here, bigint at the peer)",
    });
  });

  test("of row security that hides rows from the caller are refused", async () => {
    await on(
      [a, b],
      "create table t (id int primary key); alter table t enable row level security; create role watched; grant select on t to watched",
    );
    await a.query("grant usage on schema steep_repl to watched");
    const session = await a.connect();
    await session.query("set role watched");
    await expect(
      session.query("select * from steep_repl.analyze_overlap($1, '{public.t}')", [
        `${b.uri()}?password=x`,
      ]),
    ).rejects.toMatchObject({ code: expect.stringMatching(/^(42501|2F003)$/) });
    await session.end();
    await on([a, b], "drop owned by watched; drop role watched");
  });
});

describe("cancelling", () => {
  /** Cancel what a session does; returns when, by the server's clock. */
  async function cancel(pid: number): Promise<string> {
    const [row] = await a.query<{ at: string }>(
      "select clock_timestamp()::text as at, pg_cancel_backend($1)",
      [pid],
    );
    return row?.at ?? "";
  }

  /** As the server counts them: a busy machine delays us more than it. */
  async function secondsSince(session: Client, at: string): Promise<number> {
    const { rows } = await session.query<{ s: number }>(
      "select extract(epoch from clock_timestamp() - $1::timestamptz)::float8 as s",
      [at],
    );
    return rows[0]?.s ?? Number.NaN;
  }

  test("ends both sides' queries within 2 s", async () => {
    await on([a, b], "create table t (id int primary key, v text)");
    // a view of the table's rows cannot be slow, but a type's output can: compare under a lock instead
    await b.query("insert into t values (1, 'a')");
    const blocker = await b.connect();
    await blocker.query("begin; lock table t");
    const session = await a.connect();
    const { rows } = await session.query("select pg_backend_pid() as pid");
    const running = session.query("select * from steep_repl.analyze_overlap($1, '{public.t}')", [
      b.uri(),
    ]);
    const outcome = running.then(
      () => "done",
      (error) => error.code,
    );
    await waitUntil(
      () =>
        b.query(
          "select 1 from pg_stat_activity where application_name = 'steep_repl peer' and wait_event_type = 'Lock'",
        ),
      (found) => found.length === 1,
      "the peer's query waits",
    );
    const since = await cancel(rows[0].pid);
    expect(await outcome).toBe("57014");
    expect(await secondsSince(session, since)).toBeLessThan(2);
    await waitUntil(
      () => b.query("select 1 from pg_stat_activity where application_name = 'steep_repl peer'"),
      (found) => found.length === 0,
      "the peer's session is gone",
      { timeoutMs: 5_000 },
    );
    await blocker.query("rollback");
    await blocker.end();
    // the session is as it was
    const again = await session.query(
      "select match_count::int as n from steep_repl.analyze_overlap($1, '{public.t}')",
      [a.uri() === b.uri() ? "" : b.uri()],
    );
    expect(again.rows).toEqual([{ n: 0 }]);
    await session.end();
  });

  test("a peer that stops answering is let go of within 2 s", async () => {
    await on([a, b], "create table t (id int primary key)");
    const session = await a.connect();
    const { rows } = await session.query("select pg_backend_pid() as pid");
    const blocker = await b.connect();
    await blocker.query("begin; lock table t");
    const outcome = session
      .query("select * from steep_repl.analyze_overlap($1, '{public.t}')", [b.uri()])
      .then(
        () => "done",
        (error) => error.code,
      );
    const [waiting] = await waitUntil(
      () =>
        b.query<{ pid: number }>(
          "select pid from pg_stat_activity where application_name = 'steep_repl peer' and wait_event_type = 'Lock'",
        ),
      (found) => found.length === 1,
      "the peer's query waits",
    );
    const pids = [b.pid, waiting?.pid as number];
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    try {
      const since = await cancel(rows[0].pid);
      expect(await outcome).toBe("57014");
      expect(await secondsSince(session, since)).toBeLessThan(2);
    } finally {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    }
    await blocker.query("rollback");
    await blocker.end();
    await session.end();
  });
});
