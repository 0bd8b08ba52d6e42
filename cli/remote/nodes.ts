import { CliError, type ExitCode, exitCode } from "../cli-error.ts";
import type { Invocation } from "../invocation.ts";
import type { NodeInfo } from "../rpc/generated/steep_repl_pb.ts";
import type { Remote } from "./client.ts";
import { counted, int32, resultOf, rowOf, said, time, type Value } from "./result.ts";

interface RegisterOptions {
  readonly nodeName?: string;
  readonly host?: string;
  readonly port?: string;
  readonly priority?: string;
}

function entryOf(node: NodeInfo): Record<string, Value> {
  return {
    ...{ node_id: node.nodeId, node_name: said(node.nodeName), host: said(node.host) },
    ...{ port: counted(node.port), priority: counted(node.priority) },
    ...{ status: said(node.status), last_seen: time(node.lastSeen) },
  };
}

async function nodesOf(remote: Remote): Promise<readonly NodeInfo[]> {
  return (await remote.call((options) => remote.coordinator.getNodes({}, options))).nodes;
}

/** `node list` over RPC. */
export async function remoteNodes(remote: Remote, { output }: Invocation): Promise<ExitCode> {
  const rows = (await nodesOf(remote)).map(entryOf);
  const columns = ["node_id", "node_name", "host", "port", "priority", "status", "last_seen"];
  await output.rows(resultOf(columns, ["port", "priority"], rows));
  return exitCode.success;
}

/** `node status` over RPC: of all nodes, or of one. */
export async function remoteNodeStatus(
  remote: Remote,
  { output }: Invocation,
  nodeId: string | undefined,
): Promise<ExitCode> {
  const nodes = await nodesOf(remote);
  const wanted = nodes.filter((node) => nodeId === undefined || node.nodeId === nodeId);
  if (nodeId !== undefined && wanted.length === 0) {
    throw new CliError(
      exitCode.failed,
      `node "${nodeId}" is not registered`,
      "see steep-repl node list",
    );
  }
  const columns = ["node_id", "node_name", "status", "last_seen"];
  const rows = wanted.map(entryOf).map(({ node_id, node_name, status, last_seen }) => ({
    ...{ node_id: node_id ?? null, node_name: node_name ?? null },
    ...{ status: status ?? null, last_seen: last_seen ?? null },
  }));
  await output.rows(resultOf(columns, [], rows));
  return exitCode.success;
}

/** `node register` over RPC. The RPC wants a name; one that there is stays. */
export async function remoteRegister(
  remote: Remote,
  { output }: Invocation,
  nodeId: string,
  { nodeName, host = "", port, priority }: RegisterOptions,
): Promise<ExitCode> {
  const request = {
    ...{ nodeId, host, port: int32("--port", port), priority: int32("--priority", priority) },
    nodeName: nodeName ?? (await nameOf(remote, nodeId)),
  };
  const { nodes } = await remote.ask((o) => remote.coordinator.registerNode(request, o));
  const entry = nodes.find((node) => node.nodeId === nodeId);
  await output.record(
    rowOf(entry === undefined ? { node_id: nodeId, node_name: request.nodeName } : entryOf(entry)),
  );
  return exitCode.success;
}

async function nameOf(remote: Remote, nodeId: string): Promise<string> {
  const entry = (await nodesOf(remote)).find((node) => node.nodeId === nodeId);
  return entry?.nodeName || nodeId;
}
