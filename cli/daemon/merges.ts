import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import {
  type BidirectionalMergeResultSchema,
  ConflictStrategy,
  type InitService,
  type StartBidirectionalMergeRequest,
  StartBidirectionalMergeResponseSchema,
} from "../rpc/generated/steep_repl_pb.ts";
import type { ResultRow, Session } from "../session.ts";
import { call } from "../sql-call.ts";
import { isFailure, requireFields, textOf, toConnectError } from "./errors.ts";
import { pause } from "./pause.ts";
import type { Sessions } from "./sessions.ts";
import { bigValue, textValue } from "./values.ts";

const pollMs = 500;

/** Whose rows win, seen from the server that merges, where node A is this one or the other. */
const strategies: Readonly<Record<ConflictStrategy, readonly [aIsHere: string, bIsHere: string]>> =
  {
    [ConflictStrategy.UNSPECIFIED]: ["prefer-local", "prefer-remote"],
    [ConflictStrategy.PREFER_NODE_A]: ["prefer-local", "prefer-remote"],
    [ConflictStrategy.PREFER_NODE_B]: ["prefer-remote", "prefer-local"],
    [ConflictStrategy.LAST_MODIFIED]: ["last-modified", "last-modified"],
    [ConflictStrategy.MANUAL]: ["manual", "manual"],
  };

/** The merge as this server calls it: with whom, and by which strategy. */
async function planOf(session: Session, request: StartBidirectionalMergeRequest) {
  const row = await session.row(
    `select coalesce(pg_catalog.bool_or(n.node_id = $1), false) as a_is_here,
            coalesce(pg_catalog.bool_or(n.node_id = $2), false) as b_is_here
     from steep_repl.node_status() s join steep_repl.nodes n using (node_id)
     where s.is_local
       and coalesce(n.dbname, pg_catalog.current_database()) = pg_catalog.current_database()`,
    [request.nodeAId, request.nodeBId],
  );
  const aIsHere = row.values.a_is_here === "t";
  const bIsHere = row.values.b_is_here === "t" && !aIsHere;
  if (!aIsHere && !bIsHere)
    throw new ConnectError(
      `neither "${request.nodeAId}" nor the other node is the server of this daemon`,
      Code.InvalidArgument,
    );
  const strategy = strategies[request.strategy];
  if (strategy === undefined)
    throw new ConnectError(`strategy ${request.strategy} is not known`, Code.InvalidArgument);
  const other = bIsHere ? request.nodeAId : request.nodeBId;
  return {
    bIsHere,
    strategy: strategy[bIsHere ? 1 : 0],
    peer: !bIsHere && request.nodeBConnStr !== "" ? request.nodeBConnStr : other,
  };
}

const tablesQuery = `
  select p.names[1] as schema, p.names[2] as name, t.*
  from steep_repl.merge_tables t cross join lateral (select pg_catalog.parse_ident(t.table_name) as names) p
  where t.merge_id = $1 order by t.table_name`;

/** Rows that were written on each side, by the audit log; of a dry run, those that would be. */
const writtenQuery = `
  select count(*) filter (where a.action like '%\\_local') as here, count(*) filter (where a.action like '%\\_remote') as there
  from steep_repl.merge_audit_log a where a.merge_id = $1`;

async function resultOf(session: Session, merge: ResultRow, bIsHere: boolean, strategy: string) {
  const id = textValue(merge.values.merge_id);
  const { rows } = await session.query(tablesQuery, [id]);
  const written = await session.row(writtenQuery, [id]);
  const [toA, toB] = bIsHere
    ? [written.values.there, written.values.here]
    : [written.values.here, written.values.there];
  const isManual = strategy === "manual";
  const result: MessageInitShape<typeof BidirectionalMergeResultSchema> = {
    tablesProcessed: BigInt(rows.length),
    conflictsDetected: bigValue(merge.values.conflict_count),
    conflictsResolved: isManual ? 0n : bigValue(merge.values.conflict_count),
    rowsTransferredAToB: bigValue(toB),
    rowsTransferredBToA: bigValue(toA),
    tableResults: rows.map(({ values }) => ({
      schema: textValue(values.schema),
      table: textValue(values.name),
      rowsAOnly: bigValue(bIsHere ? values.remote_only_count : values.local_only_count),
      rowsBOnly: bigValue(bIsHere ? values.local_only_count : values.remote_only_count),
      rowsConflict: bigValue(values.conflict_count),
      rowsIdentical: bigValue(values.match_count),
      resolution: values.reason ?? strategy,
    })),
  };
  return result;
}

type MergeRpcs = Pick<ServiceImpl<typeof InitService>, "startBidirectionalMerge">;

/** A merge of this server's node with another. A client that goes away leaves the job running. */
export function merges(sessions: Sessions): MergeRpcs {
  const finish = async (id: string, signal: AbortSignal): Promise<ResultRow> => {
    for (;;) {
      const row = await sessions.use((session) =>
        session.row("select * from steep_repl.merges where merge_id = $1", [id]),
      );
      if (["complete", "failed", "cancelled"].includes(textValue(row.values.status))) return row;
      await pause(pollMs, signal);
    }
  };
  return {
    startBidirectionalMerge: async (request, { signal }) => {
      requireFields({ node_a_id: request.nodeAId });
      requireFields({ node_b_id: request.nodeBId || request.nodeBConnStr });
      try {
        const plan = await sessions.use((session) => planOf(session, request));
        const { sql, params } = call("start_merge", {
          peer: plan.peer,
          tables: request.tables.length === 0 ? null : request.tables,
          strategy: plan.strategy,
          dry_run: request.dryRun,
        });
        const started = await sessions.use((session) => session.row(sql, params));
        const merge = await finish(textValue(started.values.merge_id), signal);
        if (merge.values.status !== "complete")
          return create(StartBidirectionalMergeResponseSchema, {
            error: [
              merge.values.error_message ?? `the merge was ${merge.values.status}`,
              merge.values.error_hint,
            ]
              .filter(Boolean)
              .join("; "),
          });
        const result = await sessions.use((session) =>
          resultOf(session, merge, plan.bIsHere, plan.strategy),
        );
        return create(StartBidirectionalMergeResponseSchema, { success: true, result });
      } catch (error) {
        if (!isFailure(error)) throw toConnectError(error);
        return create(StartBidirectionalMergeResponseSchema, { error: textOf(error) });
      }
    },
  };
}
