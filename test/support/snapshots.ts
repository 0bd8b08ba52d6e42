import { randomUUID } from "node:crypto";
import { join } from "node:path";
import pg from "pg";
import type { ConnectOptions, PgNode, Row } from "./node.ts";
import { bin, type RunResult, run } from "./pg.ts";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

export interface SnapshotRow extends Row {
  readonly snapshot_id: string;
  readonly operation_id: string;
  readonly status: string;
  readonly phase: string;
  readonly storage_path: string;
  readonly error_message: string | null;
  readonly error_sqlstate: string | null;
  readonly error_hint: string | null;
}

export interface SnapshotOptions extends ConnectOptions {
  readonly path?: string;
  /** Further arguments as SQL, such as `compression => 'lz4'`. */
  readonly args?: string;
}

/** A path in the server's snapshot directory that nothing has yet. */
export function freshPath(server: PgNode): string {
  return join(server.snapshotDir, `s-${randomUUID().slice(0, 8)}`);
}

/** Queue a snapshot; returns its row as start_snapshot answers it. */
export async function startSnapshot(
  server: PgNode,
  options: SnapshotOptions = {},
): Promise<SnapshotRow> {
  const path = options.path ?? freshPath(server);
  const args = options.args === undefined ? "" : `, ${options.args}`;
  const rows = await server.query<SnapshotRow>(
    `select * from steep_repl.start_snapshot($1${args})`,
    [path],
    options,
  );
  const row = rows[0];
  if (!row) throw new Error("start_snapshot answered no row");
  return row;
}

/** The snapshot's row once it is over. */
export async function endOf(
  server: PgNode,
  snapshot: SnapshotRow,
  options: ConnectOptions = {},
): Promise<SnapshotRow> {
  const { user: _, ...database } = options;
  const read = async () =>
    (
      await server.query<SnapshotRow>(
        "select * from steep_repl.snapshots where snapshot_id = $1",
        [snapshot.snapshot_id],
        database,
      )
    )[0];
  const row = await waitUntil(
    read,
    (r) => r !== undefined && !["pending", "running"].includes(r.status),
    `${snapshot.snapshot_id} is over`,
    { timeoutMs: 50_000 },
  );
  if (!row) throw new Error("the snapshot's row is gone");
  return row;
}

/** Take a snapshot to its end, whatever that is. */
export async function runSnapshot(
  server: PgNode,
  options: SnapshotOptions = {},
): Promise<SnapshotRow> {
  return endOf(server, await startSnapshot(server, options), options);
}

/** Take a snapshot that must succeed. */
export async function takeSnapshot(
  server: PgNode,
  options: SnapshotOptions = {},
): Promise<SnapshotRow> {
  const row = await runSnapshot(server, options);
  if (row.status !== "complete") {
    throw new Error(`snapshot ${row.status}: ${row.error_sqlstate} ${row.error_message}`);
  }
  return row;
}

/**
 * Restore a snapshot with stock pg_restore into a new database. With -j its workers may deadlock,
 * where one attaches an index while one adds a foreign key: then once more.
 */
export async function restore(
  server: Server,
  snapshot: SnapshotRow,
  database: string,
  args: readonly string[] = ["-j2"],
): Promise<RunResult> {
  const command = ["--exit-on-error", ...args, "-d", server.uri(database), snapshot.storage_path];
  for (let attempt = 1; ; attempt++) {
    await server.createDatabase(database, { template: "template0" });
    const result = await run(bin("pg_restore"), command, { allowFailure: true });
    if (result.code === 0) return result;
    if (attempt === 3 || !result.stderr.includes("deadlock detected"))
      throw new Error(`pg_restore ended with ${result.code}\n${result.stderr}`);
    await server.query(`drop database ${pg.escapeIdentifier(database)}`);
  }
}

/** Rows and an order-independent digest of every user table, by name. */
export async function digests(server: PgNode, database: string): Promise<Record<string, string>> {
  const tables = await server.query<{ name: string }>(
    `select format('%I.%I', n.nspname, c.relname) as name
     from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where c.relkind in ('r', 'm') and c.relispopulated and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'steep_repl')
     order by 1`,
    [],
    { database },
  );
  const result: Record<string, string> = {};
  for (const { name } of tables) {
    const rows = await server.query<{ digest: string }>(
      `select count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) as digest from only ${name} t`,
      [],
      { database },
    );
    result[name] = rows[0]?.digest ?? "";
  }
  return result;
}

/** How many problems verify_snapshot finds. */
export async function problems(
  server: PgNode,
  path: string,
  options: ConnectOptions = {},
): Promise<Row[]> {
  return server.query("select * from steep_repl.verify_snapshot($1)", [path], options);
}

/** Options that keep what is ours out of pg_dump's output, as snapshots do. */
export const withoutOurs = ["-N", "steep_repl", "--exclude-extension=steep_repl"] as const;

/**
 * The schema as pg_dump writes it, without ours and without subscriptions, entry by entry. Sorted:
 * what pg_dump writes first may depend on what it leaves out.
 */
export async function schemaOf(server: PgNode, database: string): Promise<readonly string[]> {
  const options = ["--schema-only", "--no-subscriptions", "--restrict-key=x", ...withoutOurs];
  const { stdout } = await run(bin("pg_dump"), [...options, server.uri(database)]);
  return stdout.split("\n--\n-- Name: ").sort();
}

/** Drop every snapshot that is over: what one test left would fail the next. */
export async function dropSnapshots(server: PgNode, options: ConnectOptions = {}): Promise<void> {
  await server.query(
    "select steep_repl.drop_snapshot(snapshot_id) from steep_repl.snapshots where status not in ('pending', 'running')",
    [],
    options,
  );
}
