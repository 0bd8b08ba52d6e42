import { cp, rename, rm } from "node:fs/promises";
import { expect, test, vi } from "vitest";
import {
  cancelledCase,
  cutCase,
  dropTables,
  type Existing,
  killedCase,
  prepare,
  tables,
} from "../../support/pair-interrupted.ts";
import {
  endOfPair,
  expectEqual,
  makePair,
  type PairRow,
  pairRow,
  replicationObjects,
  setPairNodes,
  startPair,
} from "../../support/pair-nodes.ts";
import { run } from "../../support/pg.ts";
import { createRandom } from "../../support/random.ts";
import type { Server } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Pairs that are killed, cancelled, or cut off. test/soak has more of them. */

vi.setConfig({ testTimeout: 240_000 });

const random = createRandom();
let a: Server;
let b: Server;
let before: readonly unknown[];

setPairNodes("pair-interrupted", (...nodes) => {
  [a, b, before] = nodes;
});

for (const existing of ["refuse", "merge"] as const satisfies readonly Existing[]) {
  test(`${existing}: kill -9 at some moment, and it goes on`, async () => {
    console.info(await killedCase(a, b, random, existing));
  });

  test(`${existing}: cancelled at some moments, and nothing is left`, async () => {
    for (let i = 0; i < 3; i++) {
      console.info(await cancelledCase(a, b, random, existing, before));
    }
  });
}

test.each(["refuse", "merge"] as const)("%s: the line is cut again and again", async (existing) => {
  console.info(await cutCase(a, b, random, existing));
  expect(await Promise.all([a, b].map(replicationObjects))).toEqual(before);
});

test.runIf(process.getuid?.() === 0)(
  "the peer's disk is full, and with space again it goes on",
  async () => {
    await prepare(a, b, "refuse");
    const small = `${b.snapshotDir}/small`;
    await run("mkdir", [small]);
    await run("mount", ["-t", "tmpfs", "-o", "size=64k,mode=0777", "tmpfs", small]);
    try {
      await b.configure({ "steep_repl.snapshot_directories": small });
      const pair = await makePair(a, "'node_b'");
      expect(pair).toMatchObject({
        ...{ status: "failed", error_sqlstate: "53100", phase: "fetching" },
        error_message: expect.stringMatching(/^the fetch failed: .*the snapshot cannot fit/),
        warnings: expect.arrayContaining([expect.stringMatching(/^peer: disk: 64 kB are free/)]),
      });
      expect(pair.error_hint).toContain("retry_operation()");
      await run("mount", ["-o", "remount,size=64m", small]);
      await a.query("select steep_repl.retry_operation($1)", [pair.operation_id]);
      expect(await endOfPair(a, pair.pair_id)).toMatchObject({ status: "complete" });
      await expectEqual(a, b, tables);
      await a.query("select * from steep_repl.drop_pair('node_b')");
    } finally {
      await b.configure({ "steep_repl.snapshot_directories": b.snapshotDir });
      await run("umount", ["-l", small]);
      await run("rmdir", [small]);
    }
  },
);

test("one that was cancelled can be tried again", async () => {
  await prepare(a, b, "refuse");
  const id = await startPair(a, "'node_b'");
  await a.query("select steep_repl.cancel_pair($1)", [id]);
  const pair = await endOfPair(a, id);
  expect(pair.status).toBe("cancelled");
  for (const server of [b]) await server.query(dropTables);
  await a.query("select steep_repl.retry_operation($1)", [pair.operation_id]);
  expect(await endOfPair(a, id)).toMatchObject({ status: "complete", error_message: null });
  await expectEqual(a, b, tables);
  await a.query("select * from steep_repl.drop_pair('node_b')");
});

/** A table is locked, so that what makes both sides equal, or finds that they are, takes until the pair is cancelled. */
async function cancelBehindLock(id: string): Promise<PairRow> {
  const holder = await a.connect();
  try {
    await holder.query("begin; lock table child in access exclusive mode");
    await waitUntil(
      () => pairRow(a, id),
      ({ step }) => step === "merge" || step === "comparison",
      "its job waits for the table",
    );
    await a.query("select steep_repl.cancel_pair($1)", [id]);
    return await endOfPair(a, id);
  } finally {
    await holder.end();
  }
}

test.each(["refuse", "merge"] as const)(
  "%s: one that was cancelled when the nodes replicated is finished",
  async (existing) => {
    await prepare(a, b, existing);
    const id = await startPair(a, `'node_b', existing => '${existing}'`);
    await waitUntil(
      () => pairRow(a, id),
      ({ step }) => ["connecting", "merge", "comparison"].includes(step ?? ""),
      "both subscriptions are enabled",
      { intervalMs: 5 },
    );
    const pair = await cancelBehindLock(id);
    expect(pair).toMatchObject({
      status: "cancelled",
      warnings: [
        expect.stringContaining(`retry_operation(${pair.operation_id}) finishes the pair`),
      ],
    });
    expect(
      await a.query("select from steep_repl.work_queue where status in ('pending', 'running')"),
    ).toEqual([]);
    await a.query("insert into log values (-1)");
    await a.query("select steep_repl.retry_operation($1)", [pair.operation_id]);
    expect(await endOfPair(a, id)).toMatchObject({ status: "complete", error_message: null });
    await expectEqual(a, b, tables);
    await a.query("select * from steep_repl.drop_pair('node_b')");
    expect(await Promise.all([a, b].map(replicationObjects))).toEqual(before);
  },
);

/** While the last thing that a pair does waits for a table, others do something; how the pair ends. */
async function whileItCompares(what: () => Promise<void>): Promise<PairRow> {
  for (const server of [a, b]) await server.query(dropTables);
  for (const server of [a, b]) {
    await server.query(
      "create table t (id int primary key, v int); insert into t values (1, 0); create table log (i int primary key)",
    );
  }
  const id = await startPair(a, "'node_b', existing => 'keep'");
  const holder = await a.connect();
  try {
    await waitUntil(
      () => pairRow(a, id),
      ({ step }) => step === "connecting" || step === "comparison",
      "both replicate",
      { intervalMs: 5 },
    );
    await holder.query("begin; lock table log in access exclusive mode");
    await waitUntil(
      () => pairRow(a, id),
      ({ step }) => step === "comparison",
      "they are compared",
    );
    await what();
  } finally {
    await holder.end();
  }
  return endOfPair(a, id);
}

test("the peer cannot drop a pair that is being set up", async () => {
  const pair = await whileItCompares(async () => {
    await expect(b.query("select * from steep_repl.drop_pair('node_a')")).rejects.toMatchObject({
      ...{ code: "55006", hint: expect.stringContaining("pair_progress()") },
    });
  });
  expect(pair).toMatchObject({ status: "complete", error_message: null });
  await a.query("select * from steep_repl.drop_pair('node_b')");
});

test("a subscription that is disabled meanwhile is enabled, and all compared again", async () => {
  const pair = await whileItCompares(async () => {
    await b.query("alter subscription steep_node_b_from_node_a disable");
    await a.query("update t set v = 1; insert into t select g, g from generate_series(2, 100) g");
  });
  expect(pair).toMatchObject({ status: "complete", error_message: null });
  await expectEqual(a, b, ["t"]);
  await a.query("select * from steep_repl.drop_pair('node_b')");
});

test("what was made anew after the comparison is compared again, and rows that were missed are not called a pair", async () => {
  const pair = await whileItCompares(async () => {
    await b.query("select steep_repl._pair_drop_subscription('steep_node_b_from_node_a')");
    await a.query("select steep_repl._pair_drop_slot('steep_node_b_from_node_a')");
    await a.query("insert into t select g, g from generate_series(2, 100) g");
  });
  expect(pair).toMatchObject({
    ...{ status: "failed", error_message: expect.stringContaining("99 rows differ") },
    error_hint: expect.stringContaining("existing => 'merge'"),
  });
  expect(await makePair(a, "'node_b', existing => 'merge'")).toMatchObject({ status: "complete" });
  await expectEqual(a, b, ["t"]);
  await a.query("select * from steep_repl.drop_pair('node_b')");
});

test("the peer is lost for good: this side is dropped alone, and a new peer filled", async () => {
  await prepare(a, b, "refuse");
  expect(await makePair(a, "'node_b'")).toMatchObject({ status: "complete" });
  await b.stop("immediate");
  await expect(a.query("select * from steep_repl.drop_pair('node_b')")).rejects.toMatchObject({
    code: "08001",
    hint: expect.stringContaining("force => true"),
  });
  const dropped = await a.query<{ side: string; dropped: boolean }>(
    "select side, dropped from steep_repl.drop_pair('node_b', force => true) where object !~ '^snapshot'",
  );
  expect(dropped.filter(({ side }) => side === "local").map((row) => row.dropped)).toEqual([
    true,
    true,
    true,
  ]);
  expect(dropped.filter((row) => row.side === "peer" && row.dropped)).toEqual([]);
  await b.start();
  await b.query(dropTables);
  // it still has a subscription, a slot and a publication of the pair that was
  expect(await makePair(a, "'node_b'")).toMatchObject({ status: "complete", error_message: null });
  await expectEqual(a, b, tables);
  await a.query("select * from steep_repl.drop_pair('node_b')");
  expect(await Promise.all([a, b].map(replicationObjects))).toEqual(before);
});

test("both went on with their subscriptions disabled: one call makes them equal again", async () => {
  await prepare(a, b, "refuse");
  expect(await makePair(a, "'node_b'")).toMatchObject({ status: "complete" });
  await a.query("alter subscription steep_node_a_from_node_b disable");
  await b.query("alter subscription steep_node_b_from_node_a disable");
  await a.query("update t set v = 'only here' where id <= 50; delete from child where id <= 10");
  await b.query(
    "update t set v = 'only there' where id between 40 and 90; insert into part (k) values (1), (2)",
  );
  expect(await makePair(a, "'node_b', existing => 'merge'")).toMatchObject({
    status: "complete",
    error_message: null,
  });
  await expectEqual(a, b, tables);
  expect(await b.query("select v from t where id = 45")).toEqual([{ v: "only here" }]);
  await a.query("select * from steep_repl.drop_pair('node_b')");
});

test("the peer is back from an old backup: one call gives it what it has missed", async () => {
  await prepare(a, b, "refuse");
  expect(await makePair(a, "'node_b'")).toMatchObject({ status: "complete" });
  await b.stop();
  const backup = `${b.dataDir}.backup`;
  await cp(b.dataDir, backup, { recursive: true, preserveTimestamps: true });
  await b.start();
  await b.query(
    "insert into t (v) values ('of b, after the backup'); update t set v = 'b' where id = 7",
  );
  await waitUntil(
    () => a.query("select from t where v = 'of b, after the backup'"),
    (rows) => rows.length === 1,
    "it has come here",
  );
  await a.query(
    "insert into t (v) values ('of a, after the backup'); delete from child where id <= 10",
  );
  await expectEqual(a, b, tables);
  await b.kill9();
  await rm(b.dataDir, { recursive: true });
  await rename(backup, b.dataDir);
  await a.query("update t set v = 'while b was away' where id = 9");
  await b.start();
  await b.query("update t set v = 'on the restored one' where id = 11");
  expect(await makePair(a, "'node_b', existing => 'merge'")).toMatchObject({
    status: "complete",
    error_message: null,
  });
  await expectEqual(a, b, tables);
  expect(
    await b.query("select v from t where id in (7, 9) or v like 'of _, after%' order by id"),
  ).toEqual([
    { v: "b" },
    { v: "while b was away" },
    { v: "of a, after the backup" },
    { v: "of b, after the backup" },
  ]);
  await a.query("select * from steep_repl.drop_pair('node_b')");
});
