import type { Command } from "commander";
import { exitCode } from "../cli-error.ts";
import { option } from "../command.ts";
import { processEnvironment } from "../connection/environment.ts";

interface DaemonOptions {
  readonly config?: string;
  readonly insecure?: boolean;
  readonly debug?: boolean;
}

/** One line on stderr, which systemd and containers keep, with the time where they do not add it. */
function log(message: string): void {
  process.stderr.write(
    `${process.env.JOURNAL_STREAM ? "" : `${new Date().toISOString()} `}${message}\n`,
  );
}

async function run({
  config: path,
  insecure = false,
  debug = false,
}: DaemonOptions): Promise<void> {
  const [{ readConfig }, { Sessions }, { startDaemon }] = await Promise.all([
    import("../daemon/config.ts"),
    import("../daemon/sessions.ts"),
    import("../daemon/server.ts"),
  ]);
  const env = processEnvironment((text) => log(`warning: ${text}`));
  const config = readConfig(path, env);
  const sessions = new Sessions(config, env);
  const daemon = await startDaemon(config, sessions, insecure);
  const { tls } = config.grpc;
  const how = tls ? (tls.ca ? "with TLS and client certificates" : "with TLS") : "in plaintext";
  log(`gRPC on port ${daemon.grpcPort}, ${how}`);
  if (!tls)
    log(
      insecure
        ? "warning: anybody who reaches this port acts with the daemon's rights, and can read all that is sent (--insecure)"
        : "without repl.grpc.tls only this machine can connect; --insecure lets others, too",
    );
  if (daemon.httpPort !== undefined) log(`HTTP on ${config.http.bind}, port ${daemon.httpPort}`);
  if (debug) setInterval(() => log(`${sessions.count} sessions with PostgreSQL`), 10_000).unref();
  await new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const)
      process.once(signal, () => {
        log(`${signal}: stopping; jobs go on in the server`);
        void daemon.stop().then(resolve);
      });
  });
  process.exitCode = exitCode.success;
}

export function addDaemon(root: Command): void {
  root
    .command("daemon")
    .alias("run")
    .description("answer gRPC and HTTP for PostgreSQL, for clients that do not reach it themselves")
    .addOption(
      option("--config <file>", "YAML with a section repl (default: where docs/daemon.md says)"),
    )
    .addOption(option("--insecure", "let others than this machine connect without TLS"))
    .addOption(option("--debug", "log more"))
    .addHelpText("after", "\nExamples:\n  $ steep-repl daemon --config /etc/steep/config.yaml")
    .action((options: DaemonOptions) => run(options));
}
