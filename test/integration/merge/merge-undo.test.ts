import { describe, expect, test } from "vitest";
import {
  actions,
  auditOf,
  endOfMerge,
  imagesOf,
  type MergeRow,
  sorted,
} from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* Taking merges back. */

let pair: MergePair;
setMergePair("merge-undo", (p) => {
  pair = p;
});

const tables = ["public.parent", "public.t"];
const rows = async () =>
  (await Promise.all([pair.a, pair.b].map((server) => imagesOf(server, tables)))).map((side) =>
    side.map(sorted),
  );

/** 60 rows that differ in each way. */
async function differ(): Promise<void> {
  await pair.both(
    `create table parent (id int primary key, v text);
     create table t (id int primary key, v text, n numeric, a int[], c char(5), parent int references parent);
     insert into parent select g, 'p' from generate_series(1, 5) g;
     insert into t select g, 'same', g * 1.10, array[[g, null]], 'x', g % 5 + 1 from generate_series(1, 100) g;
     grant select, insert, update, delete on parent, t to merger;
     grant set on parameter session_replication_role to merger`,
  );
  await pair.a.query(
    `update t set v = 'a"\\', n = null where id <= 20; delete from t where id between 21 and 40;
     insert into parent values (6, 'a'); insert into t values (201, 'a', 1.00, null, 'a', 6)`,
  );
  await pair.b.query(
    `update t set a = '{}' where id <= 20; delete from t where id between 41 and 60;
     insert into parent values (7, 'b'); insert into t values (202, 'b', 'NaN', '{1}', 'b', 7)`,
  );
}

async function undo(
  merge: MergeRow,
  options: { readonly user?: string; readonly peer?: string } = {},
): Promise<MergeRow> {
  const { peer = pair.b.uri(), ...session } = options;
  const [row] = await pair.a.query<MergeRow>(
    "select * from steep_repl.undo_merge($1, $2)",
    [merge.merge_id, peer],
    session,
  );
  if (!row) throw new Error("undo_merge answered no row");
  return endOfMerge(pair.a, row);
}

describe.each([
  "strategy => 'prefer-local'",
  "strategy => 'prefer-remote'",
  "strategy => 'prefer-local', local_only => 'delete', remote_only => 'delete'",
])("after a merge with %s", (args) => {
  test("both sides have their rows back, exactly", async () => {
    await differ();
    const before = await rows();
    const merge = await pair.mergeAsMerger(args);
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "64" });
    expect(await rows()).not.toEqual(before);
    const undone = await undo(merge, { user: "merger", peer: pair.asMerger });
    expect(undone).toMatchObject({
      error_message: null,
      status: "complete",
      undoes: merge.merge_id,
      rows_merged: "64",
      rows_left: "0",
    });
    expect(undone.tables_completed).toBe(undone.table_count);
    expect(await rows()).toEqual(before);
    const audit = await auditOf(pair.a, undone);
    expect(new Set(audit.map((r) => r.category))).toEqual(new Set(["undo"]));
    const opposite = (action: string) =>
      action.replace(/^(insert|delete)/, (verb) => (verb === "insert" ? "delete" : "insert"));
    const count = (from: Record<string, number>) => Object.entries(from).sort();
    expect(count(actions(audit))).toEqual(
      count(
        Object.fromEntries(
          Object.entries(actions(await auditOf(pair.a, merge))).map(([a, n]) => [opposite(a), n]),
        ),
      ),
    );

    const again = await undo(merge, { user: "merger", peer: pair.asMerger });
    expect(again).toMatchObject({ status: "complete", rows_merged: "0", rows_left: "0" });
    expect(again.warnings).toEqual([
      expect.stringContaining(`taken back already, by ${undone.merge_id}`),
    ]);
    expect(await rows()).toEqual(before);
  });
});

test("rows that somebody has changed since, on either side, are left and listed", async () => {
  await differ();
  const merge = await pair.merge();
  await pair.a.query("update t set v = 'later', parent = 1 where id = 202");
  await pair.b.query(
    "update t set v = 'later' where id = 1; delete from t where id = 2; delete from t where id = 201",
  );
  const changed = await rows();
  const undone = await undo(merge);
  expect(undone).toMatchObject({ status: "complete", rows_merged: "60", rows_left: "3" });
  const after = await rows();
  const has = (side: number, id: number) => after[side]?.[1]?.find((r) => r.id === `${id}`);
  const had = (side: number, id: number) => changed[side]?.[1]?.find((r) => r.id === `${id}`);
  for (const [side, id] of [
    [0, 202],
    [1, 1],
    [1, 2],
    [1, 201],
  ] as const)
    expect(has(side, id)).toEqual(had(side, id));
  expect(
    await pair.a.query(
      `select key ->> 'id' as id, reason, status from steep_repl.merge_conflicts
       where merge_id = $1 order by 1`,
      [undone.merge_id],
    ),
  ).toEqual(
    // 201 is gone, as it was before the merge
    ["1", "2", "202"].map((id) => ({ id, reason: "changed since", status: "open" })),
  );
  const resolved = (choice: string) =>
    pair.a.query(
      `select (steep_repl.resolve_conflict(conflict_id, '${choice}')).status from steep_repl.merge_conflicts
       where merge_id = $1 and key ->> 'id' = '202'`,
      [undone.merge_id],
    );
  await expect(resolved("local")).rejects.toMatchObject({
    ...{ code: "55000", hint: expect.stringContaining("'keep')") },
  });
  expect(await resolved("keep")).toEqual([{ status: "resolved" }]);
});

test("rows that it brought, and that somebody has changed since, are listed under their keys", async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.a.query("insert into t values (1, 'a'), (2, 'a'), (3, 'a')");
  await pair.b.query("insert into t values (4, 'b'), (5, 'b')");
  const merge = await pair.merge();
  await pair.b.query("update t set v = 'changed' where id < 3");
  await pair.a.query("update t set v = 'changed' where id = 5");
  const undone = await undo(merge);
  expect(undone).toMatchObject({
    ...{ error_message: null, status: "complete", rows_merged: "2", rows_left: "3" },
  });
  const conflicts = await pair.a.query(
    "select key, reason, local_row, remote_row from steep_repl.merge_conflicts where merge_id = $1 order by key ->> 'id'",
    [undone.merge_id],
  );
  const changed = (id: string) => ({ id, v: "changed" });
  expect(conflicts).toEqual([
    ...["1", "2"].map((id) => ({
      ...{ key: { id }, reason: "changed since", local_row: null, remote_row: changed(id) },
    })),
    { key: { id: "5" }, reason: "changed since", local_row: changed("5"), remote_row: null },
  ]);
});

test("a row that others refer to since is left, and the key is named", async () => {
  await differ();
  const merge = await pair.merge();
  await pair.a.query("insert into t values (301, 'new', null, null, null, 7)");
  const undone = await undo(merge);
  expect(undone).toMatchObject({ error_message: null, status: "complete", rows_left: "1" });
  expect(
    await pair.a.query("select reason from steep_repl.merge_rows_left($1)", [undone.merge_id]),
  ).toEqual([{ reason: "rows that stay refer to it by t_parent_fkey of table public.t" }]);
});

test("what is no merge of the caller's, or nothing that was written, is refused", async () => {
  await differ();
  const dry = await pair.merge("dry_run => true");
  const merge = await pair.merge();
  const undone = await undo(merge);
  const refuse = (id: string, code: string, options: { readonly user?: string } = {}) =>
    expect(
      pair.a.query("select steep_repl.undo_merge($1, $2)", [id, pair.b.uri()], options),
    ).rejects.toMatchObject({ code });
  await refuse("merge_of_nobody", "42704");
  await refuse(dry.merge_id, "55000");
  await refuse(undone.merge_id, "55000");
  await refuse(merge.merge_id, "42704", { user: "merger" });
  await expect(
    pair.a.query("select steep_repl.undo_merge($1)", [merge.merge_id]),
  ).rejects.toMatchObject({ code: "55000", hint: expect.stringContaining("peer =>") });
  await expect(
    pair.a.query("select steep_repl.undo_merge($1, 'host=elsewhere dbname=x')", [merge.merge_id]),
  ).rejects.toMatchObject({ code: "22023" });
});

test("a job that a role forges undoes no merge of another role", async () => {
  await differ();
  const merge = await pair.merge();
  const merged = await rows();
  const params = {
    undoes: merge.merge_id,
    peer: "x",
    is_conninfo: true,
    tables,
    primary_keys: null,
  };
  const session = await pair.a.connect({ user: "merger" });
  for (const undoes of [merge.merge_id, "merge_x", null]) {
    await session.query("begin");
    const { rows: queued } = await session.query<MergeRow>(
      "insert into steep_repl.work_queue (operation, params) values ('merge_undo', $1) returning id, merge_id",
      [{ ...params, undoes }],
    );
    const [job] = queued;
    if (!job) throw new Error("no row");
    await session.query("select steep_repl._keep_peer($1, $2)", [job.id, pair.asMerger]);
    await session.query("commit");
    expect(await endOfMerge(pair.a, job)).toMatchObject({
      status: "failed",
      error_sqlstate: "42501",
    });
  }
  await session.end();
  expect(await rows()).toEqual(merged);
});
