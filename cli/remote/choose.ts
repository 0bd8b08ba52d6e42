import type { CliError } from "../cli-error.ts";
import type { Environment } from "../connection/environment.ts";
import type { CommonOptions, Invocation } from "../invocation.ts";
import { type Address, isThisMachine, parseAddress } from "./address.ts";
import { Remote } from "./client.ts";
import { type KnownConfig, knownConfig } from "./known-config.ts";
import { securityOf } from "./security.ts";

const variable = "STEEP_REPL_REMOTE";

const deprecation =
  "note: --remote is deprecated: jobs run in PostgreSQL itself, which --direct reaches without a daemon";

/** The daemon that --remote names. */
export function openRemote(invocation: Invocation, given: string): Remote {
  invocation.output.message(deprecation);
  return remoteAt(invocation, parseAddress(given, "--remote"));
}

/** A daemon that another flag names, as --remote-b. */
export function openNamed(invocation: Invocation, flag: string, given: string): Remote {
  return remoteAt(invocation, parseAddress(given, flag));
}

/**
 * The daemon that is asked because there is no connection to PostgreSQL: that of STEEP_REPL_REMOTE, else of the
 * configuration file. Stderr says which, and why.
 *
 * @param cause why there is no connection
 * @param withoutField flags that the RPC has no field for; with any, no daemon is asked
 */
export function fallBack(
  invocation: Invocation,
  cause: CliError,
  withoutField: string,
): Remote | undefined {
  const found = known(invocation);
  if (found === undefined) return undefined;
  const { address, source } = found;
  if (withoutField !== "") {
    invocation.output.message(
      `the daemon at ${address.text} (${source}) is not asked instead: its RPC has no field for ${withoutField}`,
    );
    return undefined;
  }
  invocation.output.message(
    `${cause.message}; asking the daemon at ${address.text} instead, which ${source} names`,
  );
  return remoteAt(invocation, address, found.config);
}

/** Whether libpq's variables name a server that is not this machine's, whose daemon is not to be asked in its place. */
function namesAnother({ variables }: Environment): boolean {
  const { PGHOST, PGHOSTADDR, PGSERVICE } = variables;
  const isElsewhere = (host = "") =>
    host !== "" && !host.startsWith("/") && !isThisMachine({ host });
  return isElsewhere(PGHOST) || isElsewhere(PGHOSTADDR) || Boolean(PGSERVICE);
}

interface Known {
  readonly address: Address;
  readonly source: string;
  readonly config?: KnownConfig;
}

function known({ environment }: Invocation): Known | undefined {
  const named = environment.variables[variable];
  if (named) return { address: parseAddress(named, variable), source: variable };
  if (namesAnother(environment)) return undefined;
  const config = knownConfig(environment);
  if (config === undefined) return undefined;
  const address = parseAddress(`localhost:${config.config.grpc.port}`, config.file);
  return { address, source: config.file, config };
}

function remoteAt(invocation: Invocation, address: Address, config?: KnownConfig): Remote {
  const { options, output, environment } = invocation;
  const say = (message: string) => output.message(message);
  const security = securityOf(address, options, () => config ?? knownConfig(environment));
  if (security.note !== undefined) say(`note: ${security.note}`);
  return new Remote(address, security, options.timeout, say);
}

/** Flags with which another command reaches the same daemon, as a shell reads them. */
export function remoteFlags({ place }: Remote, { ca, cert, key, insecure }: CommonOptions): string {
  const files = Object.entries({ ca, cert, key }).filter(([, path]) => path !== undefined);
  return [
    ` --remote ${place}`,
    ...files.map(([flag, path]) => ` --${flag} ${path}`),
    ...(insecure ? [" --insecure"] : []),
  ].join("");
}
