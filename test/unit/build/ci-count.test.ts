import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { inProject } from "../../support/pg.ts";

type Suite = { name: string; status: string; assertionResults: object[] };

/** What .ci/count-tests.mjs says of a report of these suites. */
function count(engine: string, testResults: readonly Suite[]) {
  const directory = mkdtempSync(join(tmpdir(), "steep-count-"));
  try {
    const report = join(directory, `test-${engine}.json`);
    writeFileSync(report, JSON.stringify({ testResults }));
    const { stdout, stderr } = spawnSync("node", [inProject(".ci/count-tests.mjs"), report], {
      encoding: "utf8",
    });
    return { counts: stdout.trim(), said: stderr };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const suite = (name: string, ...statuses: [fullName: string, status: string][]): Suite => ({
  name: `/x/test/integration/${name}`,
  status: statuses.some(([, status]) => status === "failed") ? "failed" : "passed",
  assertionResults: statuses.map(([fullName, status]) => ({ fullName, status })),
});

test("what ran is counted by how it ended", () => {
  const suites = [suite("a.test.ts", ["one", "passed"], ["two", "failed"], ["three", "passed"])];
  expect(count("pljs", suites).counts).toBe("2 1 0");
});

test.each(["skipped", "pending", "todo"])(
  "a test that is %s for no reason has failed",
  (status) => {
    const { counts, said } = count("pljs", [
      suite("a.test.ts", ["one", "passed"], ["two", status]),
    ]);
    expect(counts).toBe("1 1 0");
    expect(said).toContain("a.test.ts two (WITHOUT A REASON)");
  },
);

test("a reason holds for the engine that it is about, and is printed", () => {
  const suites = [suite("interrupts.test.ts", ["in a session is cancelled", "skipped"])];
  expect(count("plv8", suites).counts).toBe("0 0 1");
  expect(count("plv8", suites).said).toContain("PL/V8 has no handler");
  expect(count("pljs", suites).counts).toBe("0 1 0");
});

test("a file that could not be loaded, or set up, is one failure", () => {
  const broken = {
    ...suite("a.test.ts", ["one", "skipped"], ["two", "skipped"]),
    status: "failed",
  };
  expect(count("pljs", [broken]).counts).toBe("0 1 0");
  expect(count("pljs", [{ ...broken, assertionResults: [] }]).counts).toBe("0 1 0");
});
