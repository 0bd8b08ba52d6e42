import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { inProject, projectRoot } from "../../support/pg.ts";

const read = (file: string) => readFileSync(inProject(file), "utf8");
const version = /^default_version = '(.*)'$/m.exec(read("steep_repl.control"))?.[1];

/** The rules of PGXN's specification of META.json, version 1.0.0, for what we have in it. */
describe("META.json", () => {
  const meta = JSON.parse(
    execFileSync("node", [inProject("scripts/meta.mjs")], { encoding: "utf8" }),
  );
  const versionOf = /^\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$/;
  /** Two characters at least, and none that is a space, a slash, a backslash or a control. */
  // biome-ignore lint/suspicious/noControlCharactersInRegex: as the specification says
  const term = /^[^\s/\\\x00-\x1f\x7f]{2,}$/;
  const text = expect.stringMatching(/\S/);

  test("has all that is required", () => {
    expect(meta).toMatchObject({
      ...{ name: expect.stringMatching(term), version, abstract: text, license: "postgresql" },
      "meta-spec": { version: "1.0.0", url: "https://pgxn.org/meta/spec.txt" },
    });
    expect([meta.maintainer].flat()).toEqual([text]);
    expect(version).toMatch(versionOf);
  });

  test("has no other keys than those that the specification has", () => {
    const known = [
      "name",
      "version",
      "abstract",
      "description",
      "maintainer",
      "license",
      "prereqs",
    ];
    known.push("provides", "release_status", "resources", "tags", "meta-spec", "generated_by");
    known.push("no_index");
    for (const key of Object.keys(meta))
      expect(key.startsWith("x_") || known.includes(key)).toBe(true);
  });

  test("what is provided has a file, the version, and says what it is for", () => {
    expect(Object.keys(meta.provides)).toEqual(["steep_repl"]);
    expect(meta.provides.steep_repl).toMatchObject({ version, file: text, abstract: text });
    expect(meta.provides.steep_repl.file).toBe(`generated/pljs/steep_repl--${version}.sql`);
    expect(existsSync(inProject(meta.provides.steep_repl.docfile))).toBe(true);
  });

  test("what is needed is named by phase, relation and version", () => {
    for (const [phase, relations] of Object.entries<object>(meta.prereqs)) {
      expect(["configure", "build", "test", "runtime", "develop"]).toContain(phase);
      for (const [relation, needed] of Object.entries(relations)) {
        expect(["requires", "recommends", "suggests", "conflicts"]).toContain(relation);
        for (const [name, least] of Object.entries(needed)) {
          expect(name).toMatch(term);
          expect(least === 0 || versionOf.test(String(least))).toBe(true);
        }
      }
    }
    expect(meta.prereqs.runtime.requires).toMatchObject({ PostgreSQL: "18.0.0" });
  });

  test("status, tags and resources are of the kinds there are", () => {
    expect(["stable", "testing", "unstable"]).toContain(meta.release_status);
    for (const tag of meta.tags) expect(tag).toMatch(/^[^/\\]{1,255}$/);
    for (const [kind, resource] of Object.entries(meta.resources ?? {})) {
      expect(["homepage", "bugtracker", "repository"]).toContain(kind);
      expect(resource).toBeTruthy();
    }
  });
});

test("the version is written in steep_repl.control and nowhere else that is built or packaged", () => {
  const files = ["META.in.json", "package.json", "Makefile", "debian/control", "debian/rules"];
  for (const file of files) expect(read(file)).not.toContain(`${version}`);
});

test("one file of the C shim knows versions of PostgreSQL, and stops at those that it does not", () => {
  const having = execFileSync(
    "git",
    ["-C", projectRoot, "grep", "-lE", "PG_VERSION_NUM|PG_MAJORVERSION", "--", "bgworker-c"],
    { encoding: "utf8" },
  );
  expect(having.trim().split("\n")).toEqual(["bgworker-c/base/compat.h"]);
  expect(read("bgworker-c/base/compat.h")).toMatch(
    /#elif PG_VERSION_NUM >= 200000\n#error "steep_repl has not been checked with this version/,
  );
});
