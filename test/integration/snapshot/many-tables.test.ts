import { readdir } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { problems, runSnapshot, takeSnapshot } from "../../support/snapshots.ts";

let server: Server;
let small: Server | undefined;

beforeAll(async () => {
  server = await startServer({
    name: "many-tables",
    settings: { max_worker_processes: 16, max_locks_per_transaction: 256, autovacuum: "off" },
  });
});
afterAll(() => server.destroy());
afterEach(async () => {
  await small?.destroy();
  small = undefined;
});

/** A database with so many small tables. */
async function makeTables(database: string, count: number): Promise<void> {
  await server.createDatabase(database, { extension: true });
  await server.query(
    `do $$ begin
       for i in 1..${count} loop
         execute format('create table t_%s (id int primary key, v text)', i);
         execute format('insert into t_%s select g, ''row '' || g from generate_series(1, 3) g', i);
         if i % 100 = 0 then commit; end if;
       end loop;
     end $$`,
    [],
    { database },
  );
}

/** Take a snapshot, look at all of it, and return how long it took, in ms. */
async function measure(database: string, count: number): Promise<number> {
  const before = performance.now();
  const snapshot = await takeSnapshot(server, { database, args: "parallel => 2" });
  const elapsed = performance.now() - before;
  expect(snapshot).toMatchObject({ table_count: count, rows_written: String(3 * count) });

  const files = await readdir(snapshot.storage_path);
  expect(files.filter((name) => /^\d+\.dat\.zst$/.test(name))).toHaveLength(count);
  expect(files.filter((name) => !/^\d+\.dat\.zst$/.test(name)).sort()).toEqual([
    ".steep_repl",
    "manifest.json",
    "toc.dat",
  ]);
  const { stdout } = await run(bin("pg_restore"), ["-l", snapshot.storage_path]);
  expect(stdout.match(/ TABLE DATA public t_\d+ /g)).toHaveLength(count);
  expect(await problems(server, snapshot.storage_path, { database })).toEqual([]);
  await server.query("select steep_repl.drop_snapshot($1)", [snapshot.snapshot_id], { database });
  return elapsed;
}

test("2,000 tables take at most 20 times as long as 200", { timeout: 180_000 }, async () => {
  await makeTables("few", 200);
  await makeTables("many", 2_000);
  const few = await measure("few", 200);
  const many = await measure("many", 2_000);
  console.log(`200 tables: ${few.toFixed(0)} ms, 2,000 tables: ${many.toFixed(0)} ms`);
  expect(many).toBeLessThan(20 * few);
  await expectNoLeaks(server);
});

test.each([
  ["partitioned tables", "create table r_%s (id int) partition by range (id)", 6_000],
  ["sequences of tables", "create table r_%s (id serial)", 3_000],
  [
    "views of views",
    "create view r_%1$s as select 1 as n; create view s_%1$s as table r_%1$s",
    6_000,
  ],
])(
  "a lock table too small for %s is refused, with a value that suffices",
  async (_, sql, count) => {
    small = await startServer({
      name: "small-lock-table",
      settings: {
        max_connections: 20,
        max_worker_processes: 12,
        max_locks_per_transaction: 64,
        autovacuum: "off",
      },
    });
    const app = { database: "app" };
    await small.createDatabase("app", { extension: true });
    await small.query(
      `do $$ begin
       for i in 1..${count} loop
         execute format('${sql}', i);
         if i % 50 = 0 then commit; end if;
       end loop;
     end $$`,
      [],
      app,
    );
    const row = await runSnapshot(small, app);
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "53400" });
    const enough = Number(/at least (\d+)/.exec(row.error_hint ?? "")?.[1]);

    await small.configure({ max_locks_per_transaction: enough });
    await small.restart();
    await takeSnapshot(small, app);
  },
);
