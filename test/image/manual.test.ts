import { expect, test } from "vitest";
import { docker, image } from "../support/container.ts";
import { type Block, blocksOf, roleOf } from "../support/docs.ts";
import { projectRoot, run } from "../support/pg.ts";

/** The blocks of docs/container.md, in their order, by bash; its names of containers and volumes are the test's, too. */
const blocks = blocksOf("docs/container.md").filter((block) => roleOf(block) === "run");

/** What the page makes, as its last block removes it. */
async function cleanUp(): Promise<void> {
  const gone = { allowFailure: true };
  await docker(["rm", "-f", "node-a", "node-b"], gone);
  await docker(["network", "rm", "steep"], gone);
  await docker(["volume", "rm", "-f", "node-a", "node-b", "steep-snapshots"], gone);
}

/** Somebody's own containers of these names are not for us to remove. */
async function refuseTakenNames(): Promise<void> {
  const { stdout } = await docker(["ps", "-a", "--format", "{{.Names}}"]);
  const taken = stdout.split("\n").filter((name) => name === "node-a" || name === "node-b");
  if (taken.length > 0) throw new Error(`there is a container ${taken.join(" and ")} already`);
}

const runBlock = (block: Block) =>
  run("bash", ["-euo", "pipefail", "-c", block.text.replaceAll("steep_repl:dev", image)], {
    cwd: projectRoot,
    env: { STEEP_IMAGE: image },
  });

test("docs/container.md does what it says", async () => {
  await refuseTakenNames();
  const printed: string[] = [];
  try {
    for (const block of blocks.filter(({ text }) => !text.includes("docker compose"))) {
      const { stdout, stderr } = await runBlock(block);
      expect(stderr, `${block.page}:${block.line}`).not.toMatch(/ERROR/);
      printed.push(stdout);
    }
  } finally {
    await cleanUp();
  }
  const all = printed.join("\n");
  expect(all).toMatch(/complete \| +100000/);
  expect(all).toMatch(/public\.orders \| +0 \| +0 \| +99999 \| +1 \| +0/);
  expect(all).toMatch(/complete \| +1 \| +1/);
});

test("docs/container.md does with compose what it says", async ({ skip }) => {
  const { code } = await docker(["compose", "version"], { allowFailure: true });
  if (code !== 0) skip("docker has no compose here");
  for (const block of blocks.filter(({ text }) => text.includes("docker compose"))) {
    await runBlock(block);
  }
});
