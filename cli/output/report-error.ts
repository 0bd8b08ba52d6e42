import { CliError, type ExitCode, exitCode } from "../cli-error.ts";
import { isConnectionLoss } from "../connection/connection-loss.ts";
import { oneLine } from "./one-line.ts";

/** What PostgreSQL says of a failed statement; not an instanceof, so that pg need not be loaded. */
interface ServerError {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
}

function isServerError(error: unknown): error is ServerError {
  return error instanceof Error && "severity" in error && "code" in error;
}

/** One line: the message, the facts, and what to do. */
export function errorLine(message: string, detail?: string | null, hint?: string | null): string {
  const facts = detail ? ` (${detail})` : "";
  const advice = hint ? `; hint: ${hint}` : "";
  return `steep-repl: ${oneLine(`${message}${facts}${advice}`)}`;
}

/** Print an error on stderr; what the program is to end with. */
export function reportError(error: unknown): ExitCode {
  if (error instanceof CliError) {
    if (error.message !== "")
      process.stderr.write(`${errorLine(error.message, null, error.hint)}\n`);
    return error.code;
  }
  if (isConnectionLoss(error)) {
    const { message } = error as Error;
    process.stderr.write(`${errorLine(`the connection was lost: ${message}`, null, lostHint)}\n`);
    return exitCode.connection;
  }
  if (isServerError(error)) {
    const { message, detail, hint, code } = error;
    process.stderr.write(`${errorLine(message, detail, hint ?? hints[code])}\n`);
    return codeOf(code);
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`steep-repl: a bug in steep-repl, please report it: ${text}\n`);
  return exitCode.bug;
}

const lostHint = "try again; jobs go on in the server, see steep-repl ops list";

/** Where the server has none of its own. */
const hints: Readonly<Record<string, string>> = {
  "42501": "connect as a role that may do this, or have the right granted",
  "57014": "raise --timeout, or look who cancelled it",
  "58P01": "paths are on the server: create the parent directory there, or check the spelling",
  "42883":
    "the extension in this database is older than steep-repl: ALTER EXTENSION steep_repl UPDATE",
};

function codeOf(sqlstate: string): ExitCode {
  // the arguments were wrong
  if (sqlstate.startsWith("22")) return exitCode.usage;
  if (sqlstate === "57014") return exitCode.cancelled;
  // the server does not reach the peer
  if (/^(08(001|003|006)|28P01)$/.test(sqlstate)) return exitCode.connection;
  return exitCode.failed;
}
