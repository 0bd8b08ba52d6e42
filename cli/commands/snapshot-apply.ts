import type { ExitCode } from "../cli-error.ts";
import type { JobOptions } from "../command.ts";
import { confirm, requireYes } from "../confirm.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { rehearse } from "../rehearse.ts";
import type { Session } from "../session.ts";
import { call } from "../sql-call.ts";
import { refuseOtherNode } from "./local-node.ts";

export interface ApplyOptions extends JobOptions {
  readonly input: string;
  readonly parallel?: string;
  readonly verify?: boolean;
  readonly source?: string;
  readonly sections?: readonly string[];
  readonly tables?: readonly string[];
  readonly truncate?: boolean;
  readonly owner: boolean;
  readonly privileges: boolean;
  readonly replicate?: boolean;
  readonly yes?: boolean;
}

/**
 * Load a snapshot. Say first which tables lose their rows (--truncate), and what of a node that replicates
 * the rows reach or do not reach; then ask.
 */
export async function applySnapshot(
  invocation: Invocation,
  options: ApplyOptions & CommonOptions,
  node: string | undefined,
): Promise<ExitCode> {
  if (options.truncate) requireYes(options.yes, "emptying tables (--truncate)");
  if (options.source !== undefined) {
    invocation.output.message("note: --source has no effect: a snapshot says which node it is of");
  }
  const { startAndFollow } = await import("../job/run-job.ts");
  const session = await invocation.open();
  try {
    await refuseOtherNode(session, node);
    const statement = call("start_apply", {
      ...{ input_path: options.input, parallel: options.parallel, verify: options.verify },
      ...{ sections: options.sections, tables: options.tables, truncate: options.truncate },
      ...{ no_owner: !options.owner, no_privileges: !options.privileges },
      replicate: options.replicate,
    });
    const peers = await replication(session, options);
    if (options.truncate || peers !== null) await rehearse(invocation, session, statement);
    if (options.truncate) invocation.output.message(await loss(session, options));
    if (peers !== null) invocation.output.message(peers);
    if (options.truncate) await confirm(options.yes, "Empty them and load the snapshot");
    else if (peers !== null) await confirm(options.yes, "Load the snapshot");
    return await startAndFollow(invocation, session, statement, options);
  } finally {
    await session.end();
  }
}

/** Which tables a snapshot holds is known to the server only, so without --tables all are counted. */
async function loss(session: Session, { tables, input }: ApplyOptions): Promise<string> {
  const { values } = await session.row(
    `select pg_catalog.count(*) as tables,
            coalesce(pg_catalog.sum(greatest(c.reltuples, 0))::int8, 0) as rows
     from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
     where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema', 'steep_repl')
       and n.nspname !~ '^pg_'
       and ($1::text[] is null or c.oid = any (array(
         select pg_catalog.to_regclass(t.name) from pg_catalog.unnest($1::text[]) t(name))))`,
    [tables === undefined ? null : (call("", { tables }).params[0] ?? null)],
  );
  const place = `${session.serverName}, database ${session.client.database}`;
  const of = tables === undefined ? "that the snapshot holds, of" : "named, of";
  return `here (${place}) loses the rows of the tables ${of} ${values.tables} tables with about ${values.rows} rows, before ${input} on server ${session.serverName} is loaded`;
}

/** What becomes of replication by a load of rows; null where this node does not replicate the tables. */
async function replication(
  session: Session,
  { tables, sections, replicate }: ApplyOptions,
): Promise<string | null> {
  if (sections !== undefined && !sections.includes("data")) return null;
  const { values } = await session.row(
    `select case when r.slots is not null then r.publications end as publications,
            case when r.publications is not null then r.slots end as slots, r.subscriptions
     from steep_repl._replicated($1) r`,
    [tables === undefined ? null : (call("", { tables }).params[0] ?? null)],
  );
  const kinds = Object.entries(values).filter(([, names]) => names !== null);
  if (kinds.length === 0) return null;
  const place = `${session.serverName}, database ${session.client.database}`;
  const effect = replicate
    ? "subscribers get the loaded rows of tables that are published"
    : "subscribers with origin = none do not get the loaded rows, and differ afterwards; with --replicate they do";
  return `here (${place}) replicates such tables: ${kinds.map(([kind, names]) => `${kind} ${names}`).join("; ")}; ${effect}`;
}
