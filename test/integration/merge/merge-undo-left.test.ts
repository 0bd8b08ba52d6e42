import { describe, expect, test } from "vitest";
import {
  auditOf,
  endOfMerge,
  imagesOf,
  type MergeRow,
  mergeRow,
  sorted,
  startMerge,
} from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* An undo gives back what it can, and no user's change is lost; the rest is listed. */

let pair: MergePair;
setMergePair(
  "merge-undo-left",
  (p) => {
    pair = p;
  },
  { "steep_repl.lock_timeout": "300ms" },
);

const rowsOf = async (side: "a" | "b", table = "public.t") =>
  sorted((await imagesOf(pair[side], [table]))[0] ?? []);

const leftOf = (merge: MergeRow) =>
  pair.a.query("select table_name, key, reason from steep_repl.merge_rows_left($1)", [
    merge.merge_id,
  ]);

async function startUndo(merge: MergeRow): Promise<MergeRow> {
  const [row] = await pair.a.query<MergeRow>("select * from steep_repl.undo_merge($1, $2)", [
    merge.merge_id,
    pair.b.uri(),
  ]);
  if (!row) throw new Error("undo_merge answered no row");
  return row;
}
const undo = async (merge: MergeRow) => endOfMerge(pair.a, await startUndo(merge));

/** A merge that was cancelled while row 20 was locked, on the side that it writes to; then `between`, and the same merge goes on. */
async function interrupted(side: "a" | "b", args: string, between: () => Promise<unknown>) {
  const session = await pair[side].connect();
  await session.query("begin; select from t where id = 20 for update");
  const merge = await startMerge(pair.a, pair.b.uri(), { args });
  await waitUntil(
    () =>
      pair.a.query("select rows_merged::int as n from steep_repl.merges where merge_id = $1", [
        merge.merge_id,
      ]),
    (rows) => Number(rows[0]?.n) >= 19,
    "the other rows are merged",
  );
  await pair.a.query("select steep_repl.cancel_merge($1)", [merge.merge_id]);
  expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "cancelled" });
  await session.query("rollback");
  await session.end();
  await between();
  await pair.a.query("select steep_repl.retry_operation($1, $2)", [
    merge.operation_id,
    pair.b.uri(),
  ]);
  await waitUntil(
    () => mergeRow(pair.a, merge),
    (row) => row?.status === "complete",
    "the merge is complete",
  );
  return merge;
}

describe.each([
  ["here", "a", "prefer-remote"],
  ["at the peer", "b", "prefer-local"],
] as const)("a merge that went on after an interruption, writing %s", (_, side, strategy) => {
  const other = side === "a" ? "b" : "a";
  test("keeps what somebody wrote in between", async () => {
    await pair.both("create table t (id int primary key, v text)");
    await pair.a.query("insert into t select g, 'a' from generate_series(1, 20) g");
    await pair.b.query("insert into t select g, 'b' from generate_series(1, 20) g");
    const before = await rowsOf(side);
    const merge = await interrupted(side, `strategy => '${strategy}'`, async () => {
      // of 1 the side that is written, of 2 the other one, of 3 both
      await pair[side].query("update t set v = 'user' where id in (1, 3)");
      await pair[other].query("update t set v = 'later' where id in (2, 3)");
    });
    expect(await rowsOf("a")).toEqual(await rowsOf("b"));
    const undone = await undo(merge);
    expect(undone).toMatchObject({ error_message: null, status: "complete", rows_merged: "20" });
    const expected = before.map((r) => (r.id === "1" || r.id === "3" ? { ...r, v: "user" } : r));
    expect(await rowsOf(side)).toEqual(expected);
    expect(undone.rows_left).toBe("2");
    expect(await leftOf(undone)).toEqual(
      ["1", "3"].map((id) => ({
        table_name: "public.t",
        key: { id },
        reason:
          "changed between two writes of the merge, of which only the later one is taken back",
      })),
    );
    expect(await undo(merge)).toMatchObject({
      status: "complete",
      rows_merged: "0",
      rows_left: "2",
    });
    expect(await rowsOf(side)).toEqual(expected);
  });
});

test("a row that was written down by two spellings of its key gets back what it had at first", async () => {
  await pair.both("create table t (id numeric primary key, v text)");
  await pair.a.query("insert into t select g + 0.0, 'a' from generate_series(1, 20) g");
  await pair.b.query("insert into t select g + 0.00, 'b' from generate_series(1, 20) g");
  const before = await rowsOf("b");
  const args = "strategy => 'prefer-local', remote_only => 'delete'";
  const merge = await interrupted("b", args, () => pair.a.query("delete from t where id = 1"));
  expect(await rowsOf("b")).toHaveLength(19);
  const undone = await undo(merge);
  expect(undone).toMatchObject({ status: "complete", rows_merged: "20", rows_left: "0" });
  expect(await rowsOf("b")).toEqual(before);
});

async function merged(): Promise<MergeRow> {
  await pair.both("create table t (id int primary key, v text, n int unique)");
  await pair.a.query("insert into t select g, 'a', g from generate_series(1, 2000) g");
  await pair.b.query("insert into t select g, 'b', g from generate_series(1001, 3000) g");
  const merge = await pair.merge("strategy => 'prefer-remote'");
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "3000" });
  return merge;
}

describe.each(["a", "b"] as const)("rows that are locked on side %s", (side) => {
  test("are left and listed, or given back once they are let go of", async () => {
    const merge = await merged();
    const session = await pair[side].connect();
    await session.query("begin; select from t where id % 100 = 0 for update");
    // there, those that were pushed
    const n = side === "a" ? 20 : 10;
    const undone = await undo(merge);
    expect(undone).toMatchObject({
      status: "complete",
      rows_merged: `${3000 - n}`,
      rows_left: `${n}`,
    });
    expect(new Set((await leftOf(undone)).map((r) => r.reason))).toEqual(
      new Set(["locked by another transaction"]),
    );
    const second = await startUndo(merge);
    await waitUntil(
      () => mergeRow(pair.a, second),
      (row) => row?.phase === "merging",
      "the second undo writes",
    );
    await session.query("rollback");
    await session.end();
    expect(await endOfMerge(pair.a, second)).toMatchObject({
      status: "complete",
      rows_merged: `${n}`,
      rows_left: "0",
    });
    expect((await rowsOf("a")).map((r) => r.v)).toEqual(Array(2000).fill("a"));
    expect(await rowsOf("b")).toHaveLength(2000);
  });
});

test("rows whose unique values somebody has taken since are left, and named", async () => {
  await pair.both("create table t (id int primary key, v text, n int unique)");
  await pair.a.query("insert into t select g, 'a', g from generate_series(1, 200) g");
  await pair.b.query("insert into t select g, 'b', 1000 + g from generate_series(1, 200) g");
  const merge = await pair.merge("strategy => 'prefer-remote'");
  await pair.a.query("insert into t values (500, 'taker', 77), (501, 'taker', 78)");
  const undone = await undo(merge);
  expect(undone).toMatchObject({
    error_message: null,
    status: "complete",
    rows_merged: "198",
    rows_left: "2",
  });
  expect(await leftOf(undone)).toEqual(
    ["77", "78"].map((id) => ({
      ...{ table_name: "public.t", key: { id } },
      reason: 'duplicate key value violates unique constraint "t_n_key"',
    })),
  );
});

test("a deleted row that somebody has inserted again is left", async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.a.query("insert into t values (1, 'a'), (2, 'a')");
  const merge = await pair.merge("local_only => 'delete'");
  await pair.a.query("insert into t values (1, 'mine')");
  const undone = await undo(merge);
  expect(undone).toMatchObject({ status: "complete", rows_merged: "1", rows_left: "1" });
  expect(await leftOf(undone)).toMatchObject([{ key: { id: "1" }, reason: "changed since" }]);
  expect(await rowsOf("a")).toEqual([
    { id: "1", v: "mine" },
    { id: "2", v: "a" },
  ]);
});

test("of a merge that wrote nothing it is complete, with no rows", async () => {
  await pair.both("create table t (id int primary key); insert into t values (1)");
  const undone = await undo(await pair.merge());
  expect(undone).toMatchObject({
    error_message: null,
    status: "complete",
    rows_merged: "0",
    rows_left: "0",
  });
});

test.each([
  ["one side has another column", "alter table gone add x int", "", "defined in different ways"],
  ["both sides have another column", "alter table gone add x int", "same", "columns are others"],
  ["it is dropped on one side", "drop table gone", "", "defined in different ways"],
  ["it is dropped on both sides", "drop table gone", "same", "does not exist"],
  [
    "another has its name",
    "drop table gone; create table gone (id int primary key, w text)",
    "same",
    "columns are others",
  ],
] as const)("a table does not stop the others where %s", async (_, sql, same, reason) => {
  await pair.both(
    "create table t (id int primary key, v text); create table gone (id int primary key, v text)",
  );
  await pair.a.query(
    "insert into t values (1, 'a'), (2, 'a'); insert into gone values (1, 'a'), (2, 'a')",
  );
  const merge = await pair.merge();
  expect(merge).toMatchObject({ status: "complete", rows_merged: "4" });
  await pair.a.query(sql);
  if (same === "same") await pair.b.query(sql);
  const undone = await undo(merge);
  expect(undone).toMatchObject({
    ...{ error_message: null, status: "complete", rows_merged: "2", rows_left: "2" },
    warnings: [expect.stringContaining("public.gone (")],
  });
  expect(await leftOf(undone)).toEqual(
    ["1", "2"].map((id) => ({
      table_name: "public.gone",
      key: { id },
      reason: expect.stringContaining(reason),
    })),
  );
  expect(await rowsOf("b")).toEqual([]);
});

describe("what the audit log says of a row is what the table has", () => {
  const agree = async (merge: MergeRow) => {
    for (const record of await auditOf(pair.a, merge)) {
      const side = record.action.endsWith("local") ? "a" : "b";
      const found = (await rowsOf(side)).filter((r) => r.id === record.result_row?.id);
      expect(found).toEqual([Object.fromEntries(Object.entries(record.result_row ?? {}).sort())]);
    }
  };

  test.each(["prefer-local", "prefer-remote"])(
    "where keys have other spellings, %s",
    async (strategy) => {
      await pair.both("create table t (id numeric primary key, v text)");
      await pair.a.query("insert into t values (1.5, 'a'), (2, 'a'), (3.10, 'a'), (10, 'a')");
      await pair.b.query("insert into t values (1.50, 'b'), (2.000, 'b'), (3.1, 'b'), (11.0, 'b')");
      const before = [await rowsOf("a"), await rowsOf("b")];
      const merge = await pair.merge(`strategy => '${strategy}'`);
      expect(merge).toMatchObject({
        error_message: null,
        status: "complete",
        rows_merged: "5",
        rows_left: "0",
      });
      await agree(merge);
      expect(await undo(merge)).toMatchObject({
        error_message: null,
        status: "complete",
        rows_merged: "5",
        rows_left: "0",
      });
      expect([await rowsOf("a"), await rowsOf("b")]).toEqual(before);
    },
  );

  test.each(["float8", "interval", "jsonb", "numeric"])("for keys of type %s", async (type) => {
    const spellings = {
      float8: ["0", "-0", "1e0", "1"],
      interval: ["24:00:00", "1 day", "30 days", "1 mon"],
      jsonb: ["1.0", "1.00", "[0.1]", "[0.10]"],
      numeric: ["0.0", "0.00", "NaN", "nan"],
    }[type] as string[];
    await pair.both(`create table t (id ${type} primary key, v text)`);
    await pair.a.query(`insert into t values ('${spellings[0]}', 'a'), ('${spellings[2]}', 'a')`);
    await pair.b.query(`insert into t values ('${spellings[1]}', 'b'), ('${spellings[3]}', 'b')`);
    const before = [await rowsOf("a"), await rowsOf("b")];
    const merge = await pair.merge("strategy => 'prefer-remote'");
    expect(merge).toMatchObject({ error_message: null, status: "complete" });
    expect((await rowsOf("a")).map((r) => r.v)).toEqual((await rowsOf("b")).map((r) => r.v));
    await agree(merge);
    expect(await undo(merge)).toMatchObject({
      status: "complete",
      rows_merged: merge.rows_merged,
      rows_left: "0",
    });
    expect([await rowsOf("a"), await rowsOf("b")]).toEqual(before);
  });

  const stamps = "new.v := new.v || ' stamped'; return new;";
  const stampsLater = (which: string) =>
    `if pg_trigger_depth() = 1 then update public.t set v = v || ' stamped' where ${which} and v !~ 'stamped'; end if; return null;`;
  test.each([
    ["a", stamps, "trigger stamp before insert or update on t for each row"],
    ["b", stamps, "trigger stamp before insert or update on t for each row"],
    ["a", stampsLater("id = new.id"), "trigger stamp after insert or update on t for each row"],
    ["b", stampsLater("id = new.id"), "trigger stamp after insert or update on t for each row"],
    [
      "a",
      stampsLater("id in (select n.id from n)"),
      "trigger stamp after insert on t referencing new table as n for each statement",
    ],
    [
      "b",
      stampsLater("id = new.id"),
      "constraint trigger stamp after insert or update on t deferrable initially deferred for each row",
    ],
  ] as const)(
    "where a trigger changes what is written to side %s: %s %s",
    async (side, body, trigger) => {
      await pair.both("create table t (id int primary key, v text)");
      await pair.a.query("insert into t values (1, 'a'), (2, 'a')");
      await pair.b.query("insert into t values (1, 'b'), (3, 'b')");
      await pair.both(
        `create function stamp() returns trigger language plpgsql as $$ begin ${body} end $$;
       create ${trigger} execute function stamp();
       alter table t enable always trigger stamp`,
      );
      const found = [await rowsOf("a"), await rowsOf("b")];
      const merge = await pair.merge(
        `strategy => '${side === "a" ? "prefer-remote" : "prefer-local"}'`,
      );
      expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "3" });
      await agree(merge);
      await pair.both("alter table t disable trigger stamp");
      expect(await undo(merge)).toMatchObject({
        error_message: null,
        status: "complete",
        rows_merged: "3",
      });
      expect([await rowsOf("a"), await rowsOf("b")]).toEqual(found);
    },
  );
});
