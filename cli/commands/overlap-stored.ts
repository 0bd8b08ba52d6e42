import type { Command } from "commander";
import { CliError, exitCode } from "../cli-error.ts";
import { addCommand, integerOption, type JobOptions, jobOptions, option } from "../command.ts";
import { call } from "../sql-call.ts";
import { isHere } from "./here.ts";
import { catchUpOption, compareOptions, comparison, type OverlapOptions } from "./overlap.ts";
import { peerOf } from "./peer.ts";

const exampleId = "overlap_20261126_120000_1a2b3c4d";

/** Comparisons that are kept, which `analyze-overlap` does not. */
export function addOverlap(root: Command): void {
  const overlap = root
    .command("overlap")
    .description("comparisons of rows that are kept, with the rows that differ");
  addStart(overlap);
  addList(overlap);
  addTables(overlap);
  addRows(overlap);
}

function addStart(overlap: Command): void {
  addCommand<OverlapOptions & JobOptions>(overlap, {
    usage: "start [nodes...]",
    description:
      "compare rows as analyze-overlap does, in a job, and keep those that differ; 1 if any do",
    examples: [
      "overlap start node-b --tables public.orders",
      "overlap start node-a node-b --no-wait",
    ],
    options: [...compareOptions(), catchUpOption(), ...jobOptions()],
    action: async (invocation, options, ...nodes) => {
      const { peer, checkLocal } = peerOf(invocation, nodes, options, "overlap start");
      const { startAndFollow } = await import("../job/run-job.ts");
      const session = await invocation.open();
      try {
        await checkLocal(session);
        const statement = call("start_overlap", comparison(peer, options));
        return await startAndFollow(invocation, session, statement, options);
      } finally {
        await session.end();
      }
    },
  });
}

function addList(overlap: Command): void {
  const columns = `overlap_id, peer, status, local_only_count, remote_only_count, match_count, conflict_count,
    unsettled_count, requested_by, completed_at`;
  addCommand(overlap, {
    usage: "list",
    description: "list comparisons, also those that merge start has made, the newest first",
    examples: ["overlap list", "overlap list --json"],
    action: (invocation) =>
      invocation.withSession(async (session) => {
        const result = await session.query(
          `select ${invocation.output.isJson ? "o.*" : columns} from steep_repl.overlaps o
           where ${isHere} order by created_at desc, overlap_id`,
        );
        await invocation.output.rows(result);
        return exitCode.success;
      }),
  });
}

function addTables(overlap: Command): void {
  addCommand(overlap, {
    usage: "tables <overlap-id>",
    description: "list what a comparison has found of each table",
    examples: [`overlap tables ${exampleId}`],
    action: (invocation, _, id = "") =>
      invocation.withSession(async (session) => {
        const found = await session.query(
          `select pg_catalog.pg_has_role(requested_by_oid, 'MEMBER') as is_own from steep_repl.overlaps
           where overlap_id = $1 and ${isHere}`,
          [id],
        );
        // nothing would be shown of another role's, as if there were no table
        if (found.rows[0]?.values.is_own !== "t") {
          throw new CliError(
            exitCode.failed,
            `comparison "${id}" does not exist`,
            "see steep-repl overlap list",
          );
        }
        const result = await session.query(
          `select table_name, local_only_count, remote_only_count, match_count, conflict_count, unsettled_count,
                  compared_at, behind, reason
           from steep_repl.overlap_tables where overlap_id = $1 order by table_name`,
          [id],
        );
        await invocation.output.rows(result);
        return exitCode.success;
      }),
  });
}

interface RowsOptions {
  readonly category?: string;
  readonly maxRows?: string;
  readonly primaryKeys?: string;
  readonly overlapId?: string;
}

function addRows(overlap: Command): void {
  addCommand<RowsOptions>(overlap, {
    usage: "rows <peer> <table>",
    description:
      "list the rows of a table that a comparison has found to differ, without those that are equal by now; 1 if there are any",
    examples: [
      "overlap rows node-b public.orders --category conflict",
      `overlap rows node-b public.orders --overlap-id ${exampleId}`,
    ],
    options: [
      option("--category <name>", "only these").choices([
        ...["local_only", "remote_only", "conflict", "unsettled"],
      ]),
      integerOption("--max-rows <number>", "the most rows to list, 1 to 100000 (default: 1000)"),
      option("--primary-keys <json>", `columns that identify rows, as '{"public.t": ["a", "b"]}'`),
      option(
        "--overlap-id <id>",
        "the comparison (default: the latest of this table with this peer; without one, compare now)",
      ),
    ],
    action: (invocation, { category, maxRows, primaryKeys, overlapId }, peer, table) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("overlap_rows", {
          ...{ peer, table_name: table, category, max_rows: maxRows, primary_keys: primaryKeys },
          overlap_id: overlapId,
        });
        const result = await session.query(sql, params);
        await invocation.output.rows(result);
        return result.rows.length > 0 ? exitCode.differs : exitCode.success;
      }),
  });
}
