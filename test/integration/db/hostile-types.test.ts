import { beforeAll, describe, expect, test } from "vitest";
import {
  hostileTypes,
  makeHostile,
  owner,
  stampedTables,
  tableNames,
} from "../../support/hostile-types.ts";
import {
  endOfMerge,
  found,
  imagesOf,
  type MergeRow,
  runMerge,
  sorted,
} from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { analyzeOverlap, brief } from "../../support/overlap.ts";
import { createRandom } from "../../support/random.ts";

const random = createRandom();

/*
 * To compare tables, and to say what a merge would do, is to read. So nothing of it may run code that SELECT would not run,
 * whoever owns the tables; their types, casts, operators and indexes are the owner's.
 */

let pair: MergePair;
setMergePair("hostile-types", (p) => {
  pair = p;
});

beforeAll(async () => {
  for (const server of [pair.a, pair.b]) await makeHostile(server, server === pair.a);
});

/** The peer without and with our functions. */
async function withExtensionThere<T>(body: () => Promise<T>): Promise<T> {
  await pair.b.query("create extension steep_repl cascade");
  try {
    return await body();
  } finally {
    await pair.b.query("drop extension steep_repl");
  }
}

describe.each([
  ["without steep_repl", (body: () => Promise<void>) => body(), 2],
  ["with steep_repl", withExtensionThere, 3],
])("at a peer %s", (_, at, step) => {
  /** With both tables of a type; jobs take their time. */
  const some = tableNames.filter((_, i) => (i >> 1) % step === step - 2);

  test("comparing tables runs none of their owner's code", () =>
    at(async () => {
      const rows = await analyzeOverlap(pair.a, pair.b.uri(), { tables: tableNames });
      for (const [i, row] of rows.entries()) {
        const { name } = hostileTypes[i >> 1] ?? {};
        const expected = i % 2 === 0 ? [1, 1, 0, 1, 0] : [1, 1, 2, 1, 0];
        expect([name, ...brief(row)]).toEqual([name, ...expected]);
      }
    }));

  test("nor does listing the rows that differ, or keeping them", () =>
    at(async () => {
      const tables = some.filter((_, i) => i % 5 < 2);
      for (const table of tables)
        expect(
          await pair.a.query("select category from steep_repl.overlap_rows($1, $2)", [
            pair.b.uri(),
            table,
          ]),
        ).toHaveLength(3);
      const [job] = await pair.a.query<{ operation_id: string }>(
        "select operation_id from steep_repl.start_overlap($1, $2)",
        [pair.b.uri(), some],
      );
      expect(
        await pair.a.query("select status, error_message from steep_repl.wait_operation($1)", [
          job?.operation_id,
        ]),
      ).toEqual([{ status: "complete", error_message: null }]);
      for (const table of tables.slice(0, 4))
        expect(
          await pair.a.query("select category from steep_repl.overlap_rows($1, $2)", [
            pair.b.uri(),
            table,
          ]),
        ).toHaveLength(3);
    }));

  test.each([
    ["prefer-local", some, ""],
    ["manual", some.filter((_, i) => i % 5 < 2), ""],
    ["last-modified", stampedTables, ", last_modified_column => 'v'"],
  ])("nor does a dry run of a merge with strategy %s", (strategy, tables, more) =>
    at(async () => {
      const row = await runMerge(pair.a, pair.b.uri(), {
        tables,
        args: `dry_run => true, strategy => '${strategy}'${more}`,
      });
      expect(row).toMatchObject({
        error_message: null,
        status: "complete",
        rows_left: expect.anything(),
      });
      expect(found(row)[3]).toBe(tables.length);
    }),
  );
});

describe("unique indexes", () => {
  const make = async (indexes: string) => {
    for (const server of [pair.a, pair.b]) {
      const here = server === pair.a;
      await server.query(
        `create table owned.t (id integer primary key, v text, e owned.label, n integer[], s owned.span);
         insert into owned.t values (1, 'Same', 'one', '{1,2}'), (${here ? "2, 'Mine', 'two', '{3}'" : "3, 'Theirs', null, '{4}'"}); ${indexes}`,
        [],
        { user: owner },
      );
    }
  };
  const drop = () =>
    Promise.all(
      [pair.a, pair.b].map((server) =>
        server.query(`drop table if exists owned.t cascade; drop domain if exists owned.checked;
          drop function if exists owned.guard(text), owned.cast_text(text), owned.is_it(text, text) cascade`),
      ),
    );
  const dryRun = async (): Promise<MergeRow> => {
    try {
      return await runMerge(pair.a, pair.b.uri(), { tables: ["owned.t"], args: "dry_run => true" });
    } finally {
      await drop();
    }
  };

  const hostile = `
    create function owned.guard(text) returns boolean language plpgsql immutable as $$
    begin
      if current_user <> '${owner}' then raise exception 'code of the owner ran: index, as %', current_user; end if;
      return true;
    end $$;
    create function owned.cast_text(text) returns text language plpgsql immutable as
      $$ begin perform owned.guard($1); return $1; end $$;
    create function owned.is_it(text, text) returns boolean language plpgsql immutable as
      $$ begin return owned.guard($1); end $$;
    create operator owned.=== (leftarg = text, rightarg = text, function = owned.is_it);
    create domain owned.checked as text check (owned.guard(value));
    create function owned.cast_row(owned.t) returns text language plpgsql immutable as
      $$ begin perform owned.guard('x'); return $1.id; end $$;
    create cast (owned.t as text) with function owned.cast_row(owned.t);`;

  test.each([
    ["expression calls a function", "((owned.cast_text(v)))", ""],
    ["predicate calls a function", "(v)", "where owned.guard(v)"],
    ["predicate has an operator", "(v)", "where v operator(owned.===) 'x'"],
    ["expression casts to a domain", "((v::owned.checked))", ""],
    ["expression has a cast", "((s::text))", ""],
    ["expression has a cast of whole rows", "((t::text))", ""],
  ])("whose %s of their owner are not checked, and named", async (_, columns, where) => {
    await make(`${hostile} create unique index t_hostile on owned.t ${columns} ${where}`);
    const row = await dryRun();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "2" });
    expect(row.warnings?.join()).toMatch(
      /unique indexes or exclusion constraints were not checked .*: t_hostile of table owned\.t/,
    );
  });

  test.each([
    ["a built-in function", "((lower(v)))", "", "'MINE', null, null"],
    ["a predicate over built-in types", "(v)", "where id > 0", "'Mine', null, null"],
    ["a superuser's function", "((public.trusted(v)))", "", "'Mine', null, null"],
    ["an array", "(n)", "", "null, null, '{3}'"],
    ["an enum", "(e)", "", "null, 'two', null"],
  ])("over %s are checked", async (_, columns, where, colliding) => {
    for (const server of [pair.a, pair.b])
      await server.query(
        "create or replace function public.trusted(text) returns text language sql immutable as 'select $1'",
      );
    await make(`create unique index t_checked on owned.t ${columns} ${where}`);
    await pair.b.query(`insert into owned.t values (9, ${colliding})`, [], { user: owner });
    const row = await dryRun();
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "23505" });
    expect(row.error_message).toContain("t_checked: keys ");
    expect(row.warnings ?? []).toEqual([]);
  });
});

test("their owner can merge the tables, and take it back", async () => {
  const peer = pair.asMerger;
  // each run takes others
  const some = random.shuffle(tableNames).slice(0, tableNames.length / 3);
  const rows = async () =>
    (await Promise.all([pair.a, pair.b].map((s) => imagesOf(s, some)))).map((side) =>
      side.map(sorted),
    );
  const before = await rows();
  const merge = await runMerge(pair.a, peer, {
    user: owner,
    tables: some,
    args: "strategy => 'prefer-remote'",
  });
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  const [here, there] = await rows();
  expect(here).toEqual(there);
  const [undo] = await pair.a.query<MergeRow>(
    "select * from steep_repl.undo_merge($1, $2)",
    [merge.merge_id, peer],
    { user: owner },
  );
  if (!undo) throw new Error("undo_merge answered no row");
  expect(await endOfMerge(pair.a, undo)).toMatchObject({
    error_message: null,
    status: "complete",
    rows_left: "0",
  });
  expect(await rows()).toEqual(before);
});

test.each([
  ["steep_repl.nodes"],
  ["pg_catalog.pg_class"],
  ["information_schema.sql_features"],
  ["pg_toast.pg_toast_1"],
  ["pg_temp.t"],
])("%s is neither compared nor merged", async (table) => {
  for (const call of [
    "analyze_overlap($1, $2)",
    "start_overlap($1, $2)",
    "start_merge($1, $2)",
    "overlap_rows($1, $2[1])",
  ])
    await expect(
      pair.a.query(
        `select * from steep_repl.${call.replace("$2", "$2::text[]").replace("$2::text[][1]", "($2::text[])[1]")}`,
        [pair.b.uri(), [table]],
      ),
      call,
    ).rejects.toMatchObject({ code: "42809" });
});
