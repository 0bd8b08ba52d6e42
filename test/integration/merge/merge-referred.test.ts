import { describe, expect, test } from "vitest";
import { endOfMerge, type MergeRow } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* What a foreign key would do to rows of tables that a merge leaves out, on the side where it writes. */

let pair: MergePair;
setMergePair("merge-referred", (p) => {
  pair = p;
});

const leftOf = (merge: MergeRow) =>
  pair.a.query<{ id: string; reason: string }>(
    "select key ->> 'id' as id, reason from steep_repl.merge_rows_left($1) order by 1",
    [merge.merge_id],
  );
const kept = async (server: MergePair["a"]) =>
  (await server.query<{ row: string }>("select c::text as row from c order by id")).map(
    (r) => r.row,
  );
const undo = async (merge: MergeRow) => {
  const [row] = await pair.a.query<MergeRow>(
    "select * from steep_repl.undo_merge($1, peer => $2)",
    [merge.merge_id, pair.asMerger],
    { user: "merger" },
  );
  if (!row) throw new Error("no undo");
  return endOfMerge(pair.a, row);
};

/** Rows of c refer to rows of p; how, and whether the role that merges may see them. */
const references = [
  [
    "that is not valid",
    "alter table c add foreign key (pid) references p on delete cascade not valid",
    "stay",
  ],
  [
    "of a table that may not be read",
    "alter table c add foreign key (pid) references p on delete cascade; revoke all on c from merger",
    "may not be read",
  ],
  [
    "of a table with row security",
    "alter table c add foreign key (pid) references p on delete cascade; alter table c enable row level security",
    "may not be read",
  ],
  ["that sets NULL", "alter table c add foreign key (pid) references p on delete set null", "stay"],
  [
    "that sets a default",
    "alter table c add foreign key (pid) references p on delete set default",
    "stay",
  ],
] as const;

describe.each(references)("a foreign key %s", (_, how, why) => {
  const make = () =>
    pair.both(
      `create table p (id int primary key, v text); create table c (id int primary key, pid int default 7);
       grant select, insert, update, delete on p, c to merger; ${how}`,
    );

  test("takes no row along where one is deleted at the peer", async () => {
    await make();
    await pair.b.query("insert into p values (1, 'b'), (7, 'b'); insert into c values (10, 1)");
    await pair.a.query("insert into p values (7, 'b')");
    const merge = await pair.mergeAsMerger("remote_only => 'delete'", { tables: ["public.p"] });
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "1" });
    expect(await leftOf(merge)).toEqual([{ id: "1", reason: expect.stringContaining(why) }]);
    expect(await kept(pair.b)).toEqual(["(10,1)"]);
  });

  test("takes none along in an undo", async () => {
    await make();
    await pair.a.query("insert into p values (1, 'a'), (2, 'a'), (7, 'a')");
    const merge = await pair.mergeAsMerger(undefined, { tables: ["public.p"] });
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "3" });
    await pair.b.query("insert into c values (10, 1)");
    const undone = await undo(merge);
    expect(undone).toMatchObject({ error_message: null, status: "complete" });
    expect((await leftOf(undone)).map((r) => r.id)).toContain("1");
    expect(await kept(pair.b)).toEqual(["(10,1)"]);
  });
});

describe.each(["cascade", "set null", "set default"])("ON UPDATE %s", (action) => {
  test.each([
    ["that may be read", "stay"],
    ["that may not be read", "may not be read"],
  ])("changes no row of a table %s and is left out", async (_, why) => {
    await pair.both(
      `create table p (id int primary key, u int unique, v text);
       create table c (id int primary key, u int default 5 references p (u) on update ${action});
       grant select, insert, update, delete on p, c to merger`,
    );
    if (why !== "stay") await pair.b.query("revoke all on c from merger");
    await pair.a.query(
      "insert into p values (1, 10, 'a'), (2, 20, 'a'), (3, 30, 'a'), (5, 5, 'a')",
    );
    await pair.b.query(
      "insert into p values (1, 11, 'b'), (2, 20, 'b'), (3, 31, 'b'), (5, 5, 'a'); insert into c values (100, 11), (200, 20)",
    );
    const merge = await pair.mergeAsMerger(undefined, { tables: ["public.p"] });
    // row 2 keeps what is referred to, and to row 3 nothing refers
    const left = why === "stay" ? ["1"] : ["1", "3"];
    expect(merge).toMatchObject({
      ...{ error_message: null, status: "complete", rows_left: `${left.length}` },
    });
    expect(await leftOf(merge)).toEqual(
      left.map((id) => ({ id, reason: expect.stringContaining(why) })),
    );
    expect(await kept(pair.b)).toEqual(["(100,11)", "(200,20)"]);
    expect(await pair.b.query("select id, u, v from p where id = 2")).toEqual([
      { id: 2, u: 20, v: "a" },
    ]);
  });
});

describe("where triggers are skipped, a foreign key that is not valid", () => {
  const make = () =>
    pair.both(
      `create table p (id int primary key, v text); create table c (id int primary key, pid int, v text);
       alter table c add foreign key (pid) references p not valid`,
    );

  test("holds for rows that are inserted", async () => {
    await make();
    await pair.a.query("insert into p values (1, 'a'); insert into c values (10, 1, 'a')");
    expect(await pair.merge(undefined, { tables: ["public.c"] })).toMatchObject({
      ...{ status: "failed", error_sqlstate: "23503" },
    });
  });

  test("keeps a parent that rows refer to", async () => {
    await make();
    await pair.b.query("insert into p values (3, 'b'); insert into c values (20, 3, 'b')");
    const merge = await pair.merge("remote_only => 'delete'", { tables: ["public.p"] });
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "1" });
    expect(await pair.b.query("select id from p")).toEqual([{ id: 3 }]);
  });

  test("is named where it could not be checked", async () => {
    await pair.both(
      "create table p (id int primary key, v text); create table c (id int primary key, pid int, v text); insert into c values (1, 99, 'old')",
    );
    await pair.both("alter table c add foreign key (pid) references p not valid");
    await pair.a.query(
      "alter table c disable trigger all; update c set v = 'new'; alter table c enable trigger all",
    );
    const merge = await pair.merge();
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "1" });
    expect(merge.warnings?.join("\n")).toContain("c_pid_fkey of table public.c");
  });
});

describe("ON UPDATE, of tables that are merged as well", () => {
  test.each(["cascade", "set null"])(
    "%s changes no row there that the audit log would not have",
    async (action) => {
      await pair.both(
        `create table p (id int primary key, u int unique); create table c (id int primary key, u int unique references p (u) on update ${action});
       create table g (id int primary key, u int references c (u) on update set null); grant select, insert, update, delete on p, c, g to merger`,
      );
      await pair.a.query("insert into p values (1, 10), (3, 11); insert into c values (5, 11)");
      await pair.b.query(
        "insert into p values (1, 11); insert into c values (5, 11); insert into g values (7, 11)",
      );
      const merge = await pair.mergeAsMerger(undefined, { tables: ["public.p", "public.c"] });
      expect(merge).toMatchObject({ error_message: null, status: "complete" });
      expect((await leftOf(merge)).map((r) => r.id)).toContain("1");
      expect(await kept(pair.b)).toEqual(["(5,11)"]);
      expect(await pair.b.query("select u from g")).toEqual([{ u: 11 }]);
    },
  );
});

test("a role that may skip triggers deletes no row that others, which it may not read, may refer to", async () => {
  await pair.both(
    `create table p (id int primary key); create table c (id int primary key, pid int references p);
     grant select, insert, update, delete on p to merger; grant set on parameter session_replication_role to merger`,
  );
  await pair.b.query("insert into p values (1); insert into c values (10, 1)");
  try {
    await pair.both("revoke all on c from merger");
    const merge = await pair.mergeAsMerger("remote_only => 'delete'", { tables: ["public.p"] });
    expect(merge).toMatchObject({ error_message: null, status: "complete", rows_left: "1" });
    expect(await pair.b.query("select id from p")).toEqual([{ id: 1 }]);
  } finally {
    await pair.both("revoke set on parameter session_replication_role from merger");
  }
});

test("a foreign key to one partition concerns rows of that one only", async () => {
  await pair.both(
    `create table p (id int, n int, primary key (id)) partition by range (id);
     create table p_1 partition of p for values from (0) to (10); create table p_2 partition of p for values from (10) to (20);
     alter table p_1 add unique (n); create table c (id int primary key, pid int references p_1 (n))`,
  );
  await pair.b.query("insert into p values (1, 5), (11, 5); insert into c values (100, 5)");
  const merge = await pair.merge("remote_only => 'delete'", { tables: ["public.p"] });
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "1" });
  expect((await leftOf(merge)).map((r) => r.id)).toEqual(["1"]);
});

describe("a row that others refer to, and that leaves its partition", () => {
  test.each([
    ["cascade", "mergeAsMerger"],
    ["set null", "mergeAsMerger"],
    ["no action", "mergeAsMerger"],
    // triggers are skipped, and nothing would be left to refer to
    ["cascade", "merge"],
    ["no action", "merge"],
  ] as const)("stays: ON DELETE %s, by %s", async (action, merge) => {
    await pair.both(
      `create table p (id int not null, k int not null, v text) partition by list (k);
       create table p1 partition of p (primary key (id)) for values in (1); create table p2 partition of p (primary key (id)) for values in (2);
       create table c (id int primary key, p int references p1 on delete ${action});
       grant select, insert, update, delete on p, p1, p2, c to merger`,
    );
    await pair.a.query("insert into p values (1, 2, 'a'), (5, 2, 'a'), (6, 1, 'new')");
    await pair.b.query(
      "insert into p values (1, 1, 'b'), (5, 1, 'b'), (6, 1, 'old'); insert into c values (1, 1), (2, 6)",
    );
    const row = await pair[merge](`primary_keys => '{"public.p": ["id"]}'`, {
      tables: ["public.p"],
    });
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_left: "1" });
    expect((await leftOf(row)).map((r) => r.id)).toEqual(["1"]);
    expect(await kept(pair.b)).toEqual(["(1,1)", "(2,6)"]);
    expect(await pair.b.query("select id, k, v from p order by id")).toEqual([
      { id: 1, k: 1, v: "b" },
      { id: 5, k: 2, v: "a" },
      { id: 6, k: 1, v: "new" },
    ]);
  });
});

test("in a circle, a row that one refers to which stays is not deleted, and others are", async () => {
  await pair.both(
    `create table a (id int primary key, b int); create table b (id int primary key, a int references a on delete cascade, v text);
     alter table a add foreign key (b) references b`,
  );
  await pair.a.query("insert into b values (1, null, 'here')");
  await pair.b.query(
    `insert into a values (1, null), (2, null), (3, null); insert into b values (1, 1, 'peer'), (2, 2, 'x'), (9, null, 'x');
     update a set b = 2 where id = 2`,
  );
  const merge = await pair.merge("strategy => 'manual', remote_only => 'delete'");
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "4" });
  expect(await pair.b.query("select id from a order by id")).toEqual([{ id: 1 }]);
  expect(await pair.b.query("select id from b order by id")).toEqual([{ id: 1 }]);
});
