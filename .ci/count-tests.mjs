// Add up what the test runners really ran: vitest's JSON reports and pg_regress's TAP output.
// usage: node .ci/count-tests.mjs FILE...     prints "PASSED FAILED SKIPPED", and on stderr what was
// skipped and why. What is skipped without an allowed reason has failed.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { reasonToSkip } from "./allowed-skips.mjs";

let passed = 0;
let failed = 0;
let skipped = 0;

function countSkipped(report, file, test) {
  const name = `${basename(file)} ${test.fullName}`;
  const reason = reasonToSkip(basename(report), name);
  console.error(`== skipped in ${basename(report)}: ${name} (${reason ?? "WITHOUT A REASON"})`);
  if (reason === undefined) failed++;
  else skipped++;
}

for (const report of process.argv.slice(2)) {
  const text = readFileSync(report, "utf8");
  if (report.endsWith(".json")) {
    for (const suite of JSON.parse(text).testResults) {
      const count = (status) => suite.assertionResults.filter((t) => t.status === status).length;
      passed += count("passed");
      // a file that could not even be loaded has no test that failed
      failed += suite.status === "failed" ? Math.max(1, count("failed")) : 0;
      // of a file whose setup failed all tests count as skipped: that is one failure, above
      if (suite.status !== "failed" || count("failed") > 0)
        for (const test of suite.assertionResults)
          if (!["passed", "failed"].includes(test.status)) countSkipped(report, suite.name, test);
    }
  } else {
    passed += text.match(/^ok \d/gm)?.length ?? 0;
    failed += text.match(/^not ok \d/gm)?.length ?? 0;
  }
}
console.log(`${passed} ${failed} ${skipped}`);
