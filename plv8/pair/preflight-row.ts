import type { PairSide } from "../shared/action.ts";

/** What a check found. */
export interface Check {
  readonly status: "ok" | "warning" | "problem";
  readonly detail: string;
  /** SQL, or a line for postgresql.conf; null if nothing is to be done */
  readonly fix: string | null;
}

/** A row of preflight(). */
export interface CheckRow extends Check {
  readonly side: PairSide | "both";
  readonly check_name: string;
}

export const nothingWrong = (detail: string): Check => ({ status: "ok", detail, fix: null });
export const warning = (detail: string, fix: string): Check => ({ status: "warning", detail, fix });
export const problem = (detail: string, fix: string): Check => ({ status: "problem", detail, fix });

/** Rows about one side, or both. */
export const rowOf =
  (side: CheckRow["side"]) =>
  (name: string, check: Check): CheckRow => ({ side, check_name: name, ...check });
