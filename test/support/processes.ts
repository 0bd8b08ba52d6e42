import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";

/** Does the process run? One that has ended, but was not waited for, does not. */
export function isAlive(pid: number): boolean {
  if (existsSync("/proc/self/stat")) {
    const stat = readStat(pid);
    return stat !== undefined && stat.state !== "Z" && stat.state !== "X";
  }
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Send a signal; a process that is gone already is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** All processes below one, itself not included. */
export function descendants(pid: number): number[] {
  const parents = parentsByPid();
  const found: number[] = [];
  let level = new Set([pid]);
  while (level.size > 0) {
    const children = [...parents].filter(([, parent]) => level.has(parent)).map(([child]) => child);
    found.push(...children);
    level = new Set(children);
  }
  return found;
}

function parentsByPid(): Map<number, number> {
  const parents = new Map<number, number>();
  if (existsSync("/proc/self/stat")) {
    for (const entry of readdirSync("/proc")) {
      const stat = /^\d+$/.test(entry) ? readStat(Number(entry)) : undefined;
      if (stat) parents.set(Number(entry), stat.parent);
    }
  } else {
    for (const line of execFileSync("ps", ["-A", "-o", "pid=,ppid="], { encoding: "utf8" }).split(
      "\n",
    )) {
      const [pid, parent] = line.trim().split(/\s+/).map(Number);
      if (pid && parent !== undefined) parents.set(pid, parent);
    }
  }
  return parents;
}

function readStat(pid: number): { state: string; parent: number } | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // the command's name, in parentheses, may hold anything
    const [state, parent] = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return { state: state ?? "", parent: Number(parent) };
  } catch {
    return undefined;
  }
}

/** Sample the most memory that a process ever had, in KB, until it is gone or we stop. */
export function sampleMemory(pid: number): { stop(): number } {
  let peak = 0;
  const look = () => {
    try {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      peak = Math.max(peak, Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0));
    } catch {
      clearInterval(timer);
    }
  };
  const timer = setInterval(look, 1);
  look();
  return {
    stop() {
      clearInterval(timer);
      return peak;
    },
  };
}

/** How long a process has computed, in ms; unlike a clock, whatever else the machine does meanwhile. */
export function computedMs(pid: number): number {
  if (!existsSync(`/proc/${pid}/schedstat`)) {
    const time = execFileSync("ps", ["-o", "time=", "-p", `${pid}`], { encoding: "utf8" }).trim();
    return time.split(":").reduce((sum, part) => sum * 60 + Number(part), 0) * 1000;
  }
  const [ns] = readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ");
  return Number(ns) / 1e6;
}
