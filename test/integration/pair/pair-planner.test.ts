import { expect, test, vi } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { expectHealthy, makePair, setPairNodes } from "../../support/pair-nodes.ts";
import {
  type JobEnd,
  type Recording,
  recordingOf,
  replacePlanner,
  runScripts,
  type Script,
  wrongScript,
} from "../../support/planner-answers.ts";
import { createRandom } from "../../support/random.ts";
import type { Server } from "../../support/server.ts";

/* A role can change what the planner says in its workers: a pair then fails with an error that says so, or does what the role may do. */

vi.setConfig({ testTimeout: 240_000 });

const random = createRandom();
const scripts = Number(process.env.STEEP_ROUNDS ?? 25);
const ofT = "'node_b', '{public.t}', existing => 'keep', sequences => 'keep'";
const here = { database: "postgres" };

let a: Server;
let b: Server;
setPairNodes("pair-planner", (...nodes) => {
  [a, b] = nodes;
});

async function follow(recording: Recording, script: Script): Promise<JobEnd> {
  const [end] = await runScripts(a, [{ ...recording, ...script }], here);
  if (end === undefined) throw new Error("no job was queued");
  return end;
}

const startTimes = () =>
  Promise.all([a, b].map((s) => s.query("select pg_postmaster_start_time()::text as t")));

test("whatever a planner says, a pair ends with an error or as it should, and the next is made", async () => {
  for (const server of [a, b]) {
    await server.query(
      "create table t (id int primary key, v text); insert into t select i, 'v' || i from generate_series(1, 10) i",
    );
  }
  await replacePlanner(a, here);
  expect(await makePair(a, ofT)).toMatchObject({ status: "complete", error_message: null });
  const recording = await recordingOf(a, "pair", here);
  const started = await startTimes();
  await a.query("select * from steep_repl.drop_pair('node_b')");
  expect(
    await follow(recording, { answers: recording.answers, what: "nothing", isRefused: false }),
  ).toMatchObject({ status: "complete", error_message: null });
  const counts = { failed: 0, complete: 0 };
  for (let i = 0; i < scripts; i++) {
    const script = wrongScript(random, recording, [recording]);
    await a.query("select * from steep_repl.drop_pair('node_b')");
    const end = await follow(recording, script);
    const said = JSON.stringify({ what: script.what, ...end });
    expect(["failed", "complete"], said).toContain(end.status);
    // a statement that is left out is one that the role did not want
    if (script.isRefused && !script.what.includes("is left out")) {
      expect(end.status, said).toBe("failed");
    }
    if (end.status === "failed") expect(end.error_message, said).toMatch(/\S/);
    counts[end.status as keyof typeof counts]++;
  }
  console.info(counts);
  expect(counts.failed).toBeGreaterThan(scripts / 4);
  expect(await startTimes()).toEqual(started);
  await a.query("select * from steep_repl.drop_pair('node_b')");
  await a.query(
    "drop function steep_repl._call(text, jsonb); alter function steep_repl._real_call rename to _call",
  );
  expect(await makePair(a, ofT)).toMatchObject({ status: "complete" });
  await expectHealthy(a, b);
  await a.query("select * from steep_repl.drop_pair('node_b')");
  for (const server of [a, b]) await expectNoLeaks(server);
});
