import { type Command, InvalidArgumentError, Option } from "commander";
import type { ExitCode } from "./cli-error.ts";
import { type CommonOptions, Invocation } from "./invocation.ts";
import { splitNames } from "./split-names.ts";

/** What a command does: its options as given, then its arguments. */
export type Action<O> = (
  invocation: Invocation,
  options: O & CommonOptions,
  ...args: string[]
) => Promise<ExitCode>;

export interface CommandSpec<O> {
  /** Name and arguments, as commander reads them. */
  readonly usage: string;
  readonly description: string;
  /** Shown by --help; at least one. */
  readonly examples: readonly string[];
  readonly options?: readonly Option[];
  readonly action: Action<O>;
}

/** Add a command with the options that all have. */
export function addCommand<O>(parent: Command, spec: CommandSpec<O>): void {
  const command = parent.command(spec.usage).description(spec.description);
  for (const option of [...(spec.options ?? []), ...commonOptions()]) command.addOption(option);
  const examples = spec.examples.map((example) => `  $ steep-repl ${example}`);
  command.addHelpText("after", `\nExamples:\n${examples.join("\n")}`);
  command.action(async (...all: unknown[]) => {
    const options = command.opts<O & CommonOptions>();
    const args = all.slice(0, -2).flat() as string[];
    process.exitCode = await spec.action(new Invocation(options), options, ...args);
  });
}

function commonOptions(): Option[] {
  return [
    new Option(
      "-c, --connection <conninfo>",
      "server and database: keyword=value pairs or a URI, as for psql (default: the PG* variables)",
    ),
    new Option("--direct", "talk to PostgreSQL itself"),
    new Option("--remote <host:port>", "talk to a steep-repl daemon (there is none yet)"),
    new Option("--json", "print the result as JSON, and progress and messages as lines of JSON"),
    new Option("--timeout <seconds>", "stop waiting after this; a job goes on").argParser(seconds),
  ];
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

function seconds(text: string): number {
  const value = Number(text);
  // the longest that a timer of Node.js can take is 24 days
  if (text.trim() === "" || !(value > 0 && value <= 2_000_000)) {
    throw new InvalidArgumentError("it is not a number of seconds above 0");
  }
  return value;
}
