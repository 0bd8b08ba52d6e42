import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Texts of licenses that packages name and do not contain. */
const texts = fileURLToPath(new URL("licenses/", import.meta.url));

/** The licenses of the packages that are part of a bundle, as they ask for; INPUTS are esbuild's, below ROOT. */
export function licensesOf(inputs, root) {
  const files = new Map();
  for (const path of inputs) {
    const directory = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0];
    if (directory) files.set(directory, [...(files.get(directory) ?? []), `${root}${path}`]);
  }
  return [...files.keys()]
    .sort()
    .map((path) => licenseOf(`${root}${path}`, files.get(path)))
    .join(`\n${"-".repeat(80)}\n\n`);
}

function licenseOf(directory, files) {
  const { name, version, license } = JSON.parse(readFileSync(`${directory}/package.json`, "utf8"));
  const file = readdirSync(directory).find((entry) => /^licen[cs]e/i.test(entry));
  const words = file ? readFileSync(`${directory}/${file}`, "utf8") : withoutFile(license, files);
  if (license === undefined && words.trim() === "") throw new Error(`${name} has no license`);
  return `${name} ${version} (${license})\n\n${words.trim()}\n`;
}

/** What the files say of their copyright, and the text of the license that they name. */
function withoutFile(license = "", files) {
  const notices = new Set(files.flatMap((file) => noticesIn(readFileSync(file, "utf8"))));
  const named = license.match(/[\w.-]+/g)?.filter((id) => existsSync(`${texts}${id}.txt`)) ?? [];
  return [...notices, ...named.map((id) => readFileSync(`${texts}${id}.txt`, "utf8"))].join("\n\n");
}

/** The comments at the beginning of a file that are about copyright, without their slashes. */
function noticesIn(text) {
  const comments = text.match(/^(?:\/\/.*\n)+/gm) ?? [];
  return comments
    .filter((comment) => /copyright/i.test(comment))
    .map((comment) => comment.replace(/^\/\/ ?/gm, "").trim());
}
