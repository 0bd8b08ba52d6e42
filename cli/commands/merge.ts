import type { Command } from "commander";
import { exitCode } from "../cli-error.ts";
import { addCommand, type JobOptions, jobOptions, option, yesOption } from "../command.ts";
import type { Session } from "../session.ts";
import { call } from "../sql-call.ts";
import { type StartMergeOptions, startMerge, startMergeOptions } from "./merge-start.ts";
import { undoMerge } from "./merge-undo.ts";
import { type PeerOptions, peerOption } from "./peer.ts";
import { requireNumber } from "./require-number.ts";

export function addMerge(root: Command): void {
  const merge = root.command("merge").description("make tables of two databases equal");
  addStart(merge);
  addProgress(merge);
  addRowsLeft(merge);
  addConflicts(merge);
  addResolve(merge);
  addUndo(merge);
}

function addStart(merge: Command): void {
  addCommand<StartMergeOptions>(merge, {
    usage: "start [nodes...]",
    description:
      "merge tables with those of a peer; compares them first, shows what would be done, and asks",
    examples: [
      "merge start node-b --tables public.orders --dry-run",
      "merge start node-a node-b --tables public.orders --prefer node-a",
      "merge start node-b --strategy last-modified --last-modified-column changed_at --yes",
      "merge start node-b --overlap-id overlap_20261126_120000_1a2b3c4d",
    ],
    options: startMergeOptions(),
    action: (invocation, options, ...nodes) => startMerge(invocation, options, nodes),
    remote: {
      options: ["tables", "strategy", "prefer", "dryRun", "peer"],
      action: async (remote, invocation, { peer, ...options }, ...nodes) => {
        const { remoteMerge } = await import("../remote/merge.ts");
        return remoteMerge(remote, invocation, options, peer ? [...nodes, peer] : nodes);
      },
    },
  });
}

function addProgress(merge: Command): void {
  addCommand(merge, {
    usage: "progress [merge-id]",
    description: "show how far a merge is: all active ones, or the latest",
    examples: ["merge progress", "merge progress merge_20261126_120000_1a2b3c4d --json"],
    action: (invocation, _, id) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("merge_progress", { merge_id: id });
        await invocation.output.rows(await session.query(sql, params));
        return exitCode.success;
      }),
  });
}

function addRowsLeft(merge: Command): void {
  addCommand(merge, {
    usage: "rows-left <merge-id>",
    description:
      "list the rows that a merge or an undo has left, and why, but for those that it was told to keep; 1 if there are any",
    examples: ["merge rows-left merge_20261126_120000_1a2b3c4d"],
    action: (invocation, _, id) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("merge_rows_left", { merge_id: id });
        const result = await session.query(sql, params);
        await invocation.output.rows(result);
        return result.rows.length > 0 ? exitCode.differs : exitCode.success;
      }),
  });
}

/** Throws where there is no such merge. */
async function requireMerge(session: Session, id: string): Promise<void> {
  const { sql, params } = call("merge_progress", { merge_id: id });
  await session.query(sql, params);
}

function addConflicts(merge: Command): void {
  addCommand<{ readonly all?: boolean }>(merge, {
    usage: "conflicts [merge-id]",
    description: "list rows that merges have left for somebody to decide; 1 if there are any",
    examples: ["merge conflicts", "merge conflicts merge_20261126_120000_1a2b3c4d --all"],
    options: [option("--all", "also those that were resolved")],
    action: (invocation, { all }, id) =>
      invocation.withSession(async (session) => {
        const result = await session.query(
          `select conflict_id, merge_id, peer, table_name, key, reason, local_row, remote_row,
                  status, choice, detected_at, resolved_at, resolved_by
           from steep_repl.merge_conflicts
           where ($1::text is null or merge_id = $1) and ($2::boolean or status = 'open')
           order by conflict_id`,
          [id ?? null, String(all === true)],
        );
        // conflicts stay when the merge's row is pruned
        if (id !== undefined && result.rows.length === 0) await requireMerge(session, id);
        await invocation.output.rows(result);
        const isOpen = result.rows.some(({ values }) => values.status === "open");
        return isOpen ? exitCode.differs : exitCode.success;
      }),
  });
}

function addResolve(merge: Command): void {
  addCommand<PeerOptions & { readonly choice?: string }>(merge, {
    usage: "resolve <conflict-id>",
    description:
      "settle a conflict: the row becomes on both sides what it is here, or at the peer, or stays",
    examples: ["merge resolve 12 --choice local", "merge resolve 12 --choice remote --peer node-b"],
    options: [
      option("--choice <side>", "which row to keep")
        .choices(["local", "remote", "keep"])
        .makeOptionMandatory(),
      peerOption(),
    ],
    action: (invocation, { choice, peer }, id = "") => {
      requireNumber(id, "conflict id", "merge conflicts");
      return invocation.withSession(async (session) => {
        const { sql, params } = call("resolve_conflict", { conflict_id: id, choice, peer });
        // it commits on both sides by itself, and so must be the whole statement
        await invocation.output.record(await session.row(sql, params));
        return exitCode.success;
      });
    },
  });
}

function addUndo(merge: Command): void {
  addCommand<PeerOptions & JobOptions & { readonly yes?: boolean }>(merge, {
    usage: "undo <merge-id>",
    description: "take a merge back on both sides, but for rows that changed since; asks first",
    examples: [
      "merge undo merge_20261126_120000_1a2b3c4d",
      "merge undo merge_20261126_120000_1a2b3c4d --peer node-b --yes",
    ],
    options: [peerOption(), yesOption(), ...jobOptions()],
    action: (invocation, options, id = "") => undoMerge(invocation, options, id),
  });
}
