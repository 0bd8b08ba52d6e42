import { createInterface } from "node:readline/promises";
import { CliError, exitCode, usageError } from "./cli-error.ts";
import { onInterrupt } from "./interrupt.ts";

export function isInteractive(): boolean {
  return process.stdin.isTTY === true && process.stderr.isTTY === true;
}

/** Without somebody to ask, --yes must have been given. Called before any work is done. */
export function requireYes(isYes: boolean | undefined, what: string): void {
  if (isYes !== true && !isInteractive()) {
    throw usageError(`${what} must be confirmed, and there is no terminal to ask on`, "give --yes");
  }
}

/** Ask whether to go on; returns only when the answer is yes. */
export async function confirm(isYes: boolean | undefined, question: string): Promise<void> {
  if (isYes === true) return;
  requireYes(isYes, question);
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // Ctrl-C at the question reaches readline, not the process
    terminal.on("SIGINT", () => process.exit(exitCode.interrupted));
    const closed = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
    const asked = terminal.question(`${question}? [y/N] `);
    const answer = await onInterrupt(
      () => process.exit(exitCode.interrupted),
      () => Promise.race([asked, closed]),
    );
    if (/^\s*y(es)?\s*$/i.test(answer)) return;
  } finally {
    terminal.close();
  }
  throw new CliError(exitCode.cancelled, "nothing was changed", "answer y to go on");
}
