import type { Command } from "commander";
import { vi } from "vitest";
import { leavesOf } from "../../cli/man-page.ts";
import { reportError } from "../../cli/output/report-error.ts";
import { program, runProgram } from "../../cli/program.ts";
import type { CliResult } from "./cli.ts";

/**
 * Run a command line within this process, where a program of its own would take longer than what it does. One at a
 * time: what is printed meanwhile is its output.
 */
export async function cliHere(args: readonly string[]): Promise<CliResult> {
  const printed = { stdout: "", stderr: "" };
  const catching = (["stdout", "stderr"] as const).map((name) =>
    vi.spyOn(process[name], "write").mockImplementation((text) => {
      printed[name] += String(text);
      return true;
    }),
  );
  const { exitCode } = process;
  try {
    process.exitCode = undefined;
    return { code: await runProgram(args).catch(reportError), ...printed };
  } finally {
    process.exitCode = exitCode;
    for (const caught of catching) caught.mockRestore();
  }
}

/** All commands that do something, as they are called: `merge start`. */
export function commandNames(): readonly string[] {
  return leavesOf(program()).map(nameOf);
}

export function nameOf(command: Command): string {
  const { parent } = command;
  return parent?.parent ? `${nameOf(parent)} ${command.name()}` : command.name();
}
