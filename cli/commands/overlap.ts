import type { Command } from "commander";
import { exitCode } from "../cli-error.ts";
import { addCommand, listOption, oldOption, option } from "../command.ts";
import { differs } from "../job/outcome.ts";
import { call } from "../sql-call.ts";
import { connOptions, type PeerOptions, peerOf, peerOption } from "./peer.ts";

export interface CompareOptions extends PeerOptions {
  readonly tables?: readonly string[];
  readonly excludeTables?: readonly string[];
  readonly schemas?: readonly string[];
  readonly skipUnsuitable?: boolean;
  readonly primaryKeys?: string;
}

export interface OverlapOptions extends CompareOptions {
  readonly catchUpTimeout?: string;
}

export function compareOptions() {
  return [
    peerOption(),
    ...connOptions(),
    listOption(
      "--tables <names>",
      "schema.table, quoted as in SQL, with commas between (default: all that both have)",
    ),
    listOption("--schemas <names>", "all tables of these schemas"),
    listOption("--exclude-tables <patterns>", "tables to leave out, as 'audit.*,public.log_?'"),
    option("--skip-unsuitable", "go on without tables that cannot be compared, and list them"),
    option("--primary-keys <json>", `columns that identify rows, as '{"public.t": ["a", "b"]}'`),
  ];
}

export function catchUpOption() {
  return option(
    "--catch-up-timeout <interval>",
    "how long rows in flight are waited for (default: 1 min)",
  );
}

export function addAnalyzeOverlap(root: Command): void {
  addCommand<OverlapOptions & { readonly detailed?: boolean }>(root, {
    usage: "analyze-overlap [nodes...]",
    description:
      "count how the rows of tables differ between this database and a peer; 1 if any do",
    examples: [
      "analyze-overlap node-b",
      "analyze-overlap node-a node-b --tables public.orders,public.customers",
      "analyze-overlap --peer node-b --json",
    ],
    options: [
      ...compareOptions(),
      catchUpOption(),
      oldOption(
        "--detailed",
        "list the rows that differ, too; overlap start and rows do it better",
      ),
    ],
    action: (invocation, options, ...nodes) => {
      const { peer, checkLocal } = peerOf(invocation, nodes, options, "analyze-overlap");
      return invocation.withSession(async (session) => {
        await checkLocal(session);
        const { sql, params } = call("analyze_overlap", comparison(peer, options));
        const result = await session.query(sql, params);
        if (options.detailed) {
          const { printDetailed } = await import("./overlap-detailed.ts");
          await printDetailed(invocation, session, peer, result, options);
        } else await invocation.output.rows(result);
        return result.rows.some(({ values }) => differs(values))
          ? exitCode.differs
          : exitCode.success;
      });
    },
  });
}

/** The arguments of a comparison. */
export function comparison(peer: string, options: OverlapOptions) {
  return {
    ...{ peer, ...scopeOf(options), primary_keys: options.primaryKeys },
    catch_up_timeout: options.catchUpTimeout,
  };
}

/** The arguments that say which tables are meant. */
export function scopeOf({ tables, excludeTables, schemas, skipUnsuitable }: CompareOptions) {
  return {
    tables: tables ?? null,
    ...{ exclude_tables: excludeTables, schemas, skip_unsuitable: skipUnsuitable },
  };
}
