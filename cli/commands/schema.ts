import type { Command } from "commander";
import { exitCode, usageError } from "../cli-error.ts";
import { addCommand, listOption, oldOption, option } from "../command.ts";
import type { Result, Session } from "../session.ts";
import { unquote } from "../split-names.ts";
import { call } from "../sql-call.ts";
import { connOptions } from "./peer.ts";
import { type CompareFlags, compareSchemas, exitOf, printComparison } from "./schema-compare.ts";

interface Schemas {
  readonly schemas?: readonly string[];
}

export function addSchema(root: Command): void {
  const schema = root.command("schema").description("how tables are defined");
  addCapture(schema);
  addCompare(schema);
  addDiff(schema);
}

function addCapture(schema: Command): void {
  addCommand<Schemas>(schema, {
    usage: "capture <node>",
    description: "note how the tables of a registered node are defined now",
    examples: ["schema capture node-a"],
    options: [
      listOption("--schemas <names>", "count the tables of these; all are captured").hideHelp(),
    ],
    action: (invocation, { schemas }, node) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("capture_fingerprints", { node_id: node });
        const all = await session.row(`select c.f as tables_captured from (${sql}) c`, params);
        const row = schemas === undefined ? all : await countOf(session, node, schemas);
        await invocation.output.record(row);
        return exitCode.success;
      }),
    remote: {
      options: ["schemas"],
      action: async (remote, invocation, { schemas }, node = "") => {
        const { remoteCapture } = await import("../remote/schemas.ts");
        return remoteCapture(remote, invocation, node, schemas?.map(unquote));
      },
    },
  });
}

/** Of the last capture the tables of some schemas. */
function countOf(session: Session, node: string | undefined, schemas: readonly string[]) {
  const { params } = call("", { node_id: node, schemas: schemas.map(unquote) });
  return session.row(
    `select count(*) as tables_captured from steep_repl.schema_fingerprints s
     where s.node_id = $1 and s.schema_name = any ($2::text[]) and s.captured_at = (
       select max(l.captured_at) from steep_repl.schema_fingerprints l where l.node_id = $1)`,
    params,
  );
}

function addCompare(schema: Command): void {
  addCommand<CompareFlags>(schema, {
    usage: "compare <local-node> <peer-node>",
    description: "tell which tables of two nodes are defined alike; 1 if any differs",
    examples: ["schema compare node-a node-b", "schema compare node-a node-b --differing --json"],
    options: [
      option("--differing", "leave out tables that match"),
      listOption("--schemas <names>", "only tables of these schemas"),
      ...connOptions(),
      oldOption("--remote-a <host:port>", "this side's daemon"),
      oldOption("--remote-b <host:port>", "the peer's daemon"),
    ],
    daemonFlags: ["remoteA", "remoteB"],
    action: (invocation, options, local = "", peer = "") =>
      compareSchemas(invocation, options, local, peer),
    remote: {
      options: ["differing", "schemas"],
      action: async (remote, invocation, options, local = "", peer = "") => {
        const { remoteComparison } = await import("../remote/schemas.ts");
        const schemas = options.schemas?.map(unquote) ?? [];
        const result = await remoteComparison(remote, local, peer, schemas);
        return printComparison(invocation, options, result);
      },
    },
  });
}

function addDiff(schema: Command): void {
  addCommand<{ readonly table?: string }>(schema, {
    usage: "diff <local-node> <peer-node> [table]",
    description:
      "tell how a table differs, and what makes the peer's like the local one; 1 if it does",
    examples: [
      "schema diff node-a node-b public.orders",
      `schema diff node-a node-b 'public."Order"'`,
    ],
    options: [oldOption("--table <name>", "the table, instead of the argument")],
    action: (invocation, options, local, peer, argument) => {
      const table = tableOf(argument, options.table);
      return invocation.withSession(async (session) => {
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
      });
    },
    remote: {
      options: ["table"],
      action: async (remote, invocation, options, local = "", peer = "", argument) => {
        const { remoteDiff } = await import("../remote/schemas.ts");
        const table = tableOf(argument, options.table);
        return remoteDiff(remote, invocation, local, peer, table);
      },
    },
  });
}

/** As an argument, or as the predecessor's flag. */
function tableOf(argument: string | undefined, flag: string | undefined): string {
  if (argument !== undefined && flag !== undefined && argument !== flag) {
    throw usageError("two tables are named", "name one: as the argument, or with --table");
  }
  const table = argument ?? flag;
  if (table === undefined) {
    throw usageError("the table is missing", "name it: schema diff NODE NODE public.orders");
  }
  return table;
}

/** Statements are for copying: each as it is, on lines of its own. */
function printStatements({ rows }: Result, print: (line: string) => void): void {
  const statements = rows.flatMap(({ values }) => values.suggested_sql ?? []);
  if (statements.length > 0) print(["", "-- to be run at the peer", ...statements].join("\n"));
}
