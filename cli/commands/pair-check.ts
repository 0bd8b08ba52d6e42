import { type ExitCode, exitCode } from "../cli-error.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { counted } from "../output/units.ts";
import type { Result, Session } from "../session.ts";
import { linkNodes } from "./pair-link.ts";
import { type PairCheckOptions, type PairScope, preflight, requirePeer } from "./pair-scope.ts";

/** How many checks found what. */
export interface Findings {
  readonly rows: Result;
  readonly problems: number;
  readonly warnings: number;
}

/** What preflight() says; the session's --timeout and Ctrl-C cancel it. */
export async function findingsOf(
  invocation: Invocation,
  session: Session,
  node: string,
  scope: PairScope,
): Promise<Findings> {
  await requirePeer(session, node);
  const { sql, params } = preflight(node, scope);
  const rows = await invocation.interruptible(session, () => session.query(sql, params));
  const count = (status: string) =>
    rows.rows.filter(({ values }) => values.status === status).length;
  return { rows, problems: count("problem"), warnings: count("warning") };
}

/** The rows of a result whose check is not ok. */
export function found({ columns, rows }: Result): Result {
  return { columns, rows: rows.filter(({ values }) => values.status !== "ok") };
}

/** Say what stands in the way of a pair. */
export async function checkPair(
  invocation: Invocation,
  options: PairCheckOptions & CommonOptions,
  node: string,
): Promise<ExitCode> {
  if (!(await linkNodes(invocation, options, node, "check"))) return exitCode.differs;
  const session = await invocation.open();
  try {
    const { rows, problems, warnings } = await findingsOf(invocation, session, node, options);
    const shown = options.all === true ? rows : found(rows);
    if (shown.rows.length > 0 || invocation.output.isJson) await invocation.output.rows(shown);
    invocation.output.message(
      `${counted(rows.rows.length, "check")}: ${counted(problems, "problem")}, ${counted(warnings, "warning")}`,
    );
    return problems > 0 ? exitCode.differs : exitCode.success;
  } finally {
    await session.end();
  }
}
