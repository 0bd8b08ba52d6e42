import { describe, expect, test } from "vitest";
import { type Block, blocksOf, manualPages, roleOf } from "../../support/docs.ts";
import { failures, Manual, type Prepared, printsAsShown } from "../../support/manual.ts";

/*
 * Every block of README.md and of docs/ is run, in the order of its page. A block of SQL is given to psql, one of sh to
 * bash, one of ini is checked against the server's settings; a block of text is what the one before it prints, and one
 * of yaml the file that the daemon is started with.
 * test/support/docs.ts has the list of those that are not run.
 */

/** Run by test/image/manual.test.ts, which has containers. */
const inContainers = ["docs/container.md"];

/** What a page begins with, where it is not `differ`. */
const begins: Readonly<Record<string, Prepared>> = {
  "README.md": "bare",
  "docs/install.md": "bare",
  "docs/snapshots.md": "copy",
  "docs/functions.md": "pair",
  "docs/pair.md": "copy",
  "docs/migrate.md": "old",
};

const pages = manualPages()
  .filter((page) => !inContainers.includes(page))
  .map((page) => [page, blocksOf(page)] as const)
  .filter(([, blocks]) =>
    blocks.some((block) => ["run", "settings", "manifest"].includes(roleOf(block))),
  );

/** What is wrong with a block; none where it does what the page says. */
async function check(manual: Manual, block: Block, next: Block | undefined): Promise<string[]> {
  const at = `${block.page}:${block.line}`;
  const said = (error: unknown) => [`${at}: ${error}`];
  switch (roleOf(block)) {
    case "settings":
      return manual.checkSettings(block).then(() => [], said);
    case "manifest":
      return manual.checkManifest(block).then(() => [], said);
    case "daemon":
      return manual.startDaemon(block).then(() => [], said);
    case "run":
      return checkOutput(manual, block, next);
    default:
      return [];
  }
}

async function checkOutput(
  manual: Manual,
  block: Block,
  next: Block | undefined,
): Promise<string[]> {
  const at = `${block.page}:${block.line}`;
  const printed = await manual.run(block);
  if (next && roleOf(next) === "output") {
    return printsAsShown(next.text, printed) ? [] : [`${at} printed\n${printed}`];
  }
  return failures(printed).map((line) => `${at}: ${line}\n${printed}`);
}

describe.each(pages)("%s", (page, blocks) => {
  test("does what it says", { timeout: 300_000 }, async () => {
    const name = page.replace(/^docs\/|\.md$/g, "").replaceAll("/", "-");
    const manual = await Manual.start(`manual-${name}`, begins[page] ?? "differ");
    const wrong: string[] = [];
    try {
      for (const [i, block] of blocks.entries()) {
        wrong.push(...(await check(manual, block, blocks[i + 1])));
      }
    } finally {
      await manual.end();
    }
    expect(wrong.join("\n")).toBe("");
  });
});
