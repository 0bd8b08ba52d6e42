// Tests that may be skipped, each where something is missing here. Any other skip is a failure.
import { existsSync } from "node:fs";

const hasOlderServer = [
  process.env.STEEP_OLDER_BIN ?? "",
  ...[14, 15, 16, 17].map((version) => `/usr/lib/postgresql/${version}/bin`),
].some((directory) => existsSync(`${directory}/initdb`) && existsSync(`${directory}/postgres`));

/** `test` is its full name after its file's; `here` whether that reason holds on this machine. */
const allowed = [
  {
    test: /^(cli-older|schema-versions|merge|overlap-model)\.test\.ts .*\b(older|before 18)\b/,
    here: () => !hasOlderServer,
    reason: "no PostgreSQL 14 to 17 is installed",
  },
  {
    test: /^disk-full\.test\.ts (a file system|a job that cannot fit|an apply onto a disk)/,
    here: () => process.getuid?.() !== 0,
    reason: "only root may mount a small file system",
  },
  {
    test: /^interrupts\.test\.ts in a (session|worker)/,
    here: (report) => report.includes("plv8"),
    reason: "PL/V8 has no handler for signals after a session's first call",
  },
  {
    test: /^merge-faults\.test\.ts .*in the middle of a commit at the peer/,
    here: () => true,
    reason: "tried with one kind of peer, a foreign server",
  },
  {
    test: /^manual\.test\.ts docs\/container\.md does with compose/,
    here: () => true,
    reason: "the container engine has no compose",
  },
];

/** Why a test of a report may be skipped; undefined where it may not. */
export function reasonToSkip(report, test) {
  return allowed.find((skip) => skip.test.test(test) && skip.here(report))?.reason;
}
