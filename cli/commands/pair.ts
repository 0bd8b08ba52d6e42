import type { Command } from "commander";
import { CliError, exitCode } from "../cli-error.ts";
import { addCommand, integerOption, jobOptions, option, yesOption } from "../command.ts";
import { call } from "../sql-call.ts";
import { type PairCheckOptions, pairScopeOptions } from "./pair-scope.ts";
import type { PairStartOptions } from "./pair-start.ts";

export function addPair(root: Command): void {
  const pair = root.command("pair").description("two nodes that replicate to each other");
  addCheck(pair);
  addStart(pair);
  addStatus(pair);
  addCancel(pair);
  addDrop(pair);
}

function addCheck(pair: Command): void {
  addCommand<PairCheckOptions>(pair, {
    usage: "check <node>",
    description:
      "list what stands in the way of a pair with a node, and what to do about it; 1 if there is a problem",
    examples: [
      "pair check node-b",
      "pair check node-b --existing merge --all",
      'pair check node-b -c "host=db1 dbname=shop" --peer "host=db2 dbname=shop"',
    ],
    options: [...pairScopeOptions(), option("--all", "also the checks that found nothing")],
    action: async (invocation, options, node = "") => {
      const { checkPair } = await import("./pair-check.ts");
      return checkPair(invocation, options, node);
    },
  });
}

function addStart(pair: Command): void {
  addCommand<PairStartOptions>(pair, {
    usage: "start <node>",
    description:
      "make this node and another replicate to each other; checks first, says what it does, and asks",
    examples: [
      "pair start node-b",
      "pair start node-b --existing merge --strategy prefer-remote",
      "pair start node-b --plan",
      'pair start node-b -c "host=db1 dbname=shop" --peer "host=db2 dbname=shop"',
    ],
    options: [
      ...pairScopeOptions(),
      option("--strategy <name>", "with --existing merge: as for merge start"),
      option("--last-modified-column <name>", "with strategy last-modified"),
      integerOption("--parallel <number>", "workers that copy, and that load (default: 4)"),
      option("--plan", "print the SQL of each step on both sides, and run nothing"),
      ...jobOptions(),
    ],
    action: async (invocation, options, node = "") => {
      const { startPair } = await import("./pair-start.ts");
      return startPair(invocation, options, node);
    },
  });
}

function addStatus(pair: Command): void {
  addCommand(pair, {
    usage: "status [pair-id]",
    description: "show how far a pair is: all that are being set up, or the latest",
    examples: ["pair status", "pair status pair_20261126_120000_1a2b3c4d --json"],
    action: (invocation, _, id) =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("pair_progress", { pair_id: id });
        await invocation.output.rows(await session.query(sql, params));
        return exitCode.success;
      }),
  });
}

function addCancel(pair: Command): void {
  addCommand(pair, {
    usage: "cancel <pair-id>",
    description:
      "stop setting up a pair; what was made is removed, unless the nodes replicate already",
    examples: ["pair cancel pair_20261126_120000_1a2b3c4d"],
    action: (invocation, _, id = "") =>
      invocation.withSession(async (session) => {
        const { sql, params } = call("cancel_pair", { pair_id: id });
        const row = await session.row(
          `select $1::text as pair_id, c.f as cancelled from (${sql}) c`,
          params,
        );
        if (row.values.cancelled !== "t") {
          throw new CliError(
            exitCode.failed,
            `${id} is over already`,
            "steep-repl pair drop ends a pair that is set up",
          );
        }
        await invocation.output.record(row);
        return exitCode.success;
      }),
  });
}

function addDrop(pair: Command): void {
  addCommand<{ readonly force?: boolean; readonly yes?: boolean }>(pair, {
    usage: "drop <node>",
    description:
      "end a pair: drop its subscriptions, slots and publications on both nodes; rows stay; asks first",
    examples: ["pair drop node-b", "pair drop node-b --force --yes"],
    options: [
      option("--force", "drop this side alone where the node cannot be reached"),
      yesOption(),
    ],
    action: async (invocation, options, node = "") => {
      const { dropPair } = await import("./pair-drop.ts");
      return dropPair(invocation, options, node);
    },
  });
}
