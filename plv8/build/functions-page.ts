import { type Declaration, type Parameter, tableColumns } from "./declarations.ts";
import { commentsIn, type FunctionComment } from "./function-comments.ts";

/** A file of sql/comments/, with the title of its section. */
export interface Section {
  readonly title: string;
  readonly sql: string;
}

/** Tables whose rows functions return. */
const resultTables = [
  ...["nodes", "replication_state", "snapshots", "pairs", "overlaps", "merges", "merge_conflicts"],
  "work_queue",
];

const intro = `# Functions

<!-- Made by \`make docs\` from the declarations in plv8/api/ and sql/ and the comments in sql/comments/. -->

All functions are in schema \`steep_repl\`. In psql, \`\\df+ steep_repl.*\` shows the summaries below.
Functions whose names begin with an underscore are private and may change in any version.

Functions run with the rights of the role that calls them. A function whose name begins with \`start_\`
queues a job and returns its row at once; the job starts when the transaction commits. Tables are
named \`schema.table\`, and each part is quoted where SQL would quote it.

A **peer** is given in one of three ways:

- the \`node_id\` of a node that you, or a superuser, registered;
- the name of a server of \`dblink_fdw\` or \`postgres_fdw\` that you may use;
- a libpq connection string.

A foreign server is the best choice for a password: its user mapping holds it. A connection string
is part of your own statement, so \`pg_stat_activity\` and the server log may show it.

The following errors are common to many functions and are not repeated below:

| SQLSTATE | condition |
|---|---|
| 42501 | The caller has no USAGE on schema \`steep_repl\`, or lacks a privilege on its tables; see [roles](roles.md). |
| 55000 | A function that queues a job: steep_repl is not in \`shared_preload_libraries\`, or the launcher is not running (for example, on a standby). The hint says which. |
| 0A000 | \`PREPARE TRANSACTION\` of a transaction that has queued a job. |
| 57014 | The statement was cancelled, or ran into \`statement_timeout\`. |
| 08001, 08006 | A function that connects to a peer: it could not be reached, or the connection was lost. |
`;

const cell = (text: string) => text.replaceAll("|", "\\|");

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return "";
  const line = (cells: readonly string[]) => `| ${cells.map(cell).join(" | ")} |`;
  return [line(head), `|${"---|".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

function synopsis({ name, args, returns }: Declaration): string {
  const list = args.map((a) => `${a.name} ${a.type}${a.default ? ` DEFAULT ${a.default}` : ""}`);
  return `\`${name} (${list.join(", ")}) → ${returns}\``;
}

const defaultOf = (argument: Parameter) =>
  argument.default === undefined ? "required" : `\`${argument.default}\``;

function resultText(comment: FunctionComment, { returns }: Declaration): string {
  const [, row] = /steep_repl\.(\w+)$/.exec(returns) ?? [];
  const link = row ? ` Columns: [${row}](#rows-of-${row}).` : "";
  return comment.returns ? `**Result.** ${comment.returns}${link}` : "";
}

function entry(comment: FunctionComment, declaration: Declaration): string {
  const args = declaration.args.map((a) => [
    `\`${a.name}\``,
    a.type,
    defaultOf(a),
    comment.args.get(a.name) ?? "",
  ]);
  const columns = declaration.columns.map((c) => [
    `\`${c.name}\``,
    c.type,
    comment.columns.get(c.name) ?? "",
  ]);
  return [
    `### ${comment.name}`,
    synopsis(declaration),
    comment.summary,
    comment.text,
    table(["argument", "type", "default", "meaning"], args),
    resultText(comment, declaration),
    table(["result column", "type", "meaning"], columns),
    table(
      ["SQLSTATE", "error"],
      comment.errors.filter(([sqlstate]) => sqlstate !== "none").map(([s, when]) => [s, when]),
    ),
    `\`\`\`sql\n${comment.example}\n\`\`\``,
  ]
    .filter(Boolean)
    .join("\n\n");
}

function rowsOf(script: string, name: string): string {
  const rows = tableColumns(script, name).map((c) => [`\`${c.name}\``, c.type, c.comment]);
  return `### Rows of ${name}\n\n${table(["column", "type", "meaning"], rows)}`;
}

/** docs/functions.md. */
export function functionsPage(
  sections: readonly Section[],
  declarations: readonly Declaration[],
  script: string,
): string {
  const declarationOf = (name: string) => {
    const found = declarations.find((d) => d.name === name);
    if (found === undefined) throw new Error(`sql/comments: there is no function ${name}`);
    return found;
  };
  const contents = sections.map(({ title, sql }) => {
    const names = commentsIn(sql).map(({ name }) => `[${name}](#${name})`);
    return `- ${title}: ${names.join(", ")}`;
  });
  const parts = sections.map(
    ({ title, sql }) =>
      `## ${title}\n\n${commentsIn(sql)
        .map((comment) => entry(comment, declarationOf(comment.name)))
        .join("\n\n")}`,
  );
  const rows = `## Rows\n\nColumns of the tables whose rows the functions above return. New versions may add columns at the end.\n\n${resultTables
    .map((name) => rowsOf(script, name))
    .join("\n\n")}`;
  return `${[intro, contents.join("\n"), ...parts, rows].join("\n\n")}\n`.replace(
    /\n{3,}/g,
    "\n\n",
  );
}
