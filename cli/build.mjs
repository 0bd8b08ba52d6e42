// Bundles the command line into one file that needs no node_modules, beside the package that it is installed from: its
// package.json, its manual page, and the licenses of what is in the bundle.
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { lazyPackages } from "./lazy-packages.mjs";
import { licensesOf } from "./licenses.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const out = `${root}build/cli`;
const control = readFileSync(`${root}steep_repl.control`, "utf8");
const version = /^default_version *= *'(.*)'/m.exec(control)?.[1];
if (version === undefined) throw new Error("no default_version in steep_repl.control");

const common = {
  absWorkingDir: root,
  bundle: true,
  // what is imported lazily is evaluated only when it is needed, in a bundle of this format
  format: "cjs",
  platform: "node",
  target: "node20",
  legalComments: "none",
  // only with bindings of C, which we do not have; and node-postgres' own search for passwords
  external: ["pg-native", "pgpass", "@colors/colors", "cloudflare:sockets"],
  define: { STEEP_VERSION: JSON.stringify(version) },
  logLevel: "warning",
};

mkdirSync(out, { recursive: true });
const lazyInputs = [];
const { metafile } = await build({
  ...common,
  entryPoints: [`${root}cli/main.ts`],
  outfile: `${out}/steep-repl.cjs`,
  minifySyntax: true,
  minifyWhitespace: true,
  banner: { js: "#!/usr/bin/env node" },
  plugins: [lazyPackages(common, lazyInputs)],
  metafile: true,
});
chmodSync(`${out}/steep-repl.cjs`, 0o755);
writeFileSync(
  `${out}/LICENSES-OF-OTHERS`,
  licensesOf([...Object.keys(metafile.inputs), ...lazyInputs], root),
);

// the program itself says what the manual has
const pageMaker = `${root}build/tools/man-page.cjs`;
await build({ ...common, entryPoints: [`${root}cli/man-page.ts`], outfile: pageMaker });
writeFileSync(`${out}/steep-repl.1`, createRequire(import.meta.url)(pageMaker).manPage());

const { name, license, engines } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
const manifest = {
  ...{ name, version },
  description: "Copy, compare and merge PostgreSQL databases that have the extension steep_repl",
  keywords: ["postgresql", "replication", "snapshot", "merge", "diff"],
  ...{ license, engines },
  bin: { "steep-repl": "steep-repl.cjs" },
  man: ["./steep-repl.1"],
  files: ["steep-repl.cjs", "steep-repl.1", "LICENSES-OF-OTHERS"],
};
writeFileSync(`${out}/package.json`, `${JSON.stringify(manifest, null, 2)}\n`);
copyFileSync(`${root}LICENSE`, `${out}/LICENSE`);
copyFileSync(`${root}cli/README.md`, `${out}/README.md`);
