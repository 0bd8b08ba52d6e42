import { beforeEach, expect, test } from "vitest";
import { auditOf, imagesOf, type MergeRow } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* Settling what strategy manual leaves. */

let pair: MergePair;
let merge: MergeRow;
setMergePair("merge-resolve", (p) => {
  pair = p;
});

interface Conflict extends Record<string, unknown> {
  readonly conflict_id: string;
  readonly status: string;
  readonly choice: string | null;
}

beforeEach(async () => {
  await pair.both(
    `create table parent (id int primary key);
     create table t (id int primary key, v text, j json, parent int references parent);
     insert into parent values (1);
     insert into t select g, 'same', '{"a": 1, "a": 2}', 1 from generate_series(1, 10) g;
     grant select, insert, update, delete on parent, t to merger`,
  );
  await pair.a.query("update t set v = 'a' where id <= 3; insert into parent values (2)");
  await pair.b.query("update t set v = 'b' where id <= 3");
  merge = await pair.mergeAsMerger("strategy => 'manual', local_only => 'keep'");
  expect(merge).toMatchObject({ status: "complete", conflict_count: "3", rows_merged: "0" });
});

async function conflictOf(id: number): Promise<Conflict> {
  const [row] = await pair.a.query<Conflict>(
    "select * from steep_repl.merge_conflicts where merge_id = $1 and key = jsonb_build_object('id', $2::text)",
    [merge.merge_id, id],
  );
  if (!row) throw new Error(`no conflict of ${id}`);
  return row;
}

const resolve = async (conflict: Conflict, choice: string, user = "merger", peer = pair.asMerger) =>
  pair.a.query<Conflict>(
    "select * from steep_repl.resolve_conflict($1, $2, $3)",
    [conflict.conflict_id, choice, peer],
    { user },
  );

const valuesOf = async (id: number) =>
  Promise.all(
    [pair.a, pair.b].map(
      async (server) => (await imagesOf(server, [`public.t where id = ${id}`]))[0]?.[0]?.v,
    ),
  );

test.each([
  ["local", "a", "update_remote"],
  ["remote", "b", "update_local"],
])("choice %s makes both rows %s, with a record of it", async (choice, value, action) => {
  const conflict = await conflictOf(2);
  expect(await resolve(conflict, choice)).toMatchObject([
    { conflict_id: conflict.conflict_id, status: "resolved", choice, resolved_by: "merger" },
  ]);
  expect(await valuesOf(2)).toEqual([value, value]);
  expect(await valuesOf(3)).toEqual(["a", "b"]);
  expect(await auditOf(pair.a, merge)).toMatchObject([
    {
      action,
      key: { id: "2" },
      category: "conflict",
      local_row: { v: "a", j: '{"a": 1, "a": 2}' },
      remote_row: { v: "b" },
      result_row: { v: value },
    },
  ]);
  await expect(resolve(conflict, choice)).rejects.toMatchObject({ code: "55000" });
  await expect(pair.a.query("select * from pg_temp.steep_repl_merge")).rejects.toMatchObject({
    code: "42P01",
  });
});

test("a row that has changed since it was found is left as it is, until it is merged again", async () => {
  const conflict = await conflictOf(1);
  await pair.b.query("update t set v = 'c' where id = 1");
  await expect(resolve(conflict, "local")).rejects.toMatchObject({ code: "40001" });
  expect(await valuesOf(1)).toEqual(["a", "c"]);
  merge = await pair.mergeAsMerger("strategy => 'manual', local_only => 'keep'");
  const again = await conflictOf(1);
  expect(again.conflict_id).toBe(conflict.conflict_id);
  await resolve(again, "remote");
  expect(await valuesOf(1)).toEqual(["c", "c"]);
});

test("rows that are the same by now need no change", async () => {
  const conflict = await conflictOf(1);
  await pair.both("update t set v = 'agreed' where id = 1");
  expect(await resolve(conflict, "local")).toMatchObject([{ status: "resolved" }]);
  expect(await valuesOf(1)).toEqual(["agreed", "agreed"]);
  expect(await auditOf(pair.a, merge)).toEqual([]);
});

test("choice keep leaves both rows, needs no peer, and the conflict is no longer open", async () => {
  const conflict = await conflictOf(1);
  expect(
    await pair.a.query(
      "select status, choice, resolved_by from steep_repl.resolve_conflict($1, 'keep')",
      [conflict.conflict_id],
      { user: "merger" },
    ),
  ).toEqual([{ status: "resolved", choice: "keep", resolved_by: "merger" }]);
  expect(await valuesOf(1)).toEqual(["a", "b"]);
  expect(await auditOf(pair.a, merge)).toEqual([]);
  await expect(resolve(conflict, "keep")).rejects.toMatchObject({ code: "55000" });
});

test("what cannot be settled is refused, and changes nothing", async () => {
  const conflict = await conflictOf(1);
  await expect(resolve(conflict, "both")).rejects.toMatchObject({ code: "22023" });
  await expect(resolve({ ...conflict, conflict_id: "0" }, "local")).rejects.toMatchObject({
    code: "42704",
  });
  await expect(
    resolve(conflict, "local", "merger", "host=elsewhere dbname=x"),
  ).rejects.toMatchObject({ code: "22023" });
  await expect(
    pair.a.query("select steep_repl.resolve_conflict($1, 'local')", [conflict.conflict_id]),
  ).rejects.toMatchObject({ code: "55000", hint: expect.stringContaining("peer =>") });
  const session = await pair.a.connect({ user: "merger" });
  await session.query("begin");
  await expect(
    session.query("select steep_repl.resolve_conflict($1, 'local', $2)", [
      conflict.conflict_id,
      pair.asMerger,
    ]),
  ).rejects.toMatchObject({ code: "25001" });
  await session.end();
  await pair.a.query("update t set parent = 2 where id = 1");
  merge = await pair.mergeAsMerger("strategy => 'manual', local_only => 'keep'");
  await expect(resolve(await conflictOf(1), "local")).rejects.toMatchObject({ code: "23503" });
  expect(await valuesOf(1)).toEqual(["a", "b"]);
  expect(await auditOf(pair.a, merge)).toEqual([]);
});

test("a role that has no part in the merge sees no conflict of it", async () => {
  const conflict = await conflictOf(1);
  await pair.a.query(
    `create role stranger login; grant usage on schema steep_repl to stranger;
     grant select, insert, update, delete on all tables in schema steep_repl to stranger`,
  );
  await expect(resolve(conflict, "local", "stranger")).rejects.toMatchObject({ code: "42704" });
  await expect(
    pair.a.query("select steep_repl._resolve_write($1, 'local', 'x')", [conflict.conflict_id], {
      user: "stranger",
    }),
  ).rejects.toMatchObject({ code: "42704" });
  await expect(resolve(conflict, "keep", "stranger")).rejects.toMatchObject({ code: "42704" });
  await expect(
    pair.a.query("select steep_repl._resolve_write($1, 'keep', '')", [conflict.conflict_id], {
      user: "stranger",
    }),
  ).rejects.toMatchObject({ code: "42501" });
  await pair.a.query("drop owned by stranger; drop role stranger");
});
