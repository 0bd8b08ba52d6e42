// Add up what the test runners really ran: vitest's JSON reports and pg_regress's TAP output.
// usage: node .ci/count-tests.mjs FILE...     prints "PASSED FAILED"
import { readFileSync } from "node:fs";

let passed = 0;
let failed = 0;

for (const file of process.argv.slice(2)) {
  const text = readFileSync(file, "utf8");
  if (file.endsWith(".json")) {
    for (const suite of JSON.parse(text).testResults) {
      const count = (status) => suite.assertionResults.filter((t) => t.status === status).length;
      passed += count("passed");
      // a file that could not even be loaded has no test that failed
      failed += suite.status === "failed" ? Math.max(1, count("failed")) : 0;
    }
  } else {
    passed += text.match(/^ok \d/gm)?.length ?? 0;
    failed += text.match(/^not ok \d/gm)?.length ?? 0;
  }
}
console.log(`${passed} ${failed}`);
