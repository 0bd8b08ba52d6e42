import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import {
  CancelInitResponseSchema,
  CompleteInitResponseSchema,
  GetProgressResponseSchema,
  InitMethod,
  type InitProgressSchema,
  type InitService,
  InitState,
  PrepareInitResponseSchema,
  ProgressUpdateSchema,
  StartInitResponseSchema,
  StartReinitResponseSchema,
} from "../rpc/generated/steep_repl_pb.ts";
import type { ResultRow, Session } from "../session.ts";
import { call, type Value } from "../sql-call.ts";
import { isFailure, requireFields, textOf, toConnectError } from "./errors.ts";
import { pause } from "./pause.ts";
import type { Sessions } from "./sessions.ts";
import { floatValue, intValue, textValue, timeValue } from "./values.ts";

const usualInterval = 1000;
const leastInterval = 100;

type InitializationRpcs = Pick<
  ServiceImpl<typeof InitService>,
  | "startInit"
  | "prepareInit"
  | "completeInit"
  | "cancelInit"
  | "getProgress"
  | "streamProgress"
  | "startReinit"
>;

const copying = ["publishing", "snapshot", "fetching", "loading"];

/** What a pair's row means in the words of the predecessor. */
function stateOf({ values }: ResultRow): InitState {
  switch (values.status) {
    case "complete":
      return InitState.SYNCHRONIZED;
    case "failed":
      return /rows differ/.test(textValue(values.error_message))
        ? InitState.DIVERGED
        : InitState.FAILED;
    case "cancelled":
      return InitState.UNINITIALIZED;
    default:
      if (["queued", "planning"].includes(textValue(values.phase))) return InitState.PREPARING;
      return copying.includes(textValue(values.phase)) ? InitState.COPYING : InitState.CATCHING_UP;
  }
}

const isOver = ({ values }: ResultRow) =>
  ["complete", "failed", "cancelled"].includes(textValue(values.status));

function progressOf(row: ResultRow): MessageInitShape<typeof InitProgressSchema> {
  const { values } = row;
  const startedAt = timeValue(values.started_ms);
  return {
    nodeId: textValue(values.peer),
    state: stateOf(row),
    phase: textValue(values.phase),
    overallPercent: floatValue(values.percent),
    tablesTotal: intValue(values.n_tables),
    tablesCompleted: values.status === "complete" ? intValue(values.n_tables) : 0,
    currentTable: textValue(values.waits_for),
    etaSeconds: 0,
    errorMessage: [values.error_message, values.error_hint].filter(Boolean).join("; "),
    ...(startedAt === undefined ? {} : { startedAt }),
  };
}

/** The latest pair with a node; the node of this server stands for any. */
async function latest(session: Session, nodeId: string): Promise<ResultRow | undefined> {
  const { rows } = await session.query(
    `select p.*, g.overall_percent as percent, g.waits_for, pg_catalog.cardinality(p.tables) as n_tables,
            extract(epoch from p.started_at) * 1000 as started_ms
     from steep_repl.pairs p cross join lateral steep_repl.pair_progress(p.pair_id) g
     where p.peer = $1 or exists (select from steep_repl.node_status($1) s where s.is_local and s.node_id = $1)
     order by p.created_at desc limit 1`,
    [nodeId],
  );
  return rows[0];
}

/** Which of two nodes is the other one, and whether data come from there. */
async function peerOf(session: Session, target: string, source: string) {
  const row = await session.row(
    `select coalesce(pg_catalog.bool_or(s.is_local) filter (where s.node_id = $1), false) as target_is_here
     from steep_repl.node_status() s`,
    [target],
  );
  const targetIsHere = row.values.target_is_here === "t";
  return { peer: targetIsHere ? source : target, targetIsHere };
}

function existingOf(method: InitMethod, targetIsHere: boolean, source: string): string {
  switch (method) {
    case InitMethod.BIDIRECTIONAL_MERGE:
      return "merge";
    case InitMethod.UNSPECIFIED:
    case InitMethod.SNAPSHOT:
    case InitMethod.DIRECT:
      if (targetIsHere)
        throw new ConnectError(
          `data are copied from the server of the daemon: ask the daemon of "${source}"`,
          Code.InvalidArgument,
        );
      return "refuse";
    case InitMethod.MANUAL:
    case InitMethod.TWO_PHASE:
      throw new ConnectError(
        "a node that was filled by hand is taken up with CompleteInit",
        Code.InvalidArgument,
      );
    default:
      throw new ConnectError(`method ${method} is not known`, Code.InvalidArgument);
  }
}

/** The predecessor's RPCs for a new node: each is a call of the functions for pairs. */
export function initialization(sessions: Sessions): InitializationRpcs {
  const start = async (args: Readonly<Record<string, Value>>): Promise<ResultRow> => {
    const { sql, params } = call("start_pair", args);
    return sessions.use((session) => session.row(sql, params));
  };
  /** The rows of the source win, whichever of both is here. */
  const startBetween = async (
    target: string,
    source: string,
    existing: (targetIsHere: boolean) => string,
    parallel?: number,
  ): Promise<ResultRow> => {
    const { peer, targetIsHere } = await sessions.use((session) => peerOf(session, target, source));
    return start({
      ...{ peer, parallel, existing: existing(targetIsHere) },
      strategy: targetIsHere ? "prefer-remote" : "prefer-local",
    });
  };
  /** What a call answers, or why it failed: which the answer says. */
  const answering = async <T>(ask: () => Promise<T>, failed: (error: string) => T): Promise<T> => {
    try {
      return await ask();
    } catch (error) {
      if (!isFailure(error)) throw toConnectError(error);
      return failed(textOf(error));
    }
  };
  const find = (nodeId: string) =>
    sessions
      .use((session) => latest(session, nodeId))
      .catch((error: unknown) => {
        throw toConnectError(error);
      });

  return {
    startInit: async ({ targetNodeId, sourceNodeId, method, options }) => {
      requireFields({ target_node_id: targetNodeId, source_node_id: sourceNodeId });
      return answering(
        async () => {
          const row = await startBetween(
            targetNodeId,
            sourceNodeId,
            (targetIsHere) => existingOf(method, targetIsHere, sourceNodeId),
            options?.parallelWorkers || undefined,
          );
          return create(StartInitResponseSchema, { success: true, state: stateOf(row) });
        },
        (error) => create(StartInitResponseSchema, { error, state: InitState.FAILED }),
      );
    },

    // A slot of its own is of no use: what was written since the copy by hand is merged.
    prepareInit: async ({ nodeId }) => {
      requireFields({ node_id: nodeId });
      return answering(
        async () => {
          const row = await sessions.use((session) =>
            session.row(
              `select string_agg(p.side || ': ' || p.check_name || ': ' || p.detail, '; ') as problems,
                      pg_catalog.pg_current_wal_lsn()::text as lsn
               from steep_repl.preflight($1, existing => 'merge') p where p.status = 'problem'`,
              [nodeId],
            ),
          );
          return create(
            PrepareInitResponseSchema,
            row.values.problems === null
              ? { success: true, lsn: textValue(row.values.lsn), createdAt: timestampNow() }
              : { error: textValue(row.values.problems) },
          );
        },
        (error) => create(PrepareInitResponseSchema, { error }),
      );
    },

    completeInit: async ({ targetNodeId, sourceNodeId }) => {
      requireFields({ target_node_id: targetNodeId, source_node_id: sourceNodeId });
      return answering(
        async () => {
          const row = await startBetween(targetNodeId, sourceNodeId, () => "merge");
          return create(CompleteInitResponseSchema, { success: true, state: stateOf(row) });
        },
        (error) => create(CompleteInitResponseSchema, { error, state: InitState.FAILED }),
      );
    },

    cancelInit: async ({ nodeId }) => {
      requireFields({ node_id: nodeId });
      const row = await find(nodeId);
      if (row === undefined || isOver(row))
        return create(CancelInitResponseSchema, {
          error: `no pair with "${nodeId}" is being set up`,
          previousState: row === undefined ? InitState.UNINITIALIZED : stateOf(row),
        });
      return answering(
        async () => {
          await sessions.use((session) =>
            session.row("select steep_repl.cancel_pair($1)", [textValue(row.values.pair_id)]),
          );
          return create(CancelInitResponseSchema, { success: true, previousState: stateOf(row) });
        },
        (error) => create(CancelInitResponseSchema, { error, previousState: stateOf(row) }),
      );
    },

    getProgress: async ({ nodeId }) => {
      requireFields({ node_id: nodeId });
      const row = await find(nodeId);
      return create(GetProgressResponseSchema, {
        hasProgress: row !== undefined,
        ...(row === undefined ? {} : { progress: progressOf(row) }),
      });
    },

    async *streamProgress({ nodeId, intervalMs }, { signal }) {
      requireFields({ node_id: nodeId });
      const interval = Math.max(intervalMs || usualInterval, leastInterval);
      for (;;) {
        const row = await find(nodeId);
        if (row === undefined)
          throw new ConnectError(`there is no pair with "${nodeId}"`, Code.NotFound);
        yield create(ProgressUpdateSchema, {
          progress: progressOf(row),
          timestamp: timestampNow(),
        });
        if (isOver(row)) return;
        await pause(interval, signal);
      }
    },

    startReinit: async ({ nodeId, scope }) => {
      requireFields({ node_id: nodeId });
      const tables = scope?.scope.case === "tables" ? scope.scope.value.tables : undefined;
      return answering(
        async () => {
          await start({
            peer: nodeId,
            existing: "merge",
            tables,
            schemas: scope?.scope.case === "schema" ? [scope.scope.value] : undefined,
          });
          return create(StartReinitResponseSchema, {
            success: true,
            state: InitState.REINITIALIZING,
            tablesAffected: tables?.length ?? 0,
          });
        },
        (error) => create(StartReinitResponseSchema, { error, state: InitState.FAILED }),
      );
    },
  };
}
