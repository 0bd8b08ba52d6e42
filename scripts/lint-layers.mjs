#!/usr/bin/env node
/*
 * Which folder may use which: the layers below, lowest last. A file uses files of its own folder and of those
 * that stand in its folder's line; no files use each other in a circle. Folders that are not named may use nothing
 * and be used by nothing, so that a new one is put into the table.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, normalize, relative } from "node:path";

const layers = {
  "bgworker-c": {
    ".": "session workers snapshot apply fetch compare merge pair jobs base",
    session: "peer snapshot apply fetch compare merge jobs files toc base",
    workers: "snapshot apply fetch compare merge jobs files base",
    snapshot: "jobs toc files frames text base",
    apply: "jobs toc files frames text base",
    fetch: "jobs peer files base",
    merge: "jobs text base",
    compare: "jobs text base",
    pair: "jobs base",
    jobs: "files base",
    toc: "base",
    files: "base",
    frames: "base",
    peer: "base",
    text: "base",
    base: "",
  },
  plv8: {
    ".": "api fetch merge overlap pair shared db",
    build: "api shared",
    api: "snapshot apply fetch schema overlap merge pair watch shared db",
    merge: "overlap shared db",
    snapshot: "shared db",
    apply: "shared db",
    fetch: "shared db",
    schema: "shared db",
    overlap: "shared db",
    pair: "shared db",
    watch: "shared db",
    shared: "db",
    db: "",
  },
};

/** What a file uses: the paths that it imports or includes, of files of ours. */
function usesOf(root, file) {
  const text = readFileSync(join(root, file), "utf8");
  if (file.endsWith(".ts")) {
    const imports = text.matchAll(/^(?:import|export)\b[^;]*?\bfrom\s+"(\.[^"]+)"/gms);
    return [...imports].map(([, path]) => normalize(join(dirname(file), path)));
  }
  return [...text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)]
    .map(([, path]) => normalize(path))
    .filter((path) => existsSync(join(root, path)));
}

function filesOf(root) {
  return readdirSync(root, { recursive: true })
    .map((file) => normalize(file))
    .filter((file) => /\.(ts|[ch])$/.test(file) && !file.includes("node_modules"));
}

/** What a header declares is what the file of its name defines: both are one. */
const unit = (file) => join(dirname(file), basename(file).replace(/\.[ch]$/, ""));

/** The first circle that can be reached, as the names along it. */
function circleIn(graph) {
  const done = new Set();
  const visit = (at, way) => {
    if (way.includes(at)) return [...way.slice(way.indexOf(at)), at];
    if (done.has(at)) return undefined;
    for (const next of graph.get(at) ?? []) {
      const circle = visit(next, [...way, at]);
      if (circle) return circle;
    }
    done.add(at);
    return undefined;
  };
  for (const start of graph.keys()) {
    const circle = visit(start, []);
    if (circle) return circle;
  }
  return undefined;
}

const problems = [];
for (const [root, allowed] of Object.entries(layers)) {
  const graph = new Map();
  for (const file of filesOf(root)) {
    const folder = dirname(file);
    if (!(folder in allowed)) problems.push(`${root}/${file}: folder ${folder} is in no layer`);
    for (const used of usesOf(root, file)) {
      const target = dirname(used);
      if (target !== folder && !(allowed[folder] ?? "").split(" ").includes(target)) {
        problems.push(
          `${root}/${file}: ${folder} may not use ${target} (${relative(".", join(root, used))})`,
        );
      }
      if (unit(used) !== unit(file))
        graph.set(unit(file), [...(graph.get(unit(file)) ?? []), unit(used)]);
    }
  }
  const circle = circleIn(graph);
  if (circle) problems.push(`${root}: a circle: ${circle.join(" -> ")}`);
}
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
