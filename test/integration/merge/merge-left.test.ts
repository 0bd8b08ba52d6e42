import { describe, expect, test } from "vitest";
import {
  auditOf,
  endOfMerge,
  type MergeRow,
  mergeRow,
  runMerge,
  startMerge,
} from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Rows that cannot be written: they alone are left, and listed with the reason. */

const lockTimeout = 300;
/** To wait for each row would take minutes. */
const boundMs = 28_000;
let pair: MergePair;
setMergePair(
  "merge-left",
  (p) => {
    pair = p;
  },
  { "steep_repl.lock_timeout": `${lockTimeout}ms` },
);

const leftOf = (merge: MergeRow) =>
  pair.a.query(
    "select table_name, key ->> 'id' as id, reason from steep_repl.merge_rows_left($1) order by 1, (key ->> 'id')::int",
    [merge.merge_id],
  );

const ids = async (side: "a" | "b", where: string) =>
  (await pair[side].query<{ id: number }>(`select id from t where ${where} order by id`)).map(
    (r) => r.id,
  );

/** Rows on one side only. */
async function fill(side: "a" | "b", rows = 3000): Promise<void> {
  await pair.both("create table t (id int primary key, v text, n int)");
  await pair[side].query("insert into t select g, 'v' || g, g from generate_series(1, $1) g", [
    rows,
  ]);
}

const directions = [
  ["here", "b", "a"],
  ["at the peer", "a", "b"],
] as const;

describe.each(directions)("rows that come %s", (_, from, to) => {
  // on both sides alike, else the tables differ
  const refuse = (condition: string, code: string) =>
    pair.both(
      `create function refuse() returns trigger language plpgsql as $$ begin
         raise exception 'row % is not wanted', new.id using errcode = '${code}'; end $$;
       create trigger refuse before insert on t for each row when (${condition}) execute function refuse();
       alter table t enable always trigger refuse`,
    );

  test.each(["check_violation", "unique_violation", "exclusion_violation", "not_null_violation"])(
    "but for those that raise %s",
    async (code) => {
      await fill(from);
      await refuse("new.id in (1, 77, 1234, 1235, 3000)", code);
      const merge = await pair.merge();
      expect(merge).toMatchObject({
        ...{ error_message: null, status: "complete", rows_merged: "2995", rows_left: "5" },
      });
      const refused = [1, 77, 1234, 1235, 3000];
      expect(await leftOf(merge)).toEqual(
        refused.map((id) => ({
          table_name: "public.t",
          id: `${id}`,
          reason: `${to === "b" ? "peer: " : ""}row ${id} is not wanted`,
        })),
      );
      expect(await ids(to, "true")).toEqual(
        Array.from({ length: 3000 }, (__, i) => i + 1).filter((id) => !refused.includes(id)),
      );
      expect(await auditOf(pair.a, merge)).toHaveLength(2995);
    },
  );

  test.each([
    ["a check", "alter table t add check (wanted(id))"],
    ["a unique index", "create unique index on t (wanted(id), id)"],
    [
      "a trigger",
      `create function of_trigger() returns trigger language plpgsql as 'begin perform public.wanted(new.id); return new; end';
       create trigger x before insert on t for each row execute function of_trigger();
       alter table t enable always trigger x`,
    ],
  ])("and a function of %s relies on search_path: the job says so, and goes on", async (_, use) => {
    await pair.both(
      `create table t (id int primary key, v text, n int); create table unwanted (id int primary key);
       create function wanted(id int) returns boolean immutable language plpgsql
         as 'begin return not exists (select from unwanted u where u.id = wanted.id); end';
       ${use}`,
    );
    await pair[from].query("insert into t select g from generate_series(1, 100) g");
    const merge = await pair.merge("local_only => 'push'");
    expect(merge).toMatchObject({
      ...{ status: "failed", error_sqlstate: "42P01", rows_merged: "0" },
      error_message: expect.stringMatching(
        /relation "unwanted" does not exist: .*function public\.wanted\(integer\) line 1/,
      ),
      error_hint: expect.stringContaining("ALTER FUNCTION ... SET search_path"),
    });
    await pair.both("alter function wanted set search_path = public");
    await pair.a.query("select steep_repl.retry_operation($1, $2)", [
      merge.operation_id,
      pair.b.uri(),
    ]);
    expect(await endOfMerge(pair.a, merge)).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "100" },
    });
  });

  test("and are suppressed by a trigger, but for those", async () => {
    await fill(from);
    await pair.both(
      `create function suppress() returns trigger language plpgsql as 'begin return null; end';
       create trigger suppress before insert on t for each row when (new.id = 99) execute function suppress();
       alter table t enable always trigger suppress`,
    );
    const merge = await pair.merge();
    expect(merge).toMatchObject({ status: "complete", rows_merged: "2999", rows_left: "1" });
    expect(await leftOf(merge)).toMatchObject([{ id: "99", reason: "0 of 1 rows were written" }]);
  });

  test("and get other keys by a trigger, but for those", async () => {
    await fill(from);
    await pair.both(
      `create function move() returns trigger language plpgsql as 'begin new.id := new.id + 10000; return new; end';
       create trigger move before insert on t for each row when (new.id = 99) execute function move();
       alter table t enable always trigger move`,
    );
    const merge = await pair.merge();
    expect(merge).toMatchObject({ status: "complete", rows_merged: "2999", rows_left: "1" });
    expect(await leftOf(merge)).toMatchObject([
      { id: "99", reason: "rows have other keys than they were written with" },
    ]);
    expect(await ids(to, "id >= 10000 or id = 99")).toEqual([]);
  });
});

/** Rows that both sides have, of which 3,000 differ. */
async function differ(): Promise<void> {
  await fill("a");
  await pair.b.query("insert into t select g, 'other', g from generate_series(1, 3000) g");
}

describe.each([
  ["here", "a", "prefer-remote"],
  ["at the peer", "b", "prefer-local"],
] as const)("rows that are locked %s", (_, side, strategy) => {
  test("are left, in a time that does not depend on how many there are", async () => {
    await differ();
    const session = await pair[side].connect();
    await session.query("begin; select from t where id % 30 = 0 for update");
    const began = performance.now();
    const merge = await pair.merge(`strategy => '${strategy}'`);
    expect(performance.now() - began).toBeLessThan(boundMs);
    expect(merge).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "2900", rows_left: "100" },
    });
    const left = await leftOf(merge);
    expect(left).toHaveLength(100);
    expect(left[0]).toEqual({
      table_name: "public.t",
      id: "30",
      reason: "locked by another transaction",
    });
    await session.query("rollback");
    await session.end();
  });

  test("are merged once they are let go of", async () => {
    await differ();
    const session = await pair[side].connect();
    await session.query("begin; select from t where id % 30 = 0 for update");
    const merge = await startMerge(pair.a, pair.b.uri(), { args: `strategy => '${strategy}'` });
    await waitUntil(
      () =>
        pair.a.query("select rows_merged::int as n from steep_repl.merges where merge_id = $1", [
          merge.merge_id,
        ]),
      (rows) => rows[0]?.n === 2900,
      "the other rows are merged",
    );
    await session.query("rollback");
    expect(await endOfMerge(pair.a, merge)).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "3000", rows_left: "0" },
    });
    expect(await leftOf(merge)).toEqual([]);
    await session.end();
  });
});

describe.each(directions)("a table that is locked %s", (_, from, to) => {
  test("keeps back its rows, for a bounded time", async () => {
    await fill(from, 600);
    const session = await pair[to].connect();
    await session.query("begin; lock table t in share mode");
    const began = performance.now();
    const merge = await pair.merge();
    expect(performance.now() - began).toBeLessThan(boundMs);
    expect(merge).toMatchObject({ status: "complete", rows_merged: "0", rows_left: "600" });
    expect(new Set((await leftOf(merge)).map((r) => r.reason))).toEqual(
      new Set([`${to === "b" ? "peer: " : ""}canceling statement due to lock timeout`]),
    );
    await session.query("rollback");
    await session.end();
  });
});

test("a key that another transaction is inserting is waited for once, not once for each row", async () => {
  await fill("b", 1000);
  const session = await pair.a.connect();
  await session.query("begin; insert into t select g, 'mine' from generate_series(1, 1000, 100) g");
  const began = performance.now();
  const merge = await pair.merge();
  expect(performance.now() - began).toBeLessThan(boundMs);
  expect(merge.status).toBe("complete");
  expect(Number(merge.rows_merged) + Number(merge.rows_left)).toBe(1000);
  expect(Number(merge.rows_left)).toBeGreaterThanOrEqual(10);
  await session.query("rollback");
  await session.end();
});

test.each([
  ["by an error of its own", "raise exception 'thirteen is refused'"],
  ["by a division by zero", "new.v := (1 / 0)::text"],
])("a row that a trigger refuses %s is left, and the others are merged", async (_, does) => {
  await pair.both(
    `create table t (id int primary key, v text);
     create function refuse() returns trigger language plpgsql as $$ begin ${does}; return new; end $$;
     create trigger refuse before insert on t for each row when (new.id = 13) execute function refuse();
     alter table t enable always trigger refuse`,
  );
  await pair.a.query(
    "set session_replication_role = replica; alter table t disable trigger refuse; insert into t select g, 'v' from generate_series(1, 100) g; alter table t enable always trigger refuse",
  );
  const merge = await pair.merge();
  expect(merge).toMatchObject({ status: "complete", rows_merged: "99", rows_left: "1" });
  expect((await leftOf(merge)).map((r) => r.id)).toEqual(["13"]);
});

test("conflicts of strategy manual are listed as well, and a later merge of them lists none", async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.a.query("insert into t values (1, 'a'), (2, 'a')");
  await pair.b.query("insert into t values (1, 'b'), (2, 'b')");
  const merge = await pair.merge("strategy => 'manual'");
  expect((await leftOf(merge)).map((r) => r.id)).toEqual(["1", "2"]);
  // what another one finds again, the first has left all the same
  const again = await pair.merge("strategy => 'manual'");
  for (const row of [merge, again])
    expect((await leftOf(row)).map((r) => r.id)).toEqual(["1", "2"]);
  const last = await pair.merge();
  expect(await leftOf(last)).toEqual([]);
});

test("only members of the role that merged see what was left", async () => {
  await fill("b");
  await pair.both("grant select, insert, update, delete on t to merger");
  await pair.a.query(
    "create role stranger login; grant usage on schema steep_repl to stranger; grant select on all tables in schema steep_repl to stranger",
  );
  const merge = await pair.merge();
  await expect(
    pair.a.query("select * from steep_repl.merge_rows_left($1)", [merge.merge_id], {
      user: "stranger",
    }),
  ).rejects.toMatchObject({ code: "42704" });
  // sees the merge, and must not be told that it has left nothing
  await pair.a.query("grant pg_monitor to stranger");
  await expect(
    pair.a.query("select * from steep_repl.merge_rows_left($1)", [merge.merge_id], {
      user: "stranger",
    }),
  ).rejects.toMatchObject({ code: "42501" });
  await pair.a.query("drop owned by stranger; drop role stranger");
});

test("a row that a replicating pair keeps changing does not hold back its batch", async () => {
  for (const server of [pair.a, pair.b])
    await server.query(
      `create table t (id int primary key, v text);
       create publication p for table t; select pg_replication_origin_create('apart') where not exists (select from pg_replication_origin where roname = 'apart')`,
    );
  const apart = (side: "a" | "b", sql: string) =>
    pair[side].query(`select pg_replication_origin_session_setup('apart'); ${sql}`);
  const insert = (v: string) => `insert into t select g, '${v}' from generate_series(1, 2000) g`;
  await apart("a", insert("a"));
  await apart("b", insert("b"));
  for (const [name, at, to] of [
    ["from_b", pair.a, pair.b],
    ["from_a", pair.b, pair.a],
  ] as const)
    await at.query(
      `create subscription ${name} connection '${to.uri()}' publication p with (copy_data = false, origin = none)`,
    );
  let stop = false;
  const writer = (async () => {
    const session = await pair.a.connect();
    for (let i = 0; !stop; i++) await session.query(`update t set v = 'hot ${i}' where id = 1000`);
    await session.end();
  })();
  try {
    const merge = await runMerge(pair.a, pair.b.uri());
    expect(merge).toMatchObject({ error_message: null, status: "complete" });
    expect(Number(merge.rows_left)).toBeLessThanOrEqual(1);
    expect(await ids("b", "v = 'a'")).toHaveLength(1999);
  } finally {
    stop = true;
    await writer;
    for (const [name, at] of [
      ["from_b", pair.a],
      ["from_a", pair.b],
    ] as const)
      await at.query(`drop subscription ${name}`);
    for (const server of [pair.a, pair.b])
      await server.query("drop publication p; select pg_replication_origin_drop('apart')");
  }
});

test("a column that comes while rows are written is warned about, since rows to come lack it", async () => {
  await fill("b", 10);
  await pair.both("create table u (id int primary key, v text); insert into u values (1, 'same')");
  await pair.b.query("update u set v = 'b'");
  const session = await pair.a.connect();
  await session.query("begin; select from u for update");
  const merge = await startMerge(pair.a, pair.b.uri(), { args: "strategy => 'prefer-remote'" });
  await waitUntil(
    () => mergeRow(pair.a, merge),
    (row) => row?.rows_merged === "10",
    "the rows of t are merged",
  );
  await pair.both("alter table t add price int");
  await session.end();
  const row = await endOfMerge(pair.a, merge);
  expect(row).toMatchObject({ error_message: null, status: "complete" });
  expect(row.warnings?.join("\n")).toContain(
    "tables were changed while they were merged: public.t",
  );
});
