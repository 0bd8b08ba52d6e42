import { readdir } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../support/leaks.ts";
import { bin, run } from "../support/pg.ts";
import { type Server, startServer } from "../support/server.ts";
import {
  freshPath,
  problems,
  type SnapshotOptions,
  type SnapshotRow,
  startSnapshot,
} from "../support/snapshots.ts";

const count = 40_000;
const app = { database: "app" };
let server: Server;

beforeAll(async () => {
  server = await startServer({
    name: "forty-thousand",
    settings: { max_worker_processes: 16, autovacuum: "off" },
  });
  await server.createDatabase("app", { extension: true });
  const before = performance.now();
  await server.query(
    `do $$ begin
       for i in 1..${count} loop
         execute format('create table t_%s (id int primary key, v text)', i);
         execute format('insert into t_%s values (1, ''one''), (2, ''two'')', i);
         if i % 100 = 0 then commit; end if;
       end loop;
     end $$`,
    [],
    app,
  );
  console.log(`made ${count} tables in ${seconds(before)}`);
}, 600_000);
afterAll(() => server.destroy());

function seconds(since: number): string {
  return `${((performance.now() - since) / 1000).toFixed(1)} s`;
}

async function runSnapshot(options: SnapshotOptions): Promise<SnapshotRow> {
  const snapshot = await startSnapshot(server, options);
  const [row] = await server.query<SnapshotRow>(
    "select * from steep_repl.wait_snapshot($1, 600)",
    [snapshot.snapshot_id],
    app,
  );
  if (!row) throw new Error("wait_snapshot answered no row");
  return row;
}

test("40,000 tables: too many locks are refused by value, and with that value it works", async () => {
  const refused = await runSnapshot(app);
  expect(refused).toMatchObject({ status: "failed", error_sqlstate: "53400" });
  const enough = Number(/at least (\d+)/.exec(refused.error_hint ?? "")?.[1]);
  await expectNoLeaks(server);

  await server.configure({ max_locks_per_transaction: enough });
  await server.restart();
  let since = performance.now();
  const path = freshPath(server);
  const snapshot = await runSnapshot({ ...app, path, args: "parallel => 2" });
  console.log(`max_locks_per_transaction = ${enough}; snapshot in ${seconds(since)}`);
  expect(snapshot).toMatchObject({
    status: "complete",
    table_count: count,
    tables_completed: count,
    rows_written: String(2 * count),
  });

  since = performance.now();
  expect(await problems(server, path, app)).toEqual([]);
  console.log(`verified in ${seconds(since)}`);
  since = performance.now();
  const { stdout } = await run(bin("pg_restore"), ["-l", path]);
  console.log(`listed in ${seconds(since)}`);
  expect(stdout.match(/ TABLE DATA public t_\d+ /g)).toHaveLength(count);
  expect((await readdir(path)).length).toBe(count + 3);

  since = performance.now();
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], app);
  console.log(`dropped in ${seconds(since)}`);
  await expectNoLeaks(server);
});
