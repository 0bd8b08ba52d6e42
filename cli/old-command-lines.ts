import { usageError } from "./cli-error.ts";

/** The predecessor's commands for a service of the system. */
const service: ReadonlySet<string> = new Set([
  ...["install", "uninstall", "start", "stop", "restart", "status"],
]);

/** Its commands for a new node, which had RPCs of their own. */
const initialization: ReadonlySet<string> = new Set([
  ...["start", "prepare", "complete", "cancel", "progress", "reinit"],
]);

const groupOptions: ReadonlySet<string> = new Set(["-h", "--help"]);

/**
 * A command line of the predecessor as it is written today; any other as it is. Flags that have other names are
 * options of their commands.
 *
 * @param subcommands of `merge`, which was a command and is a group of them
 * @throws CliError for what is gone, with what to use instead
 */
export function modernized(
  argv: readonly string[],
  subcommands: readonly string[],
): readonly string[] {
  const [first = "", second = "", ...rest] = argv;
  if (service.has(first)) {
    throw usageError(
      `"${first}" is gone: steep-repl does not manage services`,
      "use the system's own, as systemctl: docs/daemon.md has a unit file for steep-repl daemon",
    );
  }
  if (first === "node" && initialization.has(second)) {
    throw usageError(
      `"node ${second}" is gone`,
      "copy with snapshot generate and snapshot apply, and start a subscription from there: docs/snapshots.md has the steps",
    );
  }
  if (first === "node" && second === "merge") return ["merge", "start", ...rest];
  const isOldMerge = second !== "" && !subcommands.includes(second) && !groupOptions.has(second);
  if (first === "merge" && isOldMerge && looksLikeOldMerge(second)) {
    return ["merge", "start", second, ...rest];
  }
  return argv;
}

/** A connection string, or a flag: a misspelled subcommand is neither. */
function looksLikeOldMerge(word: string): boolean {
  return word.startsWith("-") || word.includes("=") || word.includes("://");
}
