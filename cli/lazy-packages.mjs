// Packages that few commands need are in the bundle as texts, which are compiled when one of them is imported: else each command would
// pay for reading them.
import { build } from "esbuild";

/** Those that belong together, as there must be one of each at run time, with all that is imported of them. */
const sets = {
  rpc: [
    ...["@bufbuild/protobuf", "@bufbuild/protobuf/codegenv2", "@bufbuild/protobuf/wkt"],
    ...["@connectrpc/connect", "@connectrpc/connect-node"],
  ],
  certificates: ["reflect-metadata", "@peculiar/x509"],
  yaml: ["yaml"],
};

const setOf = new Map(Object.entries(sets).flatMap(([set, names]) => names.map((n) => [n, set])));
const packageOf = (name) =>
  name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/");
const packages = new Set([...setOf.keys()].map(packageOf));

/** What is bundled as text is added to `inputs`, for its licenses. */
export function lazyPackages(options, inputs) {
  const textOf = async (set) => {
    const contents = sets[set].map((name, i) => `export * as m${i} from "${name}";`).join("\n");
    const { outputFiles, metafile } = await build({
      ...options,
      stdin: { contents, resolveDir: options.absWorkingDir },
      write: false,
      metafile: true,
      minifySyntax: true,
      minifyWhitespace: true,
    });
    inputs.push(...Object.keys(metafile.inputs).filter((file) => file !== "<stdin>"));
    return outputFiles[0].text;
  };
  return {
    name: "lazy-packages",
    setup(building) {
      building.onResolve({ filter: /^[@\w]/ }, ({ path, importer }) => {
        if (!packages.has(packageOf(path)) || importer.includes("node_modules")) return undefined;
        return setOf.has(path)
          ? { path, namespace: "lazy" }
          : { errors: [{ text: `${path}: name it in cli/lazy-packages.mjs` }] };
      });
      building.onResolve({ filter: /^text:/ }, ({ path }) => ({ path, namespace: "lazy-text" }));
      building.onLoad({ filter: /.*/, namespace: "lazy" }, ({ path }) => {
        const set = setOf.get(path);
        return {
          contents: `module.exports = require("text:${set}").m${sets[set].indexOf(path)};`,
          loader: "js",
        };
      });
      building.onLoad({ filter: /.*/, namespace: "lazy-text" }, async ({ path }) => ({
        contents: `
          const made = { exports: {} };
          new (require("node:vm").Script)("(function (module, exports, require) {" + ${JSON.stringify(await textOf(path.slice(5)))} + "\\n})", { filename: ${JSON.stringify(path)} })
            .runInThisContext()(made, made.exports, require);
          module.exports = made.exports;`,
        loader: "js",
        resolveDir: options.absWorkingDir,
      }));
    },
  };
}
