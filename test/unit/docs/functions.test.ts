import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { declarationsIn, tableColumns } from "../../../plv8/build/declarations.ts";
import {
  extensionScript,
  functionsMarkdown,
  publicDeclarations,
} from "../../../plv8/build/extension-script.ts";
import { commentsIn, gapsOf, withShortComments } from "../../../plv8/build/function-comments.ts";
import { commentFiles } from "../../../plv8/build/sql-files.ts";
import { inProject } from "../../support/pg.ts";

const comments = Object.keys(commentFiles).flatMap((file) =>
  commentsIn(readFileSync(inProject("sql", file), "utf8")),
);

describe("docs/functions.md", () => {
  test("is what make docs writes", () => {
    expect(readFileSync(inProject("docs/functions.md"), "utf8")).toBe(functionsMarkdown());
  });

  test.each(publicDeclarations().map((d) => [d.name, d] as const))(
    "describes %s: arguments, result, errors, example",
    (name, declaration) => {
      const found = comments.filter((comment) => comment.name === name);
      expect(found).toHaveLength(1);
      expect(found.flatMap((comment) => gapsOf(comment, declaration))).toEqual([]);
    },
  );

  test("describes nothing that is not there", () => {
    const names = publicDeclarations().map((d) => d.name);
    expect(comments.filter((comment) => !names.includes(comment.name))).toEqual([]);
  });

  test("describes each column of the rows that functions return", async () => {
    const script = await extensionScript("pljs", "1.2.3");
    const tables = new Set(
      publicDeclarations().flatMap((d) => /steep_repl\.(\w+)$/.exec(d.returns)?.[1] ?? []),
    );
    const silent = [...tables].flatMap((table) =>
      tableColumns(script, table)
        .filter((column) => column.name === "" || column.type === "" || column.comment === "")
        .map((column) => `${table}.${column.name}`),
    );
    expect(tables.size).toBeGreaterThan(4);
    expect(silent).toEqual([]);
    for (const table of tables) expect(functionsMarkdown()).toContain(`### Rows of ${table}\n`);
  });
});

describe("a comment", () => {
  const [declaration] = declarationsIn(`create function steep_repl.greet(
  who text, times int default greatest(1, 2), out greeting text) returns setof record
language sql as ''`);
  const sql = `comment on function steep_repl.greet is $doc$
Greets, it's
said.

More.
@arg who  Whom to
  greet.
@arg times  How many times.
@column greeting  What to say.
@error 22023  Nobody is there.
@example
SELECT 1;
$doc$;
`;

  test("is read into its parts", () => {
    expect(declaration).toEqual({
      name: "greet",
      args: [
        { name: "who", type: "text" },
        { name: "times", type: "int", default: "greatest(1, 2)" },
      ],
      returns: "setof record",
      columns: [{ name: "greeting", type: "text" }],
    });
    const [comment] = commentsIn(sql);
    expect(comment).toMatchObject({
      summary: "Greets, it's said.",
      text: "More.",
      errors: [["22023", "Nobody is there."]],
      example: "SELECT 1;",
    });
    expect(comment?.args.get("who")).toBe("Whom to greet.");
  });

  test("is its summary in the extension's script", () => {
    expect(withShortComments(sql, declaration ? [declaration] : [])).toBe(
      "comment on function steep_repl.greet(text, int) is 'Greets, it''s said.';\n",
    );
  });

  test.each([
    ["argument who is not described", /@arg who.*\n.*\n/],
    ["column greeting is not described", /@column.*\n/],
    ["there is no @error", /@error.*\n/],
    ["there is no example", /@example\n.*\n/],
    ["there is no summary", /Greets[\s\S]*?More\.\n/],
  ])("that lacks something is found out: %s", (gap, without) => {
    const [comment] = commentsIn(sql.replace(without, ""));
    if (!comment || !declaration) throw new Error("nothing was read");
    expect(gapsOf(comment, declaration)).toEqual([expect.stringContaining(gap)]);
  });

  test("of what is not there is refused", () => {
    expect(() => withShortComments(sql, [])).toThrow("there is no function greet");
    const [comment] = commentsIn(sql.replace("@arg who", "@arg whom"));
    if (!comment || !declaration) throw new Error("nothing was read");
    expect(gapsOf(comment, declaration)).toContain("there is no argument whom");
  });
});
