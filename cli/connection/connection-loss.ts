import { CliError, exitCode } from "../cli-error.ts";

const networkCodes =
  /^(ECONNRESET|EPIPE|ECONNREFUSED|ETIMEDOUT|ENETDOWN|EHOSTUNREACH|ERR_STREAM_DESTROYED)$/;

const messages =
  /^(Connection terminated|Client has encountered a connection error|Client was closed|server does not answer)/;

/**
 * Whether an error of a query means that the session is gone, and not that the query is wrong.
 * Does not need node-postgres to be loaded.
 */
export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof CliError) return error.code === exitCode.connection;
  if (!(error instanceof Error)) return false;
  const { code = "" } = error as NodeJS.ErrnoException;
  // of the server: it shuts down, or ends this session; what it says of its own connection to a peer is no loss of ours
  if ("severity" in error) return /^57P0[1235]$/.test(code);
  return networkCodes.test(code) || messages.test(error.message);
}
