import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { inProject, projectRoot } from "./pg.ts";

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  readonly line: number;
  /** What follows the fence: sql, sh, text, diagram, … */
  readonly kind: string;
  readonly text: string;
}

/** Every Markdown file of the project. */
export function markdownFiles(): string[] {
  const listed = execFileSync("git", ["ls-files", "-co", "--exclude-standard", "*.md"], {
    cwd: projectRoot,
    encoding: "utf8",
  });
  return listed.split("\n").filter(Boolean).sort();
}

/** README.md and the pages of docs/: their blocks are run. */
export function manualPages(): string[] {
  return markdownFiles().filter((file) => file === "README.md" || file.startsWith("docs/"));
}

/** The blocks of a page, in their order. */
export function blocksOf(page: string): Block[] {
  const lines = readFileSync(inProject(page), "utf8").split("\n");
  const blocks: Block[] = [];
  let open: { line: number; kind: string; indent: number; text: string[] } | undefined;
  for (const [i, line] of lines.entries()) {
    const fence = /^( *)```(\S*)/.exec(line);
    if (!open && fence) {
      open = { line: i + 1, kind: fence[2] ?? "", indent: fence[1]?.length ?? 0, text: [] };
    } else if (open && fence) {
      blocks.push({ page, line: open.line, kind: open.kind, text: open.text.join("\n") });
      open = undefined;
    } else open?.text.push(line.slice(open.indent));
  }
  if (open) throw new Error(`${page}: the block in line ${open.line} does not end`);
  return blocks;
}

/** Blocks that are not run, each with the reason. A block of which `text` is a part is one of them. */
export const notRun: readonly { readonly text: string; readonly why: string }[] = [
  {
    text: "make && make install",
    why: "it would install into the server that PG_CONFIG names; make stage, which the tests run from, is the same",
  },
  { text: "make demo ", why: "it takes a minute, and its servers outlive the test" },
  {
    text: "npm install -g .",
    why: "it installs for every user; test/integration/cli/cli-install.test.ts does it with a prefix of its own",
  },
  { text: "make image ", why: "make test-image has built the image when it runs the page" },
];

/** What a block is for the tests. Of any other kind there must be none. */
export function roleOf(
  block: Block,
):
  | "run"
  | "output"
  | "settings"
  | "picture"
  | "manifest"
  | "daemon"
  | "service"
  | "not run"
  | "unknown" {
  if (notRun.some(({ text }) => block.text.includes(text))) return "not run";
  switch (block.kind) {
    case "sql":
    case "sh":
      return "run";
    case "text":
      return "output";
    case "ini":
      return "settings";
    case "json":
      return "manifest";
    case "yaml":
      return "daemon";
    case "systemd":
      return "service";
    case "mermaid":
    case "diagram":
      return "picture";
    default:
      return "unknown";
  }
}
