import { cp, mkdir, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  type ApplyRow,
  applySnapshot,
  endOfApply,
  retryApply,
  startApply,
} from "../../support/apply.ts";
import { giveToServer } from "../../support/data-directory.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { createRole, dropRole, whileJobsWait } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";
import { digests, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

const source = { database: "source" };
const target = { database: "target" };
let server: Server;
let original: string;
let expected: Record<string, string>;

/** Directories for paths to lead into, beside the snapshot. */
const scene = ["empty", "link", "unfinished", "damaged", "file", "original"];
const inScene = (...parts: string[]) => join(server.snapshotDir, ...parts);

beforeAll(async () => {
  server = await startServer({
    name: "apply-arguments",
    settings: { max_worker_processes: 24, "steep_repl.poll_interval": 100 },
  });
  await server.createDatabase("source", { extension: true });
  await server.query(
    `create table t (id int primary key, v text);
     insert into t select g, 'v' || g from generate_series(1, 1000) g`,
    [],
    source,
  );
  original = inScene("original");
  await takeSnapshot(server, { ...source, path: original });
  expected = await digests(server, "source");
  await mkdir(inScene("empty"), { mode: 0o700 });
  await writeFile(inScene("file"), "");
  await symlink(original, inScene("link"));
  for (const name of ["unfinished", "damaged"])
    await cp(original, inScene(name), { recursive: true });
  await rename(inScene("unfinished", "manifest.json"), inScene("unfinished", "manifest.json.tmp"));
  await writeFile(inScene("damaged", "manifest.json"), '{"format_version":1');
  await giveToServer(server.snapshotDir);
});
afterAll(() => server.destroy());
beforeEach(() => server.createDatabase("target", { extension: true }));
afterEach(async () => {
  await server.query("drop database target with (force)");
  await expectNoLeaks(server, { files: scene });
});

async function expectNothingHappened(): Promise<void> {
  for (const table of ["work_queue", "snapshots", "_job_directories", "_apply_done"])
    expect(await server.query(`select * from steep_repl.${table}`, [], target)).toEqual([]);
  expect(await digests(server, "target")).toEqual({});
  expect((await readdir(server.snapshotDir)).sort()).toEqual([...scene].sort());
}

describe("start_apply refuses a path", () => {
  test.each<[what: string, path: () => string | null, code: string, says: string]>([
    ["that is NULL", () => null, "22023", "input_path must not be null or empty"],
    ["that is empty", () => "", "22023", "input_path must not be null or empty"],
    ["that is relative", () => "backups/one", "22023", "is not absolute"],
    ["with ..", () => `${inScene("empty")}/../original`, "22023", '".." component'],
    ["that is the root", () => "/", "22023", "root directory"],
    ["of 4 KB", () => `/${"long/".repeat(800)}x`, "22023", "too long"],
    ["that is a symbolic link", () => inScene("link"), "42501", "symbolic link"],
    ["that is the data directory", () => server.dataDir, "42501", "data directory"],
    ["that does not exist", () => inScene("nothing"), "58P01", "No such file or directory"],
    ["that is a file", () => inScene("file"), "42809", "Not a directory"],
    ["that holds no snapshot", () => inScene("empty"), "55000", "holds no sound snapshot"],
    ["of an unfinished one", () => inScene("unfinished"), "55000", "holds no sound snapshot"],
    ["with a damaged manifest", () => inScene("damaged"), "55000", "holds no sound snapshot"],
  ])("%s", async (_, path, code, says) => {
    await expect(
      server.query("select steep_repl.start_apply($1)", [path()], target),
    ).rejects.toMatchObject({ code, message: expect.stringContaining(says) });
    await expectNothingHappened();
  });

  test("that a role may not read, naming the setting", async () => {
    await createRole(server, "target", "reader");
    const outside = join(server.home, "outside");
    await cp(original, outside, { recursive: true });
    await giveToServer(outside);
    const asReader = { ...target, user: "reader" };
    await expect(startApply(server, outside, asReader)).rejects.toMatchObject({
      code: "42501",
      message: expect.stringContaining("is not allowed"),
      hint: expect.stringContaining("steep_repl.snapshot_directories"),
    });
    await expect(startApply(server, original, asReader)).rejects.toMatchObject({
      code: "42501",
      detail: expect.stringContaining('made by role "postgres"'),
      hint: expect.stringContaining("pg_read_server_files"),
    });
    await rm(outside, { recursive: true });
    await dropRole(server, "target", "reader");
    await expectNothingHappened();
  });
});

describe("start_apply refuses", () => {
  test.each([
    ["parallel => 0", "between 1 and 64"],
    ["parallel => -1", "between 1 and 64"],
    ["parallel => 65", "between 1 and 64"],
    ["parallel => null", "between 1 and 64"],
    ["verify => null", "verify must be true or false"],
    ["truncate => null", "truncate must be true or false"],
    ["no_owner => null", "no_owner must be true or false"],
    ["no_privileges => null", "no_privileges must be true or false"],
    ["sections => '{}'", "sections must name at least one"],
    ["sections => '{data, Data}'", 'unknown section "Data"'],
    ["sections => '{predata}'", 'unknown section "predata"'],
    ["sections => array['data', null]", "sections must not contain null"],
    ["truncate => true, sections => '{pre-data}'", "truncate needs section data"],
    ["truncate => true, sections => '{pre-data,post-data}'", "truncate needs section data"],
    ["tables => '{}'", "tables must name at least one"],
    ["tables => array['public.t', null]", "tables must not contain null"],
    ["tables => array['public.t', '']", "tables must not contain null or empty"],
    ["tables => '{t}'", "not of the form schema.table"],
    ["tables => '{a.b.c}'", "not of the form schema.table"],
    ["tables => '{a.b.c.d}'", "not of the form schema.table"],
    ["tables => '{public.}'", "public."],
    ["tables => '{.t}'", ".t"],
    ["tables => array['public.\"t']", 'public."t'],
    ["tables => array['\"\".t']", "t"],
    ["tables => array['public.t; drop table t']", "drop table"],
    ["tables => array['public.t', 'public t']", "public t"],
  ])("%s", async (args, says) => {
    await expect(startApply(server, original, { ...target, args })).rejects.toMatchObject({
      code: "22023",
      message: expect.stringContaining(says),
    });
    await expectNothingHappened();
  });

  test("to be waited for in the transaction that queued it", async () => {
    const client = await server.connect(target);
    await client.query("begin");
    const { rows } = await client.query("select * from steep_repl.start_apply($1)", [original]);
    await expect(
      client.query("select steep_repl.wait_operation($1)", [rows[0].operation_id]),
    ).rejects.toMatchObject({ code: "55000", message: expect.stringContaining("commit first") });
    await client.query("rollback");
    await client.end();
    await expectNothingHappened();
  });
});

test("a table that the snapshot does not have is refused, and fails a job queued by hand; both name it as SQL would", async () => {
  const tables = ["public.t", 'public."No T"'];
  const args = `tables => array['public.t', 'public."No T"']`;
  await expect(startApply(server, original, { ...target, args })).rejects.toMatchObject({
    code: "42P01",
    message: 'the snapshot does not contain public."No T"',
  });
  const [queued] = await server.query<ApplyRow>(
    `insert into steep_repl.work_queue (operation, params)
     values ('snapshot_apply', $1) returning snapshot_id`,
    [
      {
        input_path: original,
        tables,
        parallel: 1,
        verify: true,
        truncate: false,
        no_owner: false,
        no_privileges: false,
      },
    ],
    target,
  );
  const row = await endOfApply(server, queued as ApplyRow, target);
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "42P01", phase: "planning" });
  expect(row.error_message).toContain('public."No T"');
  expect(await digests(server, "target")).toEqual({});
});

test("a path with a slash at its end is the same path", async () => {
  const row = await applySnapshot(server, `${original}/`, target);
  expect(row.storage_path).toBe(original);
  expect(await digests(server, "target")).toEqual(expected);
});

test("a complete apply cannot be retried or cancelled; dropping it leaves the snapshot", async () => {
  const row = await applySnapshot(server, original, target);
  const before = await readdir(original);
  await expect(
    server.query("select steep_repl.retry_operation($1)", [row.operation_id], target),
  ).rejects.toMatchObject({ code: "55000", message: expect.stringContaining("is complete") });
  expect(
    await server.query("select steep_repl.cancel_operation($1) as c", [row.operation_id], target),
  ).toEqual([{ c: false }]);
  await server.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], target);
  expect(await readdir(original)).toEqual(before);
  expect(await digests(server, "target")).toEqual(expected);
});

describe("what others may do with an apply:", () => {
  const other = { ...target, user: "other" };
  /** An apply of postgres that waits for another session's lock. */
  let apply: ApplyRow;
  let release: () => Promise<void>;
  beforeEach(async () => {
    await createRole(server, "target", "owner", "login superuser");
    await createRole(server, "target", "other");
    const gate = await server.connect(target);
    await gate.query("begin; create table public.t (id int)");
    release = () => gate.end();
    apply = await startApply(server, original, { ...target, user: "owner" });
    await waitUntil(
      () => server.query("select 1 from steep_repl.snapshots where phase = 'schema'", [], target),
      (rows) => rows.length === 1,
      "the apply waits",
    );
  });
  afterEach(async () => {
    await server.query("select steep_repl.cancel_operation($1)", [apply.operation_id], target);
    await release();
    await endOfApply(server, apply, target);
    await dropRole(server, "target", "other");
    await dropRole(server, "target", "owner");
  });

  const call = (sql: string) => server.query(sql, [apply.operation_id], other);
  const seen = async () => ({
    queue: (await server.query("select from steep_repl.work_queue", [], other)).length,
    rows: (await server.query("select from steep_repl.snapshots", [], other)).length,
    progress: (await server.query("select * from steep_repl.snapshot_progress()", [], other))
      .length,
    listed: (await server.query("select * from steep_repl.list_operations()", [], other)).length,
  });

  test("a role sees nothing of another's, and can neither cancel, wait for nor retry it", async () => {
    expect(await seen()).toEqual({ queue: 0, rows: 0, progress: 0, listed: 0 });
    for (const name of ["cancel_operation", "retry_operation", "wait_operation"])
      await expect(call(`select steep_repl.${name}($1)`)).rejects.toMatchObject({
        code: expect.stringMatching(/^(42501|42704)$/),
      });
    await server.query("select steep_repl.cancel_operation($1)", [apply.operation_id], target);
    await endOfApply(server, apply, target);
    await expect(call("select steep_repl.retry_operation($1)")).rejects.toMatchObject({
      code: expect.stringMatching(/^(42501|42704)$/),
    });
    expect(await server.query("select status from steep_repl.work_queue", [], target)).toEqual([
      { status: "cancelled" },
    ]);
  });

  test("a member of pg_monitor sees it, and cannot cancel it", async () => {
    await server.query("grant pg_monitor to other");
    expect(await seen()).toEqual({ queue: 1, rows: 1, progress: 1, listed: 1 });
    await expect(call("select steep_repl.cancel_operation($1)")).rejects.toMatchObject({
      code: "42501",
    });
  });

  test("a member of pg_signal_backend cancels it only where its role is no superuser", async () => {
    await server.query("grant pg_signal_backend to other");
    await expect(call("select steep_repl.cancel_operation($1)")).rejects.toMatchObject({
      code: "42501",
    });
    await server.query("alter role owner nosuperuser");
    expect(await call("select steep_repl.cancel_operation($1) as c")).toEqual([{ c: true }]);
    await server.query("alter role owner superuser");
    expect(await endOfApply(server, apply, target)).toMatchObject({ status: "cancelled" });
  });

  test("a member of its role sees it, cancels and retries it, as that role", async () => {
    await server.query("grant owner to other");
    expect(await seen()).toEqual({ queue: 1, rows: 1, progress: 1, listed: 1 });
    expect(await call("select steep_repl.cancel_operation($1) as c")).toEqual([{ c: true }]);
    await endOfApply(server, apply, target);
    await release();
    const row = await retryApply(server, apply, other);
    expect(row).toMatchObject({ status: "complete", requested_by: "owner" });
    expect(await digests(server, "target")).toEqual(expected);
  });
});

describe("the role that asked", () => {
  async function changeWhileQueued(change: () => Promise<unknown>): Promise<ApplyRow> {
    const queued = await whileJobsWait(server, async () => {
      const apply = await startApply(server, original, { ...target, user: "passing" });
      await change();
      return apply;
    });
    return endOfApply(server, queued, target);
  }

  test.each<[what: string, change: () => Promise<unknown>, left: string]>([
    ["is dropped", () => dropRole(server, "target", "passing"), ""],
    [
      "is dropped and made again",
      async () => {
        await dropRole(server, "target", "passing");
        await createRole(server, "target", "passing", "login superuser");
      },
      "passing",
    ],
    ["is renamed", () => server.query("alter role passing rename to renamed"), "renamed"],
  ])("%s before the job runs: nothing is applied", async (_, change, left) => {
    await createRole(server, "target", "passing", "login superuser");
    const row = await changeWhileQueued(change);
    expect(row).toMatchObject({
      status: "failed",
      error_sqlstate: "42704",
      error_message: expect.stringContaining('role "passing"'),
    });
    expect(await digests(server, "target")).toEqual({});
    if (left !== "") await dropRole(server, "target", left);
  });

  test("loses the right to read the snapshot before the job runs", async () => {
    await createRole(server, "target", "passing");
    await server.query("grant pg_read_server_files to passing");
    const row = await changeWhileQueued(() =>
      server.query("revoke pg_read_server_files from passing"),
    );
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "42501" });
    expect(await digests(server, "target")).toEqual({});
    await dropRole(server, "target", "passing");
  });

  test("cannot log in, and is set by another: what is made is its own", async () => {
    await createRole(server, "target", "nologin_role", "nologin");
    await createRole(server, "target", "deputy");
    await server.query(
      `grant nologin_role to deputy; grant pg_read_server_files to nologin_role;
       grant create on schema public to nologin_role`,
      [],
      target,
    );
    const client = await server.connect({ ...target, user: "deputy" });
    await client.query("set role nologin_role");
    const { rows } = await client.query<ApplyRow>(
      "select * from steep_repl.start_apply($1, no_owner => true)",
      [original],
    );
    await client.end();
    const row = await endOfApply(server, rows[0] as ApplyRow, target);
    expect(row).toMatchObject({ status: "complete", requested_by: "nologin_role" });
    expect(
      await server.query(
        "select relowner::regrole::text as owner from pg_class where relname = 't'",
        [],
        target,
      ),
    ).toEqual([{ owner: "nologin_role" }]);
    await dropRole(server, "target", "deputy");
    await dropRole(server, "target", "nologin_role");
  });
});

test("two applies at once load two databases, each its own", async () => {
  await server.createDatabase("second", { extension: true });
  const second = { database: "second" };
  const queued = await whileJobsWait(server, async () => [
    await startApply(server, original, target),
    await startApply(server, original, second),
  ]);
  const [one, two] = queued as [ApplyRow, ApplyRow];
  expect(await endOfApply(server, one, target)).toMatchObject({ status: "complete" });
  expect(await endOfApply(server, two, second)).toMatchObject({ status: "complete" });
  for (const database of ["target", "second"])
    expect(await digests(server, database)).toEqual(expected);
  for (const [database, apply] of [
    ["target", one],
    ["second", two],
  ] as const)
    expect(
      await server.query("select snapshot_id from steep_repl.snapshots", [], { database }),
    ).toEqual([{ snapshot_id: apply.snapshot_id }]);
  await server.query("drop database second");
});

test("two applies at once into one database: one of them is refused, and the rows are there once", async () => {
  const queued = await whileJobsWait(server, async () => [
    await startApply(server, original, target),
    await startApply(server, original, target),
  ]);
  const ends = await Promise.all(queued.map((apply) => endOfApply(server, apply, target)));
  expect(ends.map((row) => row.status).sort()).toEqual(["complete", "failed"]);
  // Which object they meet at is chance: a schema, table, type, function, lock or catalog row.
  expect(ends.find((row) => row.status === "failed")?.error_sqlstate).toMatch(
    /^(42P06|42P07|42710|42723|55P03|23505)$/,
  );
  expect(await digests(server, "target")).toEqual(expected);
});

test("without worker slots an apply waits, says for what, and runs when there are some", async () => {
  const apply = await whileJobsWait(server, async () => {
    const queued = await startApply(server, original, target);
    await waitUntil(
      () =>
        server.query<{ status_detail: string | null }>(
          "select status_detail from steep_repl.list_operations('pending')",
          [],
          target,
        ),
      ([row]) => row?.status_detail?.includes("max_worker_processes") === true,
      "it says that it waits for worker slots",
    );
    return queued;
  });
  expect(await endOfApply(server, apply, target)).toMatchObject({ status: "complete" });
  expect(await digests(server, "target")).toEqual(expected);
});
