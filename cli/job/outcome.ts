import type { Invocation } from "../invocation.ts";
import { counted } from "../output/units.ts";
import type { ResultRow, Session } from "../session.ts";

const counts = ["local_only_count", "remote_only_count", "conflict_count", "unsettled_count"];

/** Whether a comparison found rows that are not the same on both sides. */
export function differs(values: ResultRow["values"]): boolean {
  return counts.some((name) => (values[name] ?? "0") !== "0");
}

/** Whether strategy manual has left rows of a pair to be decided; says how to list them. */
export async function hasOpenConflicts(
  { output, connectionFlags }: Invocation,
  session: Session,
  { pair_id: pairId, merge_id: mergeId }: ResultRow["values"],
): Promise<boolean> {
  if (!pairId || !mergeId) return false;
  const { values } = await session.row(
    "select count(*) from steep_repl.merge_conflicts where merge_id = $1 and status = 'open'",
    [mergeId],
  );
  if (values.count === "0") return false;
  output.message(
    `${counted(Number(values.count), "row")} left to be resolved; see steep-repl merge conflicts ${mergeId}${connectionFlags}`,
  );
  return true;
}

/** Whether a job that is complete has something left to look at, by its row; says how to list what a merge has left. */
export function hasLeftovers({ output, connectionFlags }: Invocation, values: ResultRow["values"]) {
  const { merge_id: id, dry_run: isDryRun, rows_left: left } = values;
  if (!id || isDryRun === "t") return differs(values);
  if ((left ?? "0") === "0") return false;
  output.message(
    `${left} rows were left as they are; see steep-repl merge rows-left ${id}${connectionFlags}`,
  );
  return true;
}
