import { afterAll, beforeAll, expect, test } from "vitest";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { isAlive } from "../../support/processes.ts";
import { type Server, startServer } from "../../support/server.ts";

let server: Server;

beforeAll(async () => {
  server = await startServer({ name: "self", preload: false, settings: { work_mem: "5MB" } });
});
afterAll(() => server.destroy());

test("has the settings and languages that it was asked for", async () => {
  const rows = await server.query<{ work_mem: string; names: string[] }>(
    `select current_setting('work_mem') as work_mem,
            array(select extname::text from pg_extension order by 1) as names`,
  );
  expect(rows[0]?.work_mem).toBe("5MB");
  expect(rows[0]?.names).toEqual(expect.arrayContaining(["dblink", server.engine]));
});

test("new databases have the languages, too", async () => {
  const name = 'a "b" %20/?';
  await server.createDatabase(name);
  const psql = await run(bin("psql"), [
    "-XAtc",
    "select count(*) from pg_extension where extname = 'dblink'",
    server.uri(name),
  ]);
  expect(psql.stdout).toBe("1\n");
  await server.query('drop database "a ""b"" %20/?"');
});

test("new sessions have a changed setting", async () => {
  await server.configure({ "my.setting": "it's" });
  expect(await server.query("show my.setting")).toEqual([{ "my.setting": "it's" }]);
});

test("a killed server ends with all its processes and starts again", async () => {
  const client = await server.connect();
  await client.query("create table kept as select 1 as n");
  const pids = (await server.query<{ pid: number }>("select pid from pg_stat_activity")).map(
    (row) => row.pid,
  );
  const sleeping = client.query("select pg_sleep(60)").catch((error: Error) => error);
  await server.kill9();
  expect(pids.filter(isAlive)).toEqual([]);
  expect(await sleeping).toBeInstanceOf(Error);

  await server.start();
  expect(await server.query("select n from kept")).toEqual([{ n: 1 }]);
  expect(await server.log()).toContain("not properly shut down");
});

test("leaks are found", async () => {
  await expectNoLeaks(server);
  const client = await server.connect();
  await client.query("begin");
  await client.query("select pg_advisory_lock(77)");
  await expect(expectNoLeaks(server, { withinMs: 100 })).rejects.toThrow(
    /idleInTransaction.*advisoryLocks.*77/s,
  );
  await client.end();
  await expectNoLeaks(server);
});

test("each way of stopping it works", async () => {
  for (const mode of ["smart", "fast", "immediate"] as const) {
    await server.connect();
    await server.restart(mode);
  }
  expect(await server.pidsByApplicationName("logical replication%")).toEqual([]);
});
