import { beforeAll, describe, expect, test } from "vitest";
import { extensionScript } from "../../../plv8/build/extension-script.ts";

/*
 * Rules for the extension's script, which a superuser runs in a database that others have prepared:
 * nothing of theirs may be taken for ours. The catalogs say the rest, in catalog.test.ts.
 */
describe.each(["plv8", "pljs"] as const)("the script for %s", (engine) => {
  let statements: readonly string[];
  beforeAll(async () => {
    statements = split(await extensionScript(engine, "1.2.3"));
  });

  /** Statements of the script that break a rule, shortened. */
  const breaking = (rule: (sql: string) => boolean) =>
    statements.filter(rule).map((sql) => sql.slice(0, 120));

  test("has statements to look at", () => {
    expect(statements.filter((sql) => sql.startsWith("create function")).length).toBeGreaterThan(
      100,
    );
  });

  test("replaces nothing, and takes nothing that is there for its own", () => {
    expect(
      breaking((sql) => /^create or replace|^create .* if not exists/i.test(head(sql))),
    ).toEqual([]);
  });

  test("has no function with other rights than its caller's", () => {
    expect(
      breaking((sql) => /^create function/.test(sql) && /\bsecurity definer\b/i.test(head(sql))),
    ).toEqual([]);
  });

  test("names the schema of whatever it makes", () => {
    const made =
      /^create (?:unique )?(function|table|view|type|sequence|domain|aggregate|procedure) (.*)/;
    expect(
      breaking((sql) => (made.exec(head(sql))?.[2]?.startsWith("steep_repl.") ?? true) === false),
    ).toEqual([]);
    // an index, a policy and a trigger belong to a table
    const on = /^create (?:unique )?(index|policy|trigger) .*? on (\S+)/s;
    expect(
      breaking((sql) => (on.exec(head(sql))?.[2]?.startsWith("steep_repl.") ?? true) === false),
    ).toEqual([]);
  });

  test("pins the search_path of each function that is not in C", () => {
    expect(
      breaking(
        (sql) =>
          /^create function/.test(sql) &&
          !/\blanguage c\b/.test(head(sql)) &&
          !/set search_path = pg_catalog, pg_temp\b/.test(head(sql)),
      ),
    ).toEqual([]);
  });

  test("begins each statement in a way that these rules know", () => {
    const known =
      /^(create (function|schema|table|view|type|(unique )?index|policy|trigger)|comment on|alter (table|function)|grant|revoke|do|select pg_catalog\.)/;
    expect(breaking((sql) => !known.test(sql))).toEqual([]);
  });

  test("runs no code with a search_path that others may have a share in", () => {
    const calls = statements
      .filter((sql) => sql.startsWith("do "))
      .flatMap((sql) => [...sql.matchAll(/(?<![.\w])([a-z_]+)\(/g)].map(([, name]) => name));
    expect(
      calls.filter((name) => !["coalesce", "nullif", "operator"].includes(name ?? "")),
    ).toEqual([]);
    // an operator without its schema, but for the options of RAISE
    const bodies = statements
      .filter((sql) => sql.startsWith("do "))
      .map((sql) => sql.replace(/\b(errcode|detail|hint|message) = /g, ""));
    expect(bodies.filter((sql) => /\s(=|<>|<|>|\|\||~)\s/.test(sql))).toEqual([]);
  });
});

/** The statement without bodies of functions, comments and literals. */
function head(sql: string): string {
  return sql
    .replace(/\$(\w*)\$.*?\$\1\$/gs, "$$")
    .replace(/'(?:[^']|'')*'/g, "''")
    .replace(/--[^\n]*/g, "")
    .replace(/\s+/g, " ");
}

/** A script's statements; semicolons within quotes, comments and bodies end none. */
function split(script: string): string[] {
  // a body in SQL's own syntax goes with its function, as one in quotes does
  const token =
    /\$(\w*)\$.*?\$\1\$|\bbegin atomic\n.*?\nend(?=;)|'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|;|[^;]/gs;
  const statements: string[] = [];
  let statement = "";
  for (const [part] of script.replace(/^\\echo.*$/m, "").matchAll(token)) {
    if (part === ";") {
      statements.push(statement.trim());
      statement = "";
    } else if (!part.startsWith("--")) statement += part;
  }
  if (statement.trim() !== "") statements.push(statement.trim());
  return statements;
}
