/** A column of KIND_progress(): its value from r, the row of the job's result, and j, what shared memory says of it. */
type ProgressColumn = readonly [name: string, type: string, value: string];

/** A kind of job that users follow by an id of its own. */
interface JobKind {
  readonly name: string;
  /** that has the rows of its results */
  readonly table: string;
  readonly progress: readonly ProgressColumn[];
}

const currentTable: ProgressColumn = [
  "current_table",
  "text",
  "case when j.id is not null then j.current_table else r.current_table end",
];
const tablesCompleted: ProgressColumn = [
  "tables_completed",
  "int",
  "coalesce(j.tables_completed, r.tables_completed)",
];
const tablesTotal: ProgressColumn = [
  "tables_total",
  "int",
  "coalesce(nullif(j.tables_total, 0), r.table_count)",
];
const phase: ProgressColumn = ["phase", "text", "coalesce(nullif(j.phase, ''), r.phase)"];
const overallPercent: ProgressColumn = [
  "overall_percent",
  "numeric",
  "coalesce(round(j.overall_percent::numeric, 2), r.overall_percent)",
];
const error: ProgressColumn = ["error", "text", "r.error_message"];

const jobKinds: readonly JobKind[] = [
  {
    name: "snapshot",
    table: "snapshots",
    progress: [
      ["snapshot_id", "text", "r.snapshot_id"],
      phase,
      overallPercent,
      tablesCompleted,
      tablesTotal,
      currentTable,
      ["bytes_processed", "bigint", "coalesce(j.bytes_processed, r.bytes_processed)"],
      ["eta_seconds", "bigint", "coalesce(j.eta_seconds, r.eta_seconds)"],
      error,
    ],
  },
  {
    name: "merge",
    table: "merges",
    progress: [
      ["merge_id", "text", "r.merge_id"],
      ["status", "text", "r.status"],
      currentTable,
      tablesCompleted,
      tablesTotal,
      ["rows_merged", "bigint", "r.rows_merged"],
      ["conflict_count", "bigint", "r.conflict_count"],
      error,
      phase,
      overallPercent,
      ["eta_seconds", "bigint", "j.eta_seconds"],
    ],
  },
  {
    name: "pair",
    table: "pairs",
    progress: [
      ["pair_id", "text", "r.pair_id"],
      ["status", "text", "r.status"],
      phase,
      ["step", "text", "r.step"],
      overallPercent,
      [
        "waits_for",
        "text",
        "(select w.status_detail from steep_repl.work_queue w where w.id = r.operation_id)",
      ],
      error,
    ],
  },
];

/** The template of sql/jobs/kind.sql, filled in for each kind of job. */
export function jobKindSql(template: string): string {
  return jobKinds
    .map(({ name, table, progress }) =>
      template
        .replaceAll("@KIND@", name)
        .replaceAll("@TABLE@", table)
        .replaceAll(
          "@PROGRESS_OUT@",
          progress.map(([column, type]) => `out ${column} ${type}`).join(", "),
        )
        .replaceAll(
          "@PROGRESS_VALUES@",
          progress.map(([, , value]) => value).join(",\n           "),
        ),
    )
    .join("\n");
}
