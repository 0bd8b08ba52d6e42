/** What a failed call answers; `_call` raises it in SQL. */
export interface ErrorData {
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
}

/** The one error class: a SQLSTATE, and a message in PostgreSQL's style. */
export class SteepError extends Error {
  readonly data: ErrorData;

  constructor(data: ErrorData) {
    super(data.message);
    this.name = "SteepError";
    this.data = data;
  }
}

/** An argument that cannot be used (SQLSTATE 22023). */
export function invalidArgument(message: string, hint?: string): SteepError {
  return new SteepError({ sqlstate: "22023", message, hint });
}
