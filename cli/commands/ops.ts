import type { Command } from "commander";
import { CliError, exitCode } from "../cli-error.ts";
import { addCommand, type JobOptions, jobOptions, option, reconnectOption } from "../command.ts";
import { call } from "../sql-call.ts";
import { formatFor } from "./format.ts";
import { type PeerOptions, peerOption } from "./peer.ts";
import { requireNumber } from "./require-number.ts";

const operationColumns = `id, operation, status, coalesce(snapshot_id, merge_id, overlap_id, pair_id) as job, requested_by,
  created_at, completed_at, coalesce(error_message, status_detail) as detail`;

export function addOps(root: Command): void {
  const ops = root.command("ops").description("jobs of every kind");
  addList(ops);
  addCancel(ops);
  addRetry(ops);
  addWait(ops);
  addLeftovers(ops);
}

function addList(ops: Command): void {
  const states = ["pending", "running", "complete", "failed", "cancelled"];
  addCommand<{ readonly status?: string }>(ops, {
    usage: "list",
    description: "list jobs, the newest first, at most 100",
    examples: ["ops list", "ops list --status running --json"],
    options: [option("--status <status>", "only those with this status").choices(states)],
    action: (invocation, { status }) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("list_operations", { status });
        const columns = invocation.output.isJson ? "*" : operationColumns;
        await invocation.output.rows(
          await session.query(`select ${columns} from (${sql}) o`, params),
        );
        return exitCode.success;
      }),
  });
}

function addCancel(ops: Command): void {
  addCommand(ops, {
    usage: "cancel <operation-id>",
    description: "cancel a job; a running one stops within seconds",
    examples: ["ops cancel 4611686018427387904"],
    action: (invocation, _, id = "") => {
      requireNumber(id, "operation id", "ops list");
      return invocation.withSession(async (session) => {
        const { sql, params } = call("cancel_operation", { id });
        const row = await session.row(
          `select $1::int8 as id, o.f as cancelled from (${sql}) o`,
          params,
        );
        if (row.values.cancelled !== "t") {
          throw new CliError(
            exitCode.failed,
            `operation ${id} is over already`,
            "see steep-repl ops list",
          );
        }
        await invocation.output.record(row);
        return exitCode.success;
      });
    },
  });
}

function addRetry(ops: Command): void {
  addCommand<PeerOptions & JobOptions>(ops, {
    usage: "retry <operation-id>",
    description: "queue a failed or cancelled job again, and show its progress",
    examples: [
      "ops retry 4611686018427387904",
      "ops retry 4611686018427387904 --peer node-b --no-wait",
    ],
    options: [peerOption(), ...jobOptions()],
    action: async (invocation, options, id = "") => {
      requireNumber(id, "operation id", "ops list");
      const { startAndFollow } = await import("../job/run-job.ts");
      const session = await invocation.open();
      try {
        const statement = call("retry_operation", { id, peer: options.peer });
        return await startAndFollow(invocation, session, statement, options);
      } finally {
        await session.end();
      }
    },
  });
}

function addWait(ops: Command): void {
  addCommand<JobOptions>(ops, {
    usage: "wait <operation-id>",
    description: "show a job's progress until it is over, then its result",
    examples: ["ops wait 4611686018427387904", "ops wait 4611686018427387904 --timeout 600"],
    options: [reconnectOption()],
    action: async (invocation, options, id = "") => {
      requireNumber(id, "operation id", "ops list");
      const [{ followAndPrint }, { jobOfOperation }, { subscribe }] = await Promise.all([
        import("../job/run-job.ts"),
        import("../job/job.ts"),
        import("../job/follow.ts"),
      ]);
      const session = await invocation.open();
      try {
        await subscribe(session);
        const job = await jobOfOperation(session, id);
        return await followAndPrint(invocation, session, job, options);
      } finally {
        await session.end();
      }
    },
  });
}

function addLeftovers(ops: Command): void {
  addCommand(ops, {
    usage: "leftovers",
    description: "list what no living job needs any more, and how to drop it; 1 if there is any",
    examples: ["ops leftovers", "ops leftovers --json"],
    action: (invocation) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("leftovers", {});
        const result = await session.query(sql, params);
        await invocation.output.rows(result, formatFor(session.serverName));
        return result.rows.length > 0 ? exitCode.differs : exitCode.success;
      }),
  });
}
