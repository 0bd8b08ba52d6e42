import { expect, test } from "vitest";
import type { MergeRow } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* Rows that the other side has no place for: they are found before anything is written, and the others are merged. */

let pair: MergePair;
setMergePair("merge-places", (p) => {
  pair = p;
});

const leftOf = async (merge: MergeRow) =>
  Object.fromEntries(
    (
      await pair.a.query<{ id: string; reason: string }>(
        "select key ->> 'id' as id, reason from steep_repl.merge_rows_left($1) order by (key ->> 'id')::int",
        [merge.merge_id],
      )
    ).map(({ id, reason }) => [id, reason]),
  );

/** A dry run and a merge leave the same rows, for the same reasons; the merge writes the others. */
async function leaves(reasons: Readonly<Record<string, unknown>>, merged: number): Promise<void> {
  const before = await pair.versions();
  const dry = await pair.merge("dry_run => true");
  expect(dry).toMatchObject({ error_message: null, status: "complete" });
  expect(await leftOf(dry)).toEqual(reasons);
  expect(await pair.versions()).toEqual(before);
  const row = await pair.merge();
  const n = String(Object.keys(reasons).length);
  expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: n });
  expect(row).toMatchObject({ rows_merged: String(merged), warnings: null });
  expect(await leftOf(row)).toEqual(reasons);
}

const noPartition = (side: string) => `no partition of relation "public.t" found for row (${side})`;

test("a partition that one side lacks", async () => {
  await pair.both(
    `create table t (id int, day date, "odd ""name" text, primary key (id, day)) partition by range (day);
     create table t1 partition of t for values from ('2020-01-01') to ('2020-02-01') partition by list (id);
     create table t11 partition of t1 for values in (1, 2, 3)`,
  );
  await pair.a.query(
    `create table t2 partition of t for values from ('2020-02-01') to ('2020-03-01');
     insert into t values (1, '2020-01-05', 'x'), (2, '2020-02-05', 'y'), (3, '2020-02-06', null)`,
  );
  await pair.b.query(
    `create table t12 partition of t1 for values in (7);
     insert into t values (2, '2020-01-06', 'x'), (7, '2020-01-07', null)`,
  );
  await leaves(
    { 2: noPartition("at the peer"), 3: noPartition("at the peer"), 7: noPartition("here") },
    2,
  );
});

test("the same rows in other partitions are no reason", async () => {
  await pair.both("create table t (id int primary key, v text) partition by range (id)");
  await pair.a.query(
    `create table t1 partition of t for values from (0) to (10); create table t2 partition of t for values from (10) to (20);
     insert into t values (1, 'x'), (11, 'y')`,
  );
  await pair.b.query(
    "create table t1 partition of t default; insert into t values (2, 'b'), (30, 'z')",
  );
  await leaves({ 30: noPartition("here") }, 3);
});

test("a change that moves a row", async () => {
  await pair.both(
    `create table t (id int, k text collate "C") partition by list (upper(k));
     create table t1 partition of t for values in ('A'); create table t2 partition of t for values in ('B');
     insert into t values (1, 'a'), (2, 'a')`,
  );
  await pair.b.query("drop table t2");
  await pair.a.query("update t set k = 'b' where id = 1; update t set k = 'A' where id = 2");
  const row = await pair.merge(`primary_keys => '{"public.t": ["id"]}'`);
  expect(row).toMatchObject({ error_message: null, rows_merged: "1", rows_left: "1" });
  expect(await leftOf(row)).toEqual({ 1: noPartition("at the peer") });
});

test("partitions by hash, of which one is missing", async () => {
  await pair.both(
    `create table t (id int primary key) partition by hash (id);
     create table t0 partition of t for values with (modulus 2, remainder 0)`,
  );
  await pair.a.query(
    "create table t1 partition of t for values with (modulus 2, remainder 1); insert into t select generate_series(1, 20)",
  );
  const there = await pair.a.query<{ id: number }>("select id from t1 order by id");
  await leaves(
    Object.fromEntries(there.map(({ id }) => [id, noPartition("at the peer")])),
    20 - there.length,
  );
});

test("names of what is not there, in values of all kinds", async () => {
  await pair.both(
    `create role both_have; create schema both_have; create function both_have() returns int language sql return 1;
     create domain place as regclass; create type pair as (a regclass, n int);
     create table t (id int primary key, c regclass, r regrole, p regproc, f regprocedure, y regtype, s regnamespace, l regcollation,
       o regoper, d place, a regclass[], x pair, xs pair[], config regconfig)`,
  );
  await pair.a.query(
    `create role only_here; create schema only_here; create table only_here.t (); create function only_here() returns int language sql return 1;
     create collation only_here.l from "C"; create type only_here.y as enum ();
     create function two(int) returns int language sql return 1;
     create operator only_here.### (leftarg = int, rightarg = int, function = int4pl);
     create text search configuration only_here.config (copy = simple)`,
  );
  await pair.b.query(
    "create function two(int) returns int language sql return 1; create function two(text) returns int language sql return 1",
  );
  await pair.a.query(
    `insert into t values (1, 'pg_class', 'both_have', 'both_have', 'both_have()', 'int', 'both_have', '"C"', 'pg_catalog.||/', 'pg_class', '{pg_class}', '(pg_class,1)', '{"(pg_class,1)"}', 'simple'); insert into t values (2);
     insert into t (id, c) values (3, 'only_here.t'), (4, null);
     insert into t (id, r) values (5, 'only_here'); insert into t (id, p) values (6, 'only_here'), (7, 'two');
     insert into t (id, f) values (8, 'only_here()'), (9, 'two(int)'); insert into t (id, y) values (10, 'only_here.y');
     insert into t (id, s) values (11, 'only_here'); insert into t (id, l) values (12, 'only_here.l');
     insert into t (id, o) values (13, 'only_here.###'); insert into t (id, d) values (14, 'only_here.t');
     insert into t (id, a) values (15, '{pg_class,only_here.t}'); insert into t (id, x) values (16, '(only_here.t,1)');
     insert into t (id, xs) values (17, '{"(only_here.t,1)"}'); insert into t (id, config) values (18, 'only_here.config');
     insert into t (id, c) values (19, 0), (20, (select oid::regclass from pg_class where relname = 'pg_class'))`,
  );
  const gone = (column: string, what: string) =>
    expect.stringMatching(`^column "${column}": .*${what}.* \\(at the peer\\)$`);
  await leaves(
    {
      3: gone("c", "only_here"),
      5: gone("r", "only_here"),
      6: gone("p", "only_here"),
      7: gone("p", "more than one function"),
      8: gone("f", "only_here"),
      10: gone("y", "only_here"),
      11: gone("s", "only_here"),
      12: gone("l", "only_here"),
      13: gone("o", "only_here"),
      14: gone("d", "only_here"),
      15: gone("a", "only_here"),
      16: gone("x", "only_here"),
      17: gone("xs", "only_here"),
      18: gone("config", "only_here"),
    },
    6,
  );
  await pair.both("drop role both_have; drop schema both_have cascade");
  await pair.a.query("drop schema only_here cascade; drop role only_here");
});

test("a number that is left of a name, and is another one's there", async () => {
  await pair.both("create table t (id int primary key, c regclass)");
  await pair.b.query("create table other ()");
  const [row] = await pair.b.query<{ oid: string }>("select 'other'::regclass::oid::text as oid");
  await pair.a.query(`insert into t values (1, ${row?.oid}), (2, 1)`);
  const merge = await pair.merge(undefined, { tables: ["public.t"] });
  expect(merge).toMatchObject({ rows_merged: "1", rows_left: "1" });
  expect(await leftOf(merge)).toEqual({
    1: 'column "c": it would be read as public.other (at the peer)',
  });
});

test("labels of an enum that one side lacks", async () => {
  await pair.both(
    "create type mood as enum ('sad', 'ok'); create table t (id int primary key, m mood, ms mood[])",
  );
  await pair.a.query("alter type mood add value 'glad'");
  await pair.a.query(
    "insert into t values (1, 'ok', '{sad}'), (2, 'glad', null), (3, null, '{ok,glad}')",
  );
  const said = 'invalid input value for enum public.mood: "glad" (at the peer)';
  await leaves({ 2: `column "m": ${said}`, 3: `column "ms": ${said}` }, 1);
});

test("what is not found out is named", async () => {
  await pair.both(
    `create role other; create function ok(regclass) returns bool language sql immutable return true; alter function ok(regclass) owner to other;
     create domain place as regclass check (ok(value)); alter domain place owner to other;
     create table t (id int primary key, ps place[])`,
  );
  await pair.a.query("insert into t values (1, null)");
  const row = await pair.merge();
  expect(row).toMatchObject({ error_message: null, rows_merged: "1" });
  expect(row.warnings).toEqual([expect.stringContaining('column "ps" of table public.t')]);
  await pair.both("drop table t; drop domain place; drop function ok; drop role other");
});

test("unique indexes of partitions are foreseen where that of the whole table, made ON ONLY, is none", async () => {
  await pair.both(
    `create table t (id int, k int, v int, primary key (id, k)) partition by list (k);
     create table t1 partition of t for values in (1); create table t2 partition of t for values in (2);
     create unique index whole on only t (k, v); create unique index part on t1 (k, v); alter index whole attach partition part`,
  );
  await pair.a.query("insert into t values (1, 1, 7), (2, 2, 7)");
  await pair.b.query("insert into t values (3, 2, 7), (4, 1, 8)");
  await leaves({}, 4);
  await pair.a.query("insert into t values (5, 1, 9)");
  await pair.b.query("insert into t values (6, 1, 9)");
  const row = await pair.merge("dry_run => true");
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "23505" });
  expect(row.error_message).toContain("part");
});

test("a unique index that was not made to its end refuses rows all the same", async () => {
  await pair.both(
    `create table t (id int primary key, v int); create unique index own on t (v);
     update pg_index set indisvalid = false where indexrelid = 'own'::regclass`,
  );
  await pair.a.query("insert into t values (3, 3)");
  await pair.b.query("insert into t values (4, 3)");
  const row = await pair.merge("dry_run => true");
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "23505" });
  expect(row.error_message).toContain("own");
});
