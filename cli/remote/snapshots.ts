import type { CallOptions } from "@connectrpc/connect";
import { CliError, type ExitCode, exitCode, usageError } from "../cli-error.ts";
import { formatAt } from "../commands/format.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { progressView } from "../job/progress-view.ts";
import type { SnapshotProgress, SnapshotProgressDetail } from "../rpc/generated/steep_repl_pb.ts";
import type { ResultRow } from "../session.ts";
import { remoteFlags } from "./choose.ts";
import type { Remote } from "./client.ts";
import { counted, int32, resultOf, rounded, rowOf, said, time, type Value } from "./result.ts";

export interface GenerateFlags {
  readonly output: string;
  readonly compression?: string;
  readonly parallel?: string;
}

export interface ApplyFlags {
  readonly input: string;
  readonly source?: string;
  readonly parallel?: string;
  readonly verify?: boolean;
}

/** The result is printed without what a daemon does not tell for so long. */
const detailsMs = 5000;

/** What the result has besides what the stream tells. */
type Facts = Readonly<Record<string, Value>>;

/** `snapshot generate` over RPC. */
export function remoteGenerate(
  remote: Remote,
  invocation: Invocation,
  { output: outputPath, compression = "", parallel }: GenerateFlags & CommonOptions,
  node = "",
): Promise<ExitCode> {
  const parallelWorkers = int32("--parallel", parallel);
  const request = { sourceNodeId: node, outputPath, compression, parallelWorkers };
  const facts = { operation: "generate", node_id: said(node), storage_path: outputPath };
  return follow(remote, invocation, (o) => remote.init.generateSnapshot(request, o), {
    ...{ ...facts, compression: said(compression), parallel: counted(parallelWorkers) },
  });
}

/** `snapshot apply` over RPC. */
export function remoteApply(
  remote: Remote,
  invocation: Invocation,
  { input, source = "", parallel, verify }: ApplyFlags & CommonOptions,
  node = "",
): Promise<ExitCode> {
  const parallelWorkers = int32("--parallel", parallel);
  const request = {
    ...{ targetNodeId: node, inputPath: input, sourceNodeId: source, parallelWorkers },
    verifyChecksums: verify !== false,
  };
  const facts = { operation: "apply", node_id: said(node), storage_path: input };
  return follow(remote, invocation, (o) => remote.init.applySnapshot(request, o), {
    ...{ ...facts, parallel: counted(parallelWorkers) },
  });
}

/** `snapshot progress` over RPC, which knows no "latest". */
export async function remoteProgress(
  remote: Remote,
  { output }: Invocation,
  id: string | undefined,
): Promise<ExitCode> {
  if (id === undefined) {
    throw usageError("over RPC the snapshot's id is needed", "steep-repl snapshot progress ID");
  }
  const request = { snapshotId: id };
  const { progress } = await remote.call((o) => remote.init.getSnapshotProgress(request, o));
  if (progress === undefined) {
    throw new CliError(exitCode.failed, `snapshot "${id}" does not exist`, "check its id");
  }
  const numbers = ["overall_percent", "tables_completed", "tables_total", "bytes_processed"];
  const row = {
    ...{ snapshot_id: progress.snapshotId, phase: said(progress.phase) },
    overall_percent: rounded(progress.overallPercent),
    ...{ tables_completed: progress.tablesCompleted, tables_total: counted(progress.tablesTotal) },
    current_table: said(progress.currentTable),
    bytes_processed: counted(progress.bytesWritten),
    eta_seconds: counted(progress.etaSeconds),
    error: said(progress.errorMessage),
  };
  const result = resultOf(Object.keys(row), [...numbers, "eta_seconds"], [row]);
  await output.rows(result, formatAt(`the server of ${remote.place}`));
  return exitCode.success;
}

/** Show a stream until it ends, then the result. Who cuts it cancels the job there. */
async function follow(
  remote: Remote,
  invocation: Invocation,
  open: (options: CallOptions) => AsyncIterable<SnapshotProgress>,
  facts: Facts,
): Promise<ExitCode> {
  const { output, options } = invocation;
  const view = await progressView(output);
  output.beforeMessage = () => view.interrupt();
  let last: SnapshotProgress | undefined;
  const read = async (o: CallOptions) => {
    for await (const message of open(o)) {
      last = message;
      // what was never begun has no progress
      if (message.snapshotId !== "" || message.error === "") view.show(stateOf(message));
    }
  };
  const id = () => last?.snapshotId || "the job";
  const cancels = "its stream is cut, which cancels it there";
  try {
    await remote.call(read, {
      interrupted: () => `${id()}: ${cancels}`,
      hint: `${cancels}; raise --timeout, or use --direct, with which jobs go on`,
    });
  } catch (error) {
    throw explain(error, last, remoteFlags(remote, options));
  } finally {
    view.end();
    output.beforeMessage = () => {};
  }
  if (last?.error) throw new CliError(exitCode.failed, last.error);
  if (!last?.complete) {
    throw new CliError(
      exitCode.failed,
      `the daemon at ${remote.place} ended the stream of ${id()} before its end`,
      "look with steep-repl snapshot list, or see the daemon's log",
    );
  }
  const row = rowOf({ ...summary(last, facts), ...(await details(remote, last.snapshotId)) });
  await output.record(row, formatAt(`the server of ${remote.place}`));
  return exitCode.success;
}

/** A job that fails says so in a message, and once more in the status. */
function explain(error: unknown, last: SnapshotProgress | undefined, flags: string): unknown {
  if (!(error instanceof CliError)) return error;
  if (last?.error && error.code === exitCode.failed) {
    return new CliError(exitCode.failed, last.error);
  }
  if (last === undefined || error.code !== exitCode.connection) return error;
  return new CliError(
    error.code,
    error.message,
    `whether ${last.snapshotId} goes on says steep-repl snapshot progress ${last.snapshotId}${flags}`,
  );
}

function statusOf({ complete, error, phase }: SnapshotProgress): string {
  if (complete) return "complete";
  if (error !== "") return "failed";
  return phase === "queued" ? "pending" : "running";
}

/** As a session's row of progress, for the bar and the lines. */
function stateOf(message: SnapshotProgress): ResultRow {
  return rowOf({
    ...{ snapshot_id: said(message.snapshotId), status: statusOf(message) },
    ...{ phase: said(message.phase), overall_percent: rounded(message.overallPercent) },
    current_table: said(message.currentTable),
    ...speedOf(message),
    eta_seconds: counted(message.etaSeconds),
  });
}

function speedOf({ bytesProcessed, throughputMbSec }: SnapshotProgress): Facts {
  const speed = Math.round(throughputMbSec * 1e6);
  return { bytes_processed: counted(bytesProcessed), throughput_bytes_sec: counted(speed) };
}

function summary(last: SnapshotProgress, facts: Facts): Facts {
  return {
    ...{ snapshot_id: said(last.snapshotId), ...facts, status: "complete" },
    ...{ phase: said(last.phase), lsn: said(last.lsn), ...speedOf(last) },
  };
}

/** What only the row of the job has; a daemon of the predecessor has no RPC for that. */
async function details(remote: Remote, snapshotId: string): Promise<Facts> {
  const rpc = (o: CallOptions) =>
    remote.init.getSnapshotProgress({ snapshotId }, { ...o, timeoutMs: detailsMs });
  const answer = await remote.call(rpc).catch((error: unknown) => {
    if (error instanceof CliError && error.code === exitCode.interrupted) throw error;
    return undefined;
  });
  return answer?.progress === undefined ? {} : detailOf(answer.progress);
}

function detailOf(progress: SnapshotProgressDetail): Facts {
  return {
    ...{ table_count: progress.tablesTotal, tables_completed: progress.tablesCompleted },
    ...{ size_bytes: counted(progress.bytesWritten), rows_written: progress.rowsWritten },
    ...{ started_at: time(progress.startedAt), completed_at: time(progress.updatedAt) },
  };
}
