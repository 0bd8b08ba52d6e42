import type { Command } from "commander";
import { exitCode } from "../cli-error.ts";
import { addCommand, option } from "../command.ts";
import type { Result } from "../session.ts";
import { call } from "../sql-call.ts";

export function addSchema(root: Command): void {
  const schema = root.command("schema").description("how tables are defined");
  addCapture(schema);
  addCompare(schema);
  addDiff(schema);
}

function addCapture(schema: Command): void {
  addCommand(schema, {
    usage: "capture <node>",
    description: "note how the tables of a registered node are defined now",
    examples: ["schema capture node-a"],
    action: (invocation, _, node) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("capture_fingerprints", { node_id: node });
        const row = await session.row(`select c.f as tables_captured from (${sql}) c`, params);
        await invocation.output.record(row);
        return exitCode.success;
      }),
  });
}

function addCompare(schema: Command): void {
  addCommand<{ readonly differing?: boolean }>(schema, {
    usage: "compare <local-node> <peer-node>",
    description: "tell which tables of two nodes are defined alike; 1 if any differs",
    examples: ["schema compare node-a node-b", "schema compare node-a node-b --differing --json"],
    options: [option("--differing", "leave out tables that match")],
    action: (invocation, { differing }, local, peer) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("compare_fingerprints", {
          local_node: local,
          peer_node: peer,
        });
        const result = await session.query(sql, params);
        const rows = result.rows.filter(({ values }) => !differing || values.status !== "match");
        await invocation.output.rows({ ...result, rows }, (column, value) =>
          // as much as tells them apart
          column.endsWith("_fingerprint") ? value.slice(0, 12) : undefined,
        );
        return exitOf(result);
      }),
  });
}

function addDiff(schema: Command): void {
  addCommand(schema, {
    usage: "diff <local-node> <peer-node> <table>",
    description:
      "tell how a table differs, and what makes the peer's like the local one; 1 if it does",
    examples: [
      "schema diff node-a node-b public.orders",
      `schema diff node-a node-b 'public."Order"'`,
    ],
    action: (invocation, _, local, peer, table) =>
      invocation.withSession(async (session) => {
        const args = { local_node: local, peer_node: peer, table_name: table };
        const { sql, params } = call("schema_diff", args);
        const result = await session.query(sql, params);
        const { output } = invocation;
        if (output.isJson) {
          await output.rows(result);
        } else {
          const columns = result.columns.filter(({ name }) => name !== "suggested_sql");
          await output.rows({ ...result, columns });
          printStatements(result, (line) => output.line(line));
        }
        return exitOf(result);
      }),
  });
}

/** Statements are for copying: each as it is, on lines of its own. */
function printStatements({ rows }: Result, print: (line: string) => void): void {
  const statements = rows.flatMap(({ values }) => values.suggested_sql ?? []);
  if (statements.length > 0) print(["", "-- to be run at the peer", ...statements].join("\n"));
}

function exitOf({ rows }: Result): 0 | 1 {
  return rows.every(({ values }) => values.status === "match")
    ? exitCode.success
    : exitCode.differs;
}
