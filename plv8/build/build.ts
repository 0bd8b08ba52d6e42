/*
 * Writes the extension's script and control file for one engine: the files of
 * sql/ in numeric order, with the bundle and the generated functions before
 * those that are numbered 50 and up.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { publicFunctions } from "../api/index.ts";
import { bundle, bundleSql, type EngineName } from "./bundle-sql.ts";
import { functionSql } from "./function-sql.ts";

interface Options {
  readonly engine: EngineName;
  readonly version: string;
  readonly out: string;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      engine: { type: "string" },
      version: { type: "string" },
      out: { type: "string" },
    },
  });
  const { engine, version, out } = values;
  if ((engine !== "plv8" && engine !== "pljs") || version === undefined || out === undefined) {
    throw new Error("usage: build --engine plv8|pljs --version VERSION --out DIRECTORY");
  }
  return { engine, version, out };
}

/** The hand-written files whose number lies in a range. */
function handWritten(from: number, to: number): readonly string[] {
  return readdirSync("sql")
    .filter((name) => /^\d\d-.*\.sql$/.test(name))
    .filter((name) => Number(name.slice(0, 2)) >= from && Number(name.slice(0, 2)) < to)
    .sort()
    .map((name) => readFileSync(join("sql", name), "utf8"));
}

async function main(): Promise<void> {
  const { engine, version, out } = readOptions();
  const script = [
    ...handWritten(0, 50),
    bundleSql(await bundle(version), engine, version),
    ...publicFunctions.map(functionSql),
    ...handWritten(50, 100),
  ]
    .join("\n")
    .replaceAll("@VERSION@", version);
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `steep_repl--${version}.sql`), script);
  writeFileSync(join(out, `steep_repl--${version}.control`), `requires = '${engine}, dblink'\n`);
}

await main();
