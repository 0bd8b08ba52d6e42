import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { shellWord } from "../../cli/output/shell-words.ts";
import { inProject } from "./pg.ts";
import { waitUntil } from "./wait-until.ts";

const bundle = inProject("build/cli/steep-repl.cjs");

export interface CliOptions {
  /** Added to an environment without PG* variables; undefined removes one. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Run it in a pseudo-terminal: what it prints is then in `stdout`, both streams in one. */
  readonly terminal?: boolean;
}

export interface CliResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line, while it runs. */
export class RunningCli {
  readonly child: ChildProcess;
  readonly end: Promise<CliResult>;
  #stdout = "";
  #stderr = "";

  constructor(child: ChildProcess) {
    this.child = child;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#stdout += text;
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#stderr += text;
    });
    this.end = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => resolve({ code, stdout: this.#stdout, stderr: this.#stderr }));
    });
  }

  /** All that it has printed so far. */
  get printed(): string {
    return this.#stdout + this.#stderr;
  }

  /** Wait until it has printed something. */
  async until(pattern: RegExp, timeoutMs = 15_000): Promise<void> {
    await waitUntil(
      () => {
        if (this.child.exitCode !== null && !pattern.test(this.printed)) {
          throw new Error(`it ended with ${this.child.exitCode} and had printed:\n${this.printed}`);
        }
        return this.printed;
      },
      (text) => pattern.test(text),
      `it prints ${pattern}`,
      { timeoutMs },
    );
  }

  /** Keys pressed in the terminal. */
  type(keys: string): void {
    this.child.stdin?.write(keys);
  }

  /** Ctrl-C where there is no terminal. */
  interrupt(): void {
    this.child.kill("SIGINT");
  }
}

/** Start the command line as a user does, in a pipe or in a terminal. */
export function startCli(args: readonly string[], options: CliOptions = {}): RunningCli {
  if (!existsSync(bundle)) throw new Error("the command line is not built: make cli");
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^(PG|NO_COLOR|FORCE_COLOR)/.test(name),
  );
  const env = {
    ...Object.fromEntries(inherited),
    TERM: "xterm",
    HOME: "/nonexistent",
    ...options.env,
  };
  const words = [process.execPath, bundle, ...args];
  // script gives it a terminal, and ends as it ends
  const command = options.terminal
    ? ["script", "-qec", `stty cols 120; exec ${words.map(shellWord).join(" ")}`, "/dev/null"]
    : words;
  const [program = "", ...rest] = command;
  const child = spawn(program, rest, { env, stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.on("error", () => {});
  if (!options.terminal) child.stdin.end();
  return new RunningCli(child);
}

/** Run the command line to its end. */
export function cli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return startCli(args, options).end;
}

/** Lines of JSON, as --json prints progress and messages. */
export function jsonLines(text: string): Record<string, unknown>[] {
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
