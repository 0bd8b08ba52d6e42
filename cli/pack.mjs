import { brotliCompressSync, constants } from "node:zlib";
import { build } from "esbuild";

/*
 * Packages that most commands do not need, compressed within the one file. Node.js looks at every byte of a program
 * when it starts: with these in plain text, --version takes a quarter longer.
 */
const packages = [
  ...["@bufbuild/protobuf", "@bufbuild/protobuf/codegenv2", "@bufbuild/protobuf/wkt"],
  ...["@connectrpc/connect", "@connectrpc/connect-node"],
  ...["@peculiar/x509", "reflect-metadata", "yaml"],
];

/** Unpacks when the first of the packages is needed; each is evaluated when it is. */
const unpacker = (data) => `
  const { brotliDecompressSync } = require("node:zlib");
  const { compileFunction } = require("node:vm");
  let packages;
  function unpack() {
    const code = brotliDecompressSync(Buffer.from("${data}", "base64")).toString();
    const filename = __filename + ":packed";
    const unpacked = {};
    compileFunction(code, ["exports", "require"], { filename })(unpacked, require);
    return unpacked;
  }
  exports.load = (name) => (packages ??= unpack())[name]();`;

/** The packages as one program, whose exports are functions that evaluate them. */
async function bundle(options) {
  const contents = packages
    .map((name) => `exports["${name}"] = () => require("${name}");`)
    .join("");
  const { metafile, outputFiles } = await build({
    ...options,
    stdin: { contents, resolveDir: options.absWorkingDir },
    minify: true,
    metafile: true,
    write: false,
  });
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11 };
  const data = brotliCompressSync(outputFiles[0].contents, { params }).toString("base64");
  return { inputs: Object.keys(metafile.inputs), data };
}

/** A plugin of esbuild that has imports of the packages unpack them, and the files that are packed. */
export async function packedPackages(options) {
  const { inputs, data } = await bundle(options);
  const names = packages.map((name) => name.replaceAll("/", "\\/")).join("|");
  return {
    inputs,
    plugin: {
      name: "packed",
      setup({ onResolve, onLoad }) {
        onResolve({ filter: new RegExp(`^(${names}|steep:unpacker)$`) }, ({ path }) => ({
          ...{ path, namespace: "packed" },
        }));
        onLoad({ filter: /./, namespace: "packed" }, ({ path }) => ({
          contents:
            path === "steep:unpacker"
              ? unpacker(data)
              : `module.exports = require("steep:unpacker").load("${path}");`,
        }));
      },
    },
  };
}
