import type { ConnectOptions } from "./node.ts";
import type { Server } from "./server.ts";

export interface Job {
  readonly operation_id: string;
}

/** Cancel a job that is not over; returns when, by the server's clock. */
export async function cancelJob(
  server: Server,
  job: Job,
  options: ConnectOptions,
): Promise<string> {
  const [row] = await server.query<{ at: string; done: boolean }>(
    "select clock_timestamp()::text as at, steep_repl.cancel_operation($1) as done",
    [job.operation_id],
    options,
  );
  if (!row?.done) throw new Error(`operation ${job.operation_id} was over`);
  return row.at;
}

/**
 * How long after a moment of the server's clock a job ended, in ms. What the test itself takes to
 * ask for that, on a busy machine, does not count.
 */
export async function msUntilEnd(
  server: Server,
  job: Job,
  since: string,
  options: ConnectOptions,
): Promise<number> {
  const [row] = await server.query<{ ms: number | null }>(
    `select extract(epoch from completed_at - $2::timestamptz)::float8 * 1000 as ms
     from steep_repl.work_queue where id = $1`,
    [job.operation_id, since],
    { ...options, user: "postgres" },
  );
  if (typeof row?.ms !== "number") throw new Error(`operation ${job.operation_id} is not over`);
  return row.ms;
}
