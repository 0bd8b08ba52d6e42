import { CliError, type ExitCode, exitCode } from "../cli-error.ts";
import type { JobOptions } from "../command.ts";
import { confirm, requireYes } from "../confirm.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { counted } from "../output/units.ts";
import type { Session } from "../session.ts";
import { call, type Statement } from "../sql-call.ts";
import { placeOf } from "./local-node.ts";
import { type Findings, findingsOf, found } from "./pair-check.ts";
import { linkNodes } from "./pair-link.ts";
import { printPlan } from "./pair-plan.ts";
import { type PairCheckOptions, scopeArguments } from "./pair-scope.ts";

export interface PairStartOptions extends PairCheckOptions, JobOptions {
  readonly strategy?: string;
  readonly lastModifiedColumn?: string;
  readonly parallel?: string;
  readonly plan?: boolean;
}

/** Check, say what is going to happen on which side, ask, and set up the pair. */
export async function startPair(
  invocation: Invocation,
  options: PairStartOptions & CommonOptions,
  node: string,
): Promise<ExitCode> {
  const isPlan = options.plan === true;
  if (!isPlan) requireYes(options.yes, `a pair with node "${node}"`);
  if (!(await linkNodes(invocation, options, node, isPlan ? "plan" : "start"))) {
    return exitCode.differs;
  }
  const session = await invocation.open();
  try {
    const findings = await findingsOf(invocation, session, node, options);
    await refuseProblems(invocation, findings, node);
    if (isPlan)
      return await printPlan(invocation, session, call("_pair_plan", args(node, options)));
    for (const line of await summary(session, node, findings, options)) {
      invocation.output.message(line);
    }
    await confirm(options.yes, `Make a pair with "${node}"`);
    return await run(invocation, session, call("start_pair", args(node, options)), options);
  } finally {
    await session.end();
  }
}

async function run(
  invocation: Invocation,
  session: Session,
  statement: Statement,
  options: PairStartOptions & CommonOptions,
): Promise<ExitCode> {
  const { startAndFollow } = await import("../job/run-job.ts");
  return startAndFollow(invocation, session, statement, options);
}

function args(node: string, options: PairStartOptions) {
  return {
    ...scopeArguments(node, options),
    ...{ strategy: options.strategy, last_modified_column: options.lastModifiedColumn },
    parallel: options.parallel,
  };
}

/** What keeps a pair from being set up is told at once, and not by a job that fails. */
async function refuseProblems(
  { output, connectionFlags }: Invocation,
  { rows, problems }: Findings,
  node: string,
): Promise<void> {
  if (problems === 0) return;
  for (const { values } of found(rows).rows) {
    if (values.status !== "problem") continue;
    const { side, check_name, detail, fix } = values;
    output.message(`problem (${side}): ${check_name}: ${detail}${fix ? `; fix: ${fix}` : ""}`);
  }
  throw new CliError(
    exitCode.failed,
    `there cannot be a pair yet: ${counted(problems, "problem")}`,
    `steep-repl pair check ${node}${connectionFlags} lists what was found`,
  );
}

async function summary(
  session: Session,
  node: string,
  { rows, warnings }: Findings,
  options: PairStartOptions,
): Promise<string[]> {
  const here = `${session.serverName}, database ${session.client.database}`;
  return [
    `pair of here (${here}) with the peer (${await placeOf(session, node)})`,
    ...existingLines(options),
    options.sequences === "keep"
      ? "sequences stay as they are: rows that are inserted on both nodes can get the same numbers"
      : "sequences of both nodes are changed, so that each has values of its own; dropping the pair does not take that back",
    ...found(rows).rows.map(
      ({ values: v }) => `warning (${v.side}): ${v.check_name}: ${v.detail}; fix: ${v.fix}`,
    ),
    counted(warnings, "warning"),
  ];
}

/** What becomes of rows, and which side loses some. */
function existingLines({ existing = "refuse", strategy = "prefer-local" }: PairStartOptions) {
  switch (existing) {
    case "merge":
      return ["existing rows: merge; both nodes get what the other has", conflictLine(strategy)];
    case "keep":
      return [
        "existing rows: keep; nothing is copied, and the comparison at the end tells whether both are equal",
      ];
    default:
      return [
        "existing rows: refuse; the peer is filled from here, and must not be written to before it is",
      ];
  }
}

function conflictLine(strategy: string): string {
  switch (strategy) {
    case "prefer-local":
      return "LOSES: the peer's rows that differ are overwritten with those from here";
    case "prefer-remote":
      return "LOSES: rows here that differ are overwritten with the peer's";
    case "last-modified":
      return "LOSES: of rows that differ the older ones are overwritten";
    default:
      return "rows that differ are left to steep-repl merge resolve";
  }
}
