import { beforeAll, describe, expect, test } from "vitest";
import {
  auditOf,
  endOfMerge,
  imagesOf,
  type MergeRow,
  sorted,
  startMerge,
} from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Rows of a merge that take unique values from each other: a constraint that is deferrable lets them. */

let pair: MergePair;
setMergePair("merge-swap", (p) => {
  pair = p;
});
beforeAll(() => pair.both("create extension btree_gist"));

/** Rows of all tables of a side. */
async function rowsOf(side: "a" | "b") {
  const tables = await pair[side].query<{ name: string }>(
    `select format('public.%I', relname) as name from pg_class
     where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by 1`,
  );
  return (
    await imagesOf(
      pair[side],
      tables.map((t) => t.name),
    )
  ).map(sorted);
}
const leftOf = (merge: MergeRow) =>
  pair.a.query("select table_name, key, reason from steep_repl.merge_rows_left($1)", [
    merge.merge_id,
  ]);

async function undo(merge: MergeRow, user?: string): Promise<MergeRow> {
  const [row] = await pair.a.query<MergeRow>(
    "select * from steep_repl.undo_merge($1, $2)",
    [merge.merge_id, user === undefined ? pair.b.uri() : pair.asMerger],
    user === undefined ? {} : { user },
  );
  if (!row) throw new Error("undo_merge answered no row");
  return endOfMerge(pair.a, row);
}

/** The merge writes so many rows, both sides are the same after it, and an undo gives back all of them. */
async function swaps(args: string | undefined, rows: number, user?: string): Promise<void> {
  const before = [await rowsOf("a"), await rowsOf("b")];
  const merge = await (user === undefined ? pair.merge(args) : pair.mergeAsMerger(args));
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  expect(merge.rows_merged).toBe(String(rows));
  expect(await auditOf(pair.a, merge)).toHaveLength(rows);
  expect(await rowsOf("a")).toEqual(await rowsOf("b"));
  const undone = await undo(merge, user);
  expect(await leftOf(undone)).toEqual([]);
  expect(undone).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  expect([await rowsOf("a"), await rowsOf("b")]).toEqual(before);
}

/** Tables with a deferrable constraint of each kind, and the same rows in each. */
async function make(here: readonly string[], there: readonly string[]): Promise<number> {
  const made = [
    "create table deferred (id int primary key, u int, unique (u) deferrable initially deferred)",
    "create table immediate (id int primary key, u int unique deferrable)",
    "create table excluded (id int primary key, u int, exclude using gist (u with =, (id - id) with =) deferrable)",
    `create table parted (id int primary key, u int) partition by range (id);
     create table part partition of parted for values from (0) to (1000000); alter table part add unique (u) deferrable`,
  ];
  const tables = ["deferred", "immediate", "excluded", "parted"];
  await pair.both(made.join(";"));
  for (const [side, rows] of [
    ["a", here],
    ["b", there],
  ] as const)
    await pair[side].query(
      tables.flatMap((table) => rows.map((row) => `insert into ${table} ${row}`)).join(";"),
    );
  return tables.length;
}

describe("under deferrable constraints", () => {
  test("swaps, circles and chains are written", async () => {
    const n = await make(
      [
        "values (1, 1), (2, 2), (3, 30), (4, 40), (5, 50), (6, 60)",
        // a chain, whose end is free
        "select g, g from generate_series(1000, 1299) g",
      ],
      [
        "values (1, 2), (2, 1), (3, 40), (4, 50), (5, 30), (6, 61)",
        "select g, g + 1 from generate_series(1000, 1299) g",
      ],
    );
    await swaps(undefined, 306 * n);
  });

  test("a delete makes room for an update, and that for an insert", async () => {
    const n = await make(
      ["values (1, 10), (2, 20), (3, 30)"],
      ["values (2, 10), (3, 20), (4, 30)"],
    );
    await swaps("strategy => 'prefer-remote', local_only => 'delete'", 4 * n);
    await swaps("strategy => 'prefer-local', remote_only => 'delete'", 4 * n);
  });
});

test("of a role for which triggers fire they are written as well", async () => {
  await pair.both(
    "create table t (id int primary key, u int unique deferrable); grant all on t to merger",
  );
  await pair.a.query("insert into t select g, g from generate_series(1, 200) g");
  // a circle, and a row that has to wait for a delete
  await pair.b.query("insert into t select g, 1 + g % 200 from generate_series(1, 200) g");
  await pair.a.query("insert into t values (500, 500), (501, 501)");
  await pair.b.query("insert into t values (501, 500)");
  await swaps("strategy => 'prefer-remote', local_only => 'delete'", 202, "merger");
});

describe("a constraint that is not deferrable", () => {
  const unique = "create table t (id int primary key, u int unique)";

  test("refuses rows that take values from each other, and says why", async () => {
    await pair.both(unique);
    await pair.a.query("insert into t values (1, 1), (2, 2)");
    await pair.b.query("insert into t values (1, 2), (2, 1)");
    const row = await pair.merge("strategy => 'prefer-remote'");
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "23505" });
    expect(row.error_message).toContain("2 of these are kept for rows that the merge updates, too");
    expect(row.error_hint).toContain("DEFERRABLE");
  });

  test("lets a delete make room, and an update for an insert", async () => {
    await pair.both(unique);
    await pair.a.query("insert into t values (1, 1), (2, 2), (3, 3)");
    await pair.b.query("insert into t values (2, 1), (3, 33), (4, 3)");
    await swaps("strategy => 'prefer-remote', local_only => 'delete'", 4);
  });
});

test("a value that another transaction is taking is not there twice afterwards", async () => {
  await pair.both(
    "create table t (id int primary key, u int unique deferrable initially deferred)",
  );
  await pair.b.query("insert into t values (1, 71), (2, 72), (3, 73)");
  const session = await pair.a.connect();
  await session.query("begin; insert into t values (900, 72); set constraints all immediate");
  const merge = await startMerge(pair.a, pair.b.uri());
  await waitUntil(
    () =>
      pair.a.query(
        "select 1 from pg_locks where not granted and mode = 'ShareRowExclusiveLock' and relation = 't'::regclass",
      ),
    (waiting) => waiting.length > 0,
    "the merge waits for the table",
  );
  await session.query("commit");
  await session.end();
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{ error_message: null, status: "complete", rows_merged: "2" },
  });
  expect(await leftOf(merge)).toEqual([
    {
      ...{ table_name: "public.t", key: { id: "2" } },
      reason: 'duplicate key value violates unique constraint "t_u_key"',
    },
  ]);
});

test("a conflict is not resolved by a value that another row has", async () => {
  await pair.both("create table t (id int primary key, u int unique deferrable)");
  await pair.a.query("insert into t values (1, 1), (2, 2)");
  await pair.b.query("insert into t values (1, 2), (2, 1)");
  const merge = await pair.merge("strategy => 'manual'");
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "2" });
  const before = [await rowsOf("a"), await rowsOf("b")];
  for (const choice of ["local", "remote"])
    await expect(
      pair.a.query(
        `select steep_repl.resolve_conflict(min(conflict_id), $2, $3) from steep_repl.merge_conflicts where merge_id = $1`,
        [merge.merge_id, choice, pair.b.uri()],
      ),
    ).rejects.toMatchObject({ code: "23505", message: expect.stringContaining("t_u_key") });
  expect([await rowsOf("a"), await rowsOf("b")]).toEqual(before);
});

describe("a value that somebody else has by now", () => {
  test.each([true, false])(
    "keeps back its row and the partners of that, and no other (triggers skipped: %s)",
    async (skips) => {
      await pair.both(
        "create table t (id int primary key, u int unique deferrable initially deferred); grant all on t to merger",
      );
      await pair.a.query("insert into t select g, g from generate_series(1, 100) g");
      await pair.b.query(
        "insert into t select g, g + case when g % 2 = 1 then 1 else -1 end from generate_series(1, 100) g",
      );
      await pair.both("insert into t values (200, 200)");
      const merge = await (skips
        ? pair.merge("strategy => 'prefer-remote'")
        : pair.mergeAsMerger("strategy => 'prefer-remote'"));
      expect(merge).toMatchObject({ status: "complete", rows_merged: "100" });
      await pair.a.query("update t set u = 300 where id = 32; update t set u = 31 where id = 200");
      const undone = await undo(merge, skips ? undefined : "merger");
      expect(undone).toMatchObject({ status: "complete", rows_merged: "98", rows_left: "2" });
      const left = await leftOf(undone);
      expect(left.map((r) => r.key)).toEqual(expect.arrayContaining([{ id: "31" }, { id: "32" }]));
      const counts = await pair.a.query("select u from t group by u having count(*) > 1");
      expect(counts).toEqual([]);
    },
  );
});
