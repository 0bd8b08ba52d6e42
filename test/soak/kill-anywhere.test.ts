import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { killSomething } from "../support/kill-something.ts";
import { expectNoLeaks } from "../support/leaks.ts";
import { createRandom } from "../support/random.ts";
import { type Server, startServer } from "../support/server.ts";
import { endOf, problems, startSnapshot, takeSnapshot } from "../support/snapshots.ts";
import { waitUntil } from "../support/wait-until.ts";

const app = { database: "app" };
const slow = { ...app, args: "compression => 'zstd', level => 9, parallel => 2" };
const random = createRandom();
let server: Server;
let typicalMs: number;

beforeAll(async () => {
  server = await startServer({ name: "kill-anywhere", settings: { max_worker_processes: 16 } });
  await server.createDatabase("app", { extension: true });
  await server.query(
    `do $$ begin
       for i in 1..40 loop
         execute format('create table t_%s as select g as id, (select string_agg(md5(random()::text), '''')
           from generate_series(1, 10) where g = g) as filler from generate_series(1, 3000) g', i);
       end loop;
     end $$`,
    [],
    app,
  );
  await dropFinished();
  const before = performance.now();
  await takeSnapshot(server, slow);
  typicalMs = performance.now() - before;
  await dropFinished();
  console.log(`a snapshot takes ${typicalMs.toFixed(0)} ms when nobody disturbs it`);
});
afterAll(() => server.destroy());

async function dropFinished(): Promise<void> {
  await server.query(
    "select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots where status not in ('pending', 'running')",
    [],
    app,
  );
}

/** Workers of jobs, the launcher too. */
function workers(): Promise<number[]> {
  return server.pidsByApplicationName("steep_repl%");
}

test.each(Array.from({ length: 20 }, (_, i) => i + 1))(
  "kill %i: the job is over within 10 s, and its directory is a sound snapshot or gone",
  async (number) => {
    const snapshot = await startSnapshot(server, slow);
    const delay = random.int(0, Math.ceil(typicalMs));
    await sleep(delay);
    const killed = await killSomething(server, random, 0.5);
    const before = performance.now();
    const row = await endOf(server, snapshot, app);
    const elapsed = performance.now() - before;
    console.log(
      `kill ${number}: ${killed} after ${delay} ms: ${row.status} in phase ${row.phase}, ${elapsed.toFixed(0)} ms later`,
    );
    expect(elapsed).toBeLessThan(10_000);
    expect(["failed", "complete"]).toContain(row.status);
    if (row.status === "complete") {
      expect(await problems(server, row.storage_path, app)).toEqual([]);
    } else {
      expect(row.error_sqlstate).not.toBeNull();
      await waitUntil(
        () => existsSync(row.storage_path),
        (exists) => !exists,
        `${row.storage_path} is gone`,
      );
    }
    await waitUntil(
      () => server.query("select * from steep_repl.leftovers()", [], app),
      (rows) => rows.length === 0,
      "nothing is left",
    );
    await dropFinished();
    await waitUntil(workers, (pids) => pids.length === 1, "only the launcher is left");
    await expectNoLeaks(server);
  },
);
