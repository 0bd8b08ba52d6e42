import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ApplyRow, retryApply } from "../../support/apply.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { digests, runSnapshot, type SnapshotRow, takeSnapshot } from "../../support/snapshots.ts";

let server: Server;
const app = { database: "app" };

beforeAll(async () => {
  server = await startServer({ name: "disk-full" });
  await server.createDatabase("app", { extension: true });
  // 12 MB in the table's TOAST, 24 MB as COPY's hex
  await server.query(
    `create table wide (id int, data bytea);
     alter table wide alter column data set storage external;
     insert into wide select g, (select decode(string_agg(md5(random()::text), ''), 'hex') from generate_series(1, 6000) where g = g)
     from generate_series(1, 125) g`,
    [],
    app,
  );
});
afterAll(() => server.destroy());

/** No file may grow beyond this many bytes; for the server and all that it starts from now on. */
async function limitFileSize(bytes: number | "unlimited"): Promise<void> {
  await run("prlimit", ["--pid", String(server.pid), `--fsize=${bytes}:unlimited`]);
}

test.each(["none", "lz4"])(
  "a disk that fills up fails the job, says so and leaves nothing (%s)",
  async (codec) => {
    await limitFileSize(17 * 1024 * 1024);
    const row = await runSnapshot(server, { ...app, args: `compression => '${codec}'` });
    await limitFileSize("unlimited");
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "53100", phase: "data" });
    expect(row.error_message).toContain("could not write data of table public.wide");
    expect(existsSync(row.storage_path)).toBe(false);
    await expectNoLeaks(server);
  },
);

test("with space again the same job can be retried", async () => {
  const row = await takeSnapshot(server, { ...app, args: "compression => 'none'" });
  await server.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], app);
  await expectNoLeaks(server);
});

const canMount = process.getuid?.() === 0;

/** Take a snapshot without compression onto a file system of this size. */
async function onSmallDisk(megabytes: number): Promise<SnapshotRow> {
  const small = `${server.snapshotDir}/small`;
  await mkdir(small, { recursive: true });
  await run("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=0777`, "tmpfs", small]);
  try {
    const row = await runSnapshot(server, {
      ...app,
      path: `${small}/s`,
      args: "compression => 'none'",
    });
    expect(existsSync(row.storage_path)).toBe(false);
    return row;
  } finally {
    await run("umount", [small]);
    await expectNoLeaks(server, { files: ["small"] });
  }
}

test.runIf(canMount)("a file system without space left fails the job the same way", async () => {
  const row = await onSmallDisk(9);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "53100", phase: "data" });
});

test.runIf(canMount)(
  "a job that cannot fit is refused, with the numbers, before it copies",
  async () => {
    const row = await onSmallDisk(1);
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "53100", rows_written: "0" });
    expect(row.error_message).toMatch(
      /cannot fit: The tables have \d+ MB, .* \d+ (bytes|kB) are free/,
    );
  },
);

test.runIf(canMount)(
  "an apply onto a disk that fills up fails, and goes on when there is space again",
  async () => {
    const snapshot = await takeSnapshot(server, app);
    const small = `${server.home}/small`;
    await mkdir(small);
    await run("mount", ["-t", "tmpfs", "-o", "size=14m", "tmpfs", small]);
    try {
      await server.query(`create tablespace small location '${small}'`);
      await server.query("create database target tablespace small");
      const target = { database: "target" };
      await server.query("create extension steep_repl", [], target);
      // a session that begins may have to write a file of the system's, for which there is no space
      const session = await server.connect(target);
      const { rows: started } = await session.query<ApplyRow>(
        "select * from steep_repl.start_apply($1)",
        [snapshot.storage_path],
      );
      await session.query("select steep_repl.wait_operation($1, 50)", [started[0]?.operation_id]);
      const { rows } = await session.query<ApplyRow>("select * from steep_repl.snapshots");
      await session.end();
      const row = rows[0] as ApplyRow;
      expect(row).toMatchObject({ status: "failed", error_sqlstate: "53100", phase: "data" });
      expect(row.error_hint).toContain(`retry_operation(${row.operation_id})`);
      await run("mount", ["-o", "remount,size=100m", small]);
      expect(await retryApply(server, row, target)).toMatchObject({ status: "complete" });
      expect(await digests(server, "target")).toEqual(await digests(server, "app"));
    } finally {
      await server.query("drop database if exists target");
      await server.query("drop tablespace if exists small");
      await run("umount", [small]);
      await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
      await expectNoLeaks(server, { files: ["small"] });
    }
  },
);
