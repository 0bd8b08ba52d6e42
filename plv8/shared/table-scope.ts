import { invalidArgument } from "../db/steep-error.ts";
import { flag, optionalNames, type Raw } from "./params.ts";

/** A pattern of tables as regular expressions; schema null: any. */
export interface TablePattern {
  readonly schema: string | null;
  readonly name: string;
}

/** Which tables a comparison or a merge is about, as SQL goes by it. */
export interface TableScope {
  readonly schemas: readonly string[] | null;
  readonly exclude: readonly TablePattern[];
  readonly skip_unsuitable: boolean;
}

const special = /[|*+?()[\]{}.^$\\]/;

/** One character outside of double quotes. */
function unquoted(char: string): string {
  switch (char) {
    case "*":
      return ".*";
    case "?":
      return ".";
    case "$":
      return "\\$";
    default:
      return char.toLowerCase();
  }
}

/** The names of a pattern, between its dots, as regular expressions without anchors. */
function parts(pattern: string): readonly string[] {
  const found = [""];
  const add = (text: string) => {
    found[found.length - 1] += text;
  };
  let isQuoted = false;
  for (let i = 0; i < pattern.length; i++) {
    const char = pattern.charAt(i);
    if (char === '"') {
      const isDoubled = isQuoted && pattern.charAt(i + 1) === '"';
      if (isDoubled) {
        add('"');
        i++;
      } else {
        isQuoted = !isQuoted;
      }
    } else if (char === "." && !isQuoted) {
      found.push("");
    } else if (isQuoted) {
      add(special.test(char) ? `\\${char}` : char);
    } else {
      add(unquoted(char));
    }
  }
  if (isQuoted) {
    throw invalidArgument(`a double quote of the pattern ${pattern} is not closed`);
  }
  return found;
}

/**
 * A pattern of table names by the rules of pg_dump and psql: `*` for any characters, `?` for one, folded to lower case unless in
 * double quotes, the rest a regular expression. Without a schema it is of any schema.
 *
 * @throws SteepError 22023
 */
export function tablePattern(pattern: string): TablePattern {
  const names = parts(pattern);
  const [first = "", second] = names;
  if (names.length > 2 || names.some((name) => name === "")) {
    throw invalidArgument(
      `${pattern} is no pattern of tables`,
      'Write table or schema.table, with * and ? as wildcards, as in "audit.*".',
    );
  }
  const whole = (name: string) => `^(${name})$`;
  return second === undefined
    ? { schema: null, name: whole(first) }
    : { schema: whole(first), name: whole(second) };
}

/**
 * Check what limits a comparison or a merge to some tables.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function tableScope(raw: Raw): TableScope {
  const schemas = optionalNames(raw, "schemas");
  if (schemas !== null && (raw.tables ?? null) !== null) {
    throw invalidArgument(
      "tables and schemas cannot both be given",
      "Name the tables of those schemas in tables.",
    );
  }
  return {
    schemas,
    exclude: (optionalNames(raw, "exclude_tables") ?? []).map(tablePattern),
    skip_unsuitable: (raw.skip_unsuitable ?? null) === null ? false : flag(raw, "skip_unsuitable"),
  };
}
