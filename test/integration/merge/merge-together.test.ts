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
