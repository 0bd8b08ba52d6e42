import { cp, rename } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { giveToServer, unprivileged } from "../../support/data-directory.ts";
import { bin, run } from "../../support/pg.ts";
import { type Server, startServer } from "../../support/server.ts";
import { runSnapshot } from "../../support/snapshots.ts";

/* What is there of steep_repl after a database was moved by pg_dump, or a server by pg_upgrade. */

let server: Server;
beforeAll(async () => {
  server = await startServer({ name: "moved", settings: { wal_level: "logical" } });
  await server.query("create extension steep_repl cascade");
  await server.query(
    "create table t as select g as id from generate_series(1, 10) g; select steep_repl.register_node('here', 'Here'), steep_repl.register_node('there', 'There', '192.0.2.1')",
  );
  await runSnapshot(server);
});
afterAll(() => server.destroy());

const kept = (database: string) =>
  server.query(
    `select (select count(*)::int from steep_repl.nodes) as nodes, (select count(*)::int from steep_repl.snapshots) as snapshots,
            (select count(*)::int from steep_repl.work_queue) as jobs, (select count(*)::int from t) as rows`,
    [],
    { database },
  );

test("pg_dump takes the extension along, and nothing of what it knows of this server", async () => {
  const file = join(server.home, "dump");
  await run(bin("pg_dump"), ["-Fc", "-f", file, "-d", server.uri()]);
  await server.query("create database restored");
  await run(bin("pg_restore"), ["--exit-on-error", "-d", server.uri("restored"), file]);
  expect(await kept("restored")).toEqual([{ nodes: 0, snapshots: 0, jobs: 0, rows: 10 }]);
  expect(
    await server.query("select status from steep_repl.health()", [], { database: "restored" }),
  ).toEqual([{ status: "healthy" }]);
  expect(await runSnapshot(server, { database: "restored" })).toMatchObject({
    status: "complete",
  });
});

test("pg_upgrade takes all along; the server is another one, whose nodes are to be registered again", async () => {
  // where an extension is by extension_control_path only, pg_upgrade does not find its library by this name
  for (const database of ["postgres", "restored"])
    await server.query(
      "update pg_proc set probin = 'steep_repl' where probin = '$libdir/steep_repl'",
      [],
      { database },
    );
  await server.stop();
  const fresh = join(server.home, "fresh");
  await run(unprivileged, [
    ...[bin("initdb"), "-D", fresh, "-U", "postgres", "-A", "trust", "--no-sync"],
    ...["-E", "UTF8", "--locale=C.UTF-8"],
  ]);
  for (const name of ["postgresql.conf", "pg_hba.conf"])
    await cp(join(server.dataDir, name), join(fresh, name));
  await giveToServer(fresh);
  const old = join(server.home, "old");
  await rename(server.dataDir, old);
  const binaries = bin("postgres").replace(/\/postgres$/, "");
  const upgraded = await run(
    unprivileged,
    [
      ...["env", "-C", server.home, bin("pg_upgrade"), "-b", binaries, "-B", binaries],
      ...["-d", old, "-D", fresh, "-U", "postgres", "--no-sync", "-s", server.socketDir],
    ],
    { allowFailure: true },
  );
  expect(upgraded, upgraded.stdout + upgraded.stderr).toMatchObject({ code: 0 });
  await rename(fresh, server.dataDir);
  await server.start();
  expect(await kept("postgres")).toMatchObject([{ nodes: 2, rows: 10 }]);
  expect(await server.query("select status from steep_repl.health()")).toEqual([
    { status: "healthy" },
  ]);
  await server.query("select steep_repl.register_node('here', 'Here')");
  expect(await server.query("select is_local from steep_repl.node_status('here')")).toEqual([
    { is_local: true },
  ]);
  expect(await runSnapshot(server)).toMatchObject({ status: "complete" });
});
