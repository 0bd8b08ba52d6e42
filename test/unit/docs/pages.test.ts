import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, test } from "vitest";
import { program } from "../../../cli/program.ts";
import { blocksOf, manualPages, markdownFiles, notRun, roleOf } from "../../support/docs.ts";
import { inProject, projectRoot } from "../../support/pg.ts";

/** The text without blocks and inline code. */
const prose = (file: string) =>
  readFileSync(inProject(file), "utf8")
    .replace(/^ *```[\s\S]*?^ *```/gm, "")
    .replace(/`[^`\n]*`/g, "code");

/** The anchors of a page, as GitHub makes them from its headings. */
function anchorsOf(file: string): Set<string> {
  const headings = readFileSync(inProject(file), "utf8")
    .replace(/^ *```[\s\S]*?^ *```/gm, "")
    .matchAll(/^#+ +(.*)$/gm);
  const anchors = new Set<string>();
  for (const [, heading = ""] of headings) {
    const slug = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(" ", "-");
    let anchor = slug;
    for (let n = 1; anchors.has(anchor); n++) anchor = `${slug}-${n}`;
    anchors.add(anchor);
  }
  return anchors;
}

function linksOf(file: string): string[] {
  return [...prose(file).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
}

describe.each(markdownFiles())("%s", (file) => {
  test("has no link that leads nowhere", () => {
    const broken = linksOf(file)
      .filter((target) => !/^(https?|mailto):/.test(target))
      .filter((target) => {
        const [path = "", anchor] = target.split("#");
        const linked = path === "" ? file : normalize(join(dirname(file), path));
        if (!existsSync(inProject(linked))) return true;
        if (anchor === undefined) return false;
        return !linked.endsWith(".md") || !anchorsOf(linked).has(anchor);
      });
    expect(broken).toEqual([]);
  });
});

describe("the manual", () => {
  test("has every page in its table of contents", () => {
    const linked = linksOf("docs/README.md").map((target) => normalize(join("docs", target)));
    const pages = manualPages().filter(
      (page) => page.startsWith("docs/") && page !== "docs/README.md",
    );
    expect(pages.filter((page) => !linked.includes(page))).toEqual([]);
    expect(pages.length).toBeGreaterThan(10);
  });

  test("has blocks of known kinds only, so that each is run or known not to be", () => {
    const unknown = manualPages()
      .flatMap(blocksOf)
      .filter((block) => roleOf(block) === "unknown");
    expect(unknown.map(({ page, line, kind }) => `${page}:${line} ${kind}`)).toEqual([]);
  });

  test("has output only behind what prints it", () => {
    for (const page of manualPages()) {
      const roles = blocksOf(page).map((block) => [block.line, roleOf(block)] as const);
      const stray = roles.filter(([, role], i) => role === "output" && roles[i - 1]?.[1] !== "run");
      expect(stray, page).toEqual([]);
    }
  });

  test("has what is said not to be run, each with a reason", () => {
    const blocks = manualPages().flatMap(blocksOf);
    const gone = notRun.filter(
      ({ text, why }) => !why || !blocks.some((b) => b.text.includes(text)),
    );
    expect(gone).toEqual([]);
  });

  test("names files of ours that are there", () => {
    const ours = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], {
      cwd: projectRoot,
      encoding: "utf8",
    }).split("\n");
    const inside = ["ARCHITECTURE.md", "SECURITY.md", "CONTRIBUTING.md", "bgworker-c/README.md"];
    const gone = [...inside, ...manualPages()].flatMap((page) =>
      [...readFileSync(inProject(page), "utf8").matchAll(/`([\w./-]+\.(?:c|h|ts|sql|sh|mjs))`/g)]
        .map(([, name = ""]) => name)
        .filter((name) => !ours.some((file) => file === name || file.endsWith(`/${name}`)))
        .map((name) => `${page}: ${name}`),
    );
    expect(gone).toEqual([]);
  });

  test("has unit files whose program is started with flags that it has", () => {
    const services = manualPages()
      .flatMap(blocksOf)
      .filter((block) => roleOf(block) === "service");
    expect(services.length).toBeGreaterThan(0);
    for (const { text } of services) {
      expect(text.match(/^\[\w+\]$/gm)).toEqual(["[Unit]", "[Service]", "[Install]"]);
      for (const line of text.split("\n").filter(Boolean))
        expect(line).toMatch(/^(\[\w+\]|[A-Z]\w+=\S.*)$/);
      const [, name, args = ""] = /^ExecStart=\/\S+\/steep-repl (\S+) (.*)$/m.exec(text) ?? [];
      const command = program().commands.find((c) => c.name() === name);
      expect(command?.parseOptions(args.split(" "))).toEqual({ operands: [], unknown: [] });
    }
  });

  test("has a README of at most 150 lines", () => {
    expect(readFileSync(inProject("README.md"), "utf8").split("\n").length).toBeLessThanOrEqual(
      151,
    );
    expect(statSync(inProject("docs/internals")).isDirectory()).toBe(true);
  });
});
