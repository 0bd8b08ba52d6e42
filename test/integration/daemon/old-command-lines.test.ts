import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { cliHere } from "../../support/cli-here.ts";
import { type CliPair, oneLine, setCliPair } from "../../support/cli-pair.ts";
import { startDaemon, type TestDaemon } from "../../support/grpc/daemon.ts";

/* Command lines as the predecessor had them: they do what they did, or say what does it now. */

let pair: CliPair;
setCliPair("old-lines", (made) => {
  pair = made;
});

let home: string;
let a: TestDaemon;
let b: TestDaemon;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "steep-old-"));
  vi.stubEnv("HOME", home);
  vi.stubEnv("XDG_CONFIG_HOME", undefined);
  await pair.b.query(`create extension steep_repl cascade;
    select steep_repl.register_node('node-b', 'B')`);
  await pair.a.createDatabase("copy", { extension: true });
  [a, b] = await Promise.all([startDaemon(pair.a), startDaemon(pair.b)]);
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await Promise.all([a, b].map((daemon) => daemon.stop()));
  rmSync(home, { recursive: true });
});

/** Words of a line that are known only when it is run. */
const filled = (line: string): string[] =>
  line
    .split(" ")
    .map((word) =>
      word
        .replace("CA", pair.a.uri())
        .replace("CB", pair.b.uri())
        .replace("COPY", pair.a.uri("copy"))
        .replace("RA", a.address)
        .replace("RB", b.address)
        .replace("DIR", home)
        .replace("PATH", pair.a.snapshotDir),
    );

test.each([
  [0, "tls init -o DIR/tls -n daemon --hosts db1.example,10.0.0.1 --days 365", /ca\.crt/],
  [0, "health --remote RA --timeout 10s --json --insecure", /"status":"healthy"/],
  [
    0,
    "snapshot generate node-a --output PATH/one --compression gzip --parallel 2 --progress --direct -c CA",
    /complete/,
  ],
  [
    0,
    "snapshot generate node-a --output PATH/two --compression gzip --parallel 2 --progress --remote RA --insecure",
    /complete/,
  ],
  [
    0,
    "snapshot apply my-copy --input PATH/one --source node-a --parallel 2 --verify --progress --direct -c COPY",
    /complete/,
  ],
  [1, "schema compare node-a node-b --direct -c CA", /mismatch|local_only/],
  [1, "schema compare A B --direct --conn-a CA --conn-b CB", /orders +\w+ +\w+ +match/],
  [1, "schema compare A B --remote-a RA --remote-b RB --insecure", /orders +\w+ +\w+ +match/],
  [1, "schema compare A B --conn-a CA --remote-b RB --insecure --schemas public", /match/],
  [1, "schema compare A B --remote-a RA --conn-b CB --insecure --schemas public", /match/],
  [0, "schema compare A B --conn-a CA --conn-b CB --schemas none", /^$/],
  [0, "schema diff node-a node-b --table public.orders --direct -c CA", /^$/],
  [0, "schema diff node-a node-b --table public.orders --remote RA --insecure", /^$/],
  [0, "schema capture node-a --schemas public -c CA", /tables_captured +2/],
  [0, "schema capture node-a --schemas none -c CA", /tables_captured +0/],
  [0, "schema capture node-a --schemas public --remote RA --insecure", /tables_captured +2/],
  [1, "analyze-overlap CA CB --tables public.orders --json", /"local_only_count":20/],
  [1, "analyze-overlap --conn-a CA --conn-b CB --tables public.orders", /public.orders +20 +1/],
  [
    1,
    "analyze-overlap CA CB --tables public.orders --detailed",
    /\npublic.orders\nkey +category[\s\S]*\n\{"id": "1"\} +local_only/,
  ],
  [1, "analyze-overlap CA CB --tables public.orders --detailed --json", /"rows":\[\{"key"/],
  [1, "merge CA CB --tables public.orders --strategy prefer-local --dry-run", /dry_run +yes/],
  [1, "merge --tables public.orders --dry-run --conn-a CA --conn-b CB", /dry_run +yes/],
  [1, "node merge node-a node-b --tables public.orders --dry-run -c CA", /dry_run +yes/],
  [1, "node merge node-a node-b --tables public.orders --dry-run --remote RA --insecure", /yes/],
] as const)("%i %s", async (code, line, prints) => {
  const { stdout, stderr, code: ended } = await cliHere(filled(line));
  expect(ended, stderr).toBe(code);
  expect(stdout).toMatch(prints);
});

test("what was captured to be compared is taken back", async () => {
  expect(
    await pair.a.query("select node_id from steep_repl.nodes where node_id like 'steep-repl-%'"),
  ).toEqual([]);
});

test.each([
  ["run --config DIR/none.yaml", "cannot read"],
  ["install", "docs/daemon.md has a unit file"],
  ["uninstall", "systemctl"],
  ["start", "systemctl"],
  ["stop", "systemctl"],
  ["restart", "systemctl"],
  ["status", "systemctl"],
  ["node start node-b --from node-a --method snapshot", "docs/snapshots.md"],
  ["node prepare node-a --slot s", "docs/snapshots.md"],
  ["node complete node-b", "docs/snapshots.md"],
  ["node cancel node-b", "docs/snapshots.md"],
  ["node progress node-b", "docs/snapshots.md"],
  ["node reinit node-b", "docs/snapshots.md"],
  ["merge progres", "Did you mean progress"],
  ["schema diff node-a node-b", "the table is missing"],
  ["schema diff node-a node-b public.a --table public.b", "two tables are named"],
  ["schema compare A B --conn-a CA --remote-a RA", "not by both"],
  ["schema compare A B --remote-a RA --insecure", "give --conn-b or --remote-b"],
  ["analyze-overlap CA CB -c CA", "two connection strings"],
])("what is gone says what is there instead: %s", async (line, says) => {
  const { code, stdout, stderr } = await cliHere(filled(line));
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toEqual(oneLine);
  expect(stderr).toContain(says);
});
