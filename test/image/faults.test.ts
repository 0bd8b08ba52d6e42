import type { StartedNetwork } from "testcontainers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { endOfApply, startApply } from "../support/apply.ts";
import {
  type Container,
  containerPassword,
  startContainer,
  startNetwork,
} from "../support/container.ts";
import { endOfMerge, mergeRow, startMerge } from "../support/merge.ts";
import { endOfOverlap } from "../support/overlap.ts";
import { digests, endOf, startSnapshot, takeSnapshot } from "../support/snapshots.ts";
import { waitUntil } from "../support/wait-until.ts";

let network: StartedNetwork;
let a: Container;
let b: Container;

const rows = 20_000;
const conninfo = `host=node-b user=postgres dbname=postgres password=${quoted(containerPassword)}`;

function quoted(value: string): string {
  return `'${value.replaceAll("'", "\\'")}'`;
}

beforeAll(async () => {
  network = await startNetwork();
  [a, b] = await Promise.all([
    startContainer({ network, name: "node-a" }),
    startContainer({ network, name: "node-b", settings: { max_prepared_transactions: 1 } }),
  ]);
  await b.query("create table small (id int primary key, value text)");
  // values that do not compress, so that copying takes a second or two
  await a.query(
    `create table small (id int primary key, value text);
     create table big as
       select g as id, (select string_agg(md5(random()::text), '') from generate_series(1, 60) where g = g) as filler
       from generate_series(1, ${rows}) g`,
  );
});
afterAll(async () => {
  await Promise.all([a?.destroy(), b?.destroy()]);
  await network?.stop();
});

/** Wait until a job has moved some rows, and is not near its end. */
async function copying(node: Container, snapshotId: string, database: string): Promise<void> {
  await waitUntil(
    () =>
      node.query<{ phase: string; bytes: string }>(
        "select phase, bytes_processed as bytes from steep_repl.snapshot_progress($1)",
        [snapshotId],
        { database },
      ),
    ([row]) => row?.phase === "data" && Number(row.bytes) > 0,
    `${snapshotId} copies`,
    { intervalMs: 5 },
  );
}

test("a server killed during a snapshot recovers, fails the job and removes its files", async () => {
  const slow = { args: "compression => 'zstd', level => 15", path: "/snapshots/killed" };
  const snapshot = await startSnapshot(a, slow);
  await copying(a, snapshot.snapshot_id, "postgres");
  await a.kill9();
  expect(await a.inspect(".State.ExitCode")).toBe("137");
  await a.start();
  const row = await endOf(a, snapshot);
  expect(row).toMatchObject({ status: "failed" });
  expect(row.error_message).toMatch(/server or .* worker ended before the job did/);
  await waitUntil(
    async () => (await a.exec(["find", "/snapshots", "-mindepth", "1", "-ls"])).stdout,
    (files) => files === "",
    "the files are gone",
  );
  expect(await a.query("select status from steep_repl.health()")).toEqual([{ status: "healthy" }]);
});

test("a server killed during an apply goes on with it, and no row is lost or doubled", async () => {
  const snapshot = await takeSnapshot(a, { path: "/snapshots/good" });
  await a.query("create database target");
  const target = { database: "target" };
  await a.query("create extension steep_repl cascade", [], target);
  const apply = await startApply(a, snapshot.storage_path, { ...target, args: "parallel => 1" });
  await copying(a, apply.snapshot_id, "target");
  await a.kill9();
  await a.start();
  expect(await endOfApply(a, apply, target)).toMatchObject({ status: "complete" });
  expect(await digests(a, "target")).toEqual(await digests(a, "postgres"));
});

/** How a job ends whose network is cut while it waits for the peer, which has a table locked until then. */
async function endWithoutNetwork<T>(id: string, ended: () => Promise<T>): Promise<T> {
  await waitUntil(
    () =>
      b.query(
        "select from pg_stat_activity where application_name = 'steep_repl peer' and wait_event_type = 'Lock'",
      ),
    (waiting) => waiting.length > 0,
    `operation ${id} waits at the peer`,
  );
  await b.disconnectFrom(network);
  try {
    return await ended();
  } finally {
    // not earlier: what the peer then says may find another way, over the host
    await b.query("rollback prepared 'held'");
    await b.connectTo(network);
  }
}

/**
 * Keep others from reading the table at the peer; without a session, since the engine may close those
 * over the container's port when it takes a network away.
 */
async function holdSmall(): Promise<void> {
  await b.query("begin; lock table small in access exclusive mode; prepare transaction 'held'");
}

const lost = { status: "failed", error_sqlstate: expect.stringMatching(/^08/) };

test("a comparison whose network is cut fails within a minute, says so, and can be retried", async () => {
  await holdSmall();
  const since = Date.now();
  const [{ operation_id: id = "" } = {}] = await a.query<{ operation_id: string }>(
    "select operation_id from steep_repl.start_overlap($1, '{public.small}')",
    [conninfo],
  );
  const cut = await endWithoutNetwork(id, () => endOfOverlap(a, id));
  expect(Date.now() - since).toBeLessThan(60_000);
  expect(cut).toMatchObject(lost);
  expect(cut.error_message).toMatch(/peer/);

  await a.query("select steep_repl.retry_operation($1, peer => $2)", [id, conninfo]);
  expect(await endOfOverlap(a, id)).toMatchObject({ status: "complete", error_message: null });
});

test("a merge whose network is cut fails and can be retried, and both sides are equal then", async () => {
  await a.query("insert into small select g, 'a' from generate_series(1, 1000) g");
  await b.query("insert into small select g, 'b' from generate_series(501, 1500) g");
  await holdSmall();
  const merge = await startMerge(a, conninfo, { tables: ["public.small"] });
  const id = merge.operation_id;
  const cut = await endWithoutNetwork(id, () => endOfMerge(a, merge));
  expect(cut).toMatchObject(lost);
  expect(cut.error_message).toMatch(/peer/);

  await a.query("select steep_repl.retry_operation($1, peer => $2)", [id, conninfo]);
  await endOfMerge(a, merge);
  expect(await mergeRow(a, merge)).toMatchObject({ status: "complete", conflict_count: "500" });
  const digest = "select count(*), sum(hashtextextended(s::text, 0)) from small s";
  expect(await b.query(digest)).toEqual(await a.query(digest));
});
