import { type ExitCode, exitCode } from "../cli-error.ts";
import type { Invocation } from "../invocation.ts";
import { visible } from "../output/one-line.ts";
import type { Session } from "../session.ts";
import type { Statement } from "../sql-call.ts";

const places: Readonly<Record<string, string>> = { local: "here", peer: "at the peer" };

/** The SQL of each step, as the planner of the server's own job orders it. */
export async function printPlan(
  invocation: Invocation,
  session: Session,
  { sql, params }: Statement,
): Promise<ExitCode> {
  const { output } = invocation;
  const steps = await invocation.interruptible(session, () => session.query(sql, params));
  if (output.isJson) {
    await output.rows(steps);
    return exitCode.success;
  }
  let shown = "";
  for (const { values } of steps.rows) {
    const { kind, phase, side, name } = values;
    const title = kind === "wait" ? "wait for it" : name;
    const heading = `-- ${phase}, ${places[side ?? ""]}: ${title}`;
    if (heading !== shown) output.line(visible(heading));
    output.line(`${visible(values.sql ?? "")};`);
    shown = heading;
  }
  return exitCode.success;
}
