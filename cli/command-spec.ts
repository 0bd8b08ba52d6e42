import type { Option } from "commander";
import type { ExitCode } from "./cli-error.ts";
import type { CommonOptions, Invocation } from "./invocation.ts";
import type { Remote } from "./remote/client.ts";

/** What a command does: its options as given, then its arguments. */
export type Action<O> = (
  invocation: Invocation,
  options: O & CommonOptions,
  ...args: string[]
) => Promise<ExitCode>;

/** The same over gRPC; what it needs of `cli/remote/` is imported when it runs. */
export interface RemoteSpec<O> {
  /** Options that the RPC has a field for, as commander names them; any other is refused. */
  readonly options?: readonly string[];
  readonly action: (
    remote: Remote,
    invocation: Invocation,
    options: O & CommonOptions,
    ...args: string[]
  ) => Promise<ExitCode>;
}

export interface CommandSpec<O> {
  /** Name and arguments, as commander reads them. */
  readonly usage: string;
  readonly description: string;
  /** Shown by --help; at least one. */
  readonly examples: readonly string[];
  readonly options?: readonly Option[];
  readonly action: Action<O>;
  /** Without it, the daemon has no RPC for the command. */
  readonly remote?: RemoteSpec<O>;
  /** Options besides --remote that name a daemon, as commander names them. */
  readonly daemonFlags?: readonly string[];
}
