import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { apart, makeOriginApart } from "../../support/apart.ts";
import { runMerge } from "../../support/merge.ts";
import { createRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * A change that a subscription fails on keeps all that comes after it. A merge says which change that
 * is, why it fails, and what leaves it out; then the merge makes up for it while both sides replicate.
 */

vi.setConfig({ testTimeout: 120_000 });

const settings = {
  wal_level: "logical",
  max_worker_processes: 20,
  wal_retrieve_retry_interval: "200ms",
  "steep_repl.poll_interval": "1s",
};
let a: Server;
let b: Server;

beforeAll(async () => {
  [a, b] = await Promise.all([
    startServer({ name: "apply-errors-a", settings }),
    startServer({ name: "apply-errors-b", identity: "peer", settings }),
  ]);
  for (const server of [a, b])
    await server.query(
      `create extension steep_repl cascade;
       create table t (id int primary key, v text); create table "odd/1" (id int primary key, v text);
       create publication everything for table t, "odd/1"`,
    );
  for (const [server, from, name] of [
    [a, b, "from_b"],
    [b, a, "From A"],
  ] as const)
    await server.query(
      `create subscription "${name}" connection '${from.uri()}' publication everything
       with (copy_data = false, origin = none, slot_name = '${name.toLowerCase().replace(" ", "_")}', disable_on_error = ${name === "from_b"})`,
    );
});
afterAll(() => Promise.all([a?.destroy(), b?.destroy()]));

async function failing(server: Server): Promise<void> {
  await waitUntil(
    () => server.query("select * from steep_repl._apply_errors()"),
    (rows) => rows.length === 1,
    `${server.name} fails on a change`,
    { timeoutMs: 30_000 },
  );
}

test("a merge names the changes that subscriptions fail on, and what it proposes mends both sides", async () => {
  await a.query("alter subscription from_b disable");
  await b.query('alter subscription "From A" disable');
  await a.query(`insert into "odd/1" values (1, 'A')`);
  await b.query(`insert into "odd/1" values (1, 'B')`);
  await a.query("insert into t values (10, 'after A')");
  await b.query("insert into t values (11, 'after B')");
  await a.query("alter subscription from_b enable");
  await b.query('alter subscription "From A" enable');
  await failing(a);
  await failing(b);

  const refused = await runMerge(a, b.uri());
  expect(refused).toMatchObject({ status: "failed", error_sqlstate: "55000", rows_merged: "0" });
  const why = 'conflict detected on relation "public.odd/1": conflict=insert_exists';
  expect(refused.error_message).toMatch(
    new RegExp(
      `subscription from_b here fails on the transaction that ended at \\w+/\\w+ \\(${why}\\)`,
    ),
  );
  expect(refused.error_message).toContain('subscription "From A" at the peer fails');
  const commands = /\(here: (.*;) at the peer: (.*;)\), wait/.exec(refused.error_hint ?? "");
  expect(commands?.[1]).toMatch(
    /^ALTER SUBSCRIPTION from_b SKIP \(lsn = '\w+\/\w+'\); ALTER SUBSCRIPTION from_b ENABLE;$/,
  );
  expect(commands?.[2]).toMatch(/^ALTER SUBSCRIPTION "From A" SKIP \(lsn = '\w+\/\w+'\);$/);

  await a.query(commands?.[1] ?? "");
  await b.query(commands?.[2] ?? "");
  for (const server of [a, b])
    await waitUntil(
      () => server.query("select id from t where id in (10, 11)"),
      (rows) => rows.length === 2,
      `${server.name} has what came after`,
      { timeoutMs: 30_000 },
    );
  const merge = await runMerge(a, b.uri(), { args: "strategy => 'prefer-remote'" });
  expect(merge).toMatchObject({ error_message: null, status: "complete", rows_merged: "1" });
  for (const server of [a, b])
    expect(await server.query('select v from "odd/1"')).toEqual([{ v: "B" }]);
  // what is over is not told again
  await a.query("alter subscription from_b disable");
  const later = await runMerge(a, b.uri());
  await a.query("alter subscription from_b enable");
  expect(later.error_message).toContain("subscription from_b here (disabled)");
  expect(later.error_message).not.toContain("fails");
});

test("the error is shown to the subscription's owner, and to who may monitor", async () => {
  await a.query(makeOriginApart);
  await createRole(a, "postgres", "nobody_special", "login");
  await createRole(a, "postgres", "watcher", "login in role pg_monitor");
  const seen = (user: string) =>
    a.query<{ message: string; position: string }>(
      `select message, "position"::text from steep_repl._apply_errors()`,
      [],
      { user },
    );
  // one that is over is not shown
  expect(await seen("watcher")).toEqual([]);
  await a.query("alter subscription from_b disable");
  await b.query("insert into t values (20, 'of b')");
  await apart(a, "insert into t values (20, 'of a')");
  await a.query("alter subscription from_b enable");
  await failing(a);
  expect(await seen("nobody_special")).toEqual([]);
  const [error] = await seen("watcher");
  await a.query(`alter subscription from_b skip (lsn = '${error?.position}')`);
  await a.query("alter subscription from_b enable");
  await waitUntil(
    () => seen("watcher"),
    (rows) => rows.length === 0,
    "it is over",
  );
  await apart(a, "update t set v = 'of b' where id = 20");
});

test("a slot that is lost is called so, and a merge that discards makes up for it", async () => {
  await a.query("alter subscription from_b disable");
  await b.query('alter subscription "From A" disable');
  await b.query("insert into t values (30, 'lost')");
  await b.query("alter system set max_slot_wal_keep_size = '1MB'");
  await b.query("select pg_reload_conf()");
  for (let i = 0; i < 4; i++) {
    await b.query("select pg_logical_emit_message(false, '', ''); select pg_switch_wal()");
    await b.query("checkpoint");
  }
  await waitUntil(
    () => b.query("select wal_status from pg_replication_slots where slot_name = 'from_b'"),
    ([slot]) => slot?.wal_status === "lost",
    "the slot is lost",
    { timeoutMs: 20_000 },
  );
  const refused = await runMerge(a, b.uri());
  expect(refused.error_message).toContain(
    "peer: slot from_b, subscription from_b here (lost: nothing of it will come",
  );
  const row = await runMerge(a, b.uri(), { args: "backlog => 'discard'" });
  expect(row).toMatchObject({ error_message: null, status: "complete", rows_merged: "1" });
  await b.query("select pg_drop_replication_slot('from_b')");
  const without = await runMerge(a, b.uri(), { args: "backlog => 'discard'" });
  expect(without).toMatchObject({ error_message: null, status: "complete" });
  expect(without.warnings?.join("\n")).toContain("third node: from_b here (slot from_b)");
  await a.query("alter subscription from_b set (slot_name = none); drop subscription from_b");
  await a.query(
    `create subscription from_b connection '${b.uri()}' publication everything with (copy_data = false, origin = none)`,
  );
  await b.query('alter subscription "From A" enable');
  await b.query("insert into t values (31, 'comes')");
  await waitUntil(
    () => a.query("select id from t where id in (30, 31)"),
    (rows) => rows.length === 2,
    "replication goes on",
    { timeoutMs: 20_000 },
  );
});
