import type { ConnectOptions, PgNode } from "./node.ts";
import { endOf, type SnapshotRow } from "./snapshots.ts";

export interface ApplyRow extends SnapshotRow {
  readonly operation: string;
  readonly source_snapshot_id: string | null;
  readonly rows_written: string | null;
  readonly table_count: number | null;
  readonly tables_completed: number;
  readonly warnings: readonly string[] | null;
}

export interface ApplyOptions extends ConnectOptions {
  /** Further arguments as SQL, such as `sections => '{data}'`. */
  readonly args?: string;
}

/** Queue an apply; returns its row as start_apply answers it. */
export async function startApply(
  server: PgNode,
  path: string,
  options: ApplyOptions,
): Promise<ApplyRow> {
  const args = options.args === undefined ? "" : `, ${options.args}`;
  const [row] = await server.query<ApplyRow>(
    `select * from steep_repl.start_apply($1${args})`,
    [path],
    options,
  );
  if (!row) throw new Error("start_apply answered no row");
  return row;
}

/** The row of an apply once it is over. */
export async function endOfApply(
  server: PgNode,
  apply: ApplyRow,
  options: ConnectOptions,
): Promise<ApplyRow> {
  return (await endOf(server, apply, options)) as ApplyRow;
}

/** Apply a snapshot to its end, whatever that is. */
export async function runApply(
  server: PgNode,
  path: string,
  options: ApplyOptions,
): Promise<ApplyRow> {
  return endOfApply(server, await startApply(server, path, options), options);
}

/** Apply a snapshot, which must succeed. */
export async function applySnapshot(
  server: PgNode,
  path: string,
  options: ApplyOptions,
): Promise<ApplyRow> {
  const row = await runApply(server, path, options);
  if (row.status !== "complete") {
    throw new Error(
      `apply ${row.status}: ${row.error_sqlstate} ${row.error_message}\nHINT: ${row.error_hint}`,
    );
  }
  return row;
}

/** Retry an apply that failed, and wait for its end. */
export async function retryApply(
  server: PgNode,
  apply: ApplyRow,
  options: ConnectOptions,
): Promise<ApplyRow> {
  await server.query("select steep_repl.retry_operation($1)", [apply.operation_id], options);
  return endOfApply(server, apply, options);
}
