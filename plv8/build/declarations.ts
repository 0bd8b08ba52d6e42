/** An argument, or a column of the result, of a function as SQL declares it. */
export interface Parameter {
  readonly name: string;
  readonly type: string;
  /** SQL text; without one the argument is required */
  readonly default?: string;
}

/** The header of a function. */
export interface Declaration {
  readonly name: string;
  readonly args: readonly Parameter[];
  /** such as `boolean`, `steep_repl.snapshots`, or `setof record` */
  readonly returns: string;
  /** of `setof record` and `table (...)` */
  readonly columns: readonly Parameter[];
}

/** Split a list at the commas that stand outside of parentheses, brackets and quotes. */
function splitList(text: string): readonly string[] {
  const items: string[] = [];
  let depth = 0;
  let item = "";
  for (const [part] of text.matchAll(/'[^']*'|[^']/gs)) {
    if (part === "(" || part === "[") depth++;
    if (part === ")" || part === "]") depth--;
    if (part === "," && depth === 0) {
      items.push(item.trim());
      item = "";
    } else item += part;
  }
  return [...items, item.trim()].filter(Boolean);
}

/** The text up to the parenthesis that closes the one before `start`. */
function untilClosed(text: string, start: number): string {
  let depth = 1;
  let at = start;
  while (depth > 0 && at < text.length) {
    if (text[at] === "(") depth++;
    if (text[at] === ")") depth--;
    at++;
  }
  return text.slice(start, at - 1);
}

function parameterOf(text: string): Parameter & { readonly isOut: boolean } {
  const match = /^(out )?(\w+)\s+(.*?)(?:\s+default\s+(.*))?$/s.exec(text);
  const [, out, name = "", type = "", value] = match ?? [];
  return {
    isOut: out !== undefined,
    name,
    type,
    ...(value === undefined ? {} : { default: value }),
  };
}

const plain = ({ isOut: _, ...parameter }: ReturnType<typeof parameterOf>): Parameter => parameter;

/** The headers of the functions that a script creates in schema steep_repl. */
export function declarationsIn(script: string): readonly Declaration[] {
  return [...script.matchAll(/^create function steep_repl\.(\w+)\(/gm)].map((match) => {
    const start = match.index + match[0].length;
    const list = untilClosed(script, start);
    const rest = script.slice(start + list.length + 1);
    const parameters = splitList(list).map(parameterOf);
    const table = /^\s*returns table \(/.exec(rest);
    const returns = /^\s*returns ([\w. [\]]+?)\s+(?:language|rows)\b/.exec(rest)?.[1];
    return {
      name: match[1] ?? "",
      args: parameters.filter((p) => !p.isOut).map(plain),
      returns: table ? "setof record" : (returns ?? "record"),
      columns: table
        ? splitList(untilClosed(rest, table[0].length)).map(parameterOf).map(plain)
        : parameters.filter((p) => p.isOut).map(plain),
    };
  });
}

/** The columns of a table or a type that a script creates, with the type and the comment of each. */
export function tableColumns(
  script: string,
  table: string,
): readonly (Parameter & { readonly comment: string })[] {
  const head = new RegExp(
    `create (?:table steep_repl\\.${table}|type steep_repl\\.${table} as) \\(`,
  ).exec(script);
  if (head === null) throw new Error(`there is neither a table nor a type ${table}`);
  const start = head.index + head[0].length;
  const columns = splitList(untilClosed(script, start)).filter(
    (item) => !/^(constraint|primary key|unique|check|foreign key)\b/.test(item),
  );
  return columns.map((item) => {
    const [, name = "", type = ""] =
      /^(\w+)\s+(.*?)(?=\s+(?:not null|primary key|default|check|generated|references|unique)\b|$)/s.exec(
        item,
      ) ?? [];
    const comment = new RegExp(
      `^comment on column steep_repl\\.${table}\\.${name} is '((?:[^']|'')*)';$`,
      "m",
    ).exec(script)?.[1];
    return { name, type, comment: (comment ?? "").replaceAll("''", "'") };
  });
}
