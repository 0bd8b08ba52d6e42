import { CliError, type ExitCode, exitCode } from "../cli-error.ts";
import type { Invocation } from "../invocation.ts";
import { ComparisonStatus, type SchemaComparison } from "../rpc/generated/steep_repl_pb.ts";
import type { Result } from "../session.ts";
import type { Remote } from "./client.ts";
import { columns, type Fingerprint, fingerprintOf } from "./fingerprints.ts";
import { resultOf, rowOf, said, type Value } from "./result.ts";
import { parseTableName } from "./table-name.ts";

const statuses: Readonly<Record<number, string>> = {
  [ComparisonStatus.MATCH]: "match",
  [ComparisonStatus.MISMATCH]: "mismatch",
  [ComparisonStatus.LOCAL_ONLY]: "local_only",
  [ComparisonStatus.REMOTE_ONLY]: "peer_only",
};

/** `schema capture` over RPC. */
export async function remoteCapture(
  remote: Remote,
  { output }: Invocation,
  nodeId: string,
  schemas: readonly string[] | undefined,
): Promise<ExitCode> {
  const request = { nodeId, schemas: [...(schemas ?? [])] };
  const answer = await remote.ask((o) => remote.init.captureFingerprints(request, o));
  const captured = schemas === undefined ? answer.tableCount : answer.fingerprints.length;
  await output.record(rowOf({ tables_captured: captured }));
  return exitCode.success;
}

/** What `schema compare` prints, by the one daemon that knows both nodes. */
export async function remoteComparison(
  remote: Remote,
  localNodeId: string,
  remoteNodeId: string,
  schemas: readonly string[],
): Promise<Result> {
  const comparisons = await compare(remote, localNodeId, remoteNodeId, schemas);
  const rows = comparisons.map((c) => ({
    ...{ schema_name: c.tableSchema, table_name: c.tableName },
    local_fingerprint: said(c.localFingerprint),
    peer_fingerprint: said(c.remoteFingerprint),
    status: statuses[c.status] ?? "unknown",
  }));
  return resultOf(columns, [], rows);
}

async function compare(
  remote: Remote,
  localNodeId: string,
  remoteNodeId: string,
  schemas: readonly string[],
): Promise<readonly SchemaComparison[]> {
  const request = { localNodeId, remoteNodeId, schemas: [...schemas] };
  return (await remote.ask((o) => remote.init.compareSchemas(request, o))).comparisons;
}

/** The fingerprints of a daemon's own database. */
export async function remoteFingerprints(
  remote: Remote,
  schemas: readonly string[],
): Promise<readonly Fingerprint[]> {
  const request = { schemas: [...schemas] };
  const answer = await remote.ask((o) => remote.init.getSchemaFingerprints(request, o));
  return answer.fingerprints.map(fingerprintOf);
}

/** `schema diff` over RPC, which tells of columns only. */
export async function remoteDiff(
  remote: Remote,
  { output }: Invocation,
  local: string,
  peer: string,
  name: string,
): Promise<ExitCode> {
  const table = parseTableName(name);
  const found = (await compare(remote, local, peer, [table.schema])).find(
    ({ tableSchema, tableName }) => tableSchema === table.schema && tableName === table.name,
  );
  if (found === undefined) {
    throw new CliError(
      exitCode.failed,
      `table "${name}" exists neither here nor at the peer`,
      "see steep-repl schema compare",
    );
  }
  const rows = differencesOf(found);
  const names = ["object_type", "object_name", "local_definition", "peer_definition", "status"];
  const shown = output.isJson ? [...names, "suggested_sql"] : names;
  await output.rows(resultOf(shown, [], rows));
  if (found.status === ComparisonStatus.MATCH) return exitCode.success;
  output.message(
    rows.length === 0
      ? "the table differs in what the RPC does not tell; steep-repl schema diff --direct does"
      : "the RPC tells of columns only; steep-repl schema diff --direct tells of all objects, with the statements",
  );
  return exitCode.differs;
}

function differencesOf({ differences, status, tableName }: SchemaComparison) {
  const row = (values: Readonly<Record<string, Value>>) => ({ ...values, suggested_sql: null });
  if (status === ComparisonStatus.LOCAL_ONLY || status === ComparisonStatus.REMOTE_ONLY) {
    return [
      row({
        ...{ object_type: "table", object_name: tableName },
        ...{ local_definition: null, peer_definition: null, status: statuses[status] ?? null },
      }),
    ];
  }
  return differences.map((d) =>
    row({
      ...{ object_type: "column", object_name: d.columnName },
      local_definition: said(d.localDefinition),
      peer_definition: said(d.remoteDefinition),
      status: said(d.differenceType),
    }),
  );
}
