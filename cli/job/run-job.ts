import { CliError, type ExitCode, exitCode } from "../cli-error.ts";
import type { JobOptions } from "../command.ts";
import { formatFor } from "../commands/format.ts";
import { isConnectionLoss } from "../connection/connection-loss.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { errorLine } from "../output/report-error.ts";
import type { ResultRow, Session } from "../session.ts";
import type { Statement } from "../sql-call.ts";
import { Follower, subscribe } from "./follow.ts";
import { type Job, resultOf, startJob } from "./job.ts";
import { hasLeftovers, hasOpenConflicts } from "./outcome.ts";
import { progressView } from "./progress-view.ts";

/** Columns that tell people nothing that the rest does not. */
const internal: ReadonlySet<string> = new Set([
  ...["requested_by_oid", "system_identifier", "database_oid", "current_table", "overall_percent"],
  ...["error_message", "error_sqlstate", "error_hint", "eta_seconds"],
  // of pairs
  ...["local_node", "has_schema", "is_shared", "is_removed", "round", "stepped_at", "fetch_id"],
  ...["local_share", "peer_share"],
]);

/** Queue a job and see it to its end, or print its id with --no-wait. */
export async function startAndFollow(
  invocation: Invocation,
  session: Session,
  statement: Statement,
  options: JobOptions & CommonOptions,
): Promise<ExitCode> {
  await subscribe(session);
  const job = await startJob(session, statement).catch(explainLostStart);
  if (options.wait === false) {
    await session.end();
    invocation.output.line(invocation.output.isJson ? idJson(job) : job.id);
    return exitCode.success;
  }
  return followAndPrint(invocation, session, job, options);
}

function explainLostStart(error: unknown): never {
  if (!isConnectionLoss(error)) throw error;
  throw new CliError(
    exitCode.connection,
    "the connection was lost before the server said whether it queued the job",
    "look with steep-repl ops list",
  );
}

function idJson({ kind, id, operationId }: Job): string {
  // the number as PostgreSQL printed it: it has more digits than a double
  return `{"${kind}_id":${JSON.stringify(id)},"operation_id":${operationId}}`;
}

/** Show a job until it is over; returns its row. */
export async function follow(
  invocation: Invocation,
  session: Session,
  job: Job,
  options: JobOptions & CommonOptions,
): Promise<readonly [Session, ResultRow]> {
  const view = await progressView(invocation.output, job.kind);
  const { timeout, reconnectTimeout = 300 } = options;
  const limits = { reconnectTimeout, ...(timeout === undefined ? {} : { timeout }) };
  const last = await new Follower(invocation, session, job, view, limits).run();
  const [row] = (await resultOf(last, job)).rows;
  if (!row) {
    throw new CliError(exitCode.failed, `the row of ${job.id} is gone`, "somebody has dropped it");
  }
  return [last, row];
}

/** Show a job until it is over and print its row. */
export async function followAndPrint(
  invocation: Invocation,
  session: Session,
  job: Job,
  options: JobOptions & CommonOptions,
): Promise<ExitCode> {
  const [last, row] = await follow(invocation, session, job, options);
  const shown = Object.fromEntries(
    Object.entries(row.values).filter(([name]) => !internal.has(name)),
  );
  await invocation.output.record({ values: shown, json: row.json }, formatFor(last.serverName));
  const isOpen = await hasOpenConflicts(invocation, last, row.values);
  await last.end();
  const code = judge(row.values);
  if (code !== exitCode.success) return code;
  return isOpen || hasLeftovers(invocation, row.values) ? exitCode.differs : code;
}

/** The exit code of a job that is over, whatever it found; says on stderr why it failed. */
export function judge(values: ResultRow["values"]): ExitCode {
  const { status, error_message, error_hint } = values;
  if (status === "failed") {
    process.stderr.write(`${errorLine(error_message ?? "the job failed", null, error_hint)}\n`);
    return exitCode.failed;
  }
  if (status === "cancelled") {
    process.stderr.write(`${errorLine(error_message ?? "the job was cancelled")}\n`);
    return exitCode.cancelled;
  }
  return exitCode.success;
}
