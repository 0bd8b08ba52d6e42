import type { Result, ResultRow, Session } from "../session.ts";
import { call, type Statement } from "../sql-call.ts";

/** A job in the server, by the table that has its row. */
export interface Job {
  readonly kind: "snapshot" | "merge" | "overlap" | "pair";
  readonly id: string;
  readonly operationId: string;
}

/** What a job waits for stands with the operation, and is asked for only while it waits. */
const waitsFor = (table: string) => `case when ${table}.status = 'pending' then (
  select q.status_detail from steep_repl.list_operations('pending') q where q.id = ${table}.operation_id) end as waits_for`;

const progressOf: Readonly<Record<Job["kind"], string>> = {
  snapshot: `
    select s.snapshot_id, s.operation_id, s.status, p.phase, p.overall_percent, p.current_table,
           p.tables_completed, p.tables_total, p.bytes_processed, s.throughput_bytes_sec,
           p.eta_seconds, ${waitsFor("s")}
    from steep_repl.snapshot_progress($1) p join steep_repl.snapshots s on s.snapshot_id = p.snapshot_id`,
  merge: `
    select m.merge_id, m.operation_id, m.status, p.phase, p.overall_percent, p.current_table,
           p.tables_completed, p.tables_total, p.rows_merged, p.conflict_count, p.eta_seconds, m.dry_run,
           ${waitsFor("m")}
    from steep_repl.merge_progress($1) p join steep_repl.merges m on m.merge_id = p.merge_id`,
  overlap: `
    select o.overlap_id, o.operation_id, o.status, o.phase, o.overall_percent, o.current_table,
           o.tables_completed, o.table_count as tables_total, ${waitsFor("o")}
    from steep_repl.overlaps o where o.overlap_id = $1`,
  pair: `
    select r.pair_id, r.operation_id, p.status, p.phase, p.overall_percent, p.step, p.waits_for
    from steep_repl.pair_progress($1) p join steep_repl.pairs r on r.pair_id = p.pair_id`,
};

/** Where a job is now. */
export function progress(session: Session, { kind, id }: Job): Promise<ResultRow> {
  return session.row(progressOf[kind], [id]);
}

/** The row of a job, once it is over. */
export function resultOf(session: Session, { kind, id }: Job): Promise<Result> {
  return session.query(`select * from steep_repl.${kind}s where ${kind}_id = $1`, [id]);
}

/** Queue a job with one of our functions. */
export async function startJob(session: Session, { sql, params }: Statement): Promise<Job> {
  return jobOf((await session.row(sql, params)).values);
}

/** The job of a row of snapshots, merges, overlaps or pairs. */
export function jobOf(values: ResultRow["values"]): Job {
  const operationId = values.operation_id ?? values.id ?? "";
  // a pair's own row names the jobs that it has begun
  for (const kind of ["pair", "snapshot", "merge", "overlap"] as const) {
    const id = values[`${kind}_id`];
    if (id) return { kind, id, operationId };
  }
  throw new Error("a job is neither a snapshot, nor a merge, nor a comparison, nor a pair");
}

/** The job of an operation; throws where the caller may not see it. */
export async function jobOfOperation(session: Session, id: string): Promise<Job> {
  const { sql, params } = call("wait_operation", { id, timeout_seconds: 0 });
  return jobOf((await session.row(sql, params)).values);
}

export function isOver(status: string | null | undefined): boolean {
  return status === "complete" || status === "failed" || status === "cancelled";
}
