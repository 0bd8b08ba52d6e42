import { CliError, type ExitCode, exitCode } from "../cli-error.ts";
import { confirm, requireYes } from "../confirm.ts";
import type { Invocation } from "../invocation.ts";
import { exactBytes } from "../output/units.ts";
import type { ResultRow, Session } from "../session.ts";
import { call } from "../sql-call.ts";

/** Show what is removed where, ask, and remove it. */
export function dropSnapshot(
  invocation: Invocation,
  yes: boolean | undefined,
  id: string,
): Promise<ExitCode> {
  requireYes(yes, `dropping ${id}`);
  return invocation.withSession(async (session) => {
    const [row] = (
      await session.query(
        `select snapshot_id, operation, status, storage_path, slot_name, table_count, rows_written, size_bytes
         from steep_repl.snapshots where snapshot_id = $1`,
        [id],
      )
    ).rows;
    if (!row) {
      throw new CliError(
        exitCode.failed,
        `snapshot "${id}" does not exist`,
        "see steep-repl snapshot list",
      );
    }
    invocation.output.message(loss(row.values, session));
    await confirm(yes, `Drop ${id}`);
    const { sql, params } = call("drop_snapshot", { snapshot_id: id });
    const { values } = await session.row(sql, params);
    if (values.f !== "t") {
      throw new CliError(
        exitCode.failed,
        `${id} was not dropped`,
        "somebody else may have dropped it",
      );
    }
    await invocation.output.record(row, (column, value) =>
      column === "storage_path" ? `${value} on server ${session.serverName}` : undefined,
    );
    return exitCode.success;
  });
}

function loss(values: ResultRow["values"], session: Session): string {
  const id = `${values.snapshot_id}`;
  if (values.operation === "apply") {
    return `the record of ${id} is removed on server ${session.serverName}: 1 row; what it has loaded stays`;
  }
  const size = values.size_bytes ? exactBytes(values.size_bytes) : "size unknown";
  const what = `${values.table_count ?? 0} tables, ${values.rows_written ?? 0} rows, ${size}`;
  const slot = values.slot_name ? `, and its slot ${values.slot_name} if unused` : "";
  return `${id} is removed: ${values.storage_path} on server ${session.serverName} (${what})${slot}`;
}
