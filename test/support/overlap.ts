import type { ConnectOptions, PgNode, Row } from "./node.ts";
import { waitUntil } from "./wait-until.ts";

export interface OverlapCounts extends Row {
  readonly table_name: string;
  readonly local_only_count: number;
  readonly remote_only_count: number;
  readonly match_count: number;
  readonly conflict_count: number;
  readonly unsettled_count: number;
  readonly behind: string | null;
}

export interface OverlapOptions extends ConnectOptions {
  readonly tables?: readonly string[] | null;
  /** Further arguments as SQL, such as `catch_up_timeout => '1 s'`. */
  readonly args?: string;
}

/** What analyze_overlap answers, with counts as numbers. */
export function analyzeOverlap(
  server: PgNode,
  peer: string,
  { tables = null, args, ...options }: OverlapOptions = {},
): Promise<OverlapCounts[]> {
  return server.query<OverlapCounts>(
    `select table_name, local_only_count::int, remote_only_count::int, match_count::int,
            conflict_count::int, unsettled_count::int, behind
     from steep_repl.analyze_overlap($1, $2${args === undefined ? "" : `, ${args}`})`,
    [peer, tables],
    options,
  );
}

/** Counts as [local only, remote only, match, conflict, unsettled]. */
export function brief(counts: OverlapCounts | undefined): number[] {
  if (!counts) throw new Error("no row");
  return [
    counts.local_only_count,
    counts.remote_only_count,
    counts.match_count,
    counts.conflict_count,
    counts.unsettled_count,
  ];
}

export interface OverlapRow extends Row {
  readonly overlap_id: string;
  readonly operation_id: string;
  readonly peer: string;
  readonly status: string;
  readonly error_message: string | null;
  readonly error_sqlstate: string | null;
  readonly error_hint: string | null;
}

/** The row of a queued comparison once it is over. */
export async function endOfOverlap(
  server: PgNode,
  operationId: string,
  options: ConnectOptions = {},
): Promise<OverlapRow> {
  const { user: _, ...database } = options;
  const row = await waitUntil(
    async () =>
      (
        await server.query<OverlapRow>(
          "select * from steep_repl.overlaps where operation_id = $1",
          [operationId],
          database,
        )
      )[0],
    (r) => r !== undefined && !["pending", "running"].includes(r.status),
    `overlap ${operationId} is over`,
    { timeoutMs: 50_000 },
  );
  if (!row) throw new Error("the overlap's row is gone");
  return row;
}
