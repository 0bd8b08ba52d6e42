import type { Settings } from "./node.ts";
import type { Server } from "./server.ts";

/** Settings under which a server logs the plan of each statement, also of those in functions. */
export const logsPlans: Settings = {
  shared_preload_libraries: "steep_repl, auto_explain",
  "auto_explain.log_min_duration": 0,
  "auto_explain.log_nested_statements": "on",
  "auto_explain.log_format": "json",
  "auto_explain.log_timing": "off",
};

interface PlanNode {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Cond"?: string;
  readonly Plans?: readonly PlanNode[];
}

/** A part of a statement's plan that reads a table. */
export interface TableRead {
  readonly statement: string;
  readonly node: string;
  readonly table: string;
  /** whether an index is asked for some of its rows */
  readonly isByIndex: boolean;
}

function nodesOf(node: PlanNode): PlanNode[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}

/** A bitmap has the condition in a node below. */
function hasCondition(node: PlanNode): boolean {
  return node["Index Cond"] !== undefined || (node.Plans ?? []).some(hasCondition);
}

/** What a server has read of these tables since its log had so many characters. */
export async function loggedReads(
  server: Server,
  from: number,
  tables: readonly string[],
): Promise<TableRead[]> {
  const log = (await server.log()).slice(from);
  return log
    .split(/ plan:\n/)
    .slice(1)
    .flatMap((entry) => {
      const lines = entry.split("\n");
      const end = lines.findIndex((line) => !line.startsWith("\t"));
      const text = lines.slice(0, end < 0 ? undefined : end).join("\n");
      const { "Query Text": statement, Plan: plan } = JSON.parse(text) as {
        "Query Text": string;
        Plan: PlanNode;
      };
      return nodesOf(plan)
        .filter(
          (n) => n["Node Type"] !== "ModifyTable" && tables.includes(n["Relation Name"] ?? ""),
        )
        .map((n) => ({
          statement,
          node: n["Node Type"],
          table: n["Relation Name"] ?? "",
          isByIndex: /^(Index Scan|Bitmap Heap Scan)$/.test(n["Node Type"]) && hasCondition(n),
        }));
    });
}
