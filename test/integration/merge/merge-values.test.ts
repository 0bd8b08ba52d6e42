import { describe, expect, test } from "vitest";
import { hostileNames } from "../../support/hostile-names.ts";
import { actions, auditOf, found, type Image, imagesOf, sorted } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { builtinValues, builtinValuesOf } from "../../support/type-values.ts";

/* What is merged is exactly what was there, down to the text of each value. */

let pair: MergePair;
setMergePair("merge-values", (p) => {
  pair = p;
});

/** The rows of FROM items on both sides, which have to be the same. */
async function sameRows(...items: readonly string[]): Promise<Image[][]> {
  const [here, there] = await Promise.all([imagesOf(pair.a, items), imagesOf(pair.b, items)]);
  expect(here?.map(sorted)).toEqual(there?.map(sorted));
  return here ?? [];
}

/** Types whose largest values are too much for one row of a table with all others. */
const mergeable = async () =>
  Object.entries(await builtinValuesOf(pair.a)).map(
    ([type, values]) => [type, values.filter((v) => v.length < 100_000)] as const,
  );
const typeName = (type: string) => ({ char: '"char"', bit: "bit(1)" })[type] ?? type;

describe("values", () => {
  test.each([
    ["lacks", "select"],
    ["has", "create extension if not exists steep_repl cascade"],
  ])(
    "of every type arrive with the same text, and so are they in the audit log, where the peer %s our functions",
    async (_, prepare) => {
      await pair.b.query(prepare);
      const kinds = await mergeable();
      const make = kinds
        .map(
          ([type], i) =>
            `create table t${i} (id int primary key, v ${typeName(type)}, w ${typeName(type)}[], side text)`,
        )
        .join(";");
      await pair.both(make);
      const rows = (odd: boolean, offset = 0) =>
        kinds
          .map(([type, values], i) => {
            const list = values
              .map((value, n) => [n + 1, value] as const)
              .filter(([n]) => (n % 2 === 1) === odd)
              .map(([n, value]) => {
                const literal = `E'${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'::${typeName(type)}`;
                return `(${n + offset}, ${literal}, array[${literal}, null], '${odd}')`;
              });
            return list.length > 0 ? `insert into t${i} values ${list.join(", ")}` : "";
          })
          .join(";");
      // odd ones here and even ones there; and some that both sides have, with other values
      await pair.a.query(`${rows(true)};${rows(true, 99)}`);
      await pair.b.query(`${rows(false)};${rows(false, 100)}`);
      const names = kinds.map((_, i) => `public.t${i}`);
      const before = await imagesOf(pair.a, names);
      const theirs = await imagesOf(pair.b, names);
      const row = await pair.merge();
      expect(row).toMatchObject({ error_message: null, status: "complete", unsettled_count: "0" });
      const after = await sameRows(...names);
      const audit = await auditOf(pair.a, row);
      for (const [i, name] of names.entries()) {
        const ids = new Set(before[i]?.map((image) => image.id));
        const remote = theirs[i]?.filter((image) => !ids.has(image.id ?? null)) ?? [];
        expect(sorted(after[i] ?? []), kinds[i]?.[0]).toEqual(
          sorted([...(before[i] ?? []), ...remote]),
        );
        for (const entry of audit.filter((e) => e.table_name === name)) {
          const of = (images: Image[] | undefined) =>
            images?.find((image) => image.id === entry.key.id) ?? null;
          expect(entry, kinds[i]?.[0]).toMatchObject({
            local_row: of(before[i]),
            remote_row: of(theirs[i]),
          });
        }
      }
      await pair.b.query("drop extension if exists steep_repl");
    },
  );

  test("of a megabyte arrive", async () => {
    await pair.both("create table t (id int primary key, v text, b bytea)");
    await pair.a.query(
      `insert into t select 1, repeat(E'\\\\"ä\n', 300000), decode(repeat('00ff5c', 400000), 'hex');
       insert into t select g, repeat('y', 100000) from generate_series(2, 30) g`,
    );
    await pair.b.query("insert into t values (1, 'short')");
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "30",
    });
    const [rows] = await sameRows("public.t");
    expect(rows?.[0]?.v?.length).toBe(1_200_000);
  });

  test("of types of one's own arrive: NULLs within, nested, in domains and arrays", async () => {
    await pair.b.query("create type public.unused as enum ('x')");
    await pair.both(
      `create type color as enum ('red', 'a "b"', ',');
       create type point3 as (x int, y text, c color);
       create type nested as (p point3, ps point3[], n int);
       create domain short as char(3); create domain positive as numeric(10,2) check (value > 0);
       create domain pairs as point3[];
       create table t (id int primary key, c color, cs color[], p point3, n nested, s short, d positive, ds pairs,
         m int[], t text[], fixed char(5)[], bits bit(3)[])`,
    );
    await pair.a.query(
      `insert into t (id, p) values (1, row(null, null, null)), (2, row(1, null, null)), (3, null);
       insert into t (id, n) values (4, row(row(1, 'a,"b"\\', ','), array[row(null, '', 'red')::point3, null], null));
       insert into t values (5, 'a "b"', '{red,NULL,","}', row(1, '(x)', 'red'), null, 'ab', 1.5, array[row(1, null, 'red')::point3],
         '[2:3][-1:0]={{1,2},{3,NULL}}', '{"",NULL,"NULL","a\\"b","{}"}', '{abcde,a}', '{101,111}');
       insert into t (id, m, t) values (6, '{}', '{{a,b},{c,d}}')`,
    );
    await pair.b.query("insert into t (id, c, m) values (5, 'red', '{1}'), (2, ',', null)");
    const [before] = await imagesOf(pair.a, ["public.t"]);
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "6",
    });
    const [rows] = await sameRows("public.t");
    expect(sorted(rows ?? [])).toEqual(sorted(before ?? []));
    const nulls = `select array(select id from t where p is null and num_nulls(p) = 1 order by 1) as absent`;
    expect(await pair.b.query(nulls)).toEqual(await pair.a.query(nulls));
  });
});

describe("keys", () => {
  test.each([
    ["bigint beyond 2^53", "id bigint", ["9007199254740992", "9007199254740993"]],
    [
      "text that sorts differently elsewhere",
      "id text",
      ["a", "B", "ä", "_", '"', "\\", "a b", ""],
    ],
    ["char(n)", "id char(4)", ["a", "ab", "abcd"]],
    ["bytea", "id bytea", ["\\x", "\\x00", "\\x5c22"]],
    ["numeric", "id numeric", ["1.50", "-0.001", "1e20", "NaN"]],
    ["uuid", "id uuid", Object.values(builtinValues.uuid ?? [])],
    ["timestamptz", "id timestamptz", ["infinity", "2024-03-31 01:30+00"]],
    ["an array", "id text[]", ["{a,NULL}", "[2:2]={a}", "{{a}}", "{}"]],
    ["jsonb", "id jsonb", ["1", '"1"', '{"a": "\\""}', "null"]],
    ["bit(n)", "id bit(3)", ["101", "111"]],
    ["an enum", "id color", ["red", "it's"]],
    ["a domain", "id code", ["ab", "b"]],
    ["a composite type", "id xy", ["(1,2)", "(1,)", "(,)"]],
    ["a range", "id int4range", ["[1,5)", "empty", "(,)"]],
    ["boolean", "id boolean", ["t", "f"]],
  ])("of %s identify rows that go, come and change", async (_, column, values) => {
    await pair.both(
      `create type color as enum ('red', 'it''s'); create domain code as varchar(2); create type xy as (x int, y int);
       create table t (${column} primary key, v text)`,
    );
    const insert = (v: string) =>
      `insert into t select u.k, '${v}' from unnest($1::text[]) with ordinality w(k, n), lateral (select w.k::${column.slice(3)} as k) u where `;
    await pair.a.query(`${insert("here")} n <> 2`, [values]);
    await pair.b.query(`${insert("there")} n <> 1`, [values]);
    const row = await pair.merge("strategy => 'prefer-remote'");
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    expect(found(row)).toEqual([1, 1, 0, values.length - 2, 0]);
    const [rows] = await sameRows("public.t");
    expect(rows?.filter((r) => r.v === "here")).toHaveLength(1);
    expect(rows).toHaveLength(values.length);
    expect((await auditOf(pair.a, row)).map((r) => r.key.id).sort()).toEqual(
      (rows ?? []).map((r) => r.id).sort(),
    );
    expect(await pair.merge()).toMatchObject({ rows_merged: "0", status: "complete" });
    expect(await pair.merge("remote_only => 'delete'")).toMatchObject({ rows_merged: "0" });
    await pair.a.query("delete from t");
    expect(await pair.merge("remote_only => 'delete'")).toMatchObject({
      rows_merged: String(values.length),
    });
    expect(await sameRows("public.t")).toEqual([[]]);
  });

  test("of several columns, and tables that have nothing else", async () => {
    await pair.both(
      `create table t (a int, b text, c date, v int, primary key (c, a, b)); create table k (a int, b text, primary key (a, b))`,
    );
    await pair.a.query(
      "insert into t values (1, 'x', '2024-01-01', 1), (1, 'y', '2024-01-01', 2); insert into k values (1, 'x'), (2, 'y')",
    );
    await pair.b.query(
      "insert into t values (1, 'x', '2024-01-01', 9), (1, 'x', '2024-01-02', 3); insert into k values (1, 'x'), (2, 'z')",
    );
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "5",
    });
    const [t, k] = await sameRows("public.t", "public.k");
    expect(t?.map((r) => r.v).sort()).toEqual(["1", "2", "3"]);
    expect(k).toHaveLength(3);
  });

  test("that the caller names, and a unique index where there is no primary key", async () => {
    await pair.both(
      "create table k (x int, y int, v text); create table u (id int not null unique, v text)",
    );
    await pair.a.query(
      "insert into k values (1, 1, 'a'), (1, 2, 'b'); insert into u values (1, 'a')",
    );
    await pair.b.query(
      "insert into k values (1, 1, 'c'), (2, 1, 'd'); insert into u values (2, 'b')",
    );
    expect(await pair.merge(`primary_keys => '{"public.k": ["y", "x"]}'`)).toMatchObject({
      ...{
        error_message: null,
        status: "complete",
        rows_merged: "5",
        tables: ["public.k", "public.u"],
      },
    });
    const [k] = await sameRows("public.k", "public.u");
    expect(k?.map((r) => `${r.x}${r.y}${r.v}`).sort()).toEqual(["11a", "12b", "21d"]);
  });
});

describe("tables", () => {
  test("and columns of hostile names are merged", async () => {
    const idents = hostileNames.map((name) => `"${name.replaceAll('"', '""')}"`);
    for (const ident of idents) {
      await pair.both(
        `create table public.${ident} (${ident} int, "$1" text, "%s" text, "{}" text, "?" text, primary key (${ident}, "$1"));
         create unique index on public.${ident} ((${ident} + 1), lower("%s"))`,
      );
      await pair.a.query(
        `insert into public.${ident} values (1, 'a', '%', '{}', '$1'), (2, '$1', '"', '\\', '')`,
      );
      await pair.b.query(
        `insert into public.${ident} values (1, 'a', '%s', '{}', '$1'), (3, '%I', '', '', '')`,
      );
    }
    const row = await pair.merge();
    expect(row).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: String(3 * idents.length),
    });
    for (const rows of await sameRows(...idents.map((ident) => `public.${ident}`)))
      expect(rows).toHaveLength(3);
    expect(await pair.merge("remote_only => 'delete'")).toMatchObject({ rows_merged: "0" });
  });

  test("with partitions are merged as a whole, rows that change their partition too", async () => {
    await pair.both(
      `create table p (id int, at date, v text) partition by range (at);
       create table p1 partition of p for values from ('2024-01-01') to ('2024-07-01');
       create table p2 partition of p for values from ('2024-07-01') to ('2025-01-01') partition by list (v);
       create table p2a partition of p2 for values in ('a'); create table p2b partition of p2 default`,
    );
    await pair.a.query(
      "insert into p values (1, '2024-01-05', 'a'), (2, '2024-08-01', 'a'), (3, '2024-08-01', 'b')",
    );
    await pair.b.query("insert into p values (2, '2024-02-02', 'b'), (4, '2024-02-01', 'a')");
    const args = `primary_keys => '{"public.p": ["id"]}'`;
    const row = await pair.merge(args, { tables: ["public.p"] });
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "4" });
    await sameRows("public.p", "public.p1", "public.p2a", "public.p2b");
    expect(actions(await auditOf(pair.a, row))).toEqual({
      ...{ insert_remote: 2, update_remote: 1, insert_local: 1 },
    });
    await pair.b.query("delete from p where id < 3");
    expect(
      await pair.merge(`${args}, local_only => 'delete'`, { tables: ["public.p"] }),
    ).toMatchObject({ rows_merged: "2" });
    expect((await sameRows("public.p"))[0]?.map((r) => r.id).sort()).toEqual(["3", "4"]);
  });

  test("leave out what inherits from them", async () => {
    await pair.both(
      "create table t (id int primary key, v text); create table child () inherits (t)",
    );
    await pair.a.query(
      "insert into t values (1, 'a'); insert into child values (5, 'a child here')",
    );
    await pair.b.query(
      "insert into t values (2, 'b'), (1, 'x'); insert into child values (1, 'a child'), (6, 'there')",
    );
    expect(await pair.merge(undefined, { tables: ["public.t"] })).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "2" },
    });
    expect((await sameRows("only public.t"))[0]).toHaveLength(2);
    await pair.a.query("delete from only t");
    expect(await pair.merge("remote_only => 'delete'", { tables: ["public.t"] })).toMatchObject({
      status: "complete",
      rows_merged: "2",
    });
    expect(await imagesOf(pair.b, ["public.t"])).toEqual([
      [
        { id: "1", v: "a child" },
        { id: "6", v: "there" },
      ],
    ]);
  });

  test("with generated and identity columns keep what these make of the rest", async () => {
    await pair.both(
      `create table t (id int generated always as identity primary key, n int generated by default as identity (start 100), v int,
         s int generated always as (v * 2) stored, w int generated always as (v * 3) virtual)`,
    );
    await pair.a.query(
      "insert into t (v) values (1), (2); insert into t (id, n, v) overriding system value values (70, 7, 5)",
    );
    await pair.b.query(
      "insert into t (v) values (9); insert into t (id, n, v) overriding system value values (80, 8, 6)",
    );
    const row = await pair.merge();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "4" });
    const [rows] = await sameRows("public.t");
    expect(rows?.find((r) => r.id === "1")).toEqual({
      ...{ id: "1", n: "100", v: "1", s: "2", w: "3" },
    });
    expect(rows?.map((r) => r.id).sort()).toEqual(["1", "2", "70", "80"]);
  });

  test("of large rows are written in batches that fit into memory", async () => {
    await pair.both("create table t (id int primary key, v text)");
    await pair.b.query(
      "insert into t select g, repeat(md5(g::text), 20000) from generate_series(1, 200) g",
    );
    const row = await pair.merge();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "200" });
    const batches = await pair.a.query<{ n: number }>(
      "select count(*)::int as n from steep_repl.merge_audit_log where merge_id = $1 group by batch order by batch",
      [row.merge_id],
    );
    // the first has no more than 50 rows, and as it was read ahead, so has the second
    expect(batches.map((b) => b.n)).toEqual([50, 50, ...Array(8).fill(12), 4]);
    const digest = "select md5(string_agg(v, ',' order by id)) as digest from t";
    expect(await pair.a.query(digest)).toEqual(await pair.b.query(digest));
  });

  test("of other schemas, unlogged ones, and with columns in another order", async () => {
    await pair.both(
      'drop schema if exists "S x" cascade; create schema "S x"; create unlogged table "S x".u (id int primary key, v text)',
    );
    await pair.a.query(
      "create table t (gone int, id int primary key, v text, w int); alter table t drop column gone; insert into t values (1, 'a', 2)",
    );
    await pair.b.query(
      "create table t (w int, v text, id int primary key); insert into t values (3, 'b', 2)",
    );
    await pair.a.query(`insert into "S x".u values (1, 'a')`);
    const row = await pair.merge();
    expect(row).toMatchObject({
      status: "complete",
      rows_merged: "3",
      tables: ['"S x".u', "public.t"],
    });
    await sameRows("public.t", '"S x".u');
    await pair.both('drop schema "S x" cascade');
  });
});
