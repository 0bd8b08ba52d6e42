import { describe, expect, test } from "vitest";
import { endOfMerge, mergeRow, startMerge } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Two merges of the same rows at the same time: what one has brought, the other finds. */

let pair: MergePair;
setMergePair("merge-together", (p) => {
  pair = p;
});

const nRows = 8000;
const duplicates = async () =>
  (await Promise.all([pair.a.log(), pair.b.log()])).join("").split("duplicate key value").length -
  1;

describe.each(["a", "b"] as const)("rows that only %s has", (from) => {
  test.each([
    ["a key", "create table t (id int primary key, v text)"],
    ["a key and a unique column", "create table t (id int primary key, v text unique)"],
  ])("and that have %s come once, with few errors in the log", async (_, table) => {
    await pair.both(table);
    await pair[from].query(`insert into t select g, 'v' || g from generate_series(1, ${nRows}) g`);
    const before = await duplicates();
    const merges = await Promise.all([pair.merge(), pair.merge(), pair.merge()]);
    for (const merge of merges) {
      expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
    }
    expect(merges.reduce((sum, m) => sum + Number(m.rows_merged), 0)).toBe(nRows);
    for (const side of ["a", "b"] as const) {
      expect(await pair[side].query("select count(*)::int as n from t")).toEqual([{ n: nRows }]);
    }
    // one for each batch of two of them, which the log also says to be put off
    expect((await duplicates()) - before).toBeLessThan(40);
  });
});

test("two that want the opposite do not exchange what both sides have", async () => {
  await pair.both(
    "create table t (id int primary key, v text); create table u (id int primary key)",
  );
  await pair.a.query(`insert into t select g, 'a' from generate_series(1, ${nRows}) g`);
  await pair.b.query(`insert into t select g, 'b' from generate_series(1, ${nRows}) g`);
  const merges = await Promise.all(
    ["prefer-local", "prefer-remote", "prefer-local"].map((s) => pair.merge(`strategy => '${s}'`)),
  );
  for (const merge of merges)
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  const values = (server: MergePair["a"]) =>
    server.query("select v, count(*)::int as n from t group by v order by v");
  expect(await values(pair.a)).toEqual(await values(pair.b));
  expect(await values(pair.a)).toHaveLength(1);
  expect(merges.map((m) => Number(m.rows_merged)).sort((x, y) => x - y)).toEqual([0, 0, nRows]);
});

/** A merge that waits for the turn of another one: a session at the peer, which holds it. */
async function waiting() {
  const session = await pair.b.connect();
  await session.query("select pg_advisory_lock(1937073264, n) from generate_series(0, 127) n");
  const merge = await startMerge(pair.a, pair.b.uri());
  await waitUntil(
    () =>
      pair.a.query("select status_detail from steep_repl.list_operations() where id = $1", [
        merge.operation_id,
      ]),
    ([row]) => row?.status_detail === "another merge of the same tables",
    "it says what it waits for",
  );
  return { session, merge };
}

test("one that waits for another says so, and can be cancelled", async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.b.query("insert into t values (1, 'b')");
  const { session, merge } = await waiting();
  await pair.a.query("select steep_repl.cancel_merge($1)", [merge.merge_id]);
  expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "cancelled" });
  const second = await startMerge(pair.a, pair.b.uri());
  await waitUntil(
    () => mergeRow(pair.a, second),
    (row) => row?.status === "running",
    "it runs",
  );
  await session.end();
  expect(await endOfMerge(pair.a, second)).toMatchObject({ status: "complete", rows_merged: "1" });
});

test("what would refuse a merge by then refuses it after it has waited", async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.b.query("insert into t values (1, 'b')");
  const { session, merge } = await waiting();
  await pair.a.query(
    "create rule r as on insert to t do instead nothing; alter table t enable always rule r",
  );
  await session.end();
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{
      status: "failed",
      rows_merged: "0",
      error_message: expect.stringContaining("has changed while it waited"),
    },
  });
});

const shouting = (table: string) =>
  `create function shout() returns trigger language plpgsql as 'begin new.v := new.v || chr(33); return new; end';
   create trigger shout before insert or update on ${table} for each row execute function shout(); alter table ${table} enable always trigger shout`;

test("what both sides have changed alike while it waited is seen", async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.b.query("insert into t values (1, 'b')");
  const { session, merge } = await waiting();
  await pair.both(shouting("t"));
  await session.end();
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{ status: "failed", rows_merged: "0" },
    error_message: expect.stringContaining("has changed while it waited"),
  });
});

test("what both sides have changed alike while it was at work is named", async () => {
  await pair.both(
    `create table t (id int primary key, v text); create table u (id int primary key, v text);
     create function slow() returns trigger language plpgsql as 'begin perform pg_sleep(0.05); return new; end';
     create trigger slow before insert on t for each row execute function slow(); alter table t enable always trigger slow`,
  );
  await pair.a.query(
    "alter table t disable trigger slow; insert into t select g from generate_series(1, 60) g; alter table t enable always trigger slow",
  );
  await pair.a.query("insert into u values (1, 'a')");
  const merge = await startMerge(pair.a, pair.b.uri());
  await waitUntil(
    () => mergeRow(pair.a, merge),
    (row) => row?.phase === "merging",
    "it writes",
  );
  await pair.both(shouting("u"));
  expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "complete" });
  const [said] = await pair.a.query<{ warnings: string[] }>(
    "select warnings from steep_repl.merges where merge_id = $1",
    [merge.merge_id],
  );
  expect(said?.warnings.join("\n")).toContain(
    "tables were changed while they were merged: public.u",
  );
});

test("a conflict is not settled beside a merge, nor beside another one that is", async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.a.query("insert into t values (1, 'a')");
  await pair.b.query("insert into t values (1, 'b')");
  await pair.merge("strategy => 'manual'");
  const session = await pair.b.connect();
  await session.query("select pg_advisory_lock(1937073264, n) from generate_series(0, 127) n");
  const settle =
    "select * from steep_repl.resolve_conflict((select max(conflict_id) from steep_repl.merge_conflicts), $1, $2)";
  await pair.a.configure({ "steep_repl.lock_timeout": "300ms" });
  await expect(pair.a.query(settle, ["local", pair.b.uri()])).rejects.toMatchObject({
    code: "55P03",
    message: "a merge of the same table is at work",
  });
  // nothing is left locked here, and the peer has let go of its session
  expect(await pair.a.query("select from pg_locks where locktype = 'advisory'")).toEqual([]);
  await session.end();
  await pair.a.configure({ "steep_repl.lock_timeout": "10s" });
  expect(await pair.a.query(settle, ["remote", pair.b.uri()])).toMatchObject([
    { status: "resolved" },
  ]);
  expect(await pair.a.query("select v from t")).toEqual([{ v: "b" }]);
  expect(await pair.a.query("select from pg_locks where locktype = 'advisory'")).toEqual([]);
});

test("a merge of a partition and one of its root are others that run", async () => {
  await pair.both(
    "create table p (id int primary key, v text) partition by range (id); create table p1 partition of p for values from (0) to (10)",
  );
  expect(
    await pair.a.query(
      "select steep_repl._merge_locks('{public.p}') && steep_repl._merge_locks('{public.p1}') as same, steep_repl._merge_locks('{public.p}') && steep_repl._merge_locks('{public.other}') as other",
    ),
  ).toEqual([{ same: true, other: false }]);
});
