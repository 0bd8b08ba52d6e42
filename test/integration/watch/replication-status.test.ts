import { afterEach, beforeAll, expect, test, vi } from "vitest";
import { apart, makeOriginApart } from "../../support/apart.ts";
import { makePair, setPairNodes } from "../../support/pair-nodes.ts";
import { createRole } from "../../support/roles.ts";
import type { Server } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Each way in which replication can fail is planted alone: it is told by replication_status() and health(), and no more when it is over. */

vi.setConfig({ testTimeout: 120_000 });

let a: Server;
let b: Server;
setPairNodes("replication-status", (...nodes) => {
  [a, b] = nodes;
});

const fromB = "steep_node_a_from_node_b";
const ofA = "steep_node_b_from_node_a";

type Status = {
  readonly peer: string | null;
  readonly direction: "in" | "out";
  readonly subscription: string | null;
  readonly slot_name: string | null;
  readonly state: string;
  readonly lag_bytes: string | null;
  readonly lag: unknown;
  readonly retained_bytes: string | null;
  readonly wal_status: string | null;
  readonly tables_ready: number | null;
  readonly conflicts: string | null;
  readonly last_error: string | null;
  readonly reasons: readonly string[];
};

const status = (server: Server, args = "") =>
  server.query<Status>(`select * from steep_repl.replication_status(${args}) order by direction`);

async function health(server: Server): Promise<{ status: string; reasons: readonly string[] }> {
  const [row] = await server.query<{ status: string; reasons: string[] }>(
    "select status, reasons from steep_repl.health()",
  );
  if (row === undefined) throw new Error("health() answered no row");
  return row;
}

/** Within ten seconds a direction is told to be in a state, and both functions say why. */
async function told(
  server: Server,
  direction: "in" | "out",
  state: string,
  why: RegExp,
): Promise<Status> {
  const [row] = await waitUntil(
    () => status(server).then((rows) => rows.filter((r) => r.direction === direction)),
    ([found]) => found?.state === state && found.reasons.some((reason) => why.test(reason)),
    `replication ${direction} is ${state}`,
    { timeoutMs: 10_000 },
  );
  expect(await health(server)).toMatchObject({
    status: "degraded",
    reasons: expect.arrayContaining([expect.stringMatching(why)]),
  });
  if (row === undefined) throw new Error("no row");
  return row;
}

async function allIsWell(): Promise<void> {
  for (const server of [a, b]) {
    await waitUntil(
      () => status(server),
      (rows) =>
        rows.length === 2 && rows.every((r) => r.state === "streaming" && r.reasons.length === 0),
      "both directions stream",
      { timeoutMs: 20_000 },
    );
    expect(await health(server)).toEqual({ status: "healthy", reasons: [] });
  }
}

beforeAll(async () => {
  await a.query(
    "create table t (id int primary key, v text); insert into t select i, 'x' from generate_series(1, 100) i",
  );
  for (const server of [a, b]) {
    await server.configure({
      "steep_repl.lag_time_warning": "1s",
      wal_retrieve_retry_interval: "100ms",
    });
    await server.query(makeOriginApart);
  }
  expect(await makePair(a, "'node_b'")).toMatchObject({ status: "complete" });
}, 60_000);
afterEach(allIsWell);

test("a pair as it should be has a row each way, with the peer's name", async () => {
  await allIsWell();
  expect(await status(a)).toMatchObject([
    { peer: "node_b", direction: "in", subscription: fromB, slot_name: fromB, tables_ready: 1 },
    {
      peer: "node_b",
      direction: "out",
      subscription: null,
      slot_name: ofA,
      wal_status: "reserved",
    },
  ]);
  // with the other ends
  expect(await status(a, "'node_b', probe => true")).toMatchObject([
    { direction: "in", state: "streaming", wal_status: "reserved", reasons: [] },
    { direction: "out", state: "streaming", subscription: ofA, tables_ready: 1, reasons: [] },
  ]);
  await expect(status(a, "'node_z'")).rejects.toMatchObject({ code: "42704" });
});

test("a subscription that is disabled, and the slot that nobody reads", async () => {
  await a.query(`alter subscription ${fromB} disable`);
  await told(a, "in", "disabled", /is disabled: .* ENABLE/);
  await b.query("insert into t select i, repeat('y', 1000) from generate_series(1001, 3000) i");
  const out = await told(b, "out", "not-connected", /nobody has read slot/);
  const [lag] = await b.query<{ bytes: string; retained: string }>(
    `select pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::text as bytes,
            pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::text as retained from pg_replication_slots`,
  );
  expect(Number(out.lag_bytes)).toBeGreaterThan(2_000_000);
  expect(Math.abs(Number(out.lag_bytes) - Number(lag?.bytes))).toBeLessThan(100_000);
  expect(Math.abs(Number(out.retained_bytes) - Number(lag?.retained))).toBeLessThan(100_000);
  // what a probe says of the other end
  expect((await status(b, "'node_a', probe => true"))[1]?.reasons.join()).toMatch(
    /at the peer: subscription .* is disabled/,
  );
  await b.configure({ "steep_repl.slot_retention_warning": "1MB" });
  await told(b, "out", "not-connected", /holds back .* \(steep_repl.slot_retention_warning\)/);
  await b.configure({ "steep_repl.slot_retention_warning": "10GB" });
  await a.query(`alter subscription ${fromB} enable`);
});

test("a change that cannot be applied, until it is skipped", async () => {
  await apart(a, "insert into t values (5000, 'of a')");
  await b.query("insert into t values (5000, 'of b')");
  const row = await told(a, "in", "failing", /fails on a change again and again: .*SKIP/);
  expect(row.last_error).toMatch(/\(at [0-9A-F]+\/[0-9A-F]+\)$/);
  expect(Number(row.conflicts)).toBeGreaterThan(0);
  const lsn = /\(at ([0-9A-F/]+)\)$/.exec(row.last_error ?? "")?.[1];
  await a.query(`alter subscription ${fromB} skip (lsn = '${lsn}')`);
});

test("a peer that is gone, and one that is another server", async () => {
  const [node] = await a.query<{ id: string }>(
    "select system_identifier as id from steep_repl.nodes where node_id = 'node_b'",
  );
  await b.stop("immediate");
  await told(a, "in", "not-connected", /receives nothing/);
  for (const row of await status(a, "probe => true")) {
    expect(row.reasons.join()).toMatch(/the other end is not known: could not connect/);
  }
  await b.start();
  await a.query(
    "update steep_repl.nodes set system_identifier = '1234567890123456789' where node_id = 'node_b'",
  );
  for (const row of await status(a, "probe => true")) {
    expect(row.reasons.join()).toMatch(/another server answers/);
  }
  await a.query("update steep_repl.nodes set system_identifier = $1 where node_id = 'node_b'", [
    node?.id,
  ]);
});

test("a table that is not copied", async () => {
  await b.query("create table late (id int primary key); insert into late values (1)");
  await b.query("create publication late for table late");
  await a.query("create table late (id int primary key); insert into late values (1)");
  await a.query(
    `create subscription late connection 'host=127.0.0.1 port=${b.port} dbname=postgres user=postgres' publication late with (origin = none)`,
  );
  const rows = await waitUntil(
    () => status(a),
    (found) => found.some((r) => r.subscription === "late" && r.state === "failing"),
    "it is told",
    { timeoutMs: 10_000 },
  );
  expect(rows.find((r) => r.subscription === "late")).toMatchObject({
    ...{ peer: null, tables_ready: 0 },
    reasons: [expect.stringMatching(/does not get these tables copied: .*late/)],
  });
  await a.query("delete from late");
  await waitUntil(
    () => status(a),
    (found) => found.some((r) => r.subscription === "late" && r.state === "streaming"),
    "it is copied",
    { timeoutMs: 20_000 },
  );
  await a.query("drop subscription late");
  await a.query("drop table late");
  await b.query("drop publication late; drop table late");
});

test("any role is told, and sees no value of a row", async () => {
  await createRole(a, "postgres", "watcher");
  await apart(a, "insert into t values (6000, 'secret')");
  await b.query("insert into t values (6000, 'secret')");
  const { last_error } = await told(a, "in", "failing", /again and again/);
  const as = { user: "watcher" };
  const rows = await waitUntil(
    () => a.query<Status>("select * from steep_repl.replication_status()", [], as),
    (found) => found.some((r) => r.direction === "in" && r.state === "not-connected"),
    "it is told",
    { timeoutMs: 10_000 },
  );
  expect(JSON.stringify(rows)).not.toMatch(/secret|6000/);
  const lsn = /\(at ([0-9A-F/]+)\)$/.exec(last_error ?? "")?.[1];
  await a.query(`alter subscription ${fromB} skip (lsn = '${lsn}')`);
});

test("a slot that is lost, and a pair that is set up again", async () => {
  await b.configure({ max_slot_wal_keep_size: "2MB" });
  await a.query(`alter subscription ${fromB} disable`);
  await waitUntil(
    async () => {
      await b.query("select pg_logical_emit_message(false, 'x', repeat('x', 1000000))");
      await b.query("select pg_switch_wal()");
      await b.query("checkpoint");
      return status(b);
    },
    (rows) => rows.some((r) => r.direction === "out" && r.state === "lost"),
    "the slot is lost",
    { timeoutMs: 30_000 },
  );
  await told(b, "out", "lost", /is lost .*start_pair\(/);
  await b.configure({ max_slot_wal_keep_size: "-1" });
  await a.query("select * from steep_repl.drop_pair('node_b')");
  expect(await makePair(a, "'node_b', existing => 'merge'")).toMatchObject({ status: "complete" });
});
