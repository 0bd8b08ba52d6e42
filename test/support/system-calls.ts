import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Server } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/** Whether strace is there, and may look at other processes. */
export const canTrace = traces();

function traces(): boolean {
  try {
    execFileSync("strace", ["-o", "/dev/null", "-p", String(process.ppid), "-e", "trace=none"], {
      timeout: 300,
      stdio: "pipe",
    });
    return true;
  } catch (error) {
    // it goes on until it is ended, if it may
    return (error as NodeJS.ErrnoException).code === "ETIMEDOUT";
  }
}

/**
 * Trace what the server's later processes do while an action runs; the lines that strace wrote.
 * The action can wait until some process has entered a call.
 */
export async function traceSystemCalls(
  server: Server,
  options: readonly string[],
  action: (entered: (call: string) => Promise<void>) => Promise<void>,
): Promise<string[]> {
  const home = await mkdtemp(join(tmpdir(), "steep-trace-"));
  // a file for each process: else calls at the same time would be divided into two lines each
  const lines = async () => {
    const texts = (await readdir(home)).map((name) => readFile(join(home, name), "utf8"));
    return (await Promise.all(texts)).join("").split("\n");
  };
  const output = ["-ff", "-o", join(home, "calls")];
  const strace = spawn("strace", [...output, ...options, "-p", String(server.pid)], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  try {
    await attached(strace);
    await action(async (call) => {
      await waitUntil(
        lines,
        (found) => found.some((line) => line.includes(`${call}(`)),
        `some process calls ${call}`,
      );
    });
  } finally {
    const exit = once(strace, "exit");
    strace.kill("SIGINT");
    await exit;
  }
  const found = await lines();
  await rm(home, { recursive: true });
  return found;
}

async function attached(strace: ChildProcess): Promise<void> {
  let said = "";
  strace.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said += text;
  });
  await waitUntil(
    () => said,
    (text) => text.includes("attached"),
    "strace is attached",
  );
}
