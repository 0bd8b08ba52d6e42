import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { leavesOf } from "../../../cli/man-page.ts";
import { program } from "../../../cli/program.ts";
import { commentsIn } from "../../../plv8/build/function-comments.ts";
import { commentFiles } from "../../../plv8/build/sql-files.ts";
import { nameOf } from "../../support/cli-here.ts";
import { inProject } from "../../support/pg.ts";

/* What can be done in SQL can be done from a shell. */

const functions = new Map(
  Object.keys(commentFiles)
    .flatMap((file) => commentsIn(readFileSync(inProject("sql", file), "utf8")))
    .map(({ name, args }) => [name, [...args.keys()]] as const),
);

/** The command of each function. */
const commands: Readonly<Record<string, string>> = {
  register_node: "node register",
  node_status: "node status",
  remove_node: "node remove",
  health: "health",
  start_snapshot: "snapshot generate",
  start_apply: "snapshot apply",
  start_fetch: "snapshot fetch",
  snapshot_progress: "snapshot progress",
  drop_snapshot: "snapshot drop",
  verify_snapshot: "snapshot verify",
  analyze_overlap: "analyze-overlap",
  start_overlap: "overlap start",
  overlap_rows: "overlap rows",
  start_merge: "merge start",
  merge_progress: "merge progress",
  merge_rows_left: "merge rows-left",
  resolve_conflict: "merge resolve",
  undo_merge: "merge undo",
  compare_fingerprints: "schema compare",
  schema_diff: "schema diff",
  capture_fingerprints: "schema capture",
  list_operations: "ops list",
  cancel_operation: "ops cancel",
  retry_operation: "ops retry",
  wait_operation: "ops wait",
  leftovers: "ops leftovers",
  preflight: "pair check",
  start_pair: "pair start",
  pair_progress: "pair status",
  cancel_pair: "pair cancel",
  drop_pair: "pair drop",
  replication_status: "replication status",
};

/** Functions that have none, and why. */
const without: Readonly<Record<string, string>> = {
  version: "health shows it",
  min_pg_version: "for programs that install the extension",
  bgworker_available: "health shows it",
  heartbeat: "for what runs on a schedule on the node itself",
  wait_snapshot: "ops wait does it for every kind of job",
  wait_merge: "ops wait does it for every kind of job",
  wait_pair: "ops wait does it for every kind of job",
  cancel_snapshot: "ops cancel does it for every kind of job",
  cancel_merge: "ops cancel does it for every kind of job",
  prune_operations: "for what runs on a schedule in the database",
};

/** Arguments that are called otherwise, or are given in another way. */
const otherwise: Readonly<Record<string, string>> = {
  peer: "nodes",
  output_path: "--output",
  input_path: "--input",
  node_id: "node",
  local_node: "local-node",
  peer_node: "peer-node",
  table_name: "table",
  id: "operation-id",
  timeout_seconds: "--timeout",
  verify: "--no-verify",
  "start_fetch.peer": "--from",
  // --peer of these is its connection string
  "preflight.peer": "node",
  "start_pair.peer": "node",
  "drop_pair.peer": "node",
  "replication_status.peer": "node",
};

const flagOf = (argument: string) => argument.replaceAll("_", "-");
const leaves = new Map(leavesOf(program()).map((command) => [nameOf(command), command]));

test("every function has a command, or a reason why it has none", () => {
  expect([...functions.keys()].sort()).toEqual(
    [...Object.keys(commands), ...Object.keys(without)].sort(),
  );
});

test.each(Object.entries(commands))(
  "%s can be called with all of its arguments by %s",
  (name, command) => {
    const leaf = leaves.get(command);
    const given = [
      ...(leaf?.options.map(({ long }) => long) ?? []),
      ...(leaf?.registeredArguments.map((argument) => argument.name()) ?? []),
    ];
    for (const argument of functions.get(name) ?? []) {
      const names = [
        `--${flagOf(argument)}`,
        flagOf(argument),
        otherwise[argument],
        otherwise[`${name}.${argument}`],
      ];
      expect(
        names.some((known) => given.includes(known)),
        `${argument} in ${given.join(" ")}`,
      ).toBe(true);
    }
  },
);

test("every command is for a function, for a table that users may read, or for the daemon", () => {
  const ofTables = [
    "snapshot list",
    "node list",
    "overlap list",
    "overlap tables",
    "merge conflicts",
  ];
  const ofFiles = ["snapshot download", "snapshot inspect"];
  const ofDaemons = ["daemon", "tls init"];
  expect([...leaves.keys()].sort()).toEqual(
    [...Object.values(commands), ...ofTables, ...ofFiles, ...ofDaemons].sort(),
  );
});
