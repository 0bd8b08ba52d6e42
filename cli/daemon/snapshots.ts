import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type HandlerContext, type ServiceImpl } from "@connectrpc/connect";
import {
  GetSnapshotProgressResponseSchema,
  type InitService,
  type SnapshotProgress,
  type SnapshotProgressDetail,
  SnapshotProgressDetailSchema,
  SnapshotProgressSchema,
  SnapshotProgressUpdateSchema,
} from "../rpc/generated/steep_repl_pb.ts";
import type { ResultRow, Session } from "../session.ts";
import { call, type Statement } from "../sql-call.ts";
import type { DaemonConfig } from "./config.ts";
import { isFailure, requireFields, textOf, toConnectError } from "./errors.ts";
import { pause } from "./pause.ts";
import type { Sessions } from "./sessions.ts";
import { bigValue, floatValue, intValue, textValue, timeValue } from "./values.ts";

/** How often progress is told where nobody says, and how often it may be, in ms. */
const usualInterval = 1000;
const leastInterval = 100;

const rowQuery = `
  select s.*, p.phase as live_phase, p.overall_percent as live_percent, p.current_table as live_table,
         p.tables_completed as live_completed, p.tables_total as live_total, p.bytes_processed as live_bytes,
         p.eta_seconds as live_eta, extract(epoch from s.started_at) * 1000 as started_ms,
         extract(epoch from coalesce(s.completed_at, clock_timestamp())) * 1000 as updated_ms
  from steep_repl.snapshots s
  left join lateral steep_repl.snapshot_progress(s.snapshot_id) p on true
  where s.snapshot_id = $1`;

const isOver = ({ values }: ResultRow) =>
  ["complete", "failed", "cancelled"].includes(textValue(values.status));

const errorOf = ({ values }: ResultRow) =>
  values.status === "complete"
    ? ""
    : [values.error_message ?? `the job was ${values.status}`, values.error_hint]
        .filter(Boolean)
        .join("; ");

function progressOf(row: ResultRow): SnapshotProgress {
  const { values } = row;
  return create(SnapshotProgressSchema, {
    snapshotId: textValue(values.snapshot_id),
    phase: textValue(values.live_phase ?? values.phase),
    overallPercent: floatValue(values.live_percent ?? values.overall_percent),
    currentTable: textValue(values.live_table ?? values.current_table),
    bytesProcessed: bigValue(values.live_bytes ?? values.bytes_processed),
    throughputMbSec: floatValue(values.throughput_bytes_sec) / 1e6,
    etaSeconds: intValue(values.live_eta ?? values.eta_seconds),
    lsn: textValue(values.lsn),
    complete: values.status === "complete",
    error: isOver(row) ? errorOf(row) : "",
  });
}

function detailOf(row: ResultRow): SnapshotProgressDetail {
  const { values } = row;
  const startedAt = timeValue(values.started_ms);
  const updatedAt = timeValue(values.updated_ms);
  return create(SnapshotProgressDetailSchema, {
    snapshotId: textValue(values.snapshot_id),
    phase: textValue(values.live_phase ?? values.phase),
    overallPercent: floatValue(values.live_percent ?? values.overall_percent),
    currentStep: textValue(values.live_phase ?? values.phase),
    tablesTotal: intValue(values.live_total ?? values.table_count),
    tablesCompleted: intValue(values.live_completed ?? values.tables_completed),
    currentTable: textValue(values.live_table ?? values.current_table),
    bytesWritten: bigValue(values.size_bytes),
    rowsWritten: bigValue(values.rows_written),
    throughputBytesSec: floatValue(values.throughput_bytes_sec),
    etaSeconds: intValue(values.live_eta ?? values.eta_seconds),
    compressionEnabled: textValue(values.compression) !== "none",
    errorMessage: isOver(row) ? errorOf(row) : "",
    ...(startedAt ? { startedAt } : {}),
    ...(updatedAt ? { updatedAt } : {}),
  });
}

type SnapshotRpcs = Pick<
  ServiceImpl<typeof InitService>,
  "generateSnapshot" | "applySnapshot" | "getSnapshotProgress" | "streamSnapshotProgress"
>;

/** The RPCs of snapshots; paths are the server's. */
export function snapshots(config: DaemonConfig, sessions: Sessions): SnapshotRpcs {
  const find = async (id: string): Promise<ResultRow | undefined> => {
    try {
      return (await sessions.use((session) => session.query(rowQuery, [id]))).rows[0];
    } catch (error) {
      throw toConnectError(error);
    }
  };

  /** The rows of a job, again and again until it is over, or the client has gone. */
  async function* rowsOf(id: string, interval: number, signal: AbortSignal) {
    for (;;) {
      const row = await find(id);
      if (row === undefined) return;
      yield row;
      if (isOver(row)) return;
      await pause(interval, signal);
    }
  }

  /** Run a job: its progress, then its end. A client that goes away cancels it. */
  async function* run(statement: Statement, { signal }: HandlerContext) {
    let id: string;
    try {
      const row = await sessions.use((s) => s.row(statement.sql, statement.params));
      id = textValue(row.values.snapshot_id);
    } catch (error) {
      if (!isFailure(error)) throw toConnectError(error);
      yield create(SnapshotProgressSchema, { error: textOf(error) });
      throw new ConnectError(textOf(error), Code.Internal);
    }
    let last: ResultRow | undefined;
    try {
      for await (const row of rowsOf(id, usualInterval, signal)) {
        last = row;
        yield progressOf(row);
      }
    } finally {
      // Of a daemon that stops, the job goes on: its reason says so
      if ((last === undefined || !isOver(last)) && signal.aborted && !isStop(signal))
        await sessions
          .use((s) => s.query("select steep_repl.cancel_snapshot($1)", [id]))
          .catch(() => {});
    }
    if (last === undefined) throw new ConnectError("the job's row is gone", Code.Internal);
    if (last.values.status === "cancelled") throw new ConnectError(errorOf(last), Code.Canceled);
    if (last.values.status !== "complete") throw new ConnectError(errorOf(last), Code.Internal);
  }

  const workers = (wanted: number) => (wanted > 0 ? wanted : config.initialization.parallelWorkers);
  return {
    async *generateSnapshot(request, context) {
      requireFields({ output_path: request.outputPath });
      yield* run(
        call("start_snapshot", {
          output_path: request.outputPath,
          compression: request.compression || config.initialization.compression,
          parallel: workers(request.parallelWorkers),
          node_id: request.sourceNodeId === "" ? undefined : request.sourceNodeId,
        }),
        context,
      );
    },

    async *applySnapshot(request, context) {
      requireFields({ input_path: request.inputPath });
      await requireThisServer(sessions, request.targetNodeId);
      yield* run(
        call("start_apply", {
          input_path: request.inputPath,
          parallel: workers(request.parallelWorkers),
          verify: request.verifyChecksums,
        }),
        context,
      );
    },

    async getSnapshotProgress({ snapshotId }) {
      requireFields({ snapshot_id: snapshotId });
      const row = await find(snapshotId);
      return create(GetSnapshotProgressResponseSchema, {
        hasProgress: row !== undefined,
        ...(row ? { progress: detailOf(row) } : {}),
      });
    },

    async *streamSnapshotProgress({ snapshotId, intervalMs, includeCompleted }, { signal }) {
      requireFields({ snapshot_id: snapshotId });
      const interval = Math.max(intervalMs || usualInterval, leastInterval);
      let isFirst = true;
      for await (const row of rowsOf(snapshotId, interval, signal)) {
        if (isFirst && isOver(row) && !includeCompleted) return;
        isFirst = false;
        yield create(SnapshotProgressUpdateSchema, { progress: detailOf(row) });
      }
      if (isFirst) throw new ConnectError(`there is no snapshot ${snapshotId}`, Code.NotFound);
    },
  };
}

/** An unregistered name is a label; that of another server shows that the request was sent to the wrong daemon. */
async function requireThisServer(sessions: Sessions, nodeId: string): Promise<void> {
  const find = (session: Session) =>
    session.query(
      `select n.node_id from steep_repl.nodes n where n.node_id = $1
       and n.system_identifier <> (select c.system_identifier::text from pg_catalog.pg_control_system() c)`,
      [nodeId],
    );
  const { rows } = await sessions.use(find).catch((error: unknown) => {
    throw toConnectError(error);
  });
  if (rows.length > 0) {
    throw new ConnectError(
      `node "${nodeId}" is registered as another server than that of this daemon`,
      Code.InvalidArgument,
    );
  }
}

/** Whether a stream ends because the daemon does. */
function isStop(signal: AbortSignal): boolean {
  const { reason } = signal as { readonly reason: unknown };
  return reason instanceof ConnectError && reason.code === Code.Unavailable;
}
