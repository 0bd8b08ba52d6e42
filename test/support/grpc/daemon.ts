import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type CliOptions, type RunningCli, startCli } from "../cli.ts";
import { freePort } from "../free-port.ts";
import type { Server } from "../server.ts";

export interface DaemonOptions extends CliOptions {
  readonly args?: readonly string[];
  /** paths of the section grpc.tls */
  readonly tls?: Readonly<Record<string, string>>;
  readonly user?: string;
  readonly database?: string;
}

/** The daemon as it is started from a configuration file, until it answers. */
export class TestDaemon {
  readonly cli: RunningCli;
  readonly port: number;
  readonly httpPort: number;

  constructor(cli: RunningCli, port: number, httpPort: number) {
    this.cli = cli;
    this.port = port;
    this.httpPort = httpPort;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async http(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const response = await fetch(`http://127.0.0.1:${this.httpPort}${path}`);
    return { status: response.status, body: await response.text() };
  }

  /** Its resident memory, in MB. */
  async residentMb(): Promise<number> {
    const text = await readFile(`/proc/${this.cli.child.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1]) / 1024;
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    this.cli.child.kill(signal);
    await this.cli.end;
  }
}

export async function startDaemon(
  server: Server,
  { args = [], tls, user = "postgres", database = "postgres", ...options }: DaemonOptions = {},
): Promise<TestDaemon> {
  const [port, httpPort] = [await freePort(), await freePort()];
  const file = join(server.home, `daemon-${port}.yaml`);
  const lines = [
    "repl:",
    "  enabled: true",
    "  node_id: node-a",
    "  node_name: A",
    `  postgresql: { host: 127.0.0.1, port: ${server.port}, database: ${database}, user: ${user} }`,
    `  http: { enabled: true, port: ${httpPort}, bind: 127.0.0.1 }`,
    "  grpc:",
    `    port: ${port}`,
    ...(tls
      ? ["    tls:", ...Object.entries(tls).map(([key, path]) => `      ${key}: ${path}`)]
      : []),
  ];
  await writeFile(file, `${lines.join("\n")}\n`);
  const cli = startCli(["daemon", "--config", file, ...args], options);
  await cli.until(/HTTP on/);
  return new TestDaemon(cli, port, httpPort);
}
