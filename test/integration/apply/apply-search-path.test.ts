import { afterAll, beforeAll, expect, test } from "vitest";
import { applySnapshot, retryApply, runApply } from "../../support/apply.ts";
import { type Server, startServer } from "../../support/server.ts";
import { digests, type SnapshotRow, takeSnapshot } from "../../support/snapshots.ts";

// Functions that find tables, functions and types by the caller's search_path, which an apply leaves empty.

let server: Server;
let snapshot: SnapshotRow;
const source = { database: "source" };
const target = { database: "target" };

// One of each place that calls functions while an apply runs. CREATE INDEX and REFRESH restrict search_path by themselves
// since version 17; what was made before that, or while it was empty, is there nevertheless.
const schema = `
  create type size as enum ('small', 'large');
  create table rates (code text primary key, rate int); insert into rates values ('x', 2);
  create function check_rate(c text) returns boolean immutable language plpgsql
    as $$ begin return exists (select from rates where code = c); end $$;
  create function twice(n int) returns int immutable language sql as $$ select 2 * n $$;
  create function four_times(n int) returns int immutable language sql as $$ select twice(n) + 2 * n $$;
  create function size_of(n int) returns text immutable language plpgsql
    as $$ begin return (case when n > 1 then 'large' else 'small' end)::size; end $$;
  create function total() returns bigint stable language plpgsql
    as $$ declare n bigint; begin select sum(rate) into n from rates; return n; end $$;
  create table a_checked (c text check (check_rate(c))); insert into a_checked values ('x');
  create table b_generated (n int, m int generated always as (four_times(n)) stored); insert into b_generated values (1);
  create table c_indexed (n int); create index c_size on c_indexed (size_of(n)); insert into c_indexed values (1), (2);
  alter function total set search_path = public; create materialized view d_totals as select total() as total;
  alter function total reset search_path`;

beforeAll(async () => {
  server = await startServer({ name: "search-path", settings: { max_worker_processes: 16 } });
  for (const database of ["source", "target"])
    await server.createDatabase(database, { extension: true });
  await server.query(schema, [], source);
  snapshot = await takeSnapshot(server, source);
});
afterAll(() => server.destroy());

test("each function that relies on search_path is named with its entry; once it is fixed, a retry goes on to the end", async () => {
  const expected = await digests(server, "source");
  const named: string[] = [];
  let row = await runApply(server, snapshot.storage_path, { ...target, args: "parallel => 1" });
  while (row.status === "failed" && named.length < 6) {
    expect(row.error_message).toMatch(
      /relies on the caller's search_path\. That is empty here, as in pg_restore\./,
    );
    expect(row.error_hint).toMatch(
      /^Fix the schemas .*: ALTER FUNCTION .* SET search_path = schema, \.\.\.\nThen go on with: select steep_repl\.retry_operation\(\d+\)\.$/,
    );
    const [, entry] = /: ([A-Z ]+ [\w.]+) uses function/.exec(row.error_message ?? "") ?? [];
    const [, name] = /ALTER FUNCTION (.*) SET/.exec(row.error_hint ?? "") ?? [];
    named.push(`${entry}: ${name}`);
    await server.query(`alter function ${name} set search_path = public`, [], target);
    row = await retryApply(server, row, target);
  }
  expect(row).toMatchObject({ status: "complete", error_message: null, error_hint: null });
  expect(named.sort()).toEqual([
    "INDEX public.c_size: public.size_of(integer)",
    "MATERIALIZED VIEW DATA public.d_totals: public.total()",
    "TABLE DATA public.a_checked: public.check_rate(text)",
    "TABLE public.b_generated: public.four_times(integer)",
  ]);
  expect(await digests(server, "target")).toEqual(expected);
});

test("an error in a function that has nothing to do with search_path keeps its own words", async () => {
  await server.query("drop database target with (force)");
  await server.createDatabase("target", { extension: true });
  await server.query(
    `create function divide(n int) returns int immutable language plpgsql as $$ begin return 1 / n; end $$;
     create table divided (n int); create index on divided (divide(n));
     insert into divided values (1)`,
    [],
    target,
  );
  const other = await takeSnapshot(server, { ...target, args: "tables => '{public.divided}'" });
  await server.query("insert into divided values (0)", [], target).catch(() => undefined);
  await server.query(
    "create or replace function divide(n int) returns int immutable language plpgsql as $$ begin return 1 / (n - n); end $$",
    [],
    target,
  );
  const row = await runApply(server, other.storage_path, {
    ...target,
    args: "sections => '{data}', truncate => true",
  });
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "22012" });
  expect(row.error_message).not.toContain("search_path");
  await server.query(
    "create or replace function divide(n int) returns int immutable language sql as $$ select n $$",
    [],
    target,
  );
  await applySnapshot(server, other.storage_path, {
    ...target,
    args: "sections => '{data}', truncate => true",
  });
});
