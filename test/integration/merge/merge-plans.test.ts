import { expect, test } from "vitest";
import { loggedReads, logsPlans, type TableRead } from "../../support/logged-plans.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/*
 * What a merge costs follows from the rows that differ, and not from the table: whatever the statistics say, rows are
 * found by their keys, or by ranges of them, through an index on both sides.
 */

let pair: MergePair;
setMergePair(
  "merge-plans",
  (p) => {
    pair = p;
  },
  { ...logsPlans, autovacuum: "off" },
);

const tables = ["by_int", "by_uuid", "by_text", "by_two", "part_1", "part_2", "child", "parent"];

/** Tables of 40 blocks, with each kind of key, a unique index of each kind, and foreign keys. */
const make = `
  create table parent (id int primary key, at int);
  create table by_int (id int primary key, at int, w int unique, n int, d text, fill text,
    constraint n_key unique nulls not distinct (n, d));
  create unique index lowered on by_int (lower(d)) where w > 0;
  create table by_uuid (id uuid primary key, at int, fill text, w int unique deferrable);
  create table by_text (id text collate "C" primary key, at int, fill text);
  create table by_two (a int, b text, at int, fill text, primary key (a, b));
  create table by_range (id bigint primary key, at int, fill text) partition by range (id);
  create table part_1 partition of by_range for values from (0) to (1500);
  create table part_2 partition of by_range for values from (1500) to (10000);
  create table child (id int primary key, at int, parent int references parent, fill text);
  create index on child (parent)`;
const fill = `
  insert into parent select generate_series(1, 2100);
  insert into by_int select g, 0, g, nullif(g, 1), 'd' || g, repeat('x', 100) from generate_series(1, 2000) g;
  insert into by_uuid select md5(g::text)::uuid, 0, repeat('x', 100), g from generate_series(1, 2000) g;
  insert into by_text select 'k' || g, 0, repeat('x', 100) from generate_series(1, 2000) g;
  insert into by_two select g, 'b' || g, 0, repeat('x', 100) from generate_series(1, 2000) g;
  insert into by_range select g, 0, repeat('x', 100) from generate_series(1, 2000) g;
  insert into child select g, 0, g, repeat('x', 100) from generate_series(1, 2000) g`;
/** Rows that differ in each way; k: which of them. */
const changed = ["by_int", "by_uuid", "by_text", "by_two", "by_range", "child"];
const differ = changed
  .map((name) => {
    const k = "abs(hashtext(t.ctid::text))";
    return `update ${name} t set at = @at@ where ${k} % 40 < 2; delete from ${name} t where ${k} % 80 = @gone@;`;
  })
  .join("\n");

const relations = `from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'i', 'p')`;
const statistics = (
  rows: number,
) => `select pg_restore_relation_stats('schemaname', 'public', 'relname', c.relname::text,
  'relpages', greatest(1, pg_relation_size(c.oid) / 8192)::int, 'reltuples', ${rows}::real) ${relations}`;
const noStatistics = `select pg_clear_relation_stats('public', c.relname::text) ${relations}`;

/** Statements that have to read all of a table: for digests. */
const readsAll = /w\(bucket, g\)|as bucket, count\(\*\) as n|tablesample/;

const isBad = ({ statement, isByIndex }: TableRead) => !isByIndex && !readsAll.test(statement);

test.each([
  ["10^3 rows, a peer without steep_repl", statistics(1e3), false, "push", "pull"],
  ["10^5 rows, a peer with it", statistics(1e5), true, "delete", "pull"],
  ["10^7 rows, a peer without it", statistics(1e7), false, "push", "delete"],
  ["10^7 rows, a peer with it", statistics(1e7), true, "push", "pull"],
  ["no statistics, a peer without it", noStatistics, false, "push", "pull"],
  ["no statistics, a peer with it", noStatistics, true, "delete", "delete"],
])("rows are found through indexes: %s", async (_, stats, hasSteepRepl, localOnly, remoteOnly) => {
  await pair.both(`${make}; ${fill}`);
  // which no child refers to
  await pair.a.query("delete from parent where id between 2001 and 2010");
  await pair.b.query("delete from parent where id between 2011 and 2020");
  await pair.a.query(
    differ
      .replaceAll("@at@", "1 + 2 * (abs(hashtext(t.ctid::text)) / 40 % 2)")
      .replaceAll("@gone@", "2"),
  );
  await pair.b.query(differ.replaceAll("@at@", "2").replaceAll("@gone@", "3"));
  if (hasSteepRepl) await pair.b.query("create extension steep_repl cascade");
  await pair.both(stats);
  const from = [(await pair.a.log()).length, (await pair.b.log()).length] as const;

  const row = await pair.merge(
    `strategy => 'last-modified', last_modified_column => 'at', local_only => '${localOnly}', remote_only => '${remoteOnly}'`,
    { tables: [...changed, "parent"].map((t) => `public.${t}`) },
  );
  if (hasSteepRepl) await pair.b.query("drop extension steep_repl");
  expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  expect(Number(row.rows_merged)).toBeGreaterThan(300);

  for (const [server, start] of [
    [pair.a, from[0]],
    [pair.b, from[1]],
  ] as const) {
    const reads = await loggedReads(server, start, tables);
    // each kind of statement was seen
    for (const kind of [
      /for update of t/,
      /^update|with x as \(update/,
      /steep_e1/,
      /steep_at/,
      /p\."?id"?/,
    ])
      expect(
        reads.filter((r) => kind.test(r.statement)),
        String(kind),
      ).not.toEqual([]);
    expect(reads.filter(isBad)).toEqual([]);
  }
});
