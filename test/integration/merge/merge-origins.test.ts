import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { apart, makeOriginApart } from "../../support/apart.ts";
import { applySnapshot } from "../../support/apply.ts";
import { runMerge } from "../../support/merge.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { freshPath, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * Rows that a merge or an apply writes carry the origin of the subscription that brings their later
 * changes, so that PostgreSQL reports no conflict when those come.
 */

vi.setConfig({ testTimeout: 60_000 });

const settings = {
  wal_level: "logical",
  track_commit_timestamp: "on",
  max_worker_processes: 20,
  "steep_repl.poll_interval": "1s",
  wal_retrieve_retry_interval: "200ms",
};
const directions = ["from_a", "from_b"] as const;
let a: Server;
let b: Server;

const at = (subscription: string) => (subscription === "from_b" ? a : b);

beforeAll(async () => {
  [a, b] = await Promise.all([
    startServer({ name: "origins-a", settings }),
    startServer({ name: "origins-b", identity: "peer", settings }),
  ]);
  for (const server of [a, b])
    await server.query(
      `create extension steep_repl cascade;
       ${makeOriginApart};
       create table t (id int primary key, v text); create publication everything for table t`,
    );
  await subscribe("");
});
afterAll(() => Promise.all([a?.destroy(), b?.destroy()]));
beforeEach(async () => {
  await setEnabled(true);
  for (const server of [a, b]) await apart(server, "truncate t");
});

async function subscribe(options: string): Promise<void> {
  for (const name of directions) {
    const from = name === "from_b" ? b : a;
    await at(name).query(
      `create subscription ${name} connection '${from.uri()}' publication everything
       with (copy_data = false, origin = none${options})`,
    );
  }
}

const originOf = async (subscription: string) => {
  const [row] = await at(subscription).query<{ origin: string }>(
    "select 'pg_' || oid as origin from pg_subscription where subname = $1",
    [subscription],
  );
  return row?.origin;
};

/** By id: the origin of each row, and when it was committed, in ms. */
const written = (server: Server) =>
  server.query<{ id: number; origin: string | null; ms: number }>(
    `select t.id, o.roname as origin, extract(epoch from s."timestamp")::float8 * 1000 as ms
     from t cross join lateral pg_xact_commit_timestamp_origin(t.xmin) s left join pg_replication_origin o on o.roident = s.roident
     order by t.id`,
  );

const origins = async (server: Server) => [
  ...new Set((await written(server)).map((r) => r.origin)),
];

/** Rows that only one side has, 3,000 on each. */
async function differ(): Promise<void> {
  for (const [server, from] of [
    [a, 1],
    [b, 10_001],
  ] as const)
    await apart(
      server,
      `insert into t select g, repeat('x', 200) from generate_series(${from}, ${from + 2999}) g`,
    );
}

/** The conflicts that both subscriptions have met, and whether they failed. */
const conflicts = async () =>
  (
    await Promise.all(
      directions.map((name) =>
        at(name).query(
          `select confl_update_origin_differs::int as updates, confl_delete_origin_differs::int as deletes, apply_error_count::int as errors
           from pg_stat_subscription_stats where subname = $1`,
          [name],
        ),
      ),
    )
  ).flat();

/** Change rows where they came from, and wait until the other side has that. */
async function changeMergedRows(): Promise<void> {
  await a.query("update t set v = 'changed' where id = 1; delete from t where id = 3");
  await b.query("update t set v = 'changed' where id = 10001; delete from t where id = 10003");
  for (const server of [a, b])
    await waitUntil(
      () =>
        server.query(
          "select id, left(v, 7) as v from t where id in (1, 3, 10001, 10003) order by id",
        ),
      (rows) => rows.length === 2 && rows.every((row) => row.v === "changed"),
      `${server.name} has the changes`,
      { timeoutMs: 30_000 },
    );
}

async function setEnabled(enabled: boolean): Promise<void> {
  for (const name of directions) {
    await at(name).query(`alter subscription ${name} ${enabled ? "enable" : "disable"}`);
    await waitUntil(
      () =>
        at(name).query(
          "select pid from pg_stat_subscription where subname = $1 and worker_type = 'apply'",
          [name],
        ),
      (rows) => rows.length > 0 === enabled,
      `${name} is ${enabled ? "at work" : "at rest"}`,
      { timeoutMs: 30_000 },
    );
  }
}

test("they carry that of a subscription that is at work, and each its own time", async () => {
  await differ();
  const before = await conflicts();
  expect(await runMerge(a, b.uri())).toMatchObject({ error_message: null, rows_merged: "6000" });
  expect(await origins(a)).toEqual(["apart", await originOf("from_b")]);
  expect(await origins(b)).toEqual([await originOf("from_a"), "apart"]);
  const merged = (await written(b)).slice(0, 3000);
  expect(new Set(merged.map((row) => row.ms)).size).toBeGreaterThan(1);
  await changeMergedRows();
  expect(await conflicts()).toEqual(before);
});

test("a subscription that has shared its origin can be stopped and started", async () => {
  await setEnabled(false);
  await setEnabled(true);
  await a.query("insert into t values (20001, 'x')");
  await waitUntil(
    () => b.query("select id from t where id = 20001"),
    (rows) => rows.length === 1,
    "b has the row",
  );
});

test("they carry that of one that is disabled", async () => {
  await differ();
  const before = await conflicts();
  await setEnabled(false);
  try {
    expect(await runMerge(a, b.uri(), { args: "backlog => 'discard'" })).toMatchObject({
      error_message: null,
      rows_merged: "6000",
    });
  } finally {
    await setEnabled(true);
  }
  expect(await origins(a)).toEqual(["apart", await originOf("from_b")]);
  expect(await origins(b)).toEqual([await originOf("from_a"), "apart"]);
  await changeMergedRows();
  expect(await conflicts()).toEqual(before);
});

test("where the peer cannot share one, rows have an origin of the merge, and each its own time", async () => {
  await differ();
  const before = await conflicts();
  await b.query(
    "revoke usage on schema steep_repl from public; alter schema steep_repl rename to elsewhere",
  );
  try {
    expect(await runMerge(a, b.uri())).toMatchObject({ error_message: null, rows_merged: "6000" });
  } finally {
    await b.query(
      "alter schema elsewhere rename to steep_repl; grant usage on schema steep_repl to public",
    );
  }
  const merged = (await written(b)).slice(0, 3000);
  expect(new Set(merged.map((row) => row.origin))).toEqual(new Set([null]));
  expect(new Set(merged.map((row) => row.ms)).size).toBeGreaterThan(1);
  await changeMergedRows();
  await waitUntil(
    conflicts,
    (now) =>
      JSON.stringify(now) === JSON.stringify([{ updates: 1, deletes: 1, errors: 0 }, before[1]]),
    "from_a has counted two conflicts",
  );
});

test("their time is in the WAL", async () => {
  await differ();
  expect(await runMerge(a, b.uri())).toMatchObject({ error_message: null });
  // what core's own session has written has none
  const merged = async () => [(await written(a)).slice(3000), (await written(b)).slice(0, 3000)];
  const before = await merged();
  for (const server of [a, b]) {
    await server.kill9();
    await server.start();
  }
  expect(JSON.stringify(await merged())).toBe(JSON.stringify(before));
});

test("an undo of it restores rows with that origin, too", async () => {
  await differ();
  await a.query("delete from t where id > 10");
  const merge = await runMerge(a, b.uri(), {
    args: "strategy => 'prefer-remote', local_only => 'delete'",
  });
  const [undo] = await a.query<{ merge_id: string }>(
    "select merge_id from steep_repl.undo_merge($1, peer => $2)",
    [merge.merge_id, b.uri()],
  );
  const [ended] = await a.query("select status from steep_repl.wait_merge($1)", [undo?.merge_id]);
  expect(ended).toEqual({ status: "complete" });
  expect(await origins(a)).toEqual([await originOf("from_b")]);
});

test.each(["at work", "disabled"])(
  "loaded rows carry that of a subscription that is %s",
  async (state) => {
    const path = freshPath(b);
    await b.query("insert into t select g, md5(g::text) from generate_series(1, 50000) g");
    await waitUntil(
      () => a.query("select count(*)::int as n from t"),
      (rows) => rows[0]?.n === 50_000,
      "a has the rows",
    );
    await takeSnapshot(b, { path });
    const before = await conflicts();
    if (state === "disabled") await setEnabled(false);
    try {
      await applySnapshot(a, path, {
        args: "sections => '{data}', truncate => true, tables => '{public.t}', parallel => 3",
      });
    } finally {
      if (state === "disabled") await setEnabled(true);
    }
    expect(await origins(a)).toEqual([await originOf("from_b")]);
    await b.query("update t set v = 'changed' where id < 100");
    await waitUntil(
      () => a.query("select count(*)::int as n from t where v = 'changed'"),
      (rows) => rows[0]?.n === 99,
      "a has the changes",
    );
    expect(await conflicts()).toEqual(before);
  },
);

test.each([
  ["resets", "perform pg_replication_origin_session_reset()"],
  [
    "changes",
    "perform pg_replication_origin_session_reset(); perform pg_replication_origin_session_setup('apart')",
  ],
])("a trigger that %s the origin fails its merge at most", async (_, does) => {
  await differ();
  await a.query(
    `create function meddle() returns trigger language plpgsql as $$ begin ${does}; return new; exception when others then return new; end $$;
     create trigger meddle before insert on t for each row when (new.id = 10001) execute function meddle(); alter table t enable always trigger meddle`,
  );
  await b.query(
    "create function meddle() returns trigger language plpgsql as $$ begin return new; end $$",
  );
  await b.query(
    "create trigger meddle before insert on t for each row when (new.id = 10001) execute function meddle(); alter table t enable always trigger meddle",
  );
  await setEnabled(false);
  try {
    const [before] = await a.query("select pg_postmaster_start_time() as at");
    const row = await runMerge(a, b.uri(), { args: "backlog => 'discard'" });
    expect(["complete", "failed"]).toContain(row.status);
    expect(await a.query("select pg_postmaster_start_time() as at")).toEqual([before]);
    expect(await a.log()).not.toContain("terminated by signal");
  } finally {
    for (const server of [a, b]) await server.query("drop function meddle() cascade");
    await setEnabled(true);
  }
});

test("only a superuser shares an origin, and nobody on a standby", async () => {
  await createRole(a, "postgres", "sharer", "login");
  await a.query(
    `grant execute on function pg_replication_origin_session_setup, pg_replication_origin_session_reset to sharer;
     grant usage on schema steep_repl to sharer`,
  );
  const use = (pid: string) =>
    a.query(`select steep_repl._use_origin('apart', ${pid})`, [], { user: "sharer" });
  await expect(use("1")).rejects.toMatchObject({ code: "42501" });
  await use("0");
});

test("where a subscription is enabled and not at work, it finds its origin free", async () => {
  await differ();
  await a.query("alter subscription from_b connection 'host=127.0.0.1 port=1 dbname=postgres'");
  try {
    await waitUntil(
      () =>
        a.query("select from pg_stat_subscription where subname = 'from_b' and pid is not null"),
      (rows) => rows.length === 0,
      "from_b has no worker",
      { timeoutMs: 30_000 },
    );
    const row = await runMerge(a, b.uri(), { args: "backlog => 'discard'" });
    expect(row).toMatchObject({ error_message: null, rows_merged: "6000" });
  } finally {
    await a.query(`alter subscription from_b connection '${b.uri()}'`);
  }
  expect(await origins(b)).toEqual([await originOf("from_a"), "apart"]);
  expect(await origins(a)).toEqual(["apart", null]);
  await b.query("update t set v = 'after' where id = 10001");
  await waitUntil(
    () => a.query("select from t where v = 'after'"),
    (rows) => rows.length === 1,
    "from_b is at work again",
    { timeoutMs: 30_000 },
  );
});
