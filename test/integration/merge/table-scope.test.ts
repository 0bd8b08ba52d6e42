import { describe, expect, test } from "vitest";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Which tables are compared and merged, and those that cannot be. */

let pair: MergePair;
setMergePair("table-scope", (p) => {
  pair = p;
});

/** Five tables that can be compared and differ in one row each, and five that cannot, for another reason each. */
async function make(): Promise<void> {
  const good = ["orders", "log_1", "log_2", '"Odd.Name"', "big"];
  await pair.both(
    `${good.map((name) => `create table ${name} (id int primary key, v text)`).join(";")};
     create table no_key (v text); create table other_columns (id int primary key);
     create table other_type (id int primary key, v int); create table unreadable (id int primary key);
     create table temporal_key (id int)`,
  );
  await pair.a.query(
    `${good.map((name) => `insert into ${name} values (1, 'a')`).join(";")};
     alter table other_columns add x int; alter table other_type alter v type text; insert into unreadable values (1)`,
  );
}

const suitable = [
  "public.big",
  "public.log_1",
  "public.log_2",
  "public.orders",
  'public."Odd.Name"',
].sort();
const unsuitable = [
  "public.no_key",
  "public.other_columns",
  "public.other_type",
  "public.temporal_key",
];

const names = async (args: string, tables: readonly string[] | null = null) =>
  (
    await pair.a.query<{ table_name: string }>(
      `select table_name from steep_repl.analyze_overlap($1, $2, ${args}) where reason is null`,
      [pair.b.uri(), tables],
    )
  )
    .map((r) => r.table_name)
    .sort();

describe("tables that cannot be compared", () => {
  test("are all named at once, with the reasons", async () => {
    await make();
    const error = await pair.a
      .query("select * from steep_repl.analyze_overlap($1, null)", [pair.b.uri()])
      .catch((e: unknown) => e as { message: string; detail: string; hint: string });
    expect(error).toMatchObject({
      message: "4 tables cannot be compared",
      hint: expect.stringContaining("skip_unsuitable => true"),
    });
    for (const name of unsuitable)
      expect((error as { detail: string }).detail).toContain(`${name} (`);
    expect((error as { detail: string }).detail).toContain("v (text here, integer at the peer)");
  });

  test("are rows with the reason where they are skipped", async () => {
    await make();
    const rows = await pair.a.query<{
      table_name: string;
      local_only_count: string | null;
      reason: string | null;
    }>(
      "select table_name, local_only_count, reason from steep_repl.analyze_overlap($1, null, skip_unsuitable => true)",
      [pair.b.uri()],
    );
    const skipped = rows.filter((r) => r.reason !== null);
    expect(skipped.map((r) => r.table_name)).toEqual(unsuitable);
    expect(skipped.every((r) => r.local_only_count === null)).toBe(true);
    expect(rows.filter((r) => r.reason === null)).toHaveLength(6);
  });

  test("of a job are in overlap_tables, and the rest can be merged from there", async () => {
    await make();
    const [job] = await pair.a.query<{ overlap_id: string }>(
      "select overlap_id from steep_repl.start_overlap($1, null, skip_unsuitable => true)",
      [pair.b.uri()],
    );
    const over = await waitUntil(
      () =>
        pair.a.query("select status from steep_repl.overlaps where overlap_id = $1", [
          job?.overlap_id,
        ]),
      (rows) => !["pending", "running"].includes(`${rows[0]?.status}`),
      "the comparison is over",
    );
    expect(over).toEqual([{ status: "complete" }]);
    expect(
      (
        await pair.a.query<{ table_name: string }>(
          "select table_name from steep_repl.overlap_tables where overlap_id = $1 and reason is not null order by 1",
          [job?.overlap_id],
        )
      ).map((r) => r.table_name),
    ).toEqual(unsuitable);
    expect(await pair.merge(`overlap_id => '${job?.overlap_id}'`)).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "6" },
    });
  });

  test("are left out of a merge, with those whose definitions differ or that the role may not write", async () => {
    await make();
    await pair.both(
      `create table secured (id int primary key); alter table secured enable row level security;
       grant select, insert, update, delete on all tables in schema public to merger;
       revoke insert on unreadable from merger; grant set on parameter session_replication_role to merger`,
    );
    await pair.a.query("alter table big add constraint positive check (id > 0)");
    expect(await pair.mergeAsMerger()).toMatchObject({
      status: "failed",
      error_message: expect.stringMatching(/^4 tables cannot be compared: /),
    });
    const merge = await pair.mergeAsMerger("skip_unsuitable => true");
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "4" });
    const left = await pair.a.query<{ table_name: string; reason: string }>(
      "select table_name, reason from steep_repl.merge_tables where merge_id = $1 and reason is not null order by 1",
      [merge.merge_id],
    );
    expect(left.map((r) => r.table_name)).toEqual(
      [...unsuitable, "public.big", "public.secured", "public.unreadable"].sort(),
    );
    expect(merge.warnings).toEqual([
      expect.stringContaining("tables were left as they are: public.big ("),
    ]);
  });
});

describe("the limits", () => {
  test.each([
    [
      `exclude_tables => '{no_key,other_*,temporal_key}'`,
      [...suitable, "public.unreadable"].sort(),
    ],
    [
      `exclude_tables => '{public.*_key,"*.other?*",log_?,unreadable}'`,
      suitable.filter((n) => !n.includes("log_")),
    ],
    [
      `exclude_tables => array['"Odd.Name"', 'big', 'ORDERS', 'no_key', 'public.o*_*', 'temporal_key', 'unreadable']`,
      ["public.log_1", "public.log_2"],
    ],
  ] as const)("%s", async (args, expected) => {
    await make();
    expect(await names(args)).toEqual([...expected].sort());
  });

  test("leave out of named tables, too", async () => {
    await make();
    expect(await names("exclude_tables => '{log_*}'", ["public.orders", "public.log_1"])).toEqual([
      "public.orders",
    ]);
  });

  test("by schemas take those schemas only, and a merge does as well", async () => {
    await make();
    await pair.both(
      "drop schema if exists app cascade; create schema app; create table app.t (id int primary key)",
    );
    await pair.a.query("insert into app.t values (1)");
    try {
      expect(await names("schemas => '{app}'")).toEqual(["app.t"]);
      expect(await pair.merge("schemas => '{app}'")).toMatchObject({
        status: "complete",
        rows_merged: "1",
        tables: ["app.t"],
      });
    } finally {
      await pair.both("drop schema app cascade");
    }
  });

  test("that cannot be are refused when a job is queued", async () => {
    await pair.both("create table t (id int primary key)");
    for (const call of ["start_merge", "start_overlap", "analyze_overlap"]) {
      const run = (args: string, tables: string | null = null) =>
        pair.a.query(`select * from steep_repl.${call}($1, $2, ${args})`, [pair.b.uri(), tables]);
      await expect(run("schemas => '{nowhere}'")).rejects.toMatchObject({ code: "3F000" });
      await expect(run("schemas => '{public}'", "{public.t}")).rejects.toMatchObject({
        code: "22023",
      });
      await expect(run("exclude_tables => '{a.b.c}'")).rejects.toMatchObject({ code: "22023" });
      await expect(run("exclude_tables => '{t[}'")).rejects.toMatchObject({ code: "22023" });
    }
  });
});
