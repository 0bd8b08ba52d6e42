import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { giveToServer, unprivileged } from "./data-directory.ts";
import { freePort } from "./free-port.ts";
import { run } from "./pg.ts";
import { serversDir } from "./servers-dir.ts";
import { Sessions } from "./sessions.ts";
import { waitUntil } from "./wait-until.ts";

/** Where the programs of a PostgreSQL 14 to 17 are, if one is installed. */
export const olderBin: string | undefined = [
  process.env.STEEP_OLDER_BIN ?? "",
  ...[14, 15, 16, 17].map((version) => `/usr/lib/postgresql/${version}/bin`),
].find(
  (directory) => existsSync(join(directory, "initdb")) && existsSync(join(directory, "postgres")),
);

/** A peer of an older version, without steep_repl. */
export interface OlderServer {
  readonly port: number;
  readonly connect: Sessions["connect"];
  readonly query: (sql: string, params?: readonly unknown[], options?: object) => Promise<never[]>;
  destroy(): Promise<void>;
}

export async function startOlderServer(directory: string): Promise<OlderServer> {
  const port = await freePort();
  const home = join(serversDir, `older.${process.pid}`);
  const data = join(home, "data");
  await mkdir(home, { recursive: true });
  await giveToServer(home);
  await run(unprivileged, [
    ...[join(directory, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
    ...["-E", "UTF8", "--locale=C"],
  ]);
  const settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off"];
  const child = spawn(
    unprivileged,
    [
      join(directory, "postgres"),
      "-D",
      data,
      "-p",
      `${port}`,
      ...settings.flatMap((s) => ["-c", s]),
    ],
    { stdio: "ignore" },
  );
  const atExit = () => child.kill("SIGQUIT");
  process.once("exit", atExit);
  const sessions = new Sessions({ host: "127.0.0.1", port });
  const query = <R>(sql: string, params: readonly unknown[] = [], options = {}) =>
    sessions.query(sql, params, options) as Promise<R[]>;
  await waitUntil(
    () =>
      query("select 1").then(
        () => true,
        () => false,
      ),
    Boolean,
    "the older server accepts connections",
  );
  return {
    port,
    connect: (options) => sessions.connect(options),
    query,
    async destroy() {
      await sessions.endAll();
      const exit = once(child, "exit");
      child.kill("SIGQUIT");
      await exit;
      process.off("exit", atExit);
      await rm(home, { recursive: true, force: true });
    },
  };
}
