import type { ExitCode } from "../cli-error.ts";
import { exitCode } from "../cli-error.ts";
import type { Invocation } from "../invocation.ts";
import {
  type ComponentHealth,
  type HealthCheckResponse,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../rpc/generated/steep_repl_pb.ts";
import type { Remote } from "./client.ts";
import { rowOf, said, time } from "./result.ts";

const codes: Readonly<Record<string, ExitCode>> = {
  healthy: exitCode.success,
  degraded: exitCode.differs,
};

/** `health` over RPC. */
export async function remoteHealth(remote: Remote, { output }: Invocation): Promise<ExitCode> {
  const answer = await remote.call((options) => remote.coordinator.healthCheck({}, options));
  const status = statusOf(answer);
  const { components, nodeId, nodeName, version, uptimeSince } = answer;
  const parts = Object.entries(components).filter(([name]) => name !== "steep_repl");
  await output.record(
    rowOf({
      status,
      extension_version: said(version),
      pg_version: said(/^PostgreSQL (.*)/.exec(components.postgresql?.message ?? "")?.[1] ?? ""),
      js_engine: said(components.js_engine?.message ?? ""),
      background_worker_running: components.background_worker?.healthy ?? null,
      shared_memory_available: components.shared_memory?.healthy ?? null,
      reasons: said(components.steep_repl?.message ?? ""),
      ...{ node_id: said(nodeId), node_name: said(nodeName), uptime_since: time(uptimeSince) },
      components: {
        text: parts.map(describe).join("; "),
        json: Object.fromEntries(
          parts.map(([name, { healthy, status: s, message }]) => [
            name,
            { healthy, status: s, message },
          ]),
        ),
      },
    }),
  );
  return codes[status] ?? exitCode.failed;
}

function describe([name, { healthy, status, message }]: [string, ComponentHealth]): string {
  const word = status || (healthy ? "healthy" : "unhealthy");
  return message === "" ? `${name} ${word}` : `${name} ${word} (${message})`;
}

/** The daemon of this version says it in a part of its own; of the predecessor's, an unhealthy part makes it degraded. */
function statusOf({ status, components }: HealthCheckResponse): string {
  const own = components.steep_repl?.status;
  if (own) return own;
  if (status !== ServingStatus.SERVING) return "unhealthy";
  return Object.values(components).every(({ healthy }) => healthy) ? "healthy" : "degraded";
}
