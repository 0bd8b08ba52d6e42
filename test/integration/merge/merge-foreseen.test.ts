import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { auditOf, endOfMerge, startMerge } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Rows that a constraint would refuse are found before anything is written, as PostgreSQL itself judges them. */

let pair: MergePair;
setMergePair("merge-foreseen", (p) => {
  pair = p;
});
beforeAll(() =>
  pair.both("create extension btree_gist; create extension citext; create schema own"),
);
afterEach(() => pair.both("drop schema own cascade; create schema own"));

/** A dry run is refused and says why; a merge is, too, and has written nothing. */
async function refused(...names: readonly string[]): Promise<void> {
  const row = await pair.merge("dry_run => true");
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "23505" });
  for (const name of names) expect(row.error_message).toContain(name);
}

async function writesNothing(): Promise<void> {
  const before = await pair.versions();
  const row = await pair.merge();
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "23505", rows_merged: "0" });
  expect(await auditOf(pair.a, row)).toEqual([]);
  expect(await pair.versions()).toEqual(before);
}

async function merges(rows: number, warnings: unknown = null): Promise<void> {
  const row = await pair.merge();
  expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "0" });
  expect(row).toMatchObject({ rows_merged: String(rows), warnings });
}

describe("exclusion constraints", () => {
  test.each([
    ["overlapping ranges", "during with &&", "'[1,5)', 1", "'[3,7)', 1", "'[5,7)', 1"],
    [
      "with equality in them",
      "room with =, during with &&",
      "'[1,5)', 1",
      "'[3,7)', 1",
      "'[3,7)', 2",
    ],
    [
      "over an expression, with a predicate",
      "int4range(room, room + 2) with &&) where (room > 0",
      "'[1,5)', 3",
      "'[1,5)', 4",
      "'[1,5)', 5",
    ],
  ])("are foreseen: %s", async (_, elements, here, bad, good) => {
    await pair.both(
      `create table t (id int primary key, during int4range, room int, exclude using gist (${elements}))`,
    );
    await pair.a.query(`insert into t values (1, ${here}), (2, '[20,21)', 20)`);
    await pair.b.query(`insert into t values (3, ${bad}), (4, '[30,31)', 30)`);
    await refused("2 rows", "1 and 3", "peer: ", "3 and 1");
    await pair.b.query(`delete from t where id = 3; insert into t values (3, ${good})`);
    await merges(4);
  });

  test("whose types are of somebody who is not trusted are named", async () => {
    await pair.both(
      `create type own.span as range (subtype = int4); create role other; alter type own.span owner to other;
       create table t (id int primary key, during own.span, exclude using gist (during with &&))`,
    );
    await pair.a.query("insert into t values (1, '[1,5)')");
    await merges(1, [expect.stringContaining("t_during_excl of table public.t")]);
    await pair.both("drop table t; drop type own.span; drop role other");
  });
});

describe("temporal keys", () => {
  const make =
    "create table t (id int, valid int4range, v int, primary key (id, valid without overlaps))";

  test("are foreseen as a table's primary key", async () => {
    await pair.both(make);
    await pair.a.query("insert into t values (1, '[1,5)', 0), (2, '[1,5)', 0)");
    await pair.b.query("insert into t values (1, '[3,7)', 0), (2, '[5,9)', 0)");
    await refused("1, [1,5) and 1, [3,7)");
    await writesNothing();
    await pair.b.query("delete from t where id = 1");
    await merges(3);
  });

  test("are foreseen as another key", async () => {
    await pair.both(
      "create table t (n int primary key, id int, valid int4range, unique (id, valid without overlaps))",
    );
    await pair.a.query("insert into t values (1, 1, '[1,5)')");
    await pair.b.query("insert into t values (2, 1, '[3,7)'), (3, 1, '[7,8)'), (4, null, '[3,7)')");
    await refused("1 and 2", "2 and 1");
  });
});

describe("constraints of single partitions", () => {
  const make = `create table t (id int primary key, v int) partition by range (id);
    create table t1 partition of t for values from (0) to (100);
    create table t2 partition of t for values from (100) to (200)`;

  test("are foreseen for the rows of that partition only", async () => {
    await pair.both(`${make}; alter table t1 add constraint own unique (v)`);
    await pair.a.query("insert into t values (1, 7), (101, 8), (102, 9)");
    await pair.b.query("insert into t values (2, 7), (103, 8), (104, 9), (3, 8)");
    await refused("own", "1 and 2", "2 and 1");
    await pair.b.query("delete from t where id = 2");
    await merges(6);
  });

  test("are named where the partition has other rows at the peer", async () => {
    await pair.both(`${make}; create unique index own on t2 (v)`);
    await pair.b.query(
      "alter table t detach partition t2; alter table t attach partition t2 for values from (100) to (300)",
    );
    await pair.a.query("create unique index alone on t1 (v); insert into t values (1, 1)");
    const row = await pair.merge();
    expect(row).toMatchObject({ status: "complete", rows_merged: "1" });
    expect(row.warnings).toEqual([
      expect.stringMatching(/single partitions.*own of table public\.t2/),
    ]);
    expect(row.warnings?.[0]).toContain("alone of table public.t1");
  });
});

describe("keys whose equality is not that of their texts", () => {
  const collation =
    "create collation own.nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";

  test.each([
    [
      "a collation",
      `${collation}; create table t (id text collate own.nd primary key, v int)`,
      "Bob",
      "BOB",
    ],
    ["an array of numerics", "create table t (id numeric[] primary key, v int)", "{1.0}", "{1.00}"],
  ])("are foreseen: %s", async (_, make, here, there) => {
    await pair.both(make);
    await pair.a.query("insert into t values ($1, 1)", [here]);
    await pair.b.query("insert into t values ($1, 2)", [there]);
    await refused("t_pkey", `${here} and ${there}`);
  });

  test("are foreseen of an extension's type", async () => {
    await pair.both("create table t (id citext primary key, e citext unique, v int)");
    await pair.a.query("insert into t values ('A', 'x', 1), ('c', 'y', 1)");
    await pair.b.query("insert into t values ('a', 'z', 2), ('d', 'Y', 2)");
    await refused("t_pkey: keys A and a", "t_e_key: keys c and d");
    await writesNothing();
  });

  test("of enums are told by their labels", async () => {
    await pair.both(
      "create type own.mood as enum ('sad', 'glad'); create table t (id own.mood primary key, e own.mood unique)",
    );
    await pair.a.query("insert into t values ('sad', 'glad')");
    await pair.b.query("insert into t values ('glad', 'glad')");
    await refused("t_e_key", "sad and glad");
  });
});

test("a unique index over a name, and NULLs that are the same to one, are foreseen", async () => {
  await pair.both(
    "create table t (id int primary key, n name unique, x int, y int, constraint xy unique nulls not distinct (x, y))",
  );
  await pair.a.query(
    "insert into t values (1, 'a', null, 1), (2, 'b', 2, 2), (3, 'e', null, null)",
  );
  await pair.b.query("insert into t values (4, 'c', null, 1), (5, 'b', 2, 3), (6, 'd', null, 3)");
  await refused("xy: keys 1 and 4", "t_n_key: keys 2 and 5", "4 rows");
});

describe("foreign keys with PERIOD", () => {
  const make = `create table p (id int, valid int4range, primary key (id, valid without overlaps));
    create table c (id int primary key, p int, valid int4range, foreign key (p, period valid) references p (id, period valid))`;
  const child = { tables: ["public.c"] };

  test("hold where ranges of parents cover the child's together", async () => {
    await pair.both(`${make}; insert into p values (1, '[1,5)'), (1, '[5,10)')`);
    await pair.a.query("insert into c values (1, 1, '[2,9)'), (2, null, '[20,30)'), (3, 1, null)");
    expect(await pair.merge(undefined, child)).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "3" },
    });
  });

  test("are violated where they leave a part uncovered", async () => {
    await pair.both(make);
    await pair.a.query("insert into p values (1, '[1,10)'); insert into c values (1, 1, '[2,9)')");
    await pair.b.query("insert into p values (1, '[1,4)'), (1, '[5,10)')");
    const row = await pair.merge(undefined, child);
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "23503" });
    expect(row.error_message).toMatch(/^peer: merged rows violate foreign key c_p_valid_fkey/);
  });

  test("are checked where a parent's row goes away", async () => {
    await pair.both(
      `${make}; insert into p values (1, '[1,5)'), (1, '[5,10)'); insert into c values (1, 1, '[2,9)')`,
    );
    await pair.b.query(
      "delete from c; delete from p where valid = '[5,10)'; insert into c values (1, 1, '[2,4)')",
    );
    const row = await pair.merge("local_only => 'delete'", { tables: ["public.p"] });
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "23503" });
    expect(row.error_message).toContain("c_p_valid_fkey");
  });
});

describe("foreign keys of partitioned tables", () => {
  const make = `create table ref (id int primary key);
    create table t (id int primary key, r int) partition by range (id);
    create table t1 partition of t for values from (0) to (100);
    create table t2 partition of t for values from (100) to (200) partition by range (id);
    create table t21 partition of t2 for values from (100) to (200)`;
  const only = (table: string) => ({ tables: [`public.${table}`] });

  test("that one partition has are of its rows only", async () => {
    await pair.both(`${make}; alter table t1 add foreign key (r) references ref`);
    await pair.a.query("insert into t values (150, 77)");
    expect(await pair.merge(undefined, only("t"))).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "1", warnings: null },
    });
    await pair.a.query("insert into ref values (5); insert into t values (5, 5)");
    expect(await pair.merge(undefined, only("t"))).toMatchObject({
      ...{ status: "failed", error_sqlstate: "23503" },
    });
  });

  test.each([
    ["t2", "t"],
    ["t21", "t2"],
    ["t", "t21"],
  ])("are checked of rows of %s, where %s has them", async (merged, owner) => {
    await pair.both(`${make}; alter table ${owner} add foreign key (r) references ref`);
    await pair.a.query("insert into ref values (7); insert into t values (150, 7)");
    expect(await pair.merge(undefined, only(merged))).toMatchObject({
      ...{ status: "failed", error_sqlstate: "23503" },
    });
  });

  test.each(["", "create index on c (t);"])(
    "that refer to the table keep rows of a partition of it: %s",
    async (index) => {
      await pair.both(
        `${make}; create table c (id int primary key, t int references t); ${index} insert into t values (1, null), (150, null);
       insert into c values (1, 1), (2, 150)`,
      );
      await pair.b.query("delete from c where id = 1; delete from t where id = 1");
      expect(await pair.merge("local_only => 'delete'", only("t1"))).toMatchObject({
        ...{ status: "complete", rows_merged: "0", rows_left: "1" },
      });
    },
  );
});

describe("sequences", () => {
  const last = async (sequence: string) =>
    Promise.all(
      [pair.a, pair.b].map(async (server) => {
        const [row] = await server.query<{ n: string }>("select nextval($1) as n", [sequence]);
        return Number(row?.n);
      }),
    );

  test.each([
    [
      "of a column of a domain",
      "id own.idt primary key default nextval('s')",
      "alter sequence s owned by t.id",
    ],
    ["that nothing owns", "id int primary key default nextval('s'::regclass)", ""],
    ["of a cast", "id numeric(20) primary key default (nextval('s')::int)::numeric(20)", ""],
    ["of an expression", "id text primary key default 'N' || nextval('s')", ""],
    [
      "of an expression, owned",
      "id int primary key default -nextval('s')",
      "alter sequence s owned by t.id",
    ],
  ])("move: %s", async (_, column, then) => {
    await pair.both(
      `create domain own.small as bigint; create domain own.idt as own.small; create sequence s;
       create table t (${column}, v text); ${then}`,
    );
    await pair.a.query("insert into t (v) select 'a' from generate_series(1, 5)");
    await pair.b.query("insert into t (v) select 'b' from generate_series(1, 20)");
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      warnings: null,
    });
    expect(await last("s")).toEqual([21, 21]);
    await pair.both("drop table t; drop sequence if exists s, s1, s2");
  });

  test("of partitions' own defaults move, each by the rows of its partition", async () => {
    await pair.both(
      `create sequence s1; create sequence s2 start 1000; create sequence s;
       create table t (k int, id int, n int default nextval('s'), primary key (k, id)) partition by list (k);
       create table t1 partition of t for values in (1); create table t2 partition of t for values in (2);
       alter table t1 alter id set default nextval('s1'); alter table t2 alter id set default nextval('s2')`,
    );
    await pair.b.query(
      "insert into t1 (k) select 1 from generate_series(1, 20); insert into t2 (k) select 2 from generate_series(1, 7)",
    );
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      warnings: null,
    });
    expect(await last("s1")).toEqual([21, 21]);
    expect(await last("s2")).toEqual([1007, 1007]);
    expect(await last("s")).toEqual([28, 28]);
    await pair.both("drop table t; drop sequence if exists s, s1, s2");
  });

  test("that a default finds by itself are named", async () => {
    await pair.both(
      "create sequence s; create table t (id int primary key default nextval(('s'::text)::regclass))",
    );
    await pair.a.query("insert into t default values");
    const row = await pair.merge();
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    expect(row.warnings).toEqual([
      expect.stringMatching(
        /^sequences were not moved.*peer: that of column id of table public\.t, that of/,
      ),
    ]);
    await pair.both("drop table t; drop sequence if exists s, s1, s2");
  });
});

describe("a table that is changed meanwhile", () => {
  const make = `create table t (id int primary key, v int); create table u (id int primary key, v int);
    insert into t values (1, 1); insert into u values (1, 1)`;
  const waits =
    "select 1 from pg_stat_activity where wait_event_type = 'Lock' and application_name = 'steep_repl peer'";

  /** A merge that waits for what a session at the peer holds, while something else is done. */
  async function mergeWhile(hold: string, change: () => Promise<unknown>) {
    const holder = await pair.b.connect();
    await holder.query(`begin; ${hold}`);
    const queued = await startMerge(pair.a, pair.b.uri());
    await waitUntil(
      () => pair.b.query(waits),
      (rows) => rows.length > 0,
      "the merge waits for a lock at the peer",
    );
    await change();
    await holder.query("rollback");
    await holder.end();
    return endOfMerge(pair.a, queued);
  }

  test.each([
    ["altered at the peer", () => pair.b.query("alter table t add x int")],
    ["dropped here", () => pair.a.query("drop table t")],
    ["given another index here", () => pair.a.query("create unique index on t (v)")],
  ])("is found before anything is written: %s", async (_, change) => {
    await pair.both(make);
    await pair.a.query("insert into t values (2, 2); insert into u values (2, 2)");
    // what is known of u before it is compared can be read meanwhile, and t is compared first
    const row = await mergeWhile("reindex index u_pkey", change);
    expect(row.error_message).toContain("public.t");
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "55000", rows_merged: "0" });
    expect(await auditOf(pair.a, row)).toEqual([]);
    expect(await pair.b.query("select id from u")).toEqual([{ id: 1 }]);
  });

  test("is named where it fails in mid-merge", async () => {
    await pair.both(make);
    await pair.a.query("insert into t values (2, 2); insert into u values (2, 2)");
    const row = await mergeWhile("insert into t values (2, 0)", () => pair.b.query("drop table u"));
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42P01", rows_merged: "1" });
    expect(row.warnings).toEqual([
      expect.stringContaining("nor sequences moved past them"),
      expect.stringMatching(/^tables were changed while they were merged: public\.u/),
    ]);
  });
});

describe("a peer", () => {
  test("that is read-only is refused before anything is read, unless nothing is written there", async () => {
    await pair.both("create table t (id int primary key)");
    await pair.a.query("insert into t values (1)");
    await pair.b.query(
      "insert into t values (2); alter database postgres set default_transaction_read_only = on",
    );
    const row = await pair.merge();
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "25006", rows_merged: "0" });
    expect(row.error_message).toContain("at the peer");
    expect(row.error_hint).toContain("default_transaction_read_only = off");
    expect(await pair.merge("local_only => 'keep', strategy => 'prefer-remote'")).toMatchObject({
      ...{ error_message: null, status: "complete", rows_merged: "1" },
    });
    const session = await pair.b.connect();
    await session.query("set default_transaction_read_only = off");
    await session.query("alter database postgres reset default_transaction_read_only");
    await session.end();
  });

  test("that does not wait for its disk keeps what was merged when it crashes", async () => {
    await pair.both("create table t (id int primary key)");
    await pair.a.query("insert into t select generate_series(1, 100)");
    await pair.b.configure({ synchronous_commit: "off", wal_writer_delay: "10s" });
    expect(await pair.merge()).toMatchObject({ status: "complete", rows_merged: "100" });
    await pair.b.kill9();
    await pair.b.start();
    expect(await pair.b.query("select count(*)::int as n from t")).toEqual([{ n: 100 }]);
  });
});
