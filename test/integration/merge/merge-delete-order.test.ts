import { describe, expect, test } from "vitest";
import { endOfMerge, type MergeRow } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { createRandom, type Random } from "../../support/random.ts";

/* Rows that refer to each other, and are to be deleted: in which order, and which of them cannot be. */

let pair: MergePair;
setMergePair("merge-delete-order", (p) => {
  pair = p;
});

const n = 12_000;

const undo = async (merge: MergeRow, how: "merge" | "mergeAsMerger" = "merge") => {
  const [row] = await pair.a.query<MergeRow>(
    "select * from steep_repl.undo_merge($1, peer => $2)",
    [merge.merge_id, how === "merge" ? pair.b.uri() : pair.asMerger],
    how === "merge" ? {} : { user: "merger" },
  );
  if (!row) throw new Error("no undo");
  return endOfMerge(pair.a, row);
};

/** Whom row i of n refers to, and by a second foreign key. */
const shapes = [
  ["a chain to the row before", "nullif(i - 1, 0)", "null::int"],
  ["a chain to the row after", `nullif(i + 1, ${n + 1})`, "null::int"],
  // 7,919 and n have no divisor in common, so that it goes through all rows
  [
    "a chain in no order",
    `nullif(1 + (i::bigint - 1 + 7919) % ${n}, 1 + 7919 * 7919 % ${n})`,
    "null::int",
  ],
  [
    "a chain with a leaf at each link",
    "nullif(case when i % 2 = 0 then i - 1 else i - 2 end, -1)",
    "null::int",
  ],
  ["two chains at once", `nullif(i + 1, ${n + 1})`, `case when i + 2 <= ${n} then i + 2 end`],
  ["few parents of many", `nullif(1 + i / 1000, i)`, `case when i > 10 then i - i % 7 end`],
] as const;

describe.each(shapes)("%s", (name, first, second) => {
  // the role whose deletes fire triggers
  const roles =
    name.includes("after") || name.includes("at once")
      ? (["merge", "mergeAsMerger"] as const)
      : (["merge"] as const);
  test.each(roles)("is deleted whole: %s", async (merge) => {
    await pair.both(
      `create table t (id int primary key, one int, two int);
       alter table t add foreign key (one) references t deferrable, add foreign key (two) references t deferrable;
       create index on t (one); create index on t (two); grant select, insert, update, delete on t to merger`,
    );
    await pair.b.query(
      `begin; set constraints all deferred;
       insert into t select i, ${first}, ${second} from generate_series(1, ${n}) i; commit; analyze t`,
    );
    const row = await pair[merge]("remote_only => 'delete'");
    expect(row).toMatchObject({
      ...{ error_message: null, status: "complete", rows_left: "0", rows_merged: `${n}` },
    });
    expect(await pair.b.query("select count(*)::int as n from t")).toEqual([{ n: 0 }]);
  });
});

/** Rows as `table:id`, and what each refers to. */
type Graph = ReadonlyMap<string, readonly string[]>;

function randomGraph(random: Random, tables: readonly string[], references: number): Graph {
  const rows = tables.flatMap((t) =>
    Array.from({ length: random.int(1, 12) }, (_, i) => `${t}:${i + 1}`),
  );
  const left = Array.from({ length: random.int(0, 2) }, (_, i) => `c:${i + 1}`);
  return new Map(
    [...rows, ...left].map((row) => [
      row,
      Array.from({ length: references }, () => random.pick(rows)).filter(
        () => row.startsWith("c:") || random.int(0, 2) > 0,
      ),
    ]),
  );
}

/** What stays, if rows of c do: all that something refers to that stays. */
function staying(graph: Graph): readonly string[] {
  const stays = new Set<string>();
  const waiting = [...graph.keys()].filter((row) => row.startsWith("c:"));
  for (let row = waiting.pop(); row !== undefined; row = waiting.pop()) {
    if (stays.has(row)) continue;
    stays.add(row);
    waiting.push(...(graph.get(row) ?? []));
  }
  return [...stays].sort();
}

describe("rows that refer to each other anyhow, and to which rows refer that are left out", () => {
  const random = createRandom();
  const cases = [
    { tables: ["a"], merge: "merge" },
    { tables: ["a"], merge: "mergeAsMerger" },
    { tables: ["a", "b"], merge: "merge" },
  ] as const;
  test.each(cases)("$tables, $merge", async ({ tables, merge }) => {
    const columns = ["a1", "a2", ...(tables.length > 1 ? ["b1"] : [])];
    for (let i = 0; i < 4; i++) {
      const graph = randomGraph(random, tables, columns.length);
      const all = [...tables, "c"];
      await pair.both(
        `drop table if exists a, b, c cascade;
         ${all.map((t) => `create table ${t} (id int primary key, ${columns.map((c) => `${c} int`).join(", ")})`).join("; ")};
         ${all
           .flatMap((t) =>
             columns.map(
               (c) =>
                 `alter table ${t} add foreign key (${c}) references ${c.charAt(0)} deferrable`,
             ),
           )
           .join("; ")};
         grant select, insert, update, delete on ${all.join(", ")} to merger`,
      );
      const inserts = [...graph].map(([row, references]) => {
        const [table, id] = row.split(":");
        const values = columns.map(
          (c) =>
            references.find((r, at) => r.startsWith(c.charAt(0)) && columns.indexOf(c) <= at + 1) ??
            "",
        );
        return `insert into ${table} values (${[id, ...values.map((v) => v.split(":")[1] ?? "null")].join(", ")})`;
      });
      await pair.b.query(`begin; set constraints all deferred; ${inserts.join("; ")}; commit`);
      const stored = await storedGraph(all, columns);
      const row = await pair[merge]("remote_only => 'delete'", {
        tables: tables.map((t) => `public.${t}`),
      });
      const left = (await storedGraph(all, columns)).keys();
      expect({ graph: [...stored], ...row, left: [...left].sort() }).toMatchObject({
        ...{ error_message: null, status: "complete", left: staying(stored) },
      });
    }
  });
});

/** What the peer has. */
async function storedGraph(tables: readonly string[], columns: readonly string[]): Promise<Graph> {
  const rows = await pair.b.query<{ row: string; refers: string[] }>(
    tables
      .map(
        (t) =>
          `select '${t}:' || id as row, array_remove(array[${columns.map((c) => `'${c.charAt(0)}:' || ${c}`).join(", ")}], null) as refers from ${t}`,
      )
      .join(" union all "),
  );
  return new Map(rows.map(({ row, refers }) => [row, refers]));
}

test("a row of a circle is kept to which one refers that has to stay, and what that refers to", async () => {
  await pair.both(
    `create table a (id int primary key, b int); create table b (id int primary key, a int references a);
     alter table a add foreign key (b) references b; create table c (id int primary key, b int references b)`,
  );
  await pair.b.query(
    `insert into a values (1, null), (2, null); insert into b values (1, 1), (2, 2); update a set b = id; insert into c values (1, 2)`,
  );
  const merge = await pair.merge("remote_only => 'delete'", { tables: ["public.a", "public.b"] });
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "2" });
  expect(
    await pair.a.query(
      "select table_name, key ->> 'id' as id, reason from steep_repl.merge_rows_left($1) order by 1",
      [merge.merge_id],
    ),
  ).toEqual([
    { table_name: "public.a", id: "2", reason: expect.stringContaining("refer to it by") },
    { table_name: "public.b", id: "2", reason: expect.stringContaining("refer to it by") },
  ]);
  expect(await pair.b.query("select a.id from a join b on b.a = a.id")).toEqual([{ id: 2 }]);
});

describe("rows that refer to each other in a ring", () => {
  test.each([3, 60, 300, 6000])("of %d go together, after what hangs on them", async (length) => {
    await pair.both(
      "create table t (id int primary key, r int); alter table t add foreign key (r) references t deferrable initially deferred; create index on t (r)",
    );
    // a ring, a chain that leads to it, and one that it leads to
    await pair.b.query(
      `insert into t select i, case when i < ${length} then i + 1 else 1 end from generate_series(1, ${length}) i;
       insert into t select i, i - 1 from generate_series(${length + 1}, ${length + 100}) i;
       insert into t values (0, null)`,
    );
    await pair.both("alter table t add s int references t");
    await pair.b.query("update t set s = 0 where id = 1");
    const merge = await pair.merge("remote_only => 'delete'");
    expect(merge).toMatchObject({
      ...{ error_message: null, status: "complete", rows_left: "0" },
      rows_merged: `${length + 101}`,
    });
    expect(await undo(merge)).toMatchObject({
      ...{ error_message: null, status: "complete", rows_left: "0" },
    });
    expect(await pair.b.query("select count(*)::int as n from t")).toEqual([{ n: length + 101 }]);
  });

  test.each([
    [3, "0"],
    [300, "300"],
  ])("of %d, by a role whose triggers fire: %s are left", async (length, left) => {
    await pair.both(
      "create table t (id int primary key, r int references t deferrable); grant select, insert, update, delete on t to merger",
    );
    await pair.b.query(
      `begin; set constraints all deferred;
       insert into t select i, case when i < ${length} then i + 1 else 1 end from generate_series(1, ${length}) i; commit`,
    );
    const merge = await pair.mergeAsMerger("remote_only => 'delete'");
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: left });
    if (left !== "0") {
      const [row] = await pair.a.query<{ reason: string }>(
        "select reason from steep_repl.merge_rows_left($1) limit 1",
        [merge.merge_id],
      );
      expect(row?.reason).toMatch(/refer to each other in a ring/);
    }
    await undo(merge, "mergeAsMerger");
    expect(await pair.b.query("select count(*)::int as n from t")).toEqual([{ n: length }]);
  });
});

describe("a row that is refused keeps those that it refers to", () => {
  const functions = {
    raises: "raise 'no'",
    "answers nothing": "return null",
  };
  test.each(
    Object.entries(functions).flatMap(([name, body]) =>
      (["merge", "mergeAsMerger"] as const).map((merge) => [name, body, merge] as const),
    ),
  )("a trigger %s (%s), by %s", async (_, body, merge) => {
    await pair.both(
      `create table t (id int primary key, r int references t on delete set null, v int);
       create function refuse() returns trigger language plpgsql as $$ begin if old.id = 2 then ${body}; end if; return old; end $$;
       create trigger refuse before delete on t for each row execute function refuse();
       alter table t enable always trigger refuse; grant select, insert, update, delete on t to merger`,
    );
    await pair.b.query("insert into t values (1, null, 0), (2, 1, 0), (3, 2, 0), (4, null, 0)");
    const row = await pair[merge]("remote_only => 'delete'");
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "2" });
    expect(await pair.b.query("select id, r from t order by id")).toEqual([
      { id: 1, r: null },
      { id: 2, r: 1 },
    ]);
    expect(await undo(row, merge)).toMatchObject({ status: "complete" });
    expect(await pair.b.query("select count(*)::int as n from t where r is not null")).toEqual([
      { n: 2 },
    ]);
  });
});

test("what refers to a circle from outside goes before it", async () => {
  await pair.both(
    `create table t0 (id int primary key, r int); create table t2 (id int primary key, r int references t0);
     alter table t0 add foreign key (r) references t2; create table t1 (id int primary key, r int references t0)`,
  );
  await pair.b.query("insert into t0 values (0), (5); insert into t1 values (6, 5)");
  const merge = await pair.merge("remote_only => 'delete'");
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  expect(await pair.b.query("select from t0")).toEqual([]);
});

test("in a circle, rows that a locked one refers to stay until it is let go of", async () => {
  await pair.both(
    `create table a (id int primary key, r int); create table e (id int primary key, r int references a, v int);
     alter table a add foreign key (r) references e`,
  );
  await pair.b.query(
    "insert into a values (1), (7), (8); insert into e values (1, 7), (2, 1), (3, 7)",
  );
  const holder = await pair.b.connect();
  await holder.query("begin; select from e where id = 2 for key share");
  const merge = await pair.merge("remote_only => 'delete'").finally(() => holder.end());
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "2" });
  expect(await pair.b.query("select a.id, e.id as e from a join e on e.r = a.id")).toEqual([
    { id: 1, e: 2 },
  ]);
  expect(await pair.merge("remote_only => 'delete'")).toMatchObject({ rows_left: "0" });
  expect(await pair.b.query("select from a")).toEqual([]);
});
