import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { giveToServer, unprivileged } from "../../support/data-directory.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { freshPath, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

let primary: Server;
let standby: Server;
const app = { database: "app" };

beforeAll(async () => {
  primary = await startServer({ name: "primary" });
  await primary.createDatabase("app", { extension: true });
  await primary.query("create table t as select 1 as id", [], app);
  standby = await startServer({ name: "standby" });
  await standby.stop();
  await rm(standby.dataDir, { recursive: true });
  await run(unprivileged, [
    bin("pg_basebackup"),
    ...["-D", standby.dataDir, "-R", "-c", "fast", "-d", primary.uri()],
  ]);
  await standby.configure({
    port: standby.port,
    unix_socket_directories: standby.socketDir,
    "steep_repl.snapshot_directories": standby.snapshotDir,
  });
  await giveToServer(standby.dataDir);
  await standby.start();
});
afterAll(async () => {
  await standby.destroy();
  await primary.destroy();
});

test("on a standby nothing runs, and health() says why", async () => {
  expect(await standby.pidsByApplicationName("steep_repl%")).toEqual([]);
  expect(await standby.query("select steep_repl.bgworker_available() as up", [], app)).toEqual([
    { up: false },
  ]);
  const [health] = await standby.query(
    "select status, reasons::text from steep_repl.health()",
    [],
    app,
  );
  expect(health).toMatchObject({ status: "degraded", reasons: expect.stringContaining("standby") });
  await expect(
    standby.query("select steep_repl.start_snapshot($1)", [freshPath(standby)], app),
  ).rejects.toMatchObject({ code: "25006" });
});

test("the primary's jobs reach the standby as rows only", async () => {
  const row = await takeSnapshot(primary, app);
  await waitUntil(
    () =>
      standby.query(
        "select status from steep_repl.snapshots where snapshot_id = $1",
        [row.snapshot_id],
        app,
      ),
    (rows) => rows[0]?.status === "complete",
    "the row is replicated",
  );
  await primary.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], app);
  await expectNoLeaks(primary);
});

test("after promotion the launcher starts and jobs run", async () => {
  await standby.query("select pg_promote()");
  await waitUntil(
    () => standby.query("select steep_repl.bgworker_available() as up", [], app),
    (rows) => rows[0]?.up === true,
    "the launcher has started",
  );
  const row = await takeSnapshot(standby, app);
  await standby.query("select steep_repl.drop_snapshot($1)", [row.snapshot_id], app);
  await expectNoLeaks(standby);
});
