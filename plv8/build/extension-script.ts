import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { publicFunctions } from "../api/index.ts";
import { bundle, bundleSql, type EngineName } from "./bundle-sql.ts";
import { functionSql } from "./function-sql.ts";
import { settingsSql } from "./settings-sql.ts";

/** The hand-written files whose number lies in a range. */
function handWritten(from: number, to: number): readonly string[] {
  return readdirSync("sql")
    .filter((name) => /^\d\d-.*\.sql$/.test(name))
    .filter((name) => Number(name.slice(0, 2)) >= from && Number(name.slice(0, 2)) < to)
    .sort()
    .map((name) => readFileSync(join("sql", name), "utf8"));
}

/**
 * The extension's script for one engine: the files of sql/ in numeric order,
 * with the bundle and the generated functions before those that are numbered
 * 50 and up.
 */
export async function extensionScript(engine: EngineName, version: string): Promise<string> {
  const placeholders = Object.entries({ ...settingsSql, "@VERSION@": version });
  const script = [
    ...handWritten(0, 50),
    bundleSql(await bundle(version), engine, version),
    ...publicFunctions.map(functionSql),
    ...handWritten(50, 100),
  ].join("\n");
  return placeholders.reduce((text, [name, value]) => text.replaceAll(name, value), script);
}
