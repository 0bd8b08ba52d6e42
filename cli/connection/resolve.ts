import { existsSync } from "node:fs";
import { join } from "node:path";
import { usageError } from "../cli-error.ts";
import type { Environment } from "./environment.ts";
import { type Conninfo, type Keyword, keywords } from "./keywords.ts";
import { parseConninfo } from "./parse-conninfo.ts";
import { readService } from "./service-file.ts";

/** One server to try: `address` is what is connected to, `host` what was asked for. */
export interface Candidate {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  readonly isSocket: boolean;
  /** As .pgpass names it. */
  readonly passwordHost: string;
}

/** Everything libpq would connect with. */
export interface Target {
  readonly candidates: readonly [Candidate, ...Candidate[]];
  readonly user: string;
  readonly dbname: string;
  readonly settings: Conninfo;
}

const choices: { readonly [keyword in Keyword]?: readonly string[] } = {
  sslmode: ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
  sslnegotiation: ["postgres", "direct"],
  target_session_attrs: ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"],
  load_balance_hosts: ["disable", "random"],
  gssencmode: ["disable", "prefer", "require"],
  channel_binding: ["disable", "prefer", "require"],
};

/**
 * What node-postgres cannot do, and would be less than the user asked for if it were passed over.
 * `harmless` are the values that ask for nothing.
 */
const unsupported: { readonly [keyword in Keyword]?: readonly string[] } = {
  gssencmode: ["disable", "prefer"],
  channel_binding: ["disable", "prefer"],
  sslcertmode: ["allow"],
  require_auth: [],
  requirepeer: [],
  sslcrldir: [],
};

/** Connection string, then service, then environment, then defaults: libpq's order. */
export function resolveTarget(text: string | undefined, env: Environment): Target {
  const settings = gather(text === undefined ? {} : parseConninfo(text), env);
  check(settings);
  const user = settings.user || env.user;
  return { candidates: candidatesOf(settings), user, dbname: settings.dbname || user, settings };
}

function gather(given: Conninfo, env: Environment): Conninfo {
  const result: Conninfo = { ...given };
  const service = given.service ?? env.variables.PGSERVICE;
  if (service) {
    const file = given.servicefile ?? env.variables.PGSERVICEFILE;
    for (const [name, value] of Object.entries(readService(service, file, env))) {
      result[name as Keyword] ??= value;
    }
  }
  for (const [name, variable] of Object.entries(keywords)) {
    const value = variable === undefined ? undefined : env.variables[variable];
    if (value !== undefined) result[name as Keyword] ??= value;
  }
  return result;
}

function check(settings: Conninfo): void {
  for (const [name, allowed] of Object.entries(choices)) {
    const value = settings[name as Keyword];
    if (value && !allowed.includes(value)) {
      throw usageError(`invalid ${name} value: "${value}"`, `use one of ${allowed.join(", ")}`);
    }
  }
  for (const [name, harmless] of Object.entries(unsupported)) {
    const value = settings[name as Keyword];
    if (value && !harmless.includes(value)) {
      throw usageError(`${name}=${value} is not supported by steep-repl`, `leave ${name} out`);
    }
  }
  const timeout = settings.connect_timeout;
  if (timeout && !/^\s*-?\d+\s*$/.test(timeout)) {
    throw usageError(`invalid integer value "${timeout}" for connection option "connect_timeout"`);
  }
}

function candidatesOf(settings: Conninfo): readonly [Candidate, ...Candidate[]] {
  const hosts = settings.host?.split(",");
  const addresses = settings.hostaddr ? settings.hostaddr.split(",") : undefined;
  if (hosts && addresses && settings.host && hosts.length !== addresses.length) {
    throw usageError(
      `could not match ${hosts.length} host names to ${addresses.length} hostaddr values`,
    );
  }
  const count = addresses?.length ?? hosts?.length ?? 1;
  const ports = portsOf(settings.port, count);
  const one = (i: number) => candidate(hosts?.[i] ?? "", addresses?.[i] ?? "", ports[i] ?? 5432);
  return [one(0), ...Array.from({ length: count - 1 }, (_, i) => one(i + 1))];
}

function portsOf(text: string | undefined, count: number): readonly number[] {
  const parts = (text ?? "").split(",");
  if (parts.length !== 1 && parts.length !== count) {
    throw usageError(`could not match ${parts.length} port numbers to ${count} hosts`);
  }
  const ports = parts.map((part) => {
    const port = part.trim() === "" ? 5432 : /^\s*\d+\s*$/.test(part) ? Number(part) : 0;
    if (port < 1 || port > 65535)
      throw usageError(`invalid port number: "${part}"`, "use 1 to 65535");
    return port;
  });
  return ports.length === count ? ports : Array.from({ length: count }, () => ports[0] ?? 5432);
}

function candidate(host: string, hostaddr: string, port: number): Candidate {
  const address = hostaddr || host || socketDirectory(port);
  const isSocket = address.startsWith("/");
  const isDefaultSocket = isSocket && (host === "" || socketDirectories.includes(address));
  return {
    ...{ host: host || address, address, port, isSocket },
    passwordHost: isDefaultSocket ? "localhost" : host || address,
  };
}

/** libpq's default is compiled in: the first is Debian's and PGDG's, the second PostgreSQL's own. */
const socketDirectories = ["/var/run/postgresql", "/tmp"];

function socketDirectory(port: number): string {
  const withServer = socketDirectories.find((d) => existsSync(join(d, `.s.PGSQL.${port}`)));
  return withServer ?? socketDirectories.find((d) => existsSync(d)) ?? "/tmp";
}
