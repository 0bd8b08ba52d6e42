import type { Invocation } from "../invocation.ts";
import type { ResultRow } from "../session.ts";

const counts = ["local_only_count", "remote_only_count", "conflict_count", "unsettled_count"];

/** Whether a comparison found rows that are not the same on both sides. */
export function differs(values: ResultRow["values"]): boolean {
  return counts.some((name) => (values[name] ?? "0") !== "0");
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
