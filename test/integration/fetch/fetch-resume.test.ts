import { existsSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import {
  expectSameFiles,
  type FetchPair,
  type FetchRow,
  fetcher,
  runFetch,
  setFetchPair,
  startFetch,
} from "../../support/fetch.ts";
import { killSomething } from "../../support/kill-something.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { run } from "../../support/pg.ts";
import { signal } from "../../support/processes.ts";
import { createRandom } from "../../support/random.ts";
import { endOf } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

/* Whatever is interrupted goes on, by itself or when it is retried, and what is here and right is not fetched again. */

let pair: FetchPair;
setFetchPair(
  "fetch-resume",
  (made) => {
    pair = made;
  },
  { "steep_repl.poll_interval": "1s", max_worker_processes: 16 },
);
const random = createRandom();
const megabyte = 1024 * 1024;
/** what may be under way when two processes are killed, and is fetched once more */
const underWayBytes = megabyte;

afterEach(async () => {
  const { a, proxy } = pair;
  proxy.cutEvery = Number.POSITIVE_INFINITY;
  proxy.isOpen = true;
  for (const { snapshot_id } of await a.query<{ snapshot_id: string }>(
    "select snapshot_id from steep_repl.snapshots where status not in ('pending', 'running')",
  ))
    await a.query("select steep_repl.drop_snapshot($1)", [snapshot_id]);
  await expectNoLeaks(a);
  expect(await a.log()).not.toMatch(/signal 11|signal 6|PANIC|TRAP/);
});

/** A fetch that takes some seconds, when so many bytes of it are here. */
async function underWay(rate: string, bytes: number): Promise<FetchRow> {
  const { a, source } = pair;
  const row = await startFetch(a, "there", source.snapshot_id, { args: `max_rate => '${rate}'` });
  await bytesAre(row, bytes);
  return row;
}

async function bytesAre(row: FetchRow, bytes: number): Promise<void> {
  await waitUntil(
    () =>
      pair.a.query<{ n: string }>(
        "select bytes_processed as n from steep_repl.snapshot_progress($1)",
        [row.snapshot_id],
      ),
    ([found]) => Number(found?.n) >= bytes,
    `${bytes} bytes are here`,
    { intervalMs: 5 },
  );
}

async function retry(row: FetchRow): Promise<FetchRow> {
  await pair.a.query("select steep_repl.retry_operation($1)", [row.operation_id]);
  return (await endOf(pair.a, row)) as FetchRow;
}

async function expectComplete(row: FetchRow): Promise<void> {
  expect(row).toMatchObject({ status: "complete", error_message: null });
  await expectSameFiles(row.storage_path, pair.source.storage_path);
}

test("a line that is cut again and again is taken up within the job", async () => {
  const { a, source, proxy } = pair;
  proxy.cutEvery = 1.5 * megabyte;
  proxy.bytes = 0;
  const row = await runFetch(a, "there", source.snapshot_id, { args: "parallel => 1" });
  await expectComplete(row);
  const [job] = await a.query("select attempts from steep_repl.work_queue where id = $1", [
    row.operation_id,
  ]);
  expect(job).toMatchObject({ attempts: 1 });
  expect(await a.log()).toMatch(/lost its peer and tries again/);
});

test("a peer that is killed and comes back is waited for", async () => {
  const { a, b } = pair;
  const row = await underWay("8MB", megabyte);
  await b.kill9();
  await b.start();
  await expectComplete((await endOf(a, row)) as FetchRow);
});

test("after kill -9 of a worker and of the server a fetch goes on, and fetches nothing twice", async () => {
  const { a, proxy } = pair;
  proxy.bytes = 0;
  const row = await underWay("3MB", megabyte);
  const killed = [await killSomething(a, random, 0)];
  await bytesAre(row, 3 * megabyte);
  killed.push(await killSomething(a, random, 1));
  const end = (await endOf(a, row)) as FetchRow;
  console.log(`killed: ${killed}; ${proxy.bytes} bytes for ${end.bytes_processed}`);
  await expectComplete(end);
  expect(proxy.bytes).toBeLessThan(Number(end.bytes_processed) + underWayBytes);
});

test("a peer that is still down when a job goes on is waited for, and when one begins is not", async () => {
  const { a, source, proxy } = pair;
  const row = await underWay("4MB", megabyte);
  proxy.isOpen = false;
  proxy.cut();
  await a.kill9();
  await a.start();
  await waitUntil(
    () => a.log(),
    (log) => /could not connect to the peer/.test(log.slice(log.lastIndexOf("is resumed"))),
    "it has tried to connect",
  );
  expect(await runFetch(a, "there", source.snapshot_id)).toMatchObject({
    status: "failed",
    error_sqlstate: "08001",
  });
  proxy.isOpen = true;
  await expectComplete((await endOf(a, row)) as FetchRow);
});

test("one that failed is retried from what is here", async () => {
  const { a, proxy } = pair;
  const row = await underWay("4MB", 2 * megabyte);
  // terminated, so that it is not resumed by itself
  const [worker] = await a.pidsByApplicationName("steep_repl % fetch 1");
  if (worker === undefined) throw new Error("there is no fetcher");
  signal(worker, "SIGTERM");
  const failed = await endOf(a, row);
  expect(failed).toMatchObject({
    status: "failed",
    error_message: "a fetch worker was terminated",
  });
  expect(await a.query("select kind, name from steep_repl.leftovers()")).toEqual([
    { kind: "directory", name: failed.storage_path },
  ]);
  proxy.bytes = 0;
  const end = await retry(row);
  await expectComplete(end);
  expect(proxy.bytes).toBeLessThan(Number(end.bytes_processed) - megabyte);
});

test("with a connection string it fails when the server crashes, and is retried with it", async () => {
  const { a, b, proxy } = pair;
  await b.query(`grant pg_read_server_files, pg_monitor to ${fetcher}`);
  const peer = pair.conninfo.replace(/port=\d+/, `port=${proxy.port}`);
  const row = await startFetch(a, peer, pair.source.snapshot_id, { args: "max_rate => '4MB'" });
  await bytesAre(row, 2 * megabyte);
  await a.kill9();
  await a.start();
  const failed = await endOf(a, row);
  expect(failed).toMatchObject({
    status: "failed",
    error_hint: expect.stringContaining("retry_operation"),
  });
  expect(existsSync(`${failed.storage_path}/.steep_repl`)).toBe(true);
  proxy.bytes = 0;
  await a.query("select steep_repl.retry_operation($1, $2)", [row.operation_id, peer]);
  const end = (await endOf(a, row)) as FetchRow;
  await expectComplete(end);
  expect(proxy.bytes).toBeLessThan(Number(end.bytes_processed) - megabyte);
});

test("files that were damaged meanwhile are fetched again, and those that are right are not", async () => {
  const { a, proxy } = pair;
  const row = await underWay("6MB", 4 * megabyte);
  proxy.isOpen = false;
  proxy.cut();
  await a.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'steep_repl % coordinator'",
  );
  proxy.isOpen = true;
  await run("sh", [
    "-c",
    `printf xxxxxxxx | dd of="$(ls ${row.storage_path}/*.dat.zst | head -n 1)" conv=notrunc bs=8 2>&1`,
  ]);
  await expectComplete((await endOf(a, row)) as FetchRow);
});

test("one that is cancelled leaves nothing, whatever it is at", async () => {
  const { a, proxy } = pair;
  for (const bytes of [0, megabyte]) {
    const row = await underWay("2MB", bytes);
    await a.query("select steep_repl.cancel_snapshot($1)", [row.snapshot_id]);
    expect(await endOf(a, row)).toMatchObject({ status: "cancelled" });
    expect(existsSync(row.storage_path)).toBe(false);
  }
  // while it waits for a line
  const row = await underWay("2MB", megabyte);
  proxy.isOpen = false;
  proxy.cut();
  await a.query("select steep_repl.cancel_snapshot($1)", [row.snapshot_id]);
  expect(await endOf(a, row)).toMatchObject({ status: "cancelled" });
  proxy.isOpen = true;
  await expectNoLeaks(a);
});

test("one that failed and waits to be retried leaves nothing when it is cancelled", async () => {
  const { a } = pair;
  const row = await underWay("4MB", megabyte);
  for (const worker of await a.pidsByApplicationName("steep_repl % fetch %"))
    signal(worker, "SIGTERM");
  expect(await endOf(a, row)).toMatchObject({ status: "failed" });
  await a.configure({ "steep_repl.reserved_worker_slots": 1000 });
  await a.query("select steep_repl.retry_operation($1)", [row.operation_id]);
  await a.query("select steep_repl.cancel_snapshot($1)", [row.snapshot_id]);
  await a.configure({ "steep_repl.reserved_worker_slots": 3 });
  await waitUntil(
    () => existsSync(row.storage_path),
    (is) => !is,
    "the directory is removed",
  );
});

test.runIf(process.getuid?.() === 0)(
  "a full disk fails it, and with space again it goes on",
  async () => {
    const { a } = pair;
    const small = `${a.snapshotDir}/small`;
    await run("mkdir", [small]);
    await run("mount", ["-t", "tmpfs", "-o", "size=12m,mode=0777", "tmpfs", small]);
    try {
      const row = await startFetch(a, "there", pair.source.snapshot_id, {
        path: `${small}/s`,
        args: "max_rate => '4MB'",
      });
      await bytesAre(row, megabyte);
      await run("sh", ["-c", `head -c 20M /dev/zero > ${small}/filler`], { allowFailure: true });
      expect(await endOf(a, row)).toMatchObject({ status: "failed", error_sqlstate: "53100" });
      expect(await retry(row)).toMatchObject({
        status: "failed",
        error_sqlstate: "53100",
        error_message: expect.stringContaining("the snapshot cannot fit"),
      });
      await run("rm", [`${small}/filler`]);
      await expectComplete(await retry(row));
    } finally {
      await run("umount", ["-l", small]);
      await run("rmdir", [small]);
    }
  },
);
