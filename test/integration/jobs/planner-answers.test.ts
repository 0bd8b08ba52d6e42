import { readdir } from "node:fs/promises";
import { basename } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import {
  type JobEnd,
  type Recording,
  runScripts,
  wrongScript,
} from "../../support/planner-answers.ts";
import { recordJobs } from "../../support/planner-jobs.ts";
import { createRandom } from "../../support/random.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

/*
 * A role can change what the planner says in its workers. Whatever that is, the job fails with an
 * error that says so, and nobody else notices.
 */
const app = { database: "app" };
const rounds = Number(process.env.STEEP_ROUNDS ?? 1);
const jobsOfRound = 100;

let server: Server;
let recordings: readonly Recording[];
beforeAll(async () => {
  server = await startServer({
    name: "planner-answers",
    settings: {
      max_worker_processes: 32,
      log_min_messages: "fatal",
      "steep_repl.poll_interval": 100,
    },
  });
  recordings = await recordJobs(server);
});
afterAll(() => server.destroy());

/** The snapshot that applies load. */
function archive(): string {
  const apply = recordings.find((r) => r.operation === "snapshot_apply");
  return String(apply?.params.input_path);
}

/** The one at the peer, that fetches copy. */
function fetched(): string {
  return String(recordings.find((r) => r.operation === "snapshot_fetch")?.params.snapshot);
}

/** As jobs that follow a right planner's answers do. */
async function runRight(): Promise<readonly JobEnd[]> {
  const right = recordings.map((r) => ({ ...r, what: "nothing", isRefused: false }));
  return runScripts(server, right, app);
}

describe("a job whose planner gives right answers", () => {
  test("does what they say, whoever gives them", async () => {
    for (const end of await runRight())
      expect(end).toMatchObject({ status: "complete", error_message: null });
  });
});

describe("a planner that takes something else for a table is refused:", () => {
  const cases: readonly (readonly [what: string, sql: string, code?: string])[] = [
    ["a view", "create view lies.x as select 1 as v"],
    ["a materialized view", "create materialized view lies.x as select 1 as v"],
    ["a sequence", "create sequence lies.x"],
    ["an index", "create table lies.t (v int); create index x on lies.t (v)"],
    ["a partitioned table", "create table lies.x (v int) partition by range (v)"],
    [
      "a foreign table",
      "create server s foreign data wrapper dblink_fdw; create foreign table lies.x (v int) server s",
    ],
    ["no such column", "create table lies.x (w int)", "42703"],
    ["a virtual column", "create table lies.x (w int, v int generated always as (2))", "42703"],
  ];

  /** As of an extension's table, which pg_dump does not list. */
  const rowOf: { readonly [member: string]: string } = {
    tables:
      "'lies.x'::regclass::oid, 'lies', 'x', 'postgres', '{v}'::text[], 'f', null::text, true, null::text, null::text",
    fingerprints: "'lies.x'::regclass::oid, 'f'",
  };

  test.each(cases)("%s", async (_, sql, code = "42809") => {
    await server.query(`create schema lies; ${sql}`, [], app);
    const recording = recordings.find((r) => r.operation === "snapshot_generate");
    if (!recording) throw new Error("no snapshot was recorded");
    const answers = recording.answers.map((answer) => {
      const lies = Object.entries(rowOf).filter(([member]) => member in answer);
      const queries = lies.map(([member, row]) => [
        member,
        `select * from (${answer[member]}) a where a.oid <> 'lies.x'::regclass union all select ${row} order by 1`,
      ]);
      return { ...answer, ...Object.fromEntries(queries) };
    });
    const script = { ...recording, answers, what: "", isRefused: false };
    expect(await runScripts(server, [script], app)).toMatchObject([
      { status: "failed", error_sqlstate: code },
    ]);
    await server.query("drop schema lies cascade; drop server if exists s cascade", [], app);
  });
});

describe("a job whose planner gives a wrong answer", () => {
  const random = createRandom();
  const seen = new Map<string, number>();

  test.each(Array.from({ length: rounds }, (_, i) => i))(
    "ends with an error, and the server goes on (%i)",
    { timeout: 180_000 },
    async () => {
      const witness = await server.connect(app);
      const scripts = Array.from({ length: jobsOfRound }, () => {
        const recording = random.pick(recordings);
        return { ...recording, ...wrongScript(random, recording, recordings) };
      });
      const ends = await runScripts(server, scripts, app);
      expect(ends).toHaveLength(jobsOfRound);
      for (const end of ends) {
        const script = scripts[end.script];
        const wrong = { ...end, what: script?.what, seed: random.seed };
        const key = `${end.status} ${end.error_sqlstate ?? ""}`;
        seen.set(key, (seen.get(key) ?? 0) + 1);
        expect(["failed", "complete"], JSON.stringify(wrong)).toContain(end.status);
        expect(end.status === "complete", JSON.stringify(wrong)).toBe(end.error_sqlstate === null);
        // a bug of ours
        expect(end.error_sqlstate, JSON.stringify(wrong)).not.toBe("XX000");
        if (script?.isRefused) expect(end.error_sqlstate, JSON.stringify(wrong)).toBe("39000");
      }
      // it was connected all the time: no crash has ended all sessions
      expect(await witness.query("select 1 as alive")).toMatchObject({ rows: [{ alive: 1 }] });
      await witness.end();
      // a fetch that failed could go on
      await server.query(
        "select steep_repl.drop_snapshot(s.snapshot_id) from steep_repl.snapshots s where s.operation = 'fetch' and s.status = 'failed'",
        [],
        app,
      );
      // what is called complete is
      const snapshots = await server.query<{ id: string; path: string }>(
        `select s.snapshot_id as id, s.storage_path as path
         from steep_repl.snapshots s where s.operation <> 'apply' and s.status = 'complete' and s.storage_path <> $1`,
        [archive()],
        app,
      );
      expect((await readdir(server.snapshotDir)).length).toBe(snapshots.length + 2);
      for (const { id, path } of snapshots) {
        expect(
          await server.query("select * from steep_repl.verify_snapshot($1)", [path], app),
        ).toEqual([]);
        await server.query("select steep_repl.drop_snapshot($1)", [id], app);
      }
      await server.query("select steep_repl.prune_operations('0')", [], app);
      await expectNoLeaks(server, { files: [basename(archive()), basename(fetched())] });
    },
  );

  test("was refused as such most of the time", async () => {
    console.info(`${rounds * jobsOfRound} wrong answers:`, Object.fromEntries(seen));
    expect(seen.get("failed 39000")).toBeGreaterThan((rounds * jobsOfRound) / 2);
    for (const end of await runRight())
      expect(end).toMatchObject({ status: "complete", error_message: null });
  });
});

test("a job during whose action the server goes down twice is not resumed a third time", async () => {
  const apply = recordings.find((r) => r.operation === "snapshot_apply");
  if (!apply) throw new Error("no apply was recorded");
  const answers = apply.answers.map((answer) =>
    answer.kind === "check_targets"
      ? { ...answer, facts: "select '{}'::json from pg_sleep(600)" }
      : answer,
  );
  const job = runScripts(server, [{ ...apply, answers, what: "", isRefused: false }], app);
  for (let attempt = 1; attempt <= 2; attempt++) {
    const [{ pid }] = (await waitUntil(
      () =>
        server
          .query<{ pid: number }>(
            "select w.worker_pid as pid from steep_repl.work_queue w join pg_stat_activity a on a.pid = w.worker_pid " +
              "where w.status = 'running' and w.attempts = $1 and a.wait_event = 'PgSleep'",
            [attempt],
            app,
          )
          .catch(() => []),
      (rows) => rows.length === 1,
      `attempt ${attempt} is at its action`,
    )) as [{ pid: number }];
    process.kill(pid, "SIGKILL");
  }
  expect(await job).toMatchObject([
    { status: "failed", error_sqlstate: "57P02", error_message: expect.stringContaining("twice") },
  ]);
  expect(
    await server.query(
      "select attempts from steep_repl.work_queue where error_sqlstate = '57P02'",
      [],
      app,
    ),
  ).toEqual([{ attempts: 2 }]);
});
