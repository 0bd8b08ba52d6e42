/** What the program ends with; docs/cli.md has the same table. */
export const exitCode = {
  success: 0,
  /** Something differs, a conflict is open, verify found a problem, health is degraded. */
  differs: 1,
  usage: 2,
  failed: 3,
  cancelled: 4,
  timeout: 5,
  connection: 6,
  bug: 70,
  interrupted: 130,
} as const;

export type ExitCode = (typeof exitCode)[keyof typeof exitCode];

/** An error that a user can do something about: printed as one line, without a stack. */
export class CliError extends Error {
  readonly code: ExitCode;
  readonly hint: string | undefined;

  constructor(code: ExitCode, message: string, hint?: string) {
    super(message);
    this.name = "CliError";
    this.code = code;
    this.hint = hint;
  }
}

/** Something about the command line itself is wrong. */
export function usageError(message: string, hint?: string): CliError {
  return new CliError(exitCode.usage, message, hint);
}

/** No connection, or one to a server that cannot serve us. */
export function connectionError(message: string, hint?: string): CliError {
  return new CliError(exitCode.connection, message, hint);
}

/** No connection was made, so that nothing was done. */
export class NoConnection extends CliError {
  constructor(message: string, hint?: string) {
    super(exitCode.connection, message, hint);
  }
}
