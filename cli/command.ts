import { type Command, InvalidArgumentError, Option } from "commander";
import type { CommandSpec } from "./command-spec.ts";
import type { CommonOptions } from "./invocation.ts";
import { splitNames } from "./split-names.ts";
import { runCommand } from "./way.ts";

/** Add a command with the options that all have. */
export function addCommand<O>(parent: Command, spec: CommandSpec<O>): void {
  const command = parent.command(spec.usage).description(spec.description);
  const isRemote = spec.remote !== undefined;
  for (const option of [...(spec.options ?? []), ...commonOptions(), ...remoteOptions(isRemote)]) {
    command.addOption(option);
  }
  const examples = spec.examples.map((example) => `  $ steep-repl ${example}`);
  command.addHelpText("after", `\nExamples:\n${examples.join("\n")}`);
  command.action(async (...all: unknown[]) => {
    const options = command.opts<O & CommonOptions>();
    const args = all.slice(0, -2).flat() as string[];
    process.exitCode = await runCommand(command, spec, options, args);
  });
}

function commonOptions(): Option[] {
  return [
    new Option(
      "-c, --connection <conninfo>",
      "server and database: keyword=value pairs or a URI, as for psql (default: the PG* variables)",
    ),
    new Option("--direct", "talk to PostgreSQL itself"),
    new Option("--json", "print the result as JSON, and progress and messages as lines of JSON"),
    new Option("--timeout <seconds>", "stop waiting after this; a job goes on").argParser(seconds),
  ];
}

/** Those that have no RPC take them, too, to say so. */
function remoteOptions(isShown: boolean): Option[] {
  return [
    new Option("--remote <host:port>", "talk to a steep-repl daemon instead (deprecated)"),
    new Option("--ca <file>", "with --remote: the authority that the daemon's certificate is of"),
    new Option("--cert <file>", "with --remote: this client's certificate"),
    new Option("--key <file>", "with --remote: its private key"),
    new Option("--insecure", "with --remote: without TLS; anybody on the way reads and writes it"),
  ].map((option) => option.hideHelp(!isShown));
}

/** Of the commands that start or follow a job. */
export interface JobOptions {
  /** Commander's way of saying --no-wait. */
  readonly wait?: boolean;
  readonly reconnectTimeout?: number;
}

export function jobOptions(): Option[] {
  return [new Option("--no-wait", "print the job's id and return at once"), reconnectOption()];
}

export function reconnectOption(): Option {
  return new Option(
    "--reconnect-timeout <seconds>",
    "how long to try again when the connection is lost",
  )
    .argParser(seconds)
    .default(300);
}

export function yesOption(): Option {
  return new Option("-y, --yes", "do not ask; required without a terminal");
}

/** A flag of the predecessor: it is taken, but --help does not show it. */
export function oldOption(flags: string, description: string): Option {
  return option(flags, description).hideHelp();
}

export function option(flags: string, description: string): Option {
  return new Option(flags, description);
}

export function integerOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text) => {
    if (!/^-?\d{1,18}$/.test(text)) throw new InvalidArgumentError("it is not a whole number");
    return text;
  });
}

/** May be repeated, and takes several values with commas between; quotes as in SQL keep one whole. */
export function listOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser((text, before: string[] | undefined) => [
    ...(before ?? []),
    ...splitNames(text),
  ]);
}

const unitSeconds: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 };

/** Seconds, or with a unit, as the predecessor had it: 30s, 5m. */
function seconds(text: string): number {
  const [, digits = text, unit = "s"] = /^([\d.]+)(ms|s|m|h)$/.exec(text) ?? [];
  const value = Number(digits) * (unitSeconds[unit] ?? 1);
  // the longest that a timer of Node.js can take is 24 days
  if (text.trim() === "" || !(value > 0 && value <= 2_000_000)) {
    throw new InvalidArgumentError("it is not a number of seconds above 0");
  }
  return value;
}
