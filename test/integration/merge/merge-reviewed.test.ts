import { expect, test } from "vitest";
import { auditOf, imagesOf, type MergeRow, sorted } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Merging what a stored comparison has found, and somebody has reviewed. */

let pair: MergePair;
setMergePair("merge-reviewed", (p) => {
  pair = p;
});

const rowsOf = async (side: "a" | "b", table = "public.t") =>
  sorted((await imagesOf(pair[side], [table]))[0] ?? []);

async function compare(tables: string | null, status = "complete"): Promise<string> {
  const [row] = await pair.a.query<{ overlap_id: string }>(
    "select overlap_id from steep_repl.start_overlap($1, $2)",
    [pair.b.uri(), tables],
  );
  await waitUntil(
    () =>
      pair.a.query("select status from steep_repl.overlaps where overlap_id = $1", [
        row?.overlap_id,
      ]),
    (rows) => rows[0]?.status === status,
    `the comparison is ${status}`,
  );
  return row?.overlap_id ?? "";
}

const leftOf = (merge: MergeRow) =>
  pair.a.query(
    "select table_name, key ->> 'id' as id, reason from steep_repl.merge_rows_left($1)",
    [merge.merge_id],
  );

async function differ(): Promise<void> {
  await pair.both(
    "create table t (id int primary key, v text); create table u (id int primary key, v text); insert into t select g, 'same' from generate_series(1, 1000) g",
  );
  await pair.a.query(
    "update t set v = 'a' where id <= 10; insert into t values (2001, 'a'), (2002, 'a'); insert into u values (1, 'a')",
  );
  await pair.b.query(
    "update t set v = 'b' where id <= 5; delete from t where id = 1000; insert into t values (3001, 'b'), (3002, 'b')",
  );
}

test("exactly those rows are merged, and those that were changed since are left and listed", async () => {
  await differ();
  const overlap = await compare(null);
  // of each category one row; what is new differs as well; and one became equal
  await pair.a.query(
    "update t set v = 'changed' where id in (1, 2001); delete from t where id = 2; insert into t values (2003, 'new'); update t set v = 'same' where id = 10",
  );
  await pair.b.query(
    "update t set v = 'changed' where id in (6, 3001); insert into t values (2002, 'taken'), (3003, 'new')",
  );
  const merge = await pair.merge(`overlap_id => '${overlap}'`);
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "9" });
  const changed = ["1", "2", "6", "2001", "2002", "3001"];
  expect((await leftOf(merge)).map((r) => r.id).sort()).toEqual([...changed].sort());
  expect(new Set((await leftOf(merge)).map((r) => r.reason))).toEqual(
    new Set(["changed since it was compared"]),
  );
  expect(merge.rows_left).toBe("6");
  expect((await auditOf(pair.a, merge)).map((r) => `${r.table_name} ${r.key.id}`).sort()).toEqual(
    [
      "public.t 3",
      "public.t 4",
      "public.t 5",
      "public.t 7",
      "public.t 8",
      "public.t 9",
      "public.t 1000",
      "public.t 3002",
      "public.u 1",
    ].sort(),
  );
  const here = await rowsOf("a");
  const there = await rowsOf("b");
  expect(here.some((r) => r.id === "3003")).toBe(false);
  expect(there.some((r) => r.id === "2003")).toBe(false);
});

test("some of its tables can be merged, and none that it has not compared", async () => {
  await differ();
  const overlap = await compare("{public.t}");
  await expect(
    pair.merge(`overlap_id => '${overlap}'`, { tables: ["public.t", "public.u"] }),
  ).rejects.toMatchObject({
    code: "22023",
    detail: "It lacks public.u.",
  });
  const both = await compare(null);
  const merge = await pair.merge(`overlap_id => '${both}'`, { tables: ["public.u"] });
  expect(merge).toMatchObject({ status: "complete", rows_merged: "1", tables: ["public.u"] });
});

test("a dry run of it writes nothing, and counts what would be written", async () => {
  await differ();
  const overlap = await compare(null);
  const before = await pair.versions();
  const merge = await pair.merge(`overlap_id => '${overlap}', dry_run => true`);
  expect(merge).toMatchObject({ status: "complete", rows_merged: "16", rows_left: "0" });
  expect(await pair.versions()).toEqual(before);
});

test("what cannot be meant is refused when it is queued", async () => {
  await differ();
  const overlap = await compare(null);
  await expect(pair.merge("overlap_id => 'overlap_none'")).rejects.toMatchObject({ code: "42704" });
  await expect(
    pair.merge(`overlap_id => '${overlap}', primary_keys => '{"public.t": ["id"]}'`),
  ).rejects.toMatchObject({ code: "22023" });
  await expect(
    pair.merge(`overlap_id => '${overlap}', backlog => 'discard'`),
  ).rejects.toMatchObject({ code: "22023" });
  await expect(
    pair.merge(`overlap_id => '${overlap}'`, { peer: `${pair.b.uri()}?dbname=template1` }),
  ).rejects.toMatchObject({ code: "22023" });
  await pair.both("create table no_key (v text)");
  const failed = await compare("{public.no_key}", "failed");
  await expect(pair.merge(`overlap_id => '${failed}'`)).rejects.toMatchObject({ code: "55000" });
  await expect(
    pair.merge(`overlap_id => '${overlap}'`, { user: "merger", peer: pair.asMerger }),
  ).rejects.toMatchObject({
    code: "42704",
  });
});

test("rows that are locked meanwhile are waited for as in any merge", async () => {
  await differ();
  const overlap = await compare(null);
  const session = await pair.b.connect();
  await session.query("begin; select from t where id = 3 for update");
  const started = pair.merge(`overlap_id => '${overlap}'`);
  await waitUntil(
    () => pair.a.query("select from steep_repl.merge_audit_log"),
    (rows) => rows.length >= 15,
    "the other rows are merged",
  );
  await session.query("rollback");
  expect(await started).toMatchObject({ status: "complete", rows_merged: "16", rows_left: "0" });
  await session.end();
});
