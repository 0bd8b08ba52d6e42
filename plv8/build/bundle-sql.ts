import { build } from "esbuild";

export type EngineName = "plv8" | "pljs";

/** Bundle TypeScript into one script that answers an object with `dispatch`. */
export async function bundle(version: string): Promise<string> {
  const result = await build({
    entryPoints: ["plv8/main.ts"],
    bundle: true,
    write: false,
    format: "iife",
    globalName: "steepReplBundle",
    target: "es2020",
    charset: "ascii",
    define: { STEEP_VERSION: JSON.stringify(version) },
    logLevel: "warning",
  });
  const file = result.outputFiles[0];
  if (file === undefined) {
    throw new Error("esbuild wrote nothing");
  }
  return file.text;
}

/**
 * The one JavaScript function. The bundle is evaluated once per session and
 * role and kept on `globalThis`; PL/JS wipes that whenever a function is
 * created, so its absence just means evaluating again. What it answers is made a
 * string: a caller can put anything in its place, and PL/JS takes no other value for a text.
 */
export function bundleSql(script: string, engine: EngineName, version: string): string {
  const tag = "$steep_repl_bundle$";
  if (script.includes(tag)) {
    throw new Error(`the bundle contains ${tag}`);
  }
  return `create function steep_repl._js(fn text, args text) returns text
language ${engine} volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as ${tag}
if (globalThis.steepRepl === undefined || globalThis.steepRepl.version !== ${JSON.stringify(version)}) {
${script}
globalThis.steepRepl = { version: ${JSON.stringify(version)}, dispatch: steepReplBundle.dispatch };
}
return "" + globalThis.steepRepl.dispatch(fn, args);
${tag};
comment on function steep_repl._js(text, text) is 'private: the bundled TypeScript; one string in, one string out';
`;
}
