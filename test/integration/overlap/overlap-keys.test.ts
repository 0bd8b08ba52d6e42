import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { analyzeOverlap, brief } from "../../support/overlap.ts";
import { type Server, startServer } from "../../support/server.ts";

let a: Server;
let b: Server;

beforeAll(async () => {
  [a, b] = await Promise.all([
    startServer({ name: "keys-a" }),
    startServer({ name: "keys-b", identity: "peer" }),
  ]);
  await a.query("create extension steep_repl cascade");
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});
afterEach(async () => {
  await both("drop table if exists t cascade; drop type if exists pair");
});

const both = (sql: string) => Promise.all([a.query(sql), b.query(sql)]);
const compare = (args?: string) =>
  analyzeOverlap(a, b.uri(), {
    tables: ["public.t"],
    ...(args === undefined ? {} : { args }),
  });
const noKey = { code: "55000", message: "table public.t has no primary key" };

/** What looks like a key and lets rows in that it does not tell apart: tables with two such rows. */
const noKeys: readonly (readonly [what: string, sql: string])[] = [
  [
    "a unique index under NOT NULL NOT VALID",
    `create table t (id int, v text); create unique index on t (id);
     insert into t values (null, 'x'), (null, 'y'); alter table t add constraint nn not null id not valid`,
  ],
  [
    "one of several columns under NOT NULL NOT VALID",
    `create table t (id int not null, k int, v text); create unique index on t (id, k);
     insert into t values (1, null, 'x'), (1, null, 'y'); alter table t add constraint nn not null k not valid`,
  ],
  [
    "NOT NULL NOT VALID of a partitioned table",
    `create table t (id int, v text) partition by range (id); create table t_rest partition of t default;
     insert into t values (null, 'x'), (null, 'y'); create unique index on t (id); alter table t add constraint nn not null id not valid`,
  ],
  [
    "a unique index over columns that may be NULL",
    "create table t (id int unique, v text); insert into t values (null, 'x'), (null, 'y')",
  ],
  [
    "NULLS NOT DISTINCT over two columns that may be NULL",
    "create table t (id int, k int, v text, unique nulls not distinct (id, k)); insert into t values (null, 1, 'x'), (1, null, 'y')",
  ],
  [
    "a partial unique index",
    "create table t (id int not null, v text); create unique index on t (id) where v = 'x'; insert into t values (1, 'y'), (1, 'z')",
  ],
  [
    "a unique index over an expression",
    "create table t (id int not null, v text); create unique index on t ((id % 2)); insert into t values (1, 'y'), (2, 'z')",
  ],
  [
    "an index made ON ONLY a partitioned table",
    `create table t (id int not null, v text) partition by list (id); create table t_rest partition of t default;
     create unique index on only t (id); insert into t values (1, 'x'), (1, 'y')`,
  ],
  [
    "the equality of record images",
    `create type pair as (n numeric, m int); create table t (id pair not null, v text);
     create unique index on t (id record_image_ops); insert into t values ((1.0, 1), 'x'), ((1.00, 1), 'y')`,
  ],
];

describe("what lets two rows in that it does not tell apart is no key", () => {
  test.each(noKeys)("%s", async (_, sql) => {
    await both(sql);
    await expect(compare()).rejects.toMatchObject(noKey);
  });

  test("an index that was not built", async () => {
    await both("create table t (id int not null, v text); insert into t values (1, 'x'), (1, 'y')");
    for (const server of [a, b])
      await expect(
        server.query("create unique index concurrently t_id on t (id)"),
      ).rejects.toMatchObject({ code: "23505" });
    await expect(compare()).rejects.toMatchObject(noKey);
  });
});

/** Keys, each with a row that only here is, one that only the peer has, and one that is equal. */
const keys: readonly (readonly [what: string, table: string])[] = [
  ["a primary key", "create table t (id int primary key, v text)"],
  [
    "NOT NULL that was validated",
    `create table t (id int, v text); create unique index on t (id);
     alter table t add constraint nn not null id not valid; alter table t validate constraint nn`,
  ],
  [
    "NOT NULL NO INHERIT",
    "create table t (id int, v text, constraint nn not null id no inherit); create unique index on t (id)",
  ],
  ["NULLS NOT DISTINCT", "create table t (id int not null unique nulls not distinct, v text)"],
  ["a deferrable key", "create table t (id int primary key deferrable initially deferred, v text)"],
  [
    "included columns",
    "create table t (id int not null, v text); create unique index on t (id) include (v)",
  ],
  [
    "an operator class for patterns",
    "create table t (id text not null, v text); create unique index on t (id text_pattern_ops)",
  ],
  [
    "a temporal key",
    "create table t (id int4range, valid daterange default '[2020-01-01,2021-01-01)', v text, primary key (id, valid without overlaps))",
  ],
];

describe("what tells rows apart is a key", () => {
  test.each(keys)("%s", async (_, sql) => {
    await both(sql);
    const value = (n: number) => (sql.includes("int4range") ? `'[${n},${n}]'` : `'${n}'`);
    const rows = (...numbers: number[]) =>
      `insert into t (id, v) values ${numbers.map((n) => `(${value(n)}, 'x')`).join(", ")}`;
    await a.query(rows(1, 2));
    await b.query(rows(2, 3, 4));
    expect((await compare()).map(brief)).toEqual([[1, 2, 1, 0, 0]]);
  });
});

test("NULLs under a NOT NULL that only one side has validated are found", async () => {
  const table = (values: string) =>
    `create table t (id int, v text); create unique index on t (id); insert into t values ${values};
     alter table t add constraint nn not null id not valid`;
  await both(table("(1, 'x')"));
  await a.query("alter table t validate constraint nn");
  expect((await compare()).map(brief)).toEqual([[0, 0, 1, 0, 0]]);
  await b.query("drop table t");
  await b.query(table("(1, 'x'), (null, 'y')"));
  await expect(compare()).rejects.toMatchObject({
    code: "23505",
    message: "peer: columns (id) do not identify the rows of table public.t",
  });
});

test("doubles that a deferrable key has yet to see are found", async () => {
  await both(
    "create table t (id int primary key deferrable initially deferred, v text); insert into t values (1, 'x')",
  );
  const session = await a.connect();
  await session.query("begin; insert into t values (1, 'y')");
  await expect(
    session.query("select * from steep_repl.analyze_overlap($1, '{public.t}')", [b.uri()]),
  ).rejects.toMatchObject({
    code: "23505",
    message: "columns (id) do not identify the rows of table public.t",
  });
  await session.end();
});
