#!/usr/bin/env node
/*
 * Print the metadata of a release for PGXN: META.in.json, with the version that steep_repl.control has.
 */
import { readFileSync } from "node:fs";

const read = (file) => readFileSync(new URL(`../${file}`, import.meta.url), "utf8");

const version = /^default_version *= *'(.*)'/m.exec(read("steep_repl.control"))?.[1];
if (version === undefined) throw new Error("no default_version in steep_repl.control");

const { name, ...meta } = JSON.parse(read("META.in.json").replaceAll("{version}", version));
for (const provided of Object.values(meta.provides)) provided.version = version;
meta["meta-spec"] = { version: "1.0.0", url: "https://pgxn.org/meta/spec.txt" };
console.log(JSON.stringify({ name, version, ...meta }, null, 2));
