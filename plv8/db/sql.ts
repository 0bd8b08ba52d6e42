import { asciiJson } from "./ascii-json.ts";
import { callSql } from "./engine.ts";
import { type ErrorData, SteepError } from "./steep-error.ts";

/** What crosses the boundary: no dates, no bigints, nothing that JSON changes. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [key: string]: Json };

type Answer = { readonly rows: readonly unknown[] } | { readonly error: ErrorData };

/**
 * Run one statement, with the caller's rights. It must answer few and small
 * rows, with 64-bit numbers cast to text.
 *
 * @param sql a SELECT, or INSERT/UPDATE/DELETE … RETURNING; `$1` is the jsonb of `params`
 * @throws SteepError with the SQLSTATE of what failed
 */
export function query<Row>(sql: string, params: Json = {}): readonly Row[] {
  const answer = JSON.parse(callSql(asciiJson({ sql, params }))) as Answer;
  if ("error" in answer) {
    throw new SteepError(answer.error);
  }
  return answer.rows as readonly Row[];
}

/** The same for a statement that answers exactly one row. */
export function queryOne<Row>(sql: string, params: Json = {}): Row {
  const rows = query<Row>(sql, params);
  const row = rows[0];
  if (row === undefined || rows.length > 1) {
    throw new Error(`expected one row, got ${rows.length}: ${sql}`);
  }
  return row;
}
