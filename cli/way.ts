import type { Command } from "commander";
import { type ExitCode, NoConnection, usageError } from "./cli-error.ts";
import type { CommandSpec } from "./command-spec.ts";
import { type CommonOptions, Invocation } from "./invocation.ts";

const tlsFlags = ["ca", "cert", "key", "insecure"] as const;

/** Options that are no matter of the RPC. */
const ofEveryRemoteCommand: ReadonlySet<string> = new Set([
  ...["remote", "json", "timeout", "yes", "progress", ...tlsFlags],
]);

const directWay = "connect to PostgreSQL itself, with --direct and -c or the PG* variables";

/**
 * Run a command on the way that its flags say: over gRPC with --remote, else over a connection to PostgreSQL, and
 * where none can be made, over gRPC again if a daemon is known.
 */
export async function runCommand<O>(
  command: Command,
  spec: CommandSpec<O>,
  options: O & CommonOptions,
  args: readonly string[],
): Promise<ExitCode> {
  refuseContradictions(options, spec.daemonFlags);
  const invocation = new Invocation(options);
  if (options.remote !== undefined) {
    requireRpc(command, spec);
    const { openRemote } = await import("./remote/choose.ts");
    return overRpc(openRemote(invocation, options.remote), invocation, spec, options, args);
  }
  try {
    return await spec.action(invocation, options, ...args);
  } catch (error) {
    const isPossible = spec.remote !== undefined && !namesDaemon(options, spec.daemonFlags);
    if (!isPossible || !mayFallBack(error, invocation, options)) throw error;
    const { fallBack } = await import("./remote/choose.ts");
    const given = withoutField(command, spec);
    const remote = fallBack(invocation, error, given.join(", "));
    if (remote === undefined) throw error;
    return overRpc(remote, invocation, spec, options, args);
  }
}

async function overRpc<O>(
  remote: Parameters<NonNullable<CommandSpec<O>["remote"]>["action"]>[0],
  invocation: Invocation,
  spec: CommandSpec<O>,
  options: O & CommonOptions,
  args: readonly string[],
): Promise<ExitCode> {
  try {
    if (spec.remote === undefined) throw new Error("the command has no RPC");
    return await spec.remote.action(remote, invocation, options, ...args);
  } finally {
    await remote.close();
  }
}

function refuseContradictions(
  { direct, remote, connection, ...options }: CommonOptions,
  daemonFlags: readonly string[] = [],
): void {
  if (direct && remote !== undefined) {
    throw usageError("--direct and --remote exclude each other", "give one of them");
  }
  if (connection !== undefined && remote !== undefined) {
    throw usageError(
      "-c and --remote exclude each other: a daemon has one database, which its configuration names",
      "give one of them",
    );
  }
  const given = tlsFlags.filter((flag) => options[flag] !== undefined);
  const isDirect = direct || connection !== undefined;
  if (given.length > 0 && isDirect && !namesDaemon(options, daemonFlags)) {
    throw usageError(
      `--${given[0]} is for --remote`,
      "for PostgreSQL itself, sslmode, sslrootcert, sslcert and sslkey belong into -c",
    );
  }
}

function namesDaemon(options: object, flags: readonly string[] = []): boolean {
  return flags.some((flag) => flag in options);
}

/** Only where nothing was done yet, and nobody has named a database. */
function mayFallBack(
  error: unknown,
  invocation: Invocation,
  { direct, connection }: CommonOptions,
): error is NoConnection {
  const isFirst = error instanceof NoConnection && !invocation.hasConnected;
  return (
    isFirst && !direct && connection === undefined && invocation.options.connection === undefined
  );
}

function requireRpc<O>(command: Command, spec: CommandSpec<O>): void {
  const name = nameOf(command);
  if (spec.remote === undefined) {
    throw usageError(`the daemon has no RPC for "${name}", so --remote cannot be given`, directWay);
  }
  const [first] = withoutField(command, spec);
  if (first !== undefined) {
    throw usageError(`the RPC of "${name}" has no field for ${first}`, directWay);
  }
}

/** Flags on the command line that the RPC could only ignore. */
function withoutField<O>(command: Command, { remote }: CommandSpec<O>): string[] {
  const known = new Set([...ofEveryRemoteCommand, ...(remote?.options ?? [])]);
  return command.options
    .filter((option) => {
      const name = option.attributeName();
      const isGiven = command.getOptionValueSource(name) === "cli" && !known.has(name);
      // of --x and --no-x the one that was given
      return isGiven && option.negate === (command.getOptionValue(name) === false);
    })
    .map((option) => option.long ?? option.flags);
}

function nameOf(command: Command): string {
  const { parent } = command;
  return parent?.parent ? `${nameOf(parent)} ${command.name()}` : command.name();
}
