import { usageError } from "../cli-error.ts";

/** Refuse what can be no bigint of PostgreSQL. */
export function requireNumber(text: string, what: string, source: string): void {
  if (/^-?\d{1,19}$/.test(text)) return;
  throw usageError(`"${text}" is no ${what}`, `it is a number, as in steep-repl ${source}`);
}
