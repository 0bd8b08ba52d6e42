import { applySnapshot } from "./apply.ts";
import { type Recording, recordingOf, replacePlanner } from "./planner-answers.ts";
import type { Server } from "./server.ts";
import { freshPath, takeSnapshot } from "./snapshots.ts";
import { waitUntil } from "./wait-until.ts";

const app = { database: "app" };

/** Run a job that a call queues, which must succeed. */
async function runJob(server: Server, call: string): Promise<void> {
  const [started] = await server.query<{ id: string }>(
    `select (steep_repl.${call}).operation_id as id`,
    [],
    app,
  );
  const [ended] = await server.query<{ status: string; error_message: string | null }>(
    "select w.status, w.error_message from steep_repl.wait_operation($1, 50) w",
    [started?.id],
    app,
  );
  if (ended?.status !== "complete") throw new Error(`${call}: ${ended?.error_message}`);
}

/**
 * A database of small tables with a peer, whose planner follows scripts. Of each kind of job one that
 * went well, and that can be run again and again: it leaves all rows as they are.
 */
export async function recordJobs(server: Server): Promise<readonly Recording[]> {
  for (const name of ["app", "peer"]) {
    await server.createDatabase(name, { extension: true });
    await server.query(
      `create table t (id int primary key, v text); create table u (id int primary key, t int references t);
       create materialized view m as select count(*) from t;
       create schema other; create table other.merged (id int primary key); create table other.loaded (id int)`,
      [],
      { database: name },
    );
  }
  await server.query(
    `insert into t values (1, 'here'), (3, 'mine'); insert into u values (1, 1);
     insert into other.merged values (1); insert into other.loaded values (1)`,
    [],
    app,
  );
  await server.query(
    "select steep_repl.register_node('peer', 'peer', '127.0.0.1', $1, dbname => 'peer', username => 'postgres')",
    [server.port],
    app,
  );
  await server.query("insert into t values (2, 'there'), (3, 'yours')", [], { database: "peer" });
  const source = await takeSnapshot(server, { ...app, args: "tables => '{other.loaded}'" });
  await replacePlanner(server, app);

  // several at the same time do not get in each other's way: their table has no key
  const tables = "'{public.t,public.u}'";
  await takeSnapshot(server, { ...app, args: "parallel => 1, schemas => '{public}'" });
  await applySnapshot(server, source.storage_path, {
    ...app,
    args: "sections => '{data}', truncate => true, parallel => 1",
  });
  const [there] = await server.query<{ path: string }>(
    "select storage_path as path from steep_repl.start_snapshot($1, parallel => 1)",
    [freshPath(server)],
    { database: "peer" },
  );
  await waitUntil(
    () => server.query("select status from steep_repl.snapshots", [], { database: "peer" }),
    ([row]) => row?.status === "complete",
    "the peer has a snapshot",
  );
  await runJob(server, `start_fetch('peer', '${there?.path}', '${freshPath(server)}', 1)`);
  await runJob(server, `start_overlap('peer', ${tables})`);
  await runJob(server, `start_merge('peer', '{other.merged}')`);
  await runJob(
    server,
    "undo_merge((select m.merge_id from steep_repl.merges m where m.rows_merged > 0))",
  );
  const undo = await recordingOf(server, "merge_undo", app);
  await recordingOf(server, "bidirectional_merge", app);
  await runJob(server, `start_merge('peer', ${tables}, dry_run => true)`);
  const dryRun = await recordingOf(server, "bidirectional_merge", app);
  await runJob(
    server,
    `start_merge('peer', ${tables}, strategy => 'manual', local_only => 'keep', remote_only => 'keep')`,
  );
  return [
    undo,
    dryRun,
    await recordingOf(server, "bidirectional_merge", app),
    await recordingOf(server, "snapshot_generate", app),
    await recordingOf(server, "snapshot_apply", app),
    await recordingOf(server, "snapshot_fetch", app),
    await recordingOf(server, "overlap", app),
  ];
}
