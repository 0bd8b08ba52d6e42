import { describe, expect, test } from "vitest";
import {
  actions,
  auditOf,
  endOfMerge,
  found,
  imagesOf,
  type MergeRow,
  mergeRow,
  sorted,
  startMerge,
} from "../../support/merge.ts";
import { type MergePair, password, setMergePair } from "../../support/merge-pair.ts";
import { olderBin, startOlderServer } from "../../support/older-server.ts";
import { createRole, dropRole, whileJobsWait } from "../../support/roles.ts";
import { waitUntil } from "../../support/wait-until.ts";

let pair: MergePair;
setMergePair(
  "merge",
  (p) => {
    pair = p;
  },
  { track_commit_timestamp: "on" },
);

/** t: 10 rows only here, 20 only there, 30 in conflict, 100 in all; u has nothing that differs. */
const make = async () => {
  await pair.both(
    `create table t (id int primary key, v text); create table u (id int primary key, v text);
     insert into t select g, 'v' || g from generate_series(11, 100) g; insert into u values (1, 'same');
     grant select, insert, update, delete on t, u to merger`,
  );
  await pair.a.query("insert into t select g, 'v' || g from generate_series(1, 10) g");
  await pair.b.query(
    `insert into t select g, 'v' || g from generate_series(101, 120) g;
     update t set v = 'other' where id between 41 and 70`,
  );
};

async function expectSame(...items: readonly string[]): Promise<void> {
  const [here, there] = await Promise.all([imagesOf(pair.a, items), imagesOf(pair.b, items)]);
  expect(here.map(sorted)).toEqual(there.map(sorted));
}

describe("a merge", () => {
  test("of all tables makes both sides the same, and says what it did", async () => {
    await make();
    const queued = await startMerge(pair.a, pair.asMerger);
    expect(queued).toMatchObject({
      ...{
        status: "pending",
        phase: "queued",
        strategy: "prefer-local",
        dry_run: false,
        tables: null,
      },
      peer: `host=127.0.0.1 port=${pair.b.port} dbname=postgres user=merger`,
    });
    expect(queued.merge_id).toMatch(/^merge_\d{8}_\d{6}_[0-9a-f]{8}$/);
    const row = await endOfMerge(pair.a, queued);
    expect(row).toMatchObject({
      ...{ error_message: null, status: "complete", phase: "complete", overall_percent: "100.00" },
      ...{ tables: ["public.t", "public.u"], table_count: 2, tables_completed: 2 },
      ...{ rows_merged: "60", rows_left: "0" },
    });
    expect(found(row)).toEqual([10, 20, 61, 30, 0]);
    await expectSame("public.t", "public.u");
    expect(await pair.b.query("select count(*)::int as n from t where v = 'other'")).toEqual([
      { n: 0 },
    ]);
    const audit = await auditOf(pair.a, row);
    expect(actions(audit)).toEqual({ insert_remote: 10, insert_local: 20, update_remote: 30 });
    expect(audit.find((r) => r.key.id === "50")).toEqual({
      ...{
        table_name: "public.t",
        key: { id: "50" },
        category: "conflict",
        action: "update_remote",
      },
      ...{ local_row: { id: "50", v: "v50" }, remote_row: { id: "50", v: "other" } },
      result_row: { id: "50", v: "v50" },
    });
    expect(
      await pair.a.query(
        `select operation, status, merge_id, requested_by, params ? 'peer' as has_peer
         from steep_repl.list_operations() where id = $1`,
        [row.operation_id],
      ),
    ).toEqual([
      {
        ...{ operation: "bidirectional_merge", status: "complete", merge_id: row.merge_id },
        ...{ requested_by: "postgres", has_peer: true },
      },
    ]);
    expect(await pair.a.log()).toContain(row.merge_id);
    await expect(
      pair.b.query("select 1 from pg_extension where extname = 'steep_repl'"),
    ).resolves.toEqual([]);
  });

  test("of tables of which nothing differs writes nothing", async () => {
    await pair.both(
      "create table t (id int primary key); create table u (id int primary key); insert into u values (1)",
    );
    const before = await pair.versions();
    const row = await pair.merge("strategy => 'manual', local_only => 'delete'");
    expect(row).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "0",
      rows_left: "0",
    });
    expect(found(row)).toEqual([0, 0, 1, 0, 0]);
    expect(await pair.versions()).toEqual(before);
  });

  test("of databases that have no table in common has nothing to do", async () => {
    await pair.a.query("create table only_here (id int primary key)");
    expect(await pair.merge()).toMatchObject({
      status: "complete",
      rows_merged: "0",
      error_message: null,
    });
  });

  test("that is a dry run counts the same and writes nothing at all", async () => {
    await make();
    const before = await pair.versions();
    const dry = await pair.merge("dry_run => true");
    expect(dry).toMatchObject({
      error_message: null,
      status: "complete",
      dry_run: true,
      rows_merged: "60",
    });
    expect(found(dry)).toEqual([10, 20, 61, 30, 0]);
    expect(await pair.versions()).toEqual(before);
    expect(await auditOf(pair.a, dry)).toEqual([]);
  });

  test("leaves rows alone that its caller wants to keep, and conflicts of strategy manual", async () => {
    await make();
    const row = await pair.merge(
      "strategy => 'manual', local_only => 'keep', remote_only => 'keep'",
    );
    expect(row).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "0",
      rows_left: "60",
    });
    const conflicts = await pair.a.query(
      `select peer, table_name, key, reason, status, local_row, remote_row from steep_repl.merge_conflicts
       where merge_id = $1 order by (key ->> 'id')::int`,
      [row.merge_id],
    );
    expect(conflicts).toHaveLength(30);
    expect(conflicts[0]).toMatchObject({
      ...{ table_name: "public.t", key: { id: "41" }, reason: "conflict", status: "open" },
      ...{ local_row: { id: "41", v: "v41" }, remote_row: { id: "41", v: "other" } },
    });
  });

  test("of many rows goes in batches, none of which is lost", async () => {
    await pair.both(
      "create table t (id int primary key, v text); insert into t select g, 'v' from generate_series(1, 3000) g",
    );
    await pair.a.query(
      "insert into t select g, 'here' from generate_series(3001, 15000) g; update t set v = 'x' where id % 2 = 0 and id <= 3000",
    );
    await pair.b.query("insert into t select g, 'there' from generate_series(-11000, -1) g");
    const row = await pair.merge();
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "24500" });
    await expectSame("public.t");
    expect(actions(await auditOf(pair.a, row))).toEqual({
      ...{ insert_remote: 12000, insert_local: 11000, update_remote: 1500 },
    });
  });

  test("takes by commit timestamps what was written last", async () => {
    await pair.both(
      "create table t (id int primary key, v text); insert into t values (1, 'old'), (2, 'old')",
    );
    await pair.a.query("update t set v = 'here' where id = 1");
    await pair.b.query("update t set v = 'there' where id = 1");
    await pair.b.query("update t set v = 'there' where id = 2");
    await pair.a.query("update t set v = 'here' where id = 2");
    const row = await pair.merge("strategy => 'last-modified'");
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "2" });
    await expectSame("public.t");
    expect(await pair.a.query("select v from t order by id")).toEqual([
      { v: "there" },
      { v: "here" },
    ]);
  });

  test("does not take a row without a stamp for the oldest one", async () => {
    await pair.both(
      "create table t (id int primary key, v text); insert into t select g, 'old' from generate_series(1, 40) g",
    );
    await pair.b.configure({ track_commit_timestamp: "off" });
    await pair.b.restart();
    await pair.b.query("update t set v = 'there' || id");
    await pair.b.configure({ track_commit_timestamp: "on" });
    await pair.b.restart();
    await pair.a.query("update t set v = 'here'");
    // some of the peer's rows win nevertheless, the same ones from whichever side one looks
    const row = await pair.merge("strategy => 'last-modified'");
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "40" });
    await expectSame("public.t");
    const [won] = await pair.a.query<{ here: number }>(
      "select count(*) filter (where v = 'here')::int as here from t",
    );
    expect(won?.here).toBeGreaterThan(0);
    expect(won?.here).toBeLessThan(40);
  });

  test("looks again at rows that somebody locks, and leaves those that stay locked", async () => {
    await make();
    await pair.both("insert into u select g, 'new' from generate_series(10, 20) g");
    await pair.b.configure({ lock_timeout: 0 });
    await pair.a.configure({ "steep_repl.lock_timeout": "200ms" });
    const blocker = await pair.b.connect();
    await blocker.query("begin; select from t where id = 50 for update");
    const row = await pair.merge();
    expect(row).toMatchObject({ error_message: null, status: "complete" });
    expect(Number(row.rows_left)).toBeGreaterThan(0);
    expect(await auditOf(pair.a, row)).toHaveLength(Number(row.rows_merged));
    await blocker.query("rollback");
    await blocker.end();
    await pair.a.configure({ "steep_repl.lock_timeout": "30s" });
    expect(await pair.merge()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_left: "0",
    });
    await expectSame("public.t", "public.u");
  });
});

describe("peers", () => {
  test("are nodes and foreign servers as well, and roles with their own rights", async () => {
    await pair.a.query(
      `create server b foreign data wrapper dblink_fdw options (host '127.0.0.1', port '${pair.b.port}', dbname 'postgres');
       grant usage on foreign server b to merger;
       create user mapping for merger server b options (user 'merger', password '${password}');
       select steep_repl.register_node('node-b', 'b', foreign_server => 'b')`,
    );
    for (const peer of ["b", "node-b"]) {
      await make();
      const row = await pair.merge(undefined, { peer, user: "merger" });
      expect(row).toMatchObject({
        status: "complete",
        error_message: null,
        rows_merged: "60",
        peer,
      });
      expect(await auditOf(pair.a, row, { user: "merger" })).toHaveLength(60);
      await expectSame("public.t", "public.u");
      await pair.both("drop table t, u");
    }
    await make();
    expect(await pair.mergeAsMerger()).toMatchObject({
      error_message: null,
      status: "complete",
      rows_merged: "60",
    });
    // a connection string of a role that is no superuser has to have the password, which is used
    await expect(
      pair.merge(undefined, { peer: pair.b.uri(), user: "merger" }),
    ).rejects.toMatchObject({ code: "2F003" });
    const trusting = pair.b.uri().replace("postgres@", "postgres:unused@");
    const trusted = await pair.merge(undefined, { peer: trusting, user: "merger" });
    expect(trusted).toMatchObject({ status: "failed", error_sqlstate: "2F003" });
    await pair.a.query("select steep_repl.remove_node('node-b'); drop server b cascade");
  });

  test.skipIf(olderBin === undefined)("may be of an older version", async () => {
    const older = await startOlderServer(olderBin ?? "");
    try {
      const sql =
        "create table t (id serial primary key, v text, parent int references t); insert into t (v) values ('a'), ('b')";
      await pair.a.query(sql);
      await older.query(sql);
      await pair.a.query("insert into t values (10, 'here', 1)");
      await older.query("insert into t values (20, 'there', 2); update t set v = 'c' where id = 2");
      const row = await pair.merge(undefined, {
        peer: `postgresql://postgres@127.0.0.1:${older.port}/postgres`,
      });
      expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "3" });
      const rows = "select * from t order by id";
      expect(await older.query(rows)).toEqual(await pair.a.query(rows));
      expect(await older.query("select nextval('t_id_seq')::int as n")).toEqual([{ n: 21 }]);
    } finally {
      await older.destroy();
    }
  });
});

describe("the audit log", () => {
  const statements = [
    "update steep_repl.merge_audit_log set requested_by = 'somebody'",
    "delete from steep_repl.merge_audit_log",
    "truncate steep_repl.merge_audit_log",
    `insert into steep_repl.merge_audit_log (merge_id, table_name, key, category, action, requested_by, batch)
     values ('merge_x', 't', '{}', 'conflict', 'update_local', 'postgres', 1)`,
  ];

  test("cannot be changed, whatever was granted, nor by another superuser, nor without triggers", async () => {
    await make();
    const row = await pair.merge();
    await createRole(pair.a, "postgres", "clerk");
    await pair.a.query(
      "grant all on all tables in schema steep_repl to clerk; create role chief superuser login",
    );
    const before = await auditOf(pair.a, row);
    expect(before).toHaveLength(60);
    for (const user of ["clerk", "chief"])
      for (const statement of statements)
        await expect(
          pair.a.query(statement, [], { user }),
          `${user}: ${statement}`,
        ).rejects.toMatchObject({
          code: "42501",
        });
    const chief = await pair.a.connect({ user: "chief" });
    await chief.query("set session_replication_role = replica");
    for (const statement of statements)
      await expect(chief.query(statement), statement).rejects.toMatchObject({ code: "42501" });
    await chief.end();
    expect(await auditOf(pair.a, row)).toEqual(before);
    await dropRole(pair.a, "postgres", "clerk");
    await pair.a.query("drop role chief");
  });

  test("and what else a merge leaves is seen by its requester's members only", async () => {
    await make();
    await pair.b.query("insert into u values (7, 'x')");
    await createRole(pair.a, "postgres", "stranger");
    await createRole(pair.a, "postgres", "colleague");
    await pair.a.query("grant merger to colleague; insert into u values (7, 'y')");
    const row = await pair.mergeAsMerger("strategy => 'manual'");
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "30" });
    for (const [user, sees] of [
      ["merger", true],
      ["colleague", true],
      ["stranger", false],
    ] as const)
      for (const table of ["merges", "merge_tables", "merge_audit_log", "merge_conflicts"])
        expect(
          await pair.a.query(
            `select count(*) > 0 as sees from steep_repl.${table} where merge_id = $1`,
            [row.merge_id],
            { user },
          ),
          `${user}: ${table}`,
        ).toEqual([{ sees }]);
    for (const call of ["merge_progress($1)", "wait_merge($1)", "cancel_merge($1)"])
      await expect(
        pair.a.query(`select steep_repl.${call}`, [row.merge_id], { user: "stranger" }),
        call,
      ).rejects.toMatchObject({ code: "42704" });
    for (const table of ["merges", "merge_tables", "merge_conflicts", "_merge_intents"])
      await expect(
        pair.a.query(`delete from steep_repl.${table}`, [], { user: "merger" }),
        table,
      ).rejects.toMatchObject({ code: "42501" });
    for (const role of ["stranger", "colleague"]) await dropRole(pair.a, "postgres", role);
  });
});

describe("while it runs", () => {
  /** Run with a merge that waits at the peer for a lock of ours. */
  async function whileBlocked<T>(
    lock: string,
    action: (merge: MergeRow, release: () => Promise<void>) => Promise<T>,
  ): Promise<T> {
    const blocker = await pair.b.connect();
    await blocker.query(`begin; ${lock}`);
    const release = async () => {
      await blocker.query("rollback");
    };
    const merge = await startMerge(pair.a, pair.asMerger);
    await waitUntil(
      () =>
        pair.b.query(
          "select 1 from pg_stat_activity where application_name = 'steep_repl peer' and wait_event_type = 'Lock'",
        ),
      (rows) => rows.length === 1,
      "the merge waits at the peer",
    );
    try {
      return await action(merge, release);
    } finally {
      await blocker.end();
    }
  }

  test("merge_progress and wait_merge say how far it is", async () => {
    await make();
    await whileBlocked("lock table t in share mode", async (merge, release) => {
      const progress = await pair.a.query("select * from steep_repl.merge_progress()");
      expect(progress).toEqual([
        {
          ...{ merge_id: merge.merge_id, status: "running", current_table: "public.t" },
          ...{ tables_completed: expect.any(Number), tables_total: 2, error: null },
          ...{ rows_merged: expect.any(String), conflict_count: "30", phase: "merging" },
          ...{ overall_percent: expect.any(String), eta_seconds: expect.anything() },
        },
      ]);
      expect(
        await pair.a.query("select status from steep_repl.wait_merge($1, 0)", [merge.merge_id]),
      ).toEqual([{ status: "running" }]);
      const waits = pair.a.query(
        "select status, rows_merged::int as n from steep_repl.wait_merge($1, 30)",
        [merge.merge_id],
      );
      await release();
      expect(await waits).toEqual([{ status: "complete", n: 60 }]);
    });
    expect(await pair.a.query("select * from steep_repl.merge_progress()")).toMatchObject([
      { error: null, status: "complete", rows_merged: "60" },
    ]);
  });

  test("wait_merge refuses to wait in the transaction that queued it, and what is unknown", async () => {
    await make();
    const session = await pair.a.connect();
    await session.query("begin");
    const { rows } = await session.query("select merge_id from steep_repl.start_merge($1, null)", [
      pair.asMerger,
    ]);
    await expect(
      session.query("select steep_repl.wait_merge($1)", [rows[0].merge_id]),
    ).rejects.toMatchObject({ code: "55000" });
    await session.query("rollback");
    await session.end();
    for (const call of ["wait_merge", "cancel_merge", "merge_progress"])
      await expect(
        pair.a.query(`select * from steep_repl.${call}('merge_none')`),
      ).rejects.toMatchObject({ code: "42704" });
    await expect(pair.a.query("select steep_repl.wait_merge(null)")).rejects.toMatchObject({
      code: "22023",
    });
  });

  test.each([
    ["planning", "lock table t", 0],
    ["merging", "lock table t in share mode", 20],
  ])("cancelling it while %s ends it within 2 s, at the peer too", async (phase, lock, rows) => {
    await make();
    await whileBlocked(lock, async (merge) => {
      expect(await mergeRow(pair.a, merge)).toMatchObject({ phase });
      const started = performance.now();
      expect(
        await pair.a.query("select steep_repl.cancel_merge($1) as done", [merge.merge_id]),
      ).toEqual([{ done: true }]);
      const row = await endOfMerge(pair.a, merge);
      expect(row).toMatchObject({ status: "cancelled", error_message: null });
      await waitUntil(
        () =>
          pair.b.query("select 1 from pg_stat_activity where application_name = 'steep_repl peer'"),
        (sessions) => sessions.length === 0,
        "the peer's session is gone",
        { timeoutMs: 2000 },
      );
      expect(performance.now() - started).toBeLessThan(2500);
      expect(await auditOf(pair.a, row)).toHaveLength(Number(row.rows_merged));
      expect(Number(row.rows_merged)).toBe(rows);
      expect(
        await pair.a.query("select steep_repl.cancel_merge($1) as done", [merge.merge_id]),
      ).toEqual([{ done: false }]);
    });
    // what is left of it is merged by the next one
    expect(await pair.merge()).toMatchObject({ error_message: null, status: "complete" });
    await expectSame("public.t");
  });

  test("cancelling it while it compares ends both sides' queries", async () => {
    await pair.both(
      "create table t (id int primary key, v numeric[]); insert into t select g, array[g] from generate_series(1, 400000) g",
    );
    const merge = await startMerge(pair.a, pair.b.uri());
    await waitUntil(
      () => mergeRow(pair.a, merge),
      (row) => row?.phase === "comparing",
      "it compares",
      { intervalMs: 5 },
    );
    const started = performance.now();
    await pair.a.query("select steep_repl.cancel_operation($1)", [merge.operation_id]);
    expect(await endOfMerge(pair.a, merge)).toMatchObject({
      ...{ status: "cancelled", phase: "comparing", rows_merged: "0" },
    });
    expect(performance.now() - started).toBeLessThan(2000);
  });

  test("listeners hear of it, and of its end", async () => {
    await make();
    const listener = await pair.a.connect();
    const heard: Record<string, unknown>[] = [];
    listener.on("notification", (n) => heard.push(JSON.parse(n.payload ?? "{}")));
    await listener.query("listen steep_repl_progress");
    const row = await pair.merge();
    const absent = await pair.merge(undefined, { peer: "host=127.0.0.1 port=1" });
    await waitUntil(
      () => heard.filter((n) => n.status !== undefined),
      (ends) => ends.length === 2,
      "both ends are heard of",
    );
    await listener.end();
    const own = heard.filter((n) => n.merge_id === row.merge_id);
    expect(own.at(-1)).toMatchObject({ phase: "complete", status: "complete", percent: 100 });
    for (const notification of heard)
      expect(notification).toMatchObject({
        ...{ op: "merge", phase: expect.any(String), percent: expect.any(Number) },
      });
    expect(new Set(own.map((n) => n.phase))).toContain("merging");
    expect(heard.find((n) => n.merge_id === absent.merge_id && n.status)).toMatchObject({
      ...{ status: "failed", sqlstate: "08001" },
    });
  });
});

describe("a merge that failed", () => {
  test("goes on when it is retried, with the peer given again", async () => {
    await make();
    await pair.b.query("revoke update on t from merger");
    const failed = await pair.mergeAsMerger();
    expect(failed).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    await pair.b.query("grant update on t to merger");
    const retry = "select * from steep_repl.retry_operation($1, $2)";
    const as = { user: "merger" };
    await expect(pair.a.query(retry, [failed.operation_id, null], as)).rejects.toMatchObject({
      code: "55000",
    });
    await expect(
      pair.a.query(retry, [failed.operation_id, "host=elsewhere password=x"], as),
    ).rejects.toMatchObject({ code: "22023" });
    await pair.a.query(retry, [failed.operation_id, pair.asMerger], as);
    const row = await endOfMerge(pair.a, failed);
    expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "60" });
    expect(await auditOf(pair.a, row)).toHaveLength(60);
    await expectSame("public.t");
  });

  test("after a restart with a connection string says to give it again", async () => {
    await make();
    const queued = await whileJobsWait(pair.a, async () => {
      const merge = await startMerge(pair.a, pair.asMerger);
      await pair.a.stop("immediate");
      await pair.a.start();
      return merge;
    });
    const failed = await endOfMerge(pair.a, queued);
    expect(failed).toMatchObject({
      ...{ status: "failed", error_sqlstate: "55000" },
      error_hint: expect.stringContaining(`retry_operation(${queued.operation_id}, peer => '...')`),
    });
    await pair.a.query("select steep_repl.retry_operation($1, peer => $2)", [
      queued.operation_id,
      pair.asMerger,
    ]);
    expect(await endOfMerge(pair.a, queued)).toMatchObject({
      status: "complete",
      rows_merged: "60",
    });
  });
});

test("after all that, no password is in a table, a log, or shown of a session", async () => {
  await make();
  const merge = await startMerge(pair.a, pair.asMerger);
  const shown: string[] = [];
  await waitUntil(
    async () => {
      for (const server of [pair.a, pair.b])
        shown.push(
          JSON.stringify(
            await server.query("select * from pg_stat_activity where pid <> pg_backend_pid()"),
          ),
        );
      return mergeRow(pair.a, merge);
    },
    (row) => row?.status === "complete",
    "the merge is complete",
  );
  const tables = await pair.a.query<{ text: string }>(
    `select query_to_xml(format('select * from steep_repl.%I', relname), true, false, '')::text as text
     from pg_class where relnamespace = 'steep_repl'::regnamespace and relkind = 'r'`,
  );
  shown.push(...tables.map((t) => t.text), await pair.a.log(), await pair.b.log());
  // the test itself said it where it made the role and the user mapping
  const lines = shown.flatMap((text) => text.split("\n")).filter((line) => line.includes(password));
  expect(lines.filter((line) => !/create role merger|create user mapping/.test(line))).toEqual([]);
});
