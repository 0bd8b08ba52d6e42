import { existsSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { descendants, isAlive, signal } from "./processes.ts";
import { serversDir } from "./servers-dir.ts";

/**
 * Vitest's global setup: before and after a run, end servers whose test process is gone. One that
 * was killed could not do it.
 */
export default function setup(): () => void {
  removeStaleServers();
  return removeStaleServers;
}

function removeStaleServers(): void {
  if (!existsSync(serversDir)) return;
  for (const entry of readdirSync(serversDir)) {
    const owner = Number(entry.split(".").at(-2));
    if (owner !== process.pid && isAlive(owner)) continue;
    const home = join(serversDir, entry);
    endPostmaster(join(home, "data"));
    const sockets = join(home, "sockets");
    if (existsSync(sockets))
      rmSync(readFileSync(sockets, "utf8"), { recursive: true, force: true });
    rmSync(home, { recursive: true, force: true });
  }
}

function endPostmaster(dataDir: string): void {
  const file = join(dataDir, "postmaster.pid");
  if (!existsSync(file)) return;
  const pid = Number(readFileSync(file, "utf8").split("\n")[0]);
  if (!pid || !isAlive(pid) || workingDirectory(pid) !== dataDir) return;
  for (const process of [pid, ...descendants(pid)]) signal(process, "SIGKILL");
}

// its number may long be another process's
function workingDirectory(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return undefined;
  }
}
