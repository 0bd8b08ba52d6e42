import type { Client } from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";

/*
 * A table that is compared a second time, under locks, is read only where it has changed: then the
 * rows that differ are those that a comparison of all of it finds.
 */

const random = createRandom();
const rows = 2000;
/** Of each kind. */
const cases = Number(process.env.STEEP_CASES ?? 2);
let a: Server;
let b: Server;

beforeAll(async () => {
  [a, b] = await Promise.all([
    startServer({ name: "again-a", settings: { max_prepared_transactions: 5 } }),
    startServer({ name: "again-b", identity: "peer", settings: { max_prepared_transactions: 5 } }),
  ]);
  await a.query("create extension steep_repl cascade");
});
afterAll(() => Promise.all([a?.destroy(), b?.destroy()]));

/** By name: how the table is made, and the key of row number n. */
const kinds: { readonly [name: string]: readonly [create: string, key: string] } = {
  by_int: ["create table t (id int primary key, v text)", "n"],
  by_bigint: ["create table t (id bigint primary key, v text)", "n::bigint * 1000003"],
  by_uuid: ["create table t (id uuid primary key, v text)", "md5(n::text)::uuid"],
  by_text: ['create table t (id text collate "C" primary key, v text)', "'k' || n"],
  by_numeric: ["create table t (id numeric primary key, v text)", "n + 0.5"],
  by_time: [
    "create table t (id timestamptz primary key, v text)",
    "'2020-01-01'::timestamptz + n * interval '1 min'",
  ],
  partitioned: [
    `create table t (id int primary key, v text) partition by range (id);
     create table t1 partition of t for values from (minvalue) to (700);
     create table t2 partition of t for values from (700) to (1500);
     create table t3 partition of t default`,
    "n",
  ],
};

/** Statements that change some of the rows; k: the key of row number n. */
const changes: ((key: (n: string) => string, from: number, to: number) => string)[] = [
  (key, from, to) =>
    `update t set v = 'changed' where id in (select ${key("n")} from generate_series(${from}, ${to}) n)`,
  (key, from, to) =>
    `delete from t where id in (select ${key("n")} from generate_series(${from}, ${to}) n)`,
  (key, from) =>
    `insert into t select ${key("n")}, 'new' from generate_series(${from + rows}, ${from + rows + 5}) n on conflict do nothing`,
  (key, from) =>
    `update t set id = ${key(String(from + 3 * rows))} where id = ${key(String(from))}`,
  (key, from, to) =>
    `with gone as (delete from t where id in (select ${key("n")} from generate_series(${from}, ${to}) n) returning id)
     insert into t select id, 'back' from gone`,
  (key, from, to) =>
    `begin; delete from t where id in (select ${key("n")} from generate_series(${from}, ${to}) n); rollback`,
  (key, from) =>
    `begin; savepoint s; update t set v = 'lost' where id = ${key(String(from))}; rollback to s;
     update t set v = 'kept' where id = ${key(String(from + 1))}; commit`,
  () => "alter table t drop column v; alter table t add column v text default 'later'",
  () => "vacuum t",
  () => "vacuum full t",
  () => "vacuum (freeze) t",
  (key, from) =>
    `begin; truncate t; insert into t select ${key("n")}, 'few' from generate_series(1, ${from}) n; commit`,
];

async function change(server: Server, kind: string): Promise<string[]> {
  const key = kinds[kind]?.[1] ?? "";
  const made: string[] = [];
  for (let i = random.int(0, 4); i > 0; i--) {
    const from = random.int(1, rows);
    // truncating is rare: little is left to compare then
    const n = random.next() < 0.05 ? changes.length - 1 : random.int(0, changes.length - 2);
    const sql = changes[n]?.(
      (value) => key.replaceAll(/\bn\b/g, value),
      from,
      from + random.int(0, 20),
    );
    made.push(sql ?? "");
    await server.query(sql ?? "");
  }
  return made;
}

/** What a comparison says of the table: its counts, and the rows that differ. */
async function compare(session: Client, connection: string, isLocked: boolean) {
  const { rows: counts } = await session.query(
    `select o.local_only_count, o.remote_only_count, o.match_count, o.conflict_count
     from pg_temp.steep_repl_plans p cross join lateral steep_repl._overlap_table(
       $1, p.plan || jsonb_build_object('ignores_replication', true, 'is_locked', $2::boolean), '0') o`,
    [connection, isLocked],
  );
  const { rows: differing } = await session.query(
    "select category, key, local_digest, peer_digest from pg_temp.steep_repl_differences order by key, category",
  );
  return { counts, differing };
}

/** Compare, change, and compare again in both ways. */
async function checkCase(kind: string): Promise<void> {
  const [create = "", key = ""] = kinds[kind] ?? [];
  for (const server of [a, b]) {
    await server.query(
      `drop table if exists t; ${create}; insert into t select ${key}, 'v' from generate_series(1, ${rows}) n`,
    );
    await server.query("vacuum analyze t");
  }
  const made = [await change(a, kind), await change(b, kind)];
  // transactions that are still open when the table is first seen
  const open = await Promise.all([a.connect(), b.connect()]);
  for (const [i, session] of open.entries()) {
    const at = key.replaceAll(/\bn\b/g, `(${-1 - i})`);
    await session.query(`begin; insert into t values (${at}, 'open')`);
  }
  const session = await a.connect();
  const { rows: opened } = await session.query("select steep_repl._peer_open($1) as name", [
    b.uri(),
  ]);
  const connection = String(opened[0]?.name);
  await session.query(
    "create temp table steep_repl_seen (name text primary key, seen steep_repl._overlap_seen not null)",
  );
  await session.query("select steep_repl._overlap_plans($1, '{public.t}', null)", [connection]);
  await compare(session, connection, false);
  const { rows: seen } = await session.query("select name from steep_repl_seen");
  for (const other of open) {
    await other.query(random.next() < 0.5 ? "commit" : "rollback");
    await other.end();
  }
  made.push(await change(a, kind), await change(b, kind));
  const locked = async () => {
    await session.query(
      "select steep_repl._peer_command($1, 'begin; lock table public.t in share mode')",
      [connection],
    );
    const result = await compare(session, connection, true);
    await session.query("select steep_repl._peer_command($1, 'commit')", [connection]);
    return result;
  };
  const again = await locked();
  await session.query("delete from steep_repl_seen");
  const whole = await locked();
  await session.end();
  expect(seen, kind).toEqual([{ name: "public.t" }]);
  expect(again, JSON.stringify({ seed: random.seed, kind, made }, null, 1)).toEqual(whole);
}

test.each(Object.keys(kinds))("of kind %s", { timeout: 60_000 * cases }, async (kind) => {
  for (let i = 0; i < cases; i++) await checkCase(kind);
});

test("values of rows that have not changed are not read again", async () => {
  for (const server of [a, b]) {
    await server.query(
      `drop table if exists t; create table t (id int primary key, v text);
       insert into t select n, 'v' from generate_series(1, ${rows}) n`,
    );
    await server.query("vacuum analyze t");
  }
  const session = await a.connect();
  const { rows: opened } = await session.query("select steep_repl._peer_open($1) as name", [
    b.uri(),
  ]);
  const connection = String(opened[0]?.name);
  await session.query(
    "create temp table steep_repl_seen (name text primary key, seen steep_repl._overlap_seen not null)",
  );
  await session.query("select steep_repl._overlap_plans($1, '{public.t}', null)", [connection]);
  await compare(session, connection, false);
  // what is seen of all buckets but one is made wrong: had they been read again, it would be found right
  await session.query(
    `update steep_repl_seen s set seen.here = array[(u.a)[1], (u.a)[2], array_fill(7, array[cardinality((u.a)[3]::int8[])])::text]::text,
       seen.there = array[(u.a)[1], (u.a)[2], array_fill(7, array[cardinality((u.a)[3]::int8[])])::text]::text
     from (select (seen).here::text[] as a from steep_repl_seen) u`,
  );
  await a.query("update t set v = 'changed' where id = 500");
  await b.query("delete from t where id = 900");
  await session.query("select steep_repl._peer_command($1, 'begin')", [connection]);
  const again = await compare(session, connection, true);
  await session.end();
  expect(again.differing.map((row) => [row.category, row.key])).toEqual([
    ["conflict", ["500"]],
    ["local_only", ["900"]],
  ]);
});
