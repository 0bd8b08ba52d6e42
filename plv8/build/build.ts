/*
 * Writes the extension's script and control file for one engine.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { EngineName } from "./bundle-sql.ts";
import { extensionScript } from "./extension-script.ts";

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

async function main(): Promise<void> {
  const { engine, version, out } = readOptions();
  const script = await extensionScript(engine, version);
  const update = await extensionScript(engine, version, "from-0.1.0");
  mkdirSync(out, { recursive: true });
  writeFileSync(join(out, `steep_repl--${version}.sql`), script);
  writeFileSync(join(out, `steep_repl--0.1.0--${version}.sql`), update);
  writeFileSync(join(out, `steep_repl--${version}.control`), `requires = '${engine}, dblink'\n`);
}

await main();
