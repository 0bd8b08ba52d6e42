import { CliError, type ExitCode, exitCode, usageError } from "../cli-error.ts";
import { mergeSummary } from "../commands/merge-summary.ts";
import { isConninfo } from "../commands/peer.ts";
import { confirm, requireYes } from "../confirm.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import {
  type BidirectionalMergeResult,
  ConflictStrategy,
  type TableMergeResult,
} from "../rpc/generated/steep_repl_pb.ts";
import type { Remote, WhenCut } from "./client.ts";
import { resultOf, rowOf, type Value } from "./result.ts";

export interface MergeFlags {
  readonly tables?: readonly string[];
  readonly strategy?: string;
  readonly prefer?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

/** LOCAL is node A. */
const strategies: Readonly<Record<string, ConflictStrategy>> = {
  "prefer-local": ConflictStrategy.PREFER_NODE_A,
  "prefer-remote": ConflictStrategy.PREFER_NODE_B,
  "last-modified": ConflictStrategy.LAST_MODIFIED,
  manual: ConflictStrategy.MANUAL,
};

const whenCut: WhenCut = {
  interrupted: () => "the merge goes on in the server; steep-repl ops list --direct shows it",
  hint: "it goes on in the server; steep-repl ops list --direct shows it",
};

/** `merge start` over RPC: counts, the question, and the merge. */
export async function remoteMerge(
  remote: Remote,
  invocation: Invocation,
  options: MergeFlags & CommonOptions,
  nodes: readonly string[],
): Promise<ExitCode> {
  const [nodeA, nodeB, ...more] = nodes;
  if (nodeA === undefined || nodeB === undefined || more.length > 0) {
    throw usageError(
      "over RPC both nodes are named, as a daemon has no session that is one of them",
      "steep-repl merge start NODE NODE",
    );
  }
  if (!options.dryRun) requireYes(options.yes, `a merge of "${nodeA}" with ${labelOf(nodeB)}`);
  const strategy = strategyOf(options, nodeA, nodeB);
  const merge = async (dryRun: boolean) => {
    const request = {
      ...{ nodeAId: nodeA, tables: [...(options.tables ?? [])], dryRun },
      ...(isConninfo(nodeB) ? { nodeBConnStr: nodeB } : { nodeBId: nodeB }),
      strategy: strategies[strategy] ?? ConflictStrategy.UNSPECIFIED,
    };
    const rpc = () => (o: object) => remote.init.startBidirectionalMerge(request, o);
    const { result } = await remote.ask(rpc(), whenCut);
    if (result !== undefined) return result;
    throw new CliError(
      exitCode.failed,
      `the daemon at ${remote.place} says that the merge succeeded, and not what it did`,
      "see the daemon's log",
    );
  };
  const { output } = invocation;
  if (!options.dryRun) {
    output.message("dry run: comparing both sides, nothing is written");
    const counts = await merge(true);
    const place = `${nodeA}, by the daemon at ${remote.place}`;
    for (const line of await preview(counts, strategy, place, labelOf(nodeB))) {
      if (output.isJson) output.message(line);
      else output.note(line);
    }
    await confirm(options.yes, "Merge");
  }
  const result = await merge(options.dryRun === true);
  await output.record(recordOf(result, strategy, options.dryRun === true));
  return judge(result, options.dryRun === true);
}

/** A connection string may hold a password. */
function labelOf(node: string): string {
  return isConninfo(node) ? "the peer" : `"${node}"`;
}

function strategyOf({ strategy, prefer }: MergeFlags, nodeA: string, nodeB: string): string {
  if (prefer !== undefined && strategy !== undefined) {
    throw usageError("--prefer and --strategy exclude each other", "give one of them");
  }
  if (prefer !== undefined && prefer !== nodeA && prefer !== nodeB) {
    throw usageError(
      `node "${prefer}" is neither of the two`,
      "give the name of one as it is given above",
    );
  }
  const chosen = prefer === nodeB ? "prefer-remote" : (strategy ?? "prefer-local");
  if (!Object.hasOwn(strategies, chosen)) {
    const known = Object.keys(strategies).join(", ");
    throw usageError(`unknown strategy "${chosen}"`, `use one of ${known}`);
  }
  return chosen;
}

function sum(
  tables: readonly TableMergeResult[],
  field: "rowsAOnly" | "rowsBOnly" | "rowsConflict" | "rowsIdentical",
) {
  return tables.reduce((total, table) => total + table[field], 0n);
}

function countsOf({ tableResults, conflictsDetected }: BidirectionalMergeResult) {
  return {
    local_only_count: sum(tableResults, "rowsAOnly"),
    remote_only_count: sum(tableResults, "rowsBOnly"),
    match_count: sum(tableResults, "rowsIdentical"),
    conflict_count: conflictsDetected,
  };
}

const nameOf = ({ schema, table }: TableMergeResult) => `${schema}.${table}`;

function preview(
  result: BidirectionalMergeResult,
  strategy: string,
  here: string,
  peer: string,
): Promise<string[]> {
  const rows = result.tableResults.map((table) => ({
    ...{ table_name: nameOf(table), local_only_count: table.rowsAOnly },
    ...{ remote_only_count: table.rowsBOnly, conflict_count: table.rowsConflict },
    match_count: table.rowsIdentical,
  }));
  const { values } = rowOf({ strategy, ...countsOf(result) });
  return mergeSummary(values, resultOf([], [], rows), { here, peer }, {});
}

function recordOf(result: BidirectionalMergeResult, strategy: string, isDryRun: boolean) {
  const { conflictsResolved, rowsTransferredAToB: toB, rowsTransferredBToA: toA } = result;
  const tables = result.tableResults.map((table) => ({
    ...{ table_name: nameOf(table), local_only_count: table.rowsAOnly },
    ...{ remote_only_count: table.rowsBOnly, conflict_count: table.rowsConflict },
    ...{ match_count: table.rowsIdentical, resolution: table.resolution },
  }));
  const values: Record<string, Value> = {
    ...{ status: "complete", strategy, dry_run: isDryRun },
    tables: { text: result.tableResults.map(nameOf).join(","), json: tables },
    ...countsOf(result),
    ...{ conflicts_resolved: conflictsResolved, rows_merged: toA + toB },
  };
  return rowOf(values);
}

/** What a dry run found, and what a merge has left to decide. */
function judge(result: BidirectionalMergeResult, isDryRun: boolean): ExitCode {
  const { local_only_count, remote_only_count, conflict_count } = countsOf(result);
  const left = isDryRun
    ? local_only_count + remote_only_count + conflict_count
    : conflict_count - result.conflictsResolved;
  return left > 0n ? exitCode.differs : exitCode.success;
}
