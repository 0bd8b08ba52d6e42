import { existsSync } from "node:fs";
import { CliError } from "../cli-error.ts";
import type { Environment } from "../connection/environment.ts";
import { configPaths, type DaemonConfig, readConfig } from "../daemon/config.ts";

/** The configuration file of a daemon on this machine. */
export interface KnownConfig {
  readonly file: string;
  readonly config: DaemonConfig;
}

/** The first of `configPaths` that there is; one that cannot be read is warned of, and then none. */
export function knownConfig(env: Environment): KnownConfig | undefined {
  const file = configPaths(env).find((path) => existsSync(path));
  if (file === undefined) return undefined;
  // what a daemon does not know in it is no matter of a client
  const silent = { variables: {}, home: env.home, user: "", warn: () => {} };
  try {
    return { file, config: readConfig(file, silent) };
  } catch (error) {
    if (!(error instanceof CliError)) throw error;
    env.warn(`no daemon is known from it: ${error.message}`);
    return undefined;
  }
}
