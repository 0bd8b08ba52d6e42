import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import {
  type Coordinator,
  GetNodesResponseSchema,
  HealthCheckResponseSchema,
  HeartbeatResponseSchema,
  type NodeInfoSchema,
  RegisterNodeResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
  SyncNodeMetadataResponseSchema,
} from "../rpc/generated/steep_repl_pb.ts";
import type { ResultRow, Session } from "../session.ts";
import { call } from "../sql-call.ts";
import type { DaemonConfig } from "./config.ts";
import { isFailure, requireFields, textOf, toConnectError } from "./errors.ts";
import { healthMs } from "./health.ts";
import type { Sessions } from "./sessions.ts";
import { boolValue, intValue, textValue, timeValue } from "./values.ts";

const nodesQuery = `
  select n.node_id, n.node_name, n.host, n.port, n.priority, s.status,
         extract(epoch from s.last_seen) * 1000 as last_seen_ms
  from steep_repl.node_status() s join steep_repl.nodes n using (node_id)
  order by n.node_id`;

async function nodes(session: Session): Promise<MessageInitShape<typeof NodeInfoSchema>[]> {
  const { rows } = await session.query(nodesQuery);
  return rows.map(({ values }) => {
    const lastSeen = timeValue(values.last_seen_ms);
    return {
      nodeId: textValue(values.node_id),
      nodeName: textValue(values.node_name),
      host: textValue(values.host),
      port: intValue(values.port),
      priority: intValue(values.priority),
      status: textValue(values.status),
      ...(lastSeen ? { lastSeen } : {}),
    };
  });
}

const healthQuery =
  "select h.*, pg_catalog.array_to_string(h.reasons, '; ') as all_reasons from steep_repl.health() h";

/** Health by its parts, as the predecessor's clients list them. */
function componentsOf({ values }: ResultRow) {
  const component = (healthy: boolean, message: string) => ({
    healthy,
    status: healthy ? "healthy" : "unhealthy",
    message,
  });
  return {
    postgresql: component(true, `PostgreSQL ${textValue(values.pg_version)}`),
    background_worker: component(boolValue(values.background_worker_running), ""),
    steep_repl: {
      healthy: values.status === "healthy",
      status: textValue(values.status),
      message: textValue(values.all_reasons),
    },
    shared_memory: component(boolValue(values.shared_memory_available), ""),
    js_engine: component(values.js_engine !== null, textValue(values.js_engine)),
  };
}

/** The service that nodes and monitoring ask. There is no coordinator any more: coordinator_id is empty. */
export function coordinator(
  config: DaemonConfig,
  sessions: Sessions,
  startedAt: number,
): ServiceImpl<typeof Coordinator> {
  const answer = async <T>(
    action: (session: Session) => Promise<T>,
    within?: number,
  ): Promise<T> => {
    try {
      return await sessions.use(action, within);
    } catch (error) {
      throw toConnectError(error);
    }
  };
  const failed = (error: unknown) => {
    if (!isFailure(error)) throw toConnectError(error);
    return { success: false, error: textOf(error) };
  };
  return {
    healthCheck: () =>
      answer(async (session) => {
        const row = await session.row(healthQuery);
        return create(HealthCheckResponseSchema, {
          status:
            row.values.status === "unhealthy" ? ServingStatus.NOT_SERVING : ServingStatus.SERVING,
          components: componentsOf(row),
          nodeId: config.nodeId,
          nodeName: config.nodeName,
          version: textValue(row.values.extension_version),
          uptimeSince: timestampFromMs(startedAt),
        });
      }, healthMs),

    registerNode: async ({ nodeId, nodeName, host, port, priority }) => {
      requireFields({ node_id: nodeId, node_name: nodeName });
      try {
        return await sessions.use(async (session) => {
          const { sql, params } = call("register_node", {
            node_id: nodeId,
            node_name: nodeName,
            host: host === "" ? undefined : host,
            port: port === 0 ? undefined : port,
            priority: priority === 0 ? undefined : priority,
          });
          await session.query(sql, params);
          return create(RegisterNodeResponseSchema, { success: true, nodes: await nodes(session) });
        });
      } catch (error) {
        return create(RegisterNodeResponseSchema, failed(error));
      }
    },

    getNodes: ({ statusFilter }) =>
      answer(async (session) => {
        const all = await nodes(session);
        return create(GetNodesResponseSchema, {
          nodes: all.filter(
            ({ status = "" }) => statusFilter.length === 0 || statusFilter.includes(status),
          ),
        });
      }),

    heartbeat: ({ nodeId }) => {
      requireFields({ node_id: nodeId });
      return answer(async (session) => {
        const row = await session.row("select steep_repl.heartbeat($1) as is_known", [nodeId]);
        return create(HeartbeatResponseSchema, {
          acknowledged: boolValue(row.values.is_known),
          updatedNodes: await nodes(session),
        });
      });
    },

    syncNodeMetadata: async ({ metadata }) => {
      if (!metadata) throw new ConnectError("metadata is missing", Code.InvalidArgument);
      requireFields({ "metadata.node_id": metadata.nodeId });
      try {
        return await sessions.use(async (session) => {
          const { sql, params } = call("register_node", {
            node_id: metadata.nodeId,
            node_name: metadata.nodeName === "" ? metadata.nodeId : metadata.nodeName,
            priority: metadata.priority === 0 ? undefined : metadata.priority,
          });
          await session.query(sql, params);
          return create(SyncNodeMetadataResponseSchema, { success: true });
        });
      } catch (error) {
        return create(SyncNodeMetadataResponseSchema, failed(error));
      }
    },
  };
}
