import { Code, ConnectError } from "@connectrpc/connect";

/** What PostgreSQL's errors have that we look at. */
interface DatabaseError {
  readonly severity: string;
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
}

function isDatabaseError(error: unknown): error is DatabaseError {
  return error instanceof Error && "severity" in error;
}

/** An error of PostgreSQL in one line: what happened, and what to do. */
export function textOf(error: unknown): string {
  if (!isDatabaseError(error)) return error instanceof Error ? error.message : String(error);
  return [error.message, error.detail, error.hint].filter(Boolean).join("; ");
}

/**
 * Whether a call has failed as calls do, which its answer says, and not because the server is away or we
 * are wrong, which the RPC's status says.
 */
export function isFailure(error: unknown): boolean {
  return isDatabaseError(error);
}

const byClass: Readonly<Record<string, Code>> = {
  "22": Code.InvalidArgument,
  "3F": Code.NotFound,
  "42": Code.InvalidArgument,
  "53": Code.ResourceExhausted,
  "55": Code.FailedPrecondition,
};

const byState: Readonly<Record<string, Code>> = {
  "42501": Code.PermissionDenied,
  "42704": Code.NotFound,
  "42P01": Code.NotFound,
  "57014": Code.Canceled,
};

/** The status of an RPC whose answer has no place for an error. */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  if (!isDatabaseError(error)) return ConnectError.from(error, Code.Internal);
  const code = byState[error.code] ?? byClass[error.code.slice(0, 2)] ?? Code.Internal;
  return new ConnectError(textOf(error), code);
}

/** @throws ConnectError INVALID_ARGUMENT naming the first that is missing */
export function requireFields(fields: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(fields))
    if (value === "") throw new ConnectError(`${name} is missing`, Code.InvalidArgument);
}
