/** A value that PostgreSQL reads as the argument's type; undefined leaves the argument's default. */
export type Value = string | number | boolean | readonly string[] | null | undefined;

export interface Statement {
  readonly sql: string;
  readonly params: readonly (string | null)[];
}

/** A query of all that a function of ours answers, with the arguments that were given, by name. */
export function call(name: string, args: Readonly<Record<string, Value>>): Statement {
  const given = Object.entries(args).filter(([, value]) => value !== undefined);
  const list = given.map(([argument], i) => `${argument} => $${i + 1}`).join(", ");
  return {
    sql: `select f.* from steep_repl.${name}(${list}) f`,
    params: given.map(([, value]) => text(value)),
  };
}

function text(value: Value): string | null {
  if (value === null || value === undefined) return null;
  return Array.isArray(value) ? arrayLiteral(value) : String(value);
}

function arrayLiteral(items: readonly string[]): string {
  return `{${items.map((item) => `"${item.replace(/["\\]/g, "\\$&")}"`).join(",")}}`;
}
