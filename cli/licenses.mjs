import { existsSync, readdirSync, readFileSync } from "node:fs";

/** The licenses of the packages that are part of a bundle, as they ask for; INPUTS are esbuild's, below ROOT. */
export function licensesOf(inputs, root) {
  const found = inputs.map((path) => /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  const packages = [...new Set(found.filter((path) => path !== undefined))].sort();
  return packages.map((path) => licenseOf(`${root}${path}`)).join(`\n${"-".repeat(80)}\n\n`);
}

function licenseOf(directory) {
  const { name, version, license } = JSON.parse(readFileSync(`${directory}/package.json`, "utf8"));
  const file = readdirSync(directory).find((entry) => /^licen[cs]e/i.test(entry));
  const words =
    file && existsSync(`${directory}/${file}`) ? readFileSync(`${directory}/${file}`, "utf8") : "";
  if (license === undefined && words === "") throw new Error(`${name} has no license`);
  return `${name} ${version} (${license})\n\n${words.trim()}\n`;
}
