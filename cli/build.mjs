// Bundles the command line into one file that needs no node_modules, beside the package.json to install it by.
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = `${root}build/cli`;
const control = readFileSync(`${root}steep_repl.control`, "utf8");
const version = /^default_version *= *'(.*)'/m.exec(control)?.[1];
if (version === undefined) throw new Error("no default_version in steep_repl.control");

mkdirSync(out, { recursive: true });
await build({
  entryPoints: [`${root}cli/main.ts`],
  outfile: `${out}/steep-repl.cjs`,
  bundle: true,
  // what is imported lazily is evaluated only when it is needed, in a bundle of this format
  format: "cjs",
  platform: "node",
  target: "node20",
  minifySyntax: true,
  minifyWhitespace: true,
  legalComments: "none",
  // only with bindings of C, which we do not have; and node-postgres' own search for passwords
  external: ["pg-native", "pgpass", "@colors/colors", "cloudflare:sockets"],
  banner: { js: "#!/usr/bin/env node" },
  define: { STEEP_VERSION: JSON.stringify(version) },
  logLevel: "warning",
});
chmodSync(`${out}/steep-repl.cjs`, 0o755);

const { name, license, engines } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
const manifest = { name, version, license, engines, bin: { "steep-repl": "steep-repl.cjs" } };
writeFileSync(`${out}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
