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
import { waitUntil } from "../../support/wait-until.ts";

/* Foreign keys, triggers and sequences. */

let pair: MergePair;
setMergePair("merge-foreign-keys", (p) => {
  pair = p;
});

const everything = (...tables: readonly string[]) =>
  `grant select, insert, update, delete on ${tables.join(", ")} to merger;`;
const skipTriggers = "grant set on parameter session_replication_role to merger";
const noSkipping = "revoke set on parameter session_replication_role from merger";

async function sameRows(...items: readonly string[]): Promise<number[]> {
  const [here, there] = await Promise.all([imagesOf(pair.a, items), imagesOf(pair.b, items)]);
  expect(here.map(sorted)).toEqual(there.map(sorted));
  return here.map((rows) => rows.length);
}

/** Names that put children before their parents wherever tables are ordered by name. */
const family = `create table parent (id int primary key, v text);
  create table child (id int primary key, parent int not null references parent);
  create table a_grandchild (id int primary key, child int not null references child on delete restrict);
  ${everything("parent", "child", "a_grandchild")}`;

describe("with foreign keys that are checked at each row", () => {
  test("parents are written before children, on both sides, and the warning says so", async () => {
    await pair.both(family);
    await pair.a.query(
      "insert into parent values (1); insert into child values (10, 1); insert into a_grandchild values (100, 10)",
    );
    await pair.b.query(
      "insert into parent values (2); insert into child values (20, 2); insert into a_grandchild values (200, 20)",
    );
    const row = await pair.mergeAsMerger();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "6" });
    expect(row.warnings).toEqual([expect.stringContaining("here and at the peer")]);
    expect(await sameRows("public.parent", "public.child", "public.a_grandchild")).toEqual([
      2, 2, 2,
    ]);
  });

  test("children are deleted before their parents, on both sides", async () => {
    await pair.both(`${family}; insert into parent values (0); insert into child values (0, 0)`);
    await pair.a.query(
      "insert into parent values (1); insert into child values (10, 1); insert into a_grandchild values (100, 10)",
    );
    await pair.b.query(
      "insert into parent values (2); insert into child values (20, 2); insert into a_grandchild values (200, 20)",
    );
    const row = await pair.mergeAsMerger("local_only => 'delete', remote_only => 'delete'");
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "6" });
    expect(await sameRows("public.parent", "public.child", "public.a_grandchild")).toEqual([
      1, 1, 0,
    ]);
    expect(actions(await auditOf(pair.a, row))).toEqual({ delete_local: 3, delete_remote: 3 });
  });

  test("a child that moves to a parent which comes with it finds that", async () => {
    await pair.both(`${family}; insert into parent values (0); insert into child values (5, 0)`);
    await pair.b.query("insert into parent values (3); update child set parent = 3");
    expect(await pair.mergeAsMerger("strategy => 'prefer-remote'")).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "2" },
    });
    await sameRows("public.parent", "public.child");
  });

  test("rows of a table that refers to itself come in any order", async () => {
    await pair.both(
      `create table tree (id int primary key, up int references tree); ${everything("tree")} insert into tree values (50, null)`,
    );
    await pair.a.query("insert into tree values (9, 50), (8, 9), (1, 8)");
    await pair.b.query("insert into tree values (3, 50), (2, 3), (70, 2)");
    expect(await pair.mergeAsMerger()).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "6" },
    });
    expect(await sameRows("public.tree")).toEqual([7]);
  });

  test("a row that violates one is left, with what the server says, and the others are merged", async () => {
    await pair.both(family);
    await pair.a.query(
      "insert into parent values (1), (2); insert into child values (10, 1), (20, 2)",
    );
    await pair.b.query("insert into parent values (2)");
    const row = await pair.mergeAsMerger(undefined, { tables: ["public.child"] });
    expect(row).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "1", rows_left: "1" },
    });
    expect(
      await pair.a.query("select key, reason from steep_repl.merge_rows_left($1)", [row.merge_id]),
    ).toEqual([{ key: { id: "10" }, reason: expect.stringMatching(/^peer: .*child_parent_fkey/) }]);
    expect(await auditOf(pair.a, row)).toHaveLength(1);
  });
});

describe("foreign keys in a circle", () => {
  const circle = `create table hen (id int primary key, egg int);
    create table egg (id int primary key, hen int references hen);
    alter table hen add foreign key (egg) references egg; ${everything("hen", "egg")}`;
  const fill = async () => {
    await pair.both(circle);
    for (const [server, id] of [
      [pair.a, 1],
      [pair.b, 2],
    ] as const)
      await server.query(
        `insert into hen values (${id}, null); insert into egg values (${id}, ${id}); update hen set egg = ${id}`,
      );
  };

  test("are refused where they are checked at each row, and merged where triggers may be skipped", async () => {
    await fill();
    const refused = await pair.mergeAsMerger();
    expect(refused).toMatchObject({ status: "failed", error_sqlstate: "42501", rows_merged: "0" });
    expect(refused.error_message).toMatch(/public\.hen, public\.egg|public\.egg, public\.hen/);
    expect(refused.error_hint).toContain("GRANT SET ON PARAMETER session_replication_role");
    await pair.a.query(skipTriggers);
    expect(await pair.mergeAsMerger()).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    await pair.b.query(skipTriggers);
    const row = await pair.mergeAsMerger();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "4" });
    expect(row.warnings).toBeNull();
    expect(await sameRows("public.hen", "public.egg")).toEqual([2, 2]);
    await pair.both(noSkipping);
  });

  test("are no obstacle to a superuser", async () => {
    await fill();
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "4",
    });
    expect(await sameRows("public.hen", "public.egg")).toEqual([2, 2]);
  });
});

describe("where triggers are skipped", () => {
  test("a child whose parent did not come fails the job, here and at the peer", async () => {
    await pair.both(family);
    await pair.a.query("insert into parent values (1); insert into child values (10, 1)");
    const pushed = await pair.merge(undefined, { tables: ["public.child"] });
    expect(pushed).toMatchObject({ status: "failed", error_sqlstate: "23503" });
    expect(pushed.error_message).toMatch(/peer: .*child_parent_fkey/);
    await pair.both("truncate parent, child, a_grandchild");
    await pair.b.query("insert into parent values (1); insert into child values (10, 1)");
    const pulled = await pair.merge(undefined, { tables: ["public.child"] });
    expect(pulled).toMatchObject({ status: "failed", error_sqlstate: "23503" });
    expect(pulled.error_message).not.toContain("peer:");
    // what it wrote before it found out is there, and in the audit log
    expect(actions(await auditOf(pair.a, pulled))).toEqual({ insert_local: 1 });
    expect(await sameRows("public.child")).toEqual([1]);
  });

  test("a parent of a child that stays is left", async () => {
    await pair.both(family);
    await pair.both("insert into parent values (1), (2); insert into child values (10, 1)");
    await pair.a.query("delete from child; delete from parent");
    const row = await pair.merge("remote_only => 'delete'", { tables: ["public.parent"] });
    expect(row).toMatchObject({ status: "complete", rows_merged: "1", rows_left: "1" });
    expect(await pair.b.query("select id from parent")).toEqual([{ id: 1 }]);
  });

  test("an update of what a child refers to fails the job", async () => {
    await pair.both(
      `create table code (id int primary key, name text unique); create table item (id int primary key, code text references code (name));
       insert into code values (1, 'x'); insert into item values (1, 'x')`,
    );
    await pair.a.query("delete from item; update code set name = 'y'");
    expect(await pair.merge(undefined, { tables: ["public.code"] })).toMatchObject({
      ...{ status: "failed", error_sqlstate: "23503" },
    });
  });

  test("foreign keys that hold, partly NULL ones and those of partitions fail nothing", async () => {
    await pair.both(
      `create table place (x int, y int, primary key (x, y)) partition by list (x);
       create table place1 partition of place for values in (1); create table place2 partition of place default;
       create table visit (id int primary key, x int, y int, foreign key (x, y) references place) partition by range (id);
       create table visit1 partition of visit for values from (0) to (10); create table visit2 partition of visit default`,
    );
    await pair.a.query(
      "insert into place values (1, 1), (2, 2); insert into visit values (1, 1, 1), (2, 2, null), (30, null, null), (40, 2, 2)",
    );
    expect(await pair.merge(undefined, { tables: ["public.visit", "public.place"] })).toMatchObject(
      { error_message: null, status: "complete", rows_merged: "6" },
    );
    expect(await sameRows("public.place", "public.visit")).toEqual([2, 4]);
  });

  const loud = `create table t (id int primary key, v text); create table fired (what text);
    create function shout() returns trigger language plpgsql as $$ begin
      insert into public.fired values (format('%s %s', tg_name, tg_op)); return coalesce(new, old); end $$;
    create trigger ordinary before insert or update or delete on t for each row execute function shout();
    create trigger always before insert or update or delete on t for each row execute function shout();
    alter table t enable always trigger always; ${everything("t", "fired")} insert into t values (1, 'same'), (2, 'v')`;
  const differ = async () => {
    await pair.both(loud);
    await pair.a.query("insert into t values (3, 'x'); update t set v = 'w' where id = 2");
    await pair.b.query("insert into t values (4, 'y')");
    await pair.both("truncate fired");
  };
  const fired = () =>
    Promise.all(
      [pair.a, pair.b].map(async (server) =>
        (await server.query("select what from fired order by 1")).map((r) => r.what),
      ),
    );

  test("ordinary triggers do not fire, ENABLE ALWAYS ones do", async () => {
    await differ();
    expect(await pair.merge(undefined, { tables: ["public.t"] })).toMatchObject({
      ...{
        error_message: null,
        status: "complete",
        rows_merged: "3",
        warnings: [expect.stringContaining("triggers of these tables fire")],
      },
    });
    expect(await fired()).toEqual([["always INSERT"], ["always INSERT", "always UPDATE"]]);
    expect(await sameRows("public.t")).toEqual([4]);
  });

  test("and a role that may not skip them has all of them fire, with a warning", async () => {
    await differ();
    const row = await pair.mergeAsMerger(undefined, { tables: ["public.t"] });
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "3" });
    expect(row.warnings?.join()).toContain("here and at the peer");
    expect(await fired()).toEqual([
      ["always INSERT", "ordinary INSERT"],
      ["always INSERT", "always UPDATE", "ordinary INSERT", "ordinary UPDATE"],
    ]);
  });

  test("a trigger that suppresses rows is found out, and nothing is said to be merged that is not", async () => {
    await pair.both(
      `create table t (id int primary key, v text);
       create function refuse() returns trigger language plpgsql as 'begin return null; end';
       create trigger refuse before insert on t for each row execute function refuse();
       alter table t enable always trigger refuse`,
    );
    await pair.both("alter table t disable trigger refuse");
    await pair.a.query("insert into t values (1, 'x')");
    await pair.both("alter table t enable always trigger refuse");
    const row = await pair.merge(undefined, { tables: ["public.t"] });
    expect(row.rows_merged).toBe("0");
    expect(await auditOf(pair.a, row)).toEqual([]);
    expect(row.status === "failed" || row.rows_left === "1").toBe(true);
  });
});

describe("sequences", () => {
  const next = (server: MergePair["a"], sequence: string) =>
    server
      .query<{ n: string }>("select nextval($1) as n", [sequence])
      .then(([row]) => Number(row?.n));

  test("go past what was merged on both sides, and keep the values that each node uses", async () => {
    await pair.a.query(
      `create table t (id bigint generated by default as identity (start 1 increment 2) primary key, n serial);
       alter sequence t_n_seq increment 2 restart 1`,
    );
    await pair.b.query(
      `create table t (id bigint generated by default as identity (start 2 increment 2) primary key, n serial);
       alter sequence t_n_seq increment 2 restart 2`,
    );
    await pair.a.query("insert into t select from generate_series(1, 10)");
    await pair.b.query("insert into t select from generate_series(1, 30)");
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "40",
    });
    // here 1, 3, ... 19 and at the peer 2, 4, ... 60
    for (const sequence of ["t_id_seq", "t_n_seq"]) {
      expect([61, 63]).toContain(await next(pair.a, sequence));
      expect([62, 64]).toContain(await next(pair.b, sequence));
    }
    await pair.a.query("insert into t (id, n) values (1001, 1001)");
    await pair.merge();
    for (const sequence of ["t_id_seq", "t_n_seq"]) {
      expect([1002, 1004]).toContain(await next(pair.b, sequence));
      expect([1003, 1005]).toContain(await next(pair.a, sequence));
    }
  });

  test("that were restarted or set, and have not been called since, keep their ranges and shares", async () => {
    await pair.both(
      `create table t (id bigint generated by default as identity primary key, n serial, d int generated by default as identity (increment -2));
       alter sequence t_n_seq increment 2`,
    );
    await pair.b.query(
      "alter table t alter id restart with 1000000, alter d restart with -2; alter sequence t_n_seq restart with 2",
    );
    await pair.a.query("insert into t select from generate_series(1, 3)");
    expect(await pair.merge()).toMatchObject({ error_message: null, status: "complete" });
    // here 1, 2, 3; 1, 3, 5; -1, -3, -5
    expect(await next(pair.b, "t_id_seq")).toBe(1_000_000);
    expect([6, 8]).toContain(await next(pair.b, "t_n_seq"));
    expect([-6, -8]).toContain(await next(pair.b, "t_d_seq"));
    expect(await next(pair.a, "t_id_seq")).toBe(4);
    await pair.a.query("select setval('t_id_seq', 500, false)");
    await pair.b.query("insert into t (id) values (100), (499)");
    await pair.merge();
    expect(await next(pair.a, "t_id_seq")).toBe(500);
  });

  test("that are past it, that go downwards, and that nothing owns stay as they should", async () => {
    await pair.both(
      `create table t (id serial primary key, d int generated by default as identity (increment -1 start -1));
       create sequence free; select setval('t_id_seq', 500)`,
    );
    await pair.a.query("insert into t (id, d) values (7, -40)");
    expect(await pair.merge()).toMatchObject({ error_message: null, status: "complete" });
    for (const server of [pair.a, pair.b]) {
      expect(await next(server, "t_id_seq")).toBe(501);
      expect(await next(server, "t_d_seq")).toBe(-41);
      expect(await next(server, "free")).toBe(1);
    }
    await pair.both("drop sequence free");
  });

  test("of a small type that reach their end fail nothing", async () => {
    await pair.both("create table t (id smallserial primary key)");
    await pair.a.query("insert into t values (32767)");
    expect(await pair.merge()).toMatchObject({ error_message: null, status: "complete" });
    expect(await sameRows("public.t")).toEqual([1]);
  });

  test("are not moved by a dry run", async () => {
    await pair.both("create table t (id serial primary key)");
    await pair.a.query("insert into t values (70)");
    expect(await pair.merge("dry_run => true")).toMatchObject({ rows_merged: "1" });
    for (const server of [pair.a, pair.b]) expect(await next(server, "t_id_seq")).toBe(1);
    await waitUntil(
      () =>
        pair.b.query("select 1 from pg_stat_activity where application_name = 'steep_repl peer'"),
      (rows) => rows.length === 0,
      "the peer's session ends",
    );
  });
});

describe("rows that others refer to", () => {
  const tables = `create table pa (id int primary key, code text unique);
    create table ch (id int primary key, pid int references pa on delete cascade, "row" text);
    create table by_code (id int primary key, code text references pa (code) on delete set null)`;
  const fill = async () => {
    await pair.both(`${tables}; grant select, insert, update, delete on pa, ch, by_code to merger`);
    await pair.a.query("insert into pa select g, 'c' || g from generate_series(1, 8) g");
    await pair.b.query("insert into pa values (1, 'c1')");
    await pair.a.query("insert into ch values (1, 2, 'x'); insert into by_code values (1, 'c3')");
  };
  const rows = (server: MergePair["a"]) =>
    server.query(
      "select (select count(*)::int from pa) as pa, (select count(*)::int from ch) as ch, (select count(code)::int from by_code) as by_code",
    );

  test.each([
    ["as a superuser", (args: string) => pair.merge(args, { tables: ["public.pa"] })],
    [
      "as a role for which triggers fire",
      (args: string) => pair.mergeAsMerger(args, { tables: ["public.pa"] }),
    ],
  ])("are not deleted from under them: %s", async (_, merge) => {
    await fill();
    const row = await merge("local_only => 'delete'");
    expect(row).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "5",
      rows_left: "2",
    });
    expect(await rows(pair.a)).toEqual([{ pa: 3, ch: 1, by_code: 1 }]);
    expect(
      await pair.a.query(
        "select key ->> 'id' as id, reason from steep_repl.merge_rows_left($1) order by 1",
        [row.merge_id],
      ),
    ).toEqual([
      { id: "2", reason: "rows that stay refer to it by ch_pid_fkey of table public.ch" },
      {
        id: "3",
        reason: "rows that stay refer to it by by_code_code_fkey of table public.by_code",
      },
    ]);
  });

  test.each(["pair", "merger"])("in their own table are not either: %s", async (who) => {
    await pair.both(
      `create table tree (id int primary key, parent int references tree on delete cascade, other int references tree on delete set null);
       create index on tree (parent); create index on tree (other); grant select, insert, update, delete on tree to merger`,
    );
    // chains through several batches
    await pair.a.query(
      `insert into tree select g, case when g > 100 then g - 100 end from generate_series(1, 700) g; insert into tree values (701, null, 450)`,
    );
    await pair.b.query(
      "set session_replication_role = replica; insert into tree values (400, 300, null), (701, null, 450)",
    );
    const args = "local_only => 'delete'";
    const row = await (who === "pair" ? pair.merge(args) : pair.mergeAsMerger(args));
    expect(row).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "691", rows_left: "8" },
    });
    expect(
      await pair.a.query(
        "select string_agg(id::text, ' ' order by id) as ids, max(other) as other from tree",
      ),
    ).toEqual([{ ids: "50 100 150 200 250 300 350 400 450 701", other: 450 }]);
    expect(
      await pair.a.query(
        "select reason, count(*)::int as n from steep_repl.merge_rows_left($1) group by 1 order by 1",
        [row.merge_id],
      ),
    ).toEqual([
      { reason: "rows that stay refer to it by tree_other_fkey of table public.tree", n: 1 },
      { reason: "rows that stay refer to it by tree_parent_fkey of table public.tree", n: 7 },
    ]);
  });

  test("go where those are deleted in the same merge", async () => {
    await fill();
    const row = await pair.merge("local_only => 'delete'");
    expect(row).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "9",
      rows_left: "0",
    });
    expect(await rows(pair.a)).toEqual([{ pa: 1, ch: 0, by_code: 0 }]);
  });

  test.each(["pair", "merger"])("are not taken away by an undo: %s", async (who) => {
    await fill();
    const args = "remote_only => 'pull'";
    const merge = await (who === "pair"
      ? pair.merge(args, { tables: ["public.pa"] })
      : pair.mergeAsMerger(args, { tables: ["public.pa"] }));
    await pair.b.query("insert into ch values (7, 4, 'a user has written it')");
    const peer = who === "pair" ? pair.b.uri() : pair.asMerger;
    const [undo] = await pair.a.query<MergeRow>(
      "select * from steep_repl.undo_merge($1, peer => $2)",
      [merge.merge_id, peer],
      {
        user: who === "pair" ? "postgres" : "merger",
      },
    );
    if (!undo) throw new Error("no undo");
    const row = await endOfMerge(pair.a, undo);
    expect(row).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "6",
      rows_left: "1",
    });
    expect(await rows(pair.b)).toEqual([{ pa: 2, ch: 1, by_code: 0 }]);
  });
});
