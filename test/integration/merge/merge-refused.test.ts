import type { DatabaseError } from "pg";
import { describe, expect, test } from "vitest";
import { auditOf, endOfMerge, type MergeOptions, startMerge } from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";

/* What a merge refuses, it refuses before it writes anything, and names it. */

let pair: MergePair;
setMergePair("merge-refused", (p) => {
  pair = p;
});

interface RefusalOptions extends MergeOptions {
  readonly peer?: string | null;
}

/** The SQLSTATE of a merge, of start_merge or of the job, and all its texts in one. */
async function refusal({ peer = pair.b.uri(), ...options }: RefusalOptions = {}) {
  const before = await pair.versions();
  const outcome = await startMerge(pair.a, peer, options).then(
    async (queued) => {
      const row = await endOfMerge(pair.a, queued);
      expect(row).toMatchObject({ status: "failed", rows_merged: "0" });
      expect(await auditOf(pair.a, row)).toEqual([]);
      const [operation] = await pair.a.query<{ error_sqlstate: string; text: string }>(
        "select error_sqlstate, error_message as text from steep_repl.work_queue where id = $1",
        [row.operation_id],
      );
      expect(operation?.error_sqlstate).toBe(row.error_sqlstate);
      return {
        code: row.error_sqlstate,
        text: [row.error_message, row.error_hint].join("\n"),
        phase: row.phase,
      };
    },
    (error: DatabaseError) => ({
      code: error.code,
      text: [error.message, error.detail, error.hint].join("\n"),
      phase: "not queued",
    }),
  );
  expect(await pair.versions()).toEqual(before);
  return outcome;
}

const asMerger = (options: MergeOptions = {}): RefusalOptions => ({
  ...options,
  peer: pair.asMerger,
  user: "merger",
});

const says = (...texts: readonly string[]) =>
  expect.stringMatching(
    new RegExp(texts.map((t) => `(?=[^]*${t.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")})`).join("")),
  );

describe("arguments", () => {
  test.each([
    ["an unknown strategy", "strategy => 'newest'", "strategy"],
    ["no strategy", "strategy => null", "strategy"],
    ["a choice of the other side", "local_only => 'pull'", "local_only"],
    ["an unknown choice", "remote_only => 'drop'", "remote_only"],
    ["an unknown way with a backlog", "backlog => 'keep'", "backlog"],
    ["an unknown way with subscribers", "other_subscribers => 'drop'", "other_subscribers"],
    ["no dry_run", "dry_run => null", "dry_run"],
    [
      "last_modified_column with another strategy",
      "last_modified_column => 'at'",
      "last_modified_column",
    ],
    ["primary_keys that are none", `primary_keys => '["id"]'`, "primary_keys"],
    ["primary_keys of another table", `primary_keys => '{"public.u": ["id"]}'`, "public.u"],
  ])("%s is refused at once", async (_, args, name) => {
    await pair.both("create table t (id int primary key)");
    expect(await refusal({ tables: ["public.t"], args })).toEqual({
      ...{ code: "22023", text: says(name), phase: "not queued" },
    });
  });

  test("no peer, an unknown one and an empty list of tables are refused at once", async () => {
    expect(await refusal({ peer: null })).toMatchObject({ code: "22023", phase: "not queued" });
    expect(await refusal({ peer: "nobody" })).toMatchObject({
      ...{ code: "42704", text: says('"nobody"'), phase: "not queued" },
    });
    expect(await refusal({ tables: [] })).toMatchObject({ code: "22023", phase: "not queued" });
    expect(await refusal({ tables: ["t"] })).toMatchObject({ code: "22023", phase: "not queued" });
    expect(await refusal({ tables: ["public.t", 'public."t"'] })).toMatchObject({
      ...{ code: "22023", text: says("public.t", "twice"), phase: "not queued" },
    });
  });

  test("a peer that cannot be reached fails the job", async () => {
    expect(await refusal({ peer: "host=127.0.0.1 port=1" })).toMatchObject({ code: "08001" });
  });

  test("this very database is no peer", async () => {
    expect(await refusal({ peer: pair.a.uri() })).toMatchObject({
      ...{ code: "22023", text: says("this very database") },
    });
  });
});

describe("tables", () => {
  test("that are missing on a side are named", async () => {
    await pair.a.query("create table here (id int primary key)");
    await pair.b.query("create table there (id int primary key)");
    expect(await refusal({ tables: ["public.here"] })).toMatchObject({
      ...{ code: "42P01", text: says("peer: table public.here does not exist") },
    });
    expect(await refusal({ tables: ["public.there"] })).toMatchObject({
      ...{ code: "42P01", text: says("table public.there does not exist") },
    });
  });

  test("that are defined in different ways are named, all of them", async () => {
    await pair.both(
      `create table same (id int primary key, v text); create table checked (id int primary key, v text);
       create table indexed (id int primary key, v text); insert into same values (1, 'a')`,
    );
    await pair.a.query("alter table checked add check (v <> ''); insert into same values (2, 'b')");
    await pair.b.query("create unique index on indexed (v)");
    const refused = await refusal();
    expect(refused).toMatchObject({
      ...{ code: "55000", text: says("public.checked", "public.indexed", "schema_diff") },
    });
    expect(refused.text).not.toContain("public.same");
  });

  test("with other columns are refused with their names", async () => {
    await pair.a.query("create table t (id int primary key, a int)");
    await pair.b.query("create table t (id int primary key, b int)");
    expect(await refusal({ tables: ["public.t"] })).toMatchObject({
      ...{ code: "42703", text: says("public.t") },
    });
  });

  test("without a key are refused with a hint", async () => {
    await pair.both("create table k (x int, v text)");
    expect(await refusal({ tables: ["public.k"] })).toMatchObject({
      ...{ code: "55000", text: says("public.k", 'primary_keys => \'{"public.k": ["column"]}\'') },
    });
  });

  test("whose named key does not identify rows are refused", async () => {
    await pair.both("create table k (x int, v text); insert into k values (1, 'a'), (1, 'b')");
    const args = `primary_keys => '{"public.k": ["x"]}'`;
    expect(await refusal({ tables: ["public.k"], args })).toMatchObject({
      ...{ code: "23505", text: says("public.k") },
    });
  });

  test("with an identity that an UPDATE cannot set are refused with the column", async () => {
    await pair.both(
      "create table t (id int primary key, n int generated always as identity, v text)",
    );
    await pair.a.query("insert into t values (1, default, 'a')");
    expect(await refusal({ tables: ["public.t"] })).toMatchObject({
      ...{ code: "0A000", text: says("public.t", "SET GENERATED BY DEFAULT") },
    });
  });

  test("that are views are refused", async () => {
    await pair.both("create table t (id int primary key); create view v as select * from t");
    expect(await refusal({ tables: ["public.v"] })).toMatchObject({ code: "42809" });
    await pair.both("drop view v");
  });
});

describe("rights", () => {
  const make = async (sql = "") => {
    await pair.both(
      `create table t (id serial primary key, v text); create table u (id int primary key);
       insert into t values (1, 'same'); insert into u values (1); ${sql}`,
    );
    await pair.a.query("insert into t values (2, 'here'); insert into u values (2)");
    await pair.b.query("insert into t values (3, 'there'); insert into u values (3)");
  };
  const all = "grant select, insert, update, delete on t, u to merger;";
  const sequences = "grant select, update on sequence t_id_seq to merger;";

  test("that are missing here are named with the table", async () => {
    await make();
    await pair.both(sequences);
    await pair.b.query(all);
    await pair.a.query("grant select on t, u to merger; grant insert on t to merger");
    const refused = await refusal(asMerger());
    expect(refused).toMatchObject({
      ...{ code: "42501", text: says("public.t (UPDATE)", "public.u (INSERT, UPDATE)") },
    });
    expect(refused.text).not.toContain("peer:");
  });

  test("that are missing at the peer are named as such", async () => {
    await make();
    await pair.both(sequences);
    await pair.a.query(all);
    await pair.b.query("grant select, insert on t, u to merger; grant update on u to merger");
    const refused = await refusal(asMerger());
    expect(refused).toMatchObject({ code: "42501", text: says("peer: public.t (UPDATE)") });
    expect(refused.text).not.toContain("public.u");
  });

  test("to read are asked for first", async () => {
    await make();
    await pair.b.query(all);
    await pair.a.query("grant insert, update on t, u to merger; revoke select on t, u from merger");
    expect(await refusal(asMerger({ tables: ["public.t"] }))).toMatchObject({
      ...{ code: "42501", text: says("public.t") },
    });
  });

  test("to delete are needed only where something is to be deleted", async () => {
    await make(`${sequences} grant select, insert, update on t, u to merger`);
    expect(await refusal(asMerger({ args: "local_only => 'delete'" }))).toMatchObject({
      ...{ code: "42501", text: says("public.t (DELETE), public.u (DELETE)") },
    });
    expect(await refusal(asMerger({ args: "remote_only => 'delete'" }))).toMatchObject({
      ...{ code: "42501", text: says("peer: public.t (DELETE), peer: public.u (DELETE)") },
    });
    expect(await pair.mergeAsMerger()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "4",
    });
  });

  test("for sequences are needed where rows are inserted, and named", async () => {
    await make(all);
    expect(await refusal(asMerger())).toMatchObject({
      ...{ code: "42501", text: says("public.t_id_seq", "peer: public.t_id_seq") },
    });
    await pair.a.query(sequences);
    const refused = await refusal(asMerger());
    expect(refused).toMatchObject({ code: "42501", text: says(": peer: public.t_id_seq") });
  });

  test("do not help against row security, which hides rows", async () => {
    await make(`${all} ${sequences} alter table u enable row level security;
      create policy everything on u using (true)`);
    expect(await refusal(asMerger())).toMatchObject({
      ...{ code: "0A000", text: says("public.u", "peer: public.u", "merger") },
    });
  });
});

test("rules for writing are refused where they would be applied, and named", async () => {
  await pair.both(
    `create table t (id int primary key); create table u (id int primary key); create rule r as on insert to t do instead nothing;
     grant select, insert, update, delete on t, u to merger`,
  );
  await pair.a.query("insert into u values (1)");
  const refused = {
    code: "0A000",
    text: says("rules", "public.t, peer: public.t", "DISABLE RULE"),
  };
  expect(await refusal(asMerger())).toMatchObject(refused);
  // a superuser's merge is as a replica's
  expect(await pair.merge()).toMatchObject({ status: "complete", rows_merged: "1" });
  await pair.both("alter table t enable always rule r");
  expect(await refusal()).toMatchObject(refused);
  await pair.both("alter table t disable rule r");
  await pair.a.query("insert into t values (1)");
  expect(await pair.mergeAsMerger()).toMatchObject({ status: "complete", rows_merged: "1" });
});

describe("unique indexes besides the key", () => {
  test.each([
    ["a column", "create unique index other on t (v)", "x", "x"],
    ["an expression", "create unique index other on t (lower(v))", "X", "x"],
    ["several columns", "create unique index other on t (v, (id % 7), w)", "x", "x"],
    ["some rows", "create unique index other on t (v) where w > 0", "x", "x"],
    [
      "NULLs that are not distinct",
      "create unique index other on t (v) nulls not distinct",
      null,
      null,
    ],
  ])("of %s that would collide are counted, with examples", async (_, index, here, there) => {
    await pair.both(
      `create table t (id int primary key, v text, w int); ${index}; insert into t values (1, 'one', 1)`,
    );
    await pair.a.query("insert into t values (9, $1, 5)", [here]);
    await pair.b.query("insert into t values (16, $1, 5)", [there]);
    expect(await refusal({ tables: ["public.t"] })).toMatchObject({
      code: "23505",
      text: says("2 rows", "other", "9 and 16", "16 and 9", "peer: "),
    });
    // only that way which is asked for
    expect(await refusal({ tables: ["public.t"], args: "remote_only => 'keep'" })).toMatchObject({
      code: "23505",
      text: says("1 rows", "9 and 16"),
    });
    expect(await pair.merge("local_only => 'keep', remote_only => 'keep'")).toMatchObject({
      status: "complete",
      rows_merged: "0",
      rows_left: "2",
    });
  });

  test("do not collide where they do not apply", async () => {
    await pair.both(
      `create table t (id int primary key, v text, w int);
       create unique index on t (v) where w > 0; create unique index on t (w)`,
    );
    await pair.a.query("insert into t values (1, 'x', -1), (2, 'b', null), (5, null, 5)");
    await pair.b.query("insert into t values (3, 'x', 1), (4, 'd', null), (6, null, 6)");
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "6",
    });
  });

  test("collide with what an update brings, too", async () => {
    await pair.both("create table t (id int primary key, v text unique)");
    await pair.a.query("insert into t values (1, 'x'), (2, 'y')");
    await pair.b.query("insert into t values (1, 'y'), (2, 'z')");
    expect(await refusal({ args: "strategy => 'prefer-remote'" })).toMatchObject({
      ...{ code: "23505", text: says("1 rows", "1 and 2") },
    });
  });
});

describe("last-modified", () => {
  const args = "strategy => 'last-modified', last_modified_column => 'at'";

  test("refuses a column that a table has not", async () => {
    await pair.both(
      "create table t (id int primary key, at timestamptz); create table u (id int primary key)",
    );
    expect(await refusal({ args })).toMatchObject({
      ...{ code: "42703", text: says("public.u", "at") },
    });
  });

  test.each(["text", "boolean", "time", "interval", "timestamptz[]"])(
    "refuses a column of type %s",
    async (type) => {
      await pair.both(`create table t (id int primary key, at ${type})`);
      expect(await refusal({ args })).toMatchObject({
        ...{ code: "42804", text: says("public.t", "at") },
      });
    },
  );

  test("without a column needs track_commit_timestamp on both sides", async () => {
    await pair.both("create table t (id int primary key)");
    expect(await refusal({ args: "strategy => 'last-modified'" })).toMatchObject({
      ...{ code: "55000", text: says("track_commit_timestamp", "here and at the peer") },
    });
  });
});

test("published tables without a replica identity, whose rows PostgreSQL does not update", async () => {
  await pair.both(
    `create table nokey (id int not null, v text); create table parted (id int, v text) partition by range (id);
     create table parted_1 partition of parted for values from (0) to (9)`,
  );
  await pair.a.query(
    "insert into nokey values (1, 'a'), (2, 'a'); insert into parted values (1, 'a')",
  );
  await pair.b.query(
    "insert into nokey values (1, 'b'); create publication p for table nokey; create publication q for table parted",
  );
  const keys = `primary_keys => '{"public.nokey": ["id"], "public.parted": ["id"]}'`;
  for (const args of [keys, `${keys}, dry_run => true`]) {
    const refused = await refusal({ args, tables: ["public.nokey", "public.parted"] });
    expect(refused.code).toBe("55000");
    expect(refused.text).toMatch(/peer: public.nokey, peer: public.parted\b/);
    expect(refused.text).toContain("REPLICA IDENTITY USING INDEX");
  }
  await pair.both("alter table nokey replica identity full");
  await pair.b.query("alter publication q set (publish = 'insert')");
  const row = await pair.merge(keys, { tables: ["public.nokey", "public.parted"] });
  expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "3" });
  await pair.b.query("drop publication p; drop publication q");
});
