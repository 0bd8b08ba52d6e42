import type { Option } from "commander";
import { CliError, exitCode } from "../cli-error.ts";
import { listOption, option, yesOption } from "../command.ts";
import { shellWord } from "../output/shell-words.ts";
import type { Session } from "../session.ts";
import { call, type Statement } from "../sql-call.ts";
import type { LinkOptions } from "./pair-link.ts";

/** What a pair is about, as a check and a start are told alike. */
export interface PairScope {
  readonly tables?: readonly string[];
  readonly schemas?: readonly string[];
  readonly excludeTables?: readonly string[];
  readonly existing?: string;
  readonly sequences?: string;
  readonly outputPath?: string;
}

export interface PairCheckOptions extends PairScope, LinkOptions {
  readonly all?: boolean;
}

export function pairScopeOptions(): Option[] {
  return [
    listOption("--tables <names>", "tables to replicate (default: all)"),
    listOption("--schemas <names>", "all tables of these schemas"),
    listOption("--exclude-tables <patterns>", "tables to leave out, as pg_dump's patterns"),
    option(
      "--existing <what>",
      "rows at the peer: refuse (default; the peer is empty, and is filled), merge or keep (both are equal)",
    ),
    option(
      "--sequences <what>",
      "interleave (default; each node gets its own values) or keep (as they are)",
    ),
    option("--output-path <path>", "directory on both servers for the files of the copy"),
    option(
      "--peer <conninfo>",
      "the peer's connection string: what the two nodes lack to reach each other is shown, and made",
    ),
    option("--local-name <name>", "with --peer: what this node is called at the peer"),
    option("--local-address <host>", "with --peer: HOST[:PORT] at which the peer reaches this one"),
    option("--peer-address <host>", "with --peer: HOST[:PORT] at which this one reaches the peer"),
    yesOption(),
  ];
}

/** A pair's peer is a node with a foreign server. Throws where it is none, and says how it becomes one. */
export async function requirePeer(session: Session, node: string): Promise<void> {
  const { rows } = await session.query(
    "select n.foreign_server from steep_repl.nodes n where n.node_id = $1",
    [node],
  );
  const [row] = rows;
  if (row?.values.foreign_server) return;
  throw new CliError(
    exitCode.failed,
    `node "${node}" ${row === undefined ? "is not registered" : "has no foreign server"}`,
    `give its connection string: steep-repl pair check ${shellWord(node)} --peer CONNINFO; or create a foreign server, and name it with steep-repl node register`,
  );
}

/** The arguments of start_pair() that preflight() has, too. */
export function scopeArguments(node: string, scope: PairScope) {
  return {
    ...{ peer: node, tables: scope.tables, schemas: scope.schemas, existing: scope.existing },
    ...{ exclude_tables: scope.excludeTables, sequences: scope.sequences },
    output_path: scope.outputPath,
  };
}

export function preflight(node: string, scope: PairScope): Statement {
  return call("preflight", scopeArguments(node, scope));
}
