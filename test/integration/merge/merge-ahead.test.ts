import { beforeEach, expect, test } from "vitest";
import {
  auditOf,
  endOfMerge,
  imagesOf,
  type MergeRow,
  sorted,
  startMerge,
} from "../../support/merge.ts";
import { type MergePair, setMergePair } from "../../support/merge-pair.ts";
import type { Server } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

// Of a pair that does not replicate, the side that is not written is read for a batch while the one before it is written.

let pair: MergePair;
setMergePair("merge-ahead", (made) => {
  pair = made;
});

/** Three groups that are read at a time, and twelve batches. */
const rows = 60_000;
const gate = 4711;

/** The peer has rows that this side lacks; here one of the first third waits at a gate. */
beforeEach(async () => {
  await pair.both("create table t (id int primary key, v text)");
  await pair.b.query(`insert into t select g, 'there' from generate_series(1, ${rows}) g`);
  await pair.both(`
    create function wait_at_gate() returns trigger language plpgsql as $$ begin
      perform pg_advisory_xact_lock_shared(${gate}); return new; end $$;
    create trigger gate before insert on t for each row when (new.id = 7000) execute function wait_at_gate();
    alter table t enable always trigger gate`);
});

/** Do something while a merge writes one of its first batches. */
async function whileBatchWaits(
  use: (merge: MergeRow) => Promise<void>,
  at: Server = pair.a,
): Promise<MergeRow> {
  const holder = await at.connect();
  try {
    await holder.query("select pg_advisory_lock($1)", [gate]);
    const merge = await startMerge(pair.a, pair.b.uri());
    await waitUntil(
      () => at.query("select from pg_locks where locktype = 'advisory' and not granted"),
      (found) => found.length === 1,
      "a batch waits",
    );
    await use(merge);
    return merge;
  } finally {
    await holder.end();
  }
}

async function expectSame(): Promise<void> {
  const [here, there] = await Promise.all([
    imagesOf(pair.a, ["public.t"]),
    imagesOf(pair.b, ["public.t"]),
  ]);
  expect(here.map(sorted)).toEqual(there.map(sorted));
}

/** How many audit records there are, and of how many rows. */
const audited = async (merge: MergeRow) => {
  const records = await auditOf(pair.a, merge);
  return [records.length, new Set(records.map((r) => JSON.stringify(r.key))).size];
};

test("rows that change at the peer come as they were when they were read, and each only once", async () => {
  const merge = await whileBatchWaits(async () => {
    await pair.b.query("update t set v = 'later' where id % 10 = 0");
  });
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{ status: "complete", rows_merged: `${rows}`, rows_left: "0" },
  });
  expect(await audited(merge)).toEqual([rows, rows]);
  const [early] = await pair.a.query<{ n: string }>(
    "select count(*) as n from t where id % 10 = 0 and v <> 'later'",
  );
  expect(await pair.merge("strategy => 'prefer-remote'")).toMatchObject({
    ...{ status: "complete", rows_merged: early?.n, conflict_count: early?.n },
  });
  await expectSame();
});

/** All rows are here, and none at the peer. */
const moveHere = async () => {
  await pair.a.query(`insert into t select g, 'here' from generate_series(1, ${rows}) g`);
  await pair.b.query("truncate t");
};

test("rows that change here go to the peer as they were when they were read, and each only once", async () => {
  await moveHere();
  const merge = await whileBatchWaits(async () => {
    await pair.a.query("update t set v = 'later' where id % 10 = 0");
  }, pair.b);
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{ status: "complete", rows_merged: `${rows}`, rows_left: "0" },
  });
  expect(await audited(merge)).toEqual([rows, rows]);
  const [early] = await pair.b.query<{ n: string }>(
    "select count(*) as n from t where id % 10 = 0 and v <> 'later'",
  );
  expect(Number(early?.n)).toBeGreaterThan(0);
  expect(await pair.merge("strategy => 'prefer-local'")).toMatchObject({
    ...{ status: "complete", rows_merged: early?.n, conflict_count: early?.n },
  });
  await expectSame();
});

test("rows that the peer has by the time that they come are put off, and then are conflicts", async () => {
  await moveHere();
  const merge = await whileBatchWaits(async () => {
    await pair.b.query("insert into t values (8000, 'there'), (55000, 'there')");
  }, pair.b);
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{ status: "complete", rows_merged: `${rows}`, rows_left: "0" },
  });
  expect(await audited(merge)).toEqual([rows, rows]);
  expect(await pair.a.query("select distinct v from t")).toEqual([{ v: "here" }]);
  await expectSame();
});

test("a row that comes to be here meanwhile puts its batch off, and then is a conflict", async () => {
  const merge = await whileBatchWaits(async () => {
    await pair.a.query("insert into t values (55000, 'here')");
  });
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{ status: "complete", rows_merged: `${rows}`, rows_left: "0" },
  });
  expect(await pair.b.query("select v from t where id = 55000")).toEqual([{ v: "here" }]);
  expect(await audited(merge)).toEqual([rows, rows]);
  await expectSame();
});

test("the loss of the peer's session fails it, and a retry writes the rest", async () => {
  const merge = await whileBatchWaits(async () => {
    await pair.b.query(
      "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'steep_repl peer'",
    );
  });
  const failed = await endOfMerge(pair.a, merge);
  expect(failed).toMatchObject({
    ...{ status: "failed", error_sqlstate: expect.stringMatching(/^(08|57P)/) },
  });
  expect(Number(failed.rows_merged)).toBeLessThan(rows);
  expect((await audited(merge))[0]).toBe(Number(failed.rows_merged));
  await pair.a.query("select steep_repl.retry_operation($1, $2)", [
    merge.operation_id,
    pair.b.uri(),
  ]);
  expect(await endOfMerge(pair.a, merge)).toMatchObject({
    ...{ status: "complete", rows_merged: `${rows}` },
  });
  expect(await audited(merge)).toEqual([rows, rows]);
  await expectSame();
});

test("kill -9 of this server loses no record of what was written", async () => {
  const merge = await whileBatchWaits(async () => {
    await pair.a.stop("immediate");
  });
  await pair.a.start();
  // it was given a connection string, which is kept in memory only
  expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "failed" });
  await pair.a.query("select steep_repl.retry_operation($1, $2)", [
    merge.operation_id,
    pair.b.uri(),
  ]);
  expect(await endOfMerge(pair.a, merge)).toMatchObject({ status: "complete" });
  expect(await audited(merge)).toEqual([rows, rows]);
  await expectSame();
});
