import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { runMerge } from "../../support/merge.ts";
import { analyzeOverlap, brief, endOfOverlap } from "../../support/overlap.ts";
import { type Server, startServer } from "../../support/server.ts";
import { waitUntil } from "../../support/wait-until.ts";

let a: Server;
let b: Server;
const sessions: Client[] = [];

beforeAll(async () => {
  const settings = { max_worker_processes: 16, max_prepared_transactions: 2 };
  [a, b] = await Promise.all([
    startServer({
      name: "locked-a",
      settings: { ...settings, "steep_repl.lock_timeout": 300, "steep_repl.poll_interval": 100 },
    }),
    startServer({ name: "locked-b", identity: "peer", settings }),
  ]);
  await a.query(`create extension steep_repl cascade;
    select steep_repl.register_node('a', 'A');
    select steep_repl.register_node('b', 'B', '127.0.0.1', ${b.port}, dbname => 'postgres', username => 'postgres')`);
  for (const server of [a, b])
    await server.query(
      `create table t (id int primary key, v text default 'x'); insert into t values (1, 'x');
       create table "o'dd ""t""" (id int primary key);
       create table parts (id int primary key) partition by range (id); create table part_1 partition of parts for values from (1) to (9)`,
    );
});
afterAll(async () => {
  await a.destroy();
  await b.destroy();
});
afterEach(async () => {
  await b.query("select pg_cancel_backend(pid) from pg_locks where not granted");
  for (const session of sessions.splice(0)) await session.end();
  await expectNoLeaks(a);
});

/** Lock a table by a session of its own; its process id. */
async function lock(server: Server, table: string, mode = "access exclusive"): Promise<number> {
  const session = await server.connect();
  sessions.push(session);
  await session.query("set application_name = 'a migration'");
  await session.query(`begin; lock table ${table} in ${mode} mode`);
  return Number((await session.query("select pg_backend_pid() as pid")).rows[0].pid);
}

/** What everybody does who needs a table of the peer. */
const calls: readonly (readonly [name: string, run: (table: string) => Promise<unknown>])[] = [
  ["analyze_overlap", (table) => analyzeOverlap(a, "b", { tables: [table] })],
  ["overlap_rows", (table) => a.query("select * from steep_repl.overlap_rows('b', $1)", [table])],
  ["start_overlap", (table) => overlap(table)],
  ["start_merge", (table) => merge(table)],
  [
    "compare_fingerprints",
    () => a.query("select * from steep_repl.compare_fingerprints('a', 'b')"),
  ],
  [
    "schema_diff",
    (table) => a.query("select * from steep_repl.schema_diff('a', 'b', $1)", [table]),
  ],
  ["capture_fingerprints", () => a.query("select * from steep_repl.capture_fingerprints('b')")],
];

/** The end of a job as the error that it would have been. */
function orThrow(row: {
  readonly error_message: string | null;
  readonly error_sqlstate: string | null;
  readonly error_hint: string | null;
}): void {
  if (row.error_message === null) return;
  throw Object.assign(new Error(row.error_message), {
    code: row.error_sqlstate,
    hint: row.error_hint,
  });
}

async function overlap(table: string): Promise<void> {
  const [job] = await a.query<{ operation_id: string }>(
    "select operation_id from steep_repl.start_overlap('b', $1)",
    [[table]],
  );
  orThrow(await endOfOverlap(a, job?.operation_id ?? ""));
}

async function merge(table: string): Promise<void> {
  orThrow(await runMerge(a, "b", { tables: [table] }));
}

describe("a table that somebody has locked at the peer is named, with who has it", () => {
  test.each(calls)("%s", async (name, run) => {
    const pid = await lock(b, "t");
    const error = await run("public.t").then(
      () => undefined,
      (e) => e,
    );
    expect(error, name).toMatchObject({
      code: "55P03",
      // of a job, with the detail
      message: expect.stringMatching(/^peer: could not lock public\.t within 300ms($|: )/),
      hint: "Retry when that is over, or raise steep_repl.lock_timeout.",
    });
    expect(error.detail ?? error.message).toContain(
      `process ${pid} of role postgres (a migration) holds public.t in ACCESS EXCLUSIVE mode`,
    );
  });
});

test("a partition, a hostile name and a prepared transaction are named, too", async () => {
  await lock(b, "part_1");
  await expect(analyzeOverlap(a, "b", { tables: ["public.parts"] })).rejects.toMatchObject({
    code: "55P03",
    message: "peer: could not lock public.part_1 within 300ms",
  });
  await lock(b, `"o'dd ""t"""`);
  await expect(analyzeOverlap(a, "b", { tables: [`public."o'dd ""t"""`] })).rejects.toMatchObject({
    code: "55P03",
    message: `peer: could not lock public."o'dd ""t""" within 300ms`,
  });
  await b.query("begin; lock table t in access exclusive mode; prepare transaction 'left'");
  await expect(analyzeOverlap(a, "b", { tables: ["public.t"] })).rejects.toMatchObject({
    detail: "a prepared transaction holds public.t in ACCESS EXCLUSIVE mode.",
  });
  await b.query("rollback prepared 'left'");
});

test("who only waits for a table is in the way, too", async () => {
  const reader = await lock(b, "t", "access share");
  const altering = await b.connect();
  sessions.push(altering);
  const altered = altering.query("alter table t add w int").catch(() => undefined);
  await waitUntil(
    () => b.query("select pid from pg_locks where not granted and relation = 't'::regclass"),
    (rows) => rows.length === 1,
    "the ALTER waits",
  );
  await expect(analyzeOverlap(a, "b", { tables: ["public.t"] })).rejects.toMatchObject({
    code: "55P03",
    detail: expect.stringMatching(
      new RegExp(
        `^process \\d+ of role postgres \\(.*\\) waits for public\\.t in ACCESS EXCLUSIVE mode behind process ${reader}\\.$`,
      ),
    ),
  });
  await b.query("select pg_cancel_backend(pid) from pg_locks where not granted");
  await altered;
});

test("a table that is locked here is named by a job, which waits no longer either", async () => {
  await lock(a, "t");
  await expect(overlap("public.t")).rejects.toMatchObject({
    code: "55P03",
    message: expect.stringMatching(
      /^could not lock public\.t within 300ms: process \d+ of role postgres/,
    ),
  });
});

test("tables that others have locked are in nobody's way", async () => {
  await lock(b, "parts");
  expect((await analyzeOverlap(a, "b", { tables: ["public.t"] })).map(brief)).toEqual([
    [0, 0, 1, 0, 0],
  ]);
});
