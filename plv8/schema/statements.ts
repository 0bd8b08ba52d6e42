/** Statements as one text; null where there are none. */
export function script(...statements: readonly (string | null)[]): string {
  return statements.filter((s) => s !== null && s !== "").join("\n");
}

/**
 * A comment. A name may hold a line feed or a carriage return, after which
 * what follows would run.
 */
export function comment(text: string): string {
  return text
    .split(/\r\n|\r|\n/)
    .map((line) => `-- ${line}`)
    .join("\n");
}

/** A statement that nobody should run without a thought, and why. */
export function withheld(statement: string, why: string): string {
  return comment(`${statement} -- ${why}`);
}
