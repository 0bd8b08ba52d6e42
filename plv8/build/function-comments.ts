import type { Declaration } from "./declarations.ts";

/**
 * What sql/comments/ says of a function:
 *
 *     comment on function steep_repl.name is $doc$
 *     The summary, one paragraph: what \df+ shows.
 *
 *     More paragraphs, in Markdown.
 *     @arg name  what the argument means; continued on further lines
 *     @column name  a column of the result
 *     @returns  what a single value, or the row, is
 *     @error 22023  when
 *     @example
 *     SELECT ...;
 *     $doc$;
 */
export interface FunctionComment {
  readonly name: string;
  readonly summary: string;
  readonly text: string;
  readonly args: ReadonlyMap<string, string>;
  readonly columns: ReadonlyMap<string, string>;
  readonly returns: string;
  readonly errors: readonly (readonly [sqlstate: string, when: string])[];
  readonly example: string;
}

const statement = /^comment on function steep_repl\.(\w+) is \$doc\$\n(.*?)^\$doc\$;$/gms;

const oneLine = (text: string) => text.trim().replace(/\s+/g, " ");

/** Each tag of one kind: what it is about, and behind two spaces what is said of it. */
function tagsOf(body: string, kind: string): readonly (readonly [string, string])[] {
  const tags = body.matchAll(new RegExp(`^@${kind} +(\\S.*?)  +(.*?)(?=^@|(?![\\s\\S]))`, "gms"));
  return [...tags].map(([, first = "", rest = ""]) => [first, oneLine(rest)] as const);
}

function commentOf(name: string, body: string): FunctionComment {
  const prose = body.split(/^@/m)[0] ?? "";
  const [summary = "", ...text] = prose.trim().split(/\n\n+/);
  return {
    name,
    summary: oneLine(summary),
    text: text.join("\n\n").trim(),
    args: new Map(tagsOf(body, "arg")),
    columns: new Map(tagsOf(body, "column")),
    returns: oneLine(/^@returns +(.*?)(?=^@)/ms.exec(body)?.[1] ?? ""),
    errors: tagsOf(body, "error"),
    example: (/^@example\n(.*)$/ms.exec(body)?.[1] ?? "").trim(),
  };
}

/** The comments of a file of sql/comments/, in its order. */
export function commentsIn(sql: string): readonly FunctionComment[] {
  return [...sql.matchAll(statement)].map(([, name = "", body = ""]) => commentOf(name, body));
}

/** The same file as the extension's script has it: each function's summary, as PostgreSQL takes it. */
export function withShortComments(sql: string, declarations: readonly Declaration[]): string {
  return sql.replace(statement, (_, name: string, body: string) => {
    const types = declarations.find((d) => d.name === name)?.args.map((a) => a.type);
    if (types === undefined) throw new Error(`sql/comments: there is no function ${name}`);
    const summary = commentOf(name, body).summary.replaceAll("'", "''");
    return `comment on function steep_repl.${name}(${types.join(", ")}) is '${summary}';`;
  });
}

/** What a comment leaves out, or says of nothing: none for one that is complete. */
export function gapsOf(comment: FunctionComment, declaration: Declaration): readonly string[] {
  const compare = (kind: string, names: readonly string[], said: ReadonlyMap<string, string>) => [
    ...names.filter((name) => !said.get(name)).map((name) => `${kind} ${name} is not described`),
    ...[...said.keys()]
      .filter((name) => !names.includes(name))
      .map((name) => `there is no ${kind} ${name}`),
  ];
  return [
    ...(comment.summary ? [] : ["there is no summary"]),
    ...compare(
      "argument",
      declaration.args.map((a) => a.name),
      comment.args,
    ),
    ...compare(
      "column",
      declaration.columns.map((c) => c.name),
      comment.columns,
    ),
    ...(comment.returns || declaration.columns.length > 0 ? [] : ["the result is not described"]),
    ...(comment.errors.length > 0 ? [] : ['there is no @error; say "@error none  why" if none']),
    ...(comment.example ? [] : ["there is no example"]),
  ];
}
