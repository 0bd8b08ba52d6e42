import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The checkout's top directory. */
export const projectRoot = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** A path inside of the checkout. */
export function inProject(...parts: readonly string[]): string {
  return join(projectRoot, ...parts);
}

const answers = new Map<string, string>();

function ask(program: string, ...args: readonly string[]): string {
  const question = [program, ...args].join(" ");
  let answer = answers.get(question);
  if (answer === undefined) {
    answer = execFileSync(program, args, { encoding: "utf8" }).trim();
    answers.set(question, answer);
  }
  return answer;
}

/** What the tests' `pg_config` says, such as `pgConfig("--sharedir")`. */
export function pgConfig(option: string): string {
  return ask(ask(inProject("scripts/find-pg.sh")), option);
}

/** The path of a program of the tests' PostgreSQL, such as `bin("pg_restore")`. */
export function bin(name: string): string {
  return join(pgConfig("--bindir"), name);
}

export interface RunOptions {
  /** Added to the environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to the program's standard input. */
  readonly input?: string;
  readonly cwd?: string;
  /** Return what a failing program said instead of throwing it. */
  readonly allowFailure?: boolean;
}

export interface RunResult {
  /** Exit code; null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Run a program to its end. Throws what it said when it fails. */
export async function run(
  program: string,
  args: readonly string[] = [],
  options: RunOptions = {},
): Promise<RunResult> {
  const child = spawn(program, args, {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  // a program that ends without reading its input is no failure of ours
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");

  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (code !== 0 && options.allowFailure !== true) {
    throw new Error(`${program} ${args.join(" ")} ended with ${code}\n${stderr}${stdout}`);
  }
  return { code, stdout, stderr };
}
