import { Command, CommanderError } from "commander";
import { CliError, type ExitCode, exitCode, usageError } from "./cli-error.ts";
import { addDaemon } from "./commands/daemon.ts";
import { addHealth } from "./commands/health.ts";
import { addMerge } from "./commands/merge.ts";
import { addNode } from "./commands/node.ts";
import { addOps } from "./commands/ops.ts";
import { addAnalyzeOverlap } from "./commands/overlap.ts";
import { addOverlap } from "./commands/overlap-stored.ts";
import { addPair } from "./commands/pair.ts";
import { addReplication } from "./commands/replication.ts";
import { addSchema } from "./commands/schema.ts";
import { addSnapshot } from "./commands/snapshot.ts";
import { addTls } from "./commands/tls.ts";
import { modernized } from "./old-command-lines.ts";
import { version } from "./version.ts";

const exitCodes = `
Exit codes:
  0 success, and nothing differs       4 the job was cancelled
  1 something differs or is degraded   5 timeout
  2 usage                              6 no connection
  3 the operation failed               130 Ctrl-C; a job goes on`;

/** All commands. */
export function program(): Command {
  const root = new Command("steep-repl")
    .description("Copy, compare and merge PostgreSQL databases that have the extension steep_repl.")
    .version(version, "-V, --version", "print the version")
    .configureHelp({ showGlobalOptions: false })
    .addHelpText(
      "after",
      `\nExamples:
  $ steep-repl snapshot generate my-node --output /backups/monday -c "host=db1 dbname=shop"
  $ steep-repl schema compare node-a node-b
  $ steep-repl merge start node-b --tables public.orders --dry-run
${exitCodes}`,
    );
  const subjects = [
    addSnapshot,
    addSchema,
    addNode,
    addPair,
    addReplication,
    addAnalyzeOverlap,
    addOverlap,
  ];
  for (const add of [...subjects, addMerge, addOps, addHealth, addDaemon, addTls]) add(root);
  prepare(root);
  return root;
}

/** Errors are thrown and printed by us, in one line. */
function prepare(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => {} });
  if (command.commands.length > 0 && command.parent) command.helpCommand(false);
  for (const child of command.commands) prepare(child);
}

/** Run a command line; what the program is to end with. Throws CliError among others. */
export async function runProgram(argv: readonly string[]): Promise<ExitCode> {
  const root = program();
  try {
    const merge = root.commands.find((command) => command.name() === "merge");
    const subcommands = merge?.commands.map((command) => command.name()) ?? [];
    await root.parseAsync([...modernized(argv, subcommands)], { from: "user" });
    return (process.exitCode ?? exitCode.success) as ExitCode;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return exitCode.success;
    // commander has printed the help of a command that needs a subcommand
    if (error.code === "commander.help") throw new CliError(exitCode.usage, "");
    throw usageError(
      error.message.replace(/^error: /, "").replace(/\n\(/, " ("),
      `see ${commandPath(root, argv)} --help`,
    );
  }
}

/** The command that was meant, as far as it can be told. */
function commandPath(root: Command, argv: readonly string[]): string {
  const path = [root.name()];
  let command: Command | undefined = root;
  for (const word of argv) {
    command = command?.commands.find((child) => child.name() === word);
    if (!command) break;
    path.push(word);
  }
  return path.join(" ");
}
