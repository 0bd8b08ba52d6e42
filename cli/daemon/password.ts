import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { connectionError } from "../cli-error.ts";

const run = promisify(execFile);
const timeoutMs = 5000;

/**
 * What a program prints, without its last line end. No shell runs it, and neither its output nor its
 * arguments are in the error.
 */
export async function commandPassword(command: readonly string[]): Promise<string | undefined> {
  const [program, ...args] = command;
  if (program === undefined) return undefined;
  try {
    const { stdout } = await run(program, args, { timeout: timeoutMs, maxBuffer: 64 * 1024 });
    return stdout.replace(/\r?\n$/, "");
  } catch (error) {
    const { code, killed } = error as {
      readonly code?: string | number;
      readonly killed?: boolean;
    };
    throw connectionError(
      `password_command ${killed ? `took longer than ${timeoutMs / 1000} s` : `failed (${code ?? "killed"})`}`,
      "run it by hand as the daemon's user",
    );
  }
}
