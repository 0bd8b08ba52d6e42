import { readFileSync } from "node:fs";
import { join } from "node:path";
import { publicFunctions } from "../api/index.ts";
import { bundle, bundleSql, type EngineName } from "./bundle-sql.ts";
import { type Declaration, declarationsIn } from "./declarations.ts";
import { withShortComments } from "./function-comments.ts";
import { functionSql } from "./function-sql.ts";
import { functionsPage } from "./functions-page.ts";
import { jobKindSql } from "./job-kinds.ts";
import { settingsSql } from "./settings-sql.ts";
import { commentFiles, scriptEnds, sqlAfter, sqlBefore, sqlEnd } from "./sql-files.ts";

function readSql(file: string): string {
  const text = readFileSync(join("sql", file), "utf8");
  return file === "jobs/kind.sql" ? jobKindSql(text) : text;
}

const handWritten = (files: readonly string[]): readonly string[] => files.map(readSql);

/** All but the bundle and the comments on functions: every declaration is here. */
function declaringScript(): string {
  return [
    ...handWritten(sqlBefore),
    ...publicFunctions.map(functionSql),
    ...handWritten(sqlAfter),
    ...handWritten(sqlEnd),
  ].join("\n");
}

/** The functions that users call, as they are declared. */
export function publicDeclarations(): readonly Declaration[] {
  return declarationsIn(declaringScript()).filter(({ name }) => !name.startsWith("_"));
}

/** docs/functions.md, from the declarations and the files of sql/comments/. */
export function functionsMarkdown(): string {
  const sections = Object.entries(commentFiles).map(([file, title]) => ({
    title,
    sql: readSql(file),
  }));
  return functionsPage(sections, publicDeclarations(), declaringScript());
}

/**
 * A script of the extension for one engine: the files of sql/ in their order, with the
 * bundle and the generated functions in between.
 */
export async function extensionScript(
  engine: EngineName,
  version: string,
  kind: keyof typeof scriptEnds = "install",
): Promise<string> {
  const { before, after } = scriptEnds[kind];
  const placeholders = Object.entries({ ...settingsSql, "@VERSION@": version });
  const script = [
    ...handWritten([...before, ...sqlBefore]),
    bundleSql(await bundle(version), engine, version),
    ...publicFunctions.map(functionSql),
    ...handWritten(sqlAfter),
    ...handWritten(Object.keys(commentFiles)).map((sql) =>
      withShortComments(sql, publicDeclarations()),
    ),
    ...handWritten([...sqlEnd, ...after]),
  ].join("\n");
  return placeholders.reduce((text, [name, value]) => text.replaceAll(name, value), script);
}
