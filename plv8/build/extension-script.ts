import { readFileSync } from "node:fs";
import { join } from "node:path";
import { publicFunctions } from "../api/index.ts";
import { bundle, bundleSql, type EngineName } from "./bundle-sql.ts";
import { functionSql } from "./function-sql.ts";
import { jobKindSql } from "./job-kinds.ts";
import { settingsSql } from "./settings-sql.ts";
import { sqlAfter, sqlBefore } from "./sql-files.ts";

const handWritten = (files: readonly string[]): readonly string[] =>
  files.map((file) => {
    const text = readFileSync(join("sql", file), "utf8");
    return file === "jobs/kind.sql" ? jobKindSql(text) : text;
  });

/**
 * The extension's script for one engine: the files of sql/ in their order, with the
 * bundle and the generated functions in between.
 */
export async function extensionScript(engine: EngineName, version: string): Promise<string> {
  const placeholders = Object.entries({ ...settingsSql, "@VERSION@": version });
  const script = [
    ...handWritten(sqlBefore),
    bundleSql(await bundle(version), engine, version),
    ...publicFunctions.map(functionSql),
    ...handWritten(sqlAfter),
  ].join("\n");
  return placeholders.reduce((text, [name, value]) => text.replaceAll(name, value), script);
}
