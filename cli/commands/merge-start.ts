import type { Option } from "commander";
import { type ExitCode, exitCode, usageError } from "../cli-error.ts";
import { type JobOptions, jobOptions, option, yesOption } from "../command.ts";
import { confirm, requireYes } from "../confirm.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { differs } from "../job/outcome.ts";
import type { ResultRow, Session } from "../session.ts";
import { call, type Statement } from "../sql-call.ts";
import { isLocalNode, placeOf } from "./local-node.ts";
import { mergeSummary } from "./merge-summary.ts";
import { refuseEarly } from "./merge-try.ts";
import { type CompareOptions, compareOptions, scopeOf } from "./overlap.ts";
import { isConninfo, peerOf } from "./peer.ts";

export interface StartMergeOptions extends CompareOptions, JobOptions {
  readonly strategy?: string;
  readonly prefer?: string;
  readonly dryRun?: boolean;
  readonly lastModifiedColumn?: string;
  readonly localOnly?: string;
  readonly remoteOnly?: string;
  readonly backlog?: string;
  readonly otherSubscribers?: string;
  readonly overlapId?: string;
  readonly yes?: boolean;
}

export function startMergeOptions(): Option[] {
  return [
    ...compareOptions(),
    option("--strategy <name>", "prefer-local (default), prefer-remote, last-modified or manual"),
    option("--prefer <node>", "the node whose rows win, instead of --strategy"),
    option("--last-modified-column <name>", "column that says which row is newer"),
    option("--local-only <what>", "rows that only this side has: push (default), keep or delete"),
    option("--remote-only <what>", "rows that only the peer has: pull (default), keep or delete"),
    option("--backlog <what>", "when replication lags: refuse (default) or discard"),
    option(
      "--other-subscribers <what>",
      "when others replicate from here: refuse (default) or ignore",
    ),
    option("--overlap-id <id>", "merge the rows of this comparison, as they were reviewed"),
    option("--dry-run", "compare and count only; asks nothing, 1 if anything differs"),
    yesOption(),
    ...jobOptions(),
  ];
}

/** Compare, show what would be lost where, ask, merge. */
export async function startMerge(
  invocation: Invocation,
  options: StartMergeOptions & CommonOptions,
  nodes: readonly string[],
): Promise<ExitCode> {
  const { peer, checkLocal } = peerOf(invocation, nodes, options, "merge start");
  if (options.dryRun !== true) requireYes(options.yes, `a merge with ${labelOf(peer)}`);
  const session = await invocation.open();
  try {
    await checkLocal(session);
    const strategy = await strategyOf(session, peer, options);
    const statement: MergeStatement = (dryRun, compared) =>
      mergeStatement(peer, strategy, dryRun, compared, options);
    const { startAndFollow } = await import("../job/run-job.ts");
    if (options.dryRun) {
      return await startAndFollow(invocation, session, statement(true), options);
    }
    let compared: string | undefined;
    // --yes --no-wait is for scripts that wait for nothing
    if (options.yes !== true || options.wait !== false) {
      const found = await preview(invocation, session, peer, statement, options);
      if (typeof found === "number") return found;
      compared = found.compared;
    }
    const current = await invocation.open();
    try {
      return await startAndFollow(invocation, current, statement(false, compared), options);
    } finally {
      await current.end();
    }
  } finally {
    await session.end();
  }
}

/** A connection string may hold a password. */
function labelOf(peer: string): string {
  return isConninfo(peer) ? "the peer" : `"${peer}"`;
}

async function strategyOf(
  session: Session,
  peer: string,
  { strategy, prefer }: StartMergeOptions,
): Promise<string | undefined> {
  if (prefer === undefined) return strategy;
  if (strategy !== undefined) {
    throw usageError("--prefer and --strategy exclude each other", "give one of them");
  }
  if (prefer === peer) return "prefer-remote";
  if (await isLocalNode(session, prefer)) return "prefer-local";
  throw usageError(
    `node "${prefer}" is neither the peer nor registered as this database`,
    "give the peer's name as it is given above, or a name from steep-repl node list",
  );
}

/** The call of start_merge; compared: the comparison that was made for it. */
type MergeStatement = (dryRun: boolean, compared?: string) => Statement;

function mergeStatement(
  peer: string,
  strategy: string | undefined,
  dryRun: boolean,
  compared: string | undefined,
  options: StartMergeOptions,
): Statement {
  return call("start_merge", {
    ...{ peer, ...scopeOf(options), strategy, dry_run: dryRun },
    last_modified_column: options.lastModifiedColumn,
    ...{ local_only: options.localOnly, remote_only: options.remoteOnly },
    // the comparison says which tables there are, and what identifies a row
    ...(compared === undefined
      ? { primary_keys: options.primaryKeys }
      : { schemas: undefined, exclude_tables: undefined }),
    ...{ backlog: options.backlog, other_subscribers: options.otherSubscribers },
    overlap_id: compared ?? options.overlapId,
  });
}

/** Runs a job to its end; its row, or an exit code where it did not come to a good one. */
async function run(
  invocation: Invocation,
  session: Session,
  statement: Statement,
  options: StartMergeOptions & CommonOptions,
): Promise<readonly [Session, ResultRow] | ExitCode> {
  const [{ follow, judge }, { startJob }, { subscribe }] = await Promise.all([
    import("../job/run-job.ts"),
    import("../job/job.ts"),
    import("../job/follow.ts"),
  ]);
  await subscribe(session);
  const job = await startJob(session, statement);
  const [last, row] = await follow(invocation, session, job, options);
  const failure = judge(row.values);
  if (failure === exitCode.success) return [last, row];
  await last.end();
  return failure;
}

/**
 * A comparison, a dry run of merging what it found, its counts, and the question; an exit code when there is no going
 * on. A backlog can only be discarded by a merge that compares by itself, and what was reviewed is not compared again.
 */
async function preview(
  invocation: Invocation,
  session: Session,
  peer: string,
  statement: MergeStatement,
  options: StartMergeOptions & CommonOptions,
): Promise<{ readonly compared: string | undefined } | ExitCode> {
  let compared: string | undefined;
  let current = session;
  if (options.backlog !== "discard" && options.overlapId === undefined) {
    await refuseEarly(invocation, session, statement(true), peer);
    invocation.output.message("dry run: comparing both sides, nothing is written");
    const comparison = call("start_overlap", {
      ...{ peer, ...scopeOf(options), primary_keys: options.primaryKeys },
    });
    const found = await run(invocation, session, comparison, options);
    if (typeof found === "number") return found;
    const [last, { values }] = found;
    compared = values.overlap_id ?? undefined;
    current = last;
  }
  const merged = await run(invocation, current, statement(true, compared), options);
  if (typeof merged === "number") return merged;
  const [last, row] = merged;
  try {
    await show(invocation, last, row, options);
  } finally {
    await last.end();
  }
  const overlapId = compared ?? options.overlapId;
  if (overlapId !== undefined && differs(row.values)) {
    invocation.output.message(
      `to list the rows: steep-repl overlap rows PEER TABLE --overlap-id ${overlapId}${invocation.connectionFlags}`,
    );
  }
  await confirm(options.yes, "Merge");
  return { compared };
}

async function show(
  invocation: Invocation,
  session: Session,
  row: ResultRow,
  options: StartMergeOptions,
): Promise<void> {
  const tables = await session.query(
    `select table_name, local_only_count, remote_only_count, conflict_count, match_count
     from steep_repl.merge_tables where merge_id = $1 order by table_name`,
    [row.values.merge_id ?? null],
  );
  const here = `${session.serverName}, database ${session.client.database}`;
  const peer = await placeOf(session, row.values.peer ?? "");
  for (const line of await mergeSummary(row.values, tables, { here, peer }, options)) {
    if (invocation.output.isJson) invocation.output.message(line);
    else invocation.output.note(line);
  }
}
