import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { parseDocument } from "yaml";
import { usageError } from "../cli-error.ts";
import type { Environment } from "../connection/environment.ts";

/** The configuration file's section `repl`, with what it leaves out filled in. */
export interface DaemonConfig {
  readonly nodeId: string;
  readonly nodeName: string;
  readonly postgresql: {
    readonly host: string;
    readonly port: number;
    readonly database: string;
    readonly user: string;
    readonly sslmode: string;
    /** A program and its arguments, without a shell, that prints the password. */
    readonly passwordCommand: readonly string[];
  };
  readonly grpc: {
    readonly port: number;
    readonly tls: TlsFiles | undefined;
    /** What a client on this machine speaks to it with. */
    readonly clientTls: ClientTlsFiles;
  };
  readonly http: { readonly enabled: boolean; readonly port: number; readonly bind: string };
  readonly initialization: { readonly parallelWorkers: number; readonly compression: string };
}

/** Paths; with `ca`, clients need a certificate of it. */
export interface TlsFiles {
  readonly cert: string;
  readonly key: string;
  readonly ca: string | undefined;
}

/** Paths. */
export interface ClientTlsFiles {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}

export const defaultGrpcPort = 15460;

/** Each key that is read, with its default; the others of the predecessor are known, and have no effect. */
const known: Readonly<Record<string, "string" | "number" | "boolean" | "unused">> = {
  enabled: "boolean",
  node_id: "string",
  node_name: "string",
  "postgresql.host": "string",
  "postgresql.port": "number",
  "postgresql.database": "string",
  "postgresql.user": "string",
  "postgresql.sslmode": "string",
  "postgresql.password_command": "string",
  "grpc.port": "number",
  "grpc.tls.cert_file": "string",
  "grpc.tls.key_file": "string",
  "grpc.tls.ca_file": "string",
  "grpc.tls.client_cert_file": "string",
  "grpc.tls.client_key_file": "string",
  "http.enabled": "boolean",
  "http.port": "number",
  "http.bind": "string",
  "ipc.enabled": "unused",
  "ipc.path": "unused",
  "audit.retention": "unused",
  "initialization.method": "unused",
  "initialization.parallel_workers": "number",
  "initialization.schema_sync": "unused",
  "initialization.large_table_threshold": "unused",
  "initialization.large_table_method": "unused",
  "initialization.snapshot_timeout": "unused",
  "initialization.snapshot_storage_path": "unused",
  "initialization.snapshot_compression": "string",
};

type Flat = Readonly<Record<string, unknown>>;

/** Where the file is looked for, in this order. */
export function configPaths(env: Environment): readonly string[] {
  const system =
    process.platform === "darwin"
      ? join(env.home, "Library/Application Support")
      : (env.variables.XDG_CONFIG_HOME ?? join(env.home, ".config"));
  return [
    join(system, "steep/config.yaml"),
    join(env.home, ".config/steep/config.yaml"),
    "config.yaml",
  ];
}

/**
 * Read the configuration: of the path that is given, else of the first of `configPaths` that there is.
 *
 * @throws CliError naming the file, where it cannot be read, or a value is of another kind
 */
export function readConfig(path: string | undefined, env: Environment): DaemonConfig {
  const file = path ?? configPaths(env).find((candidate) => existsSync(candidate));
  if (file === undefined)
    throw usageError(
      "there is no configuration file",
      `give --config, or write one of ${configPaths(env).join(", ")}`,
    );
  return configOf(flatten(replSection(file)), file, env);
}

function replSection(file: string): unknown {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw usageError(`cannot read ${file}: ${(error as Error).message}`);
  }
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error) throw usageError(`${file} is no YAML: ${error.message}`);
  const root: unknown = document.toJS();
  const repl =
    typeof root === "object" && root !== null ? (root as { repl?: unknown }).repl : undefined;
  if (typeof repl !== "object" || repl === null)
    throw usageError(`${file} has no section repl`, "see docs/daemon.md for what belongs there");
  return repl;
}

/** Nested keys joined with dots. */
function flatten(value: unknown, prefix = ""): Flat {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { [prefix]: value };
  return Object.assign(
    {},
    ...Object.entries(value).map(([key, inner]) =>
      flatten(inner, prefix === "" ? key : `${prefix}.${key}`),
    ),
  ) as Flat;
}

function configOf(flat: Flat, file: string, env: Environment): DaemonConfig {
  for (const key of Object.keys(flat))
    if (known[key] === undefined) env.warn(`${file}: repl.${key} is not known, and has no effect`);
    else if (known[key] === "unused") env.warn(`${file}: repl.${key} has no effect any more`);
  const value = <T>(key: string, fallback: T): T => {
    const found = flat[key];
    if (found === undefined || found === null) return fallback;
    if (typeof found !== known[key])
      throw usageError(`${file}: repl.${key} is no ${known[key]}: ${JSON.stringify(found)}`);
    return found as T;
  };
  const setting = (key: string, variable: string, fallback: string) =>
    env.variables[variable] || value(key, fallback);
  const path = (key: string) => expandHome(value(key, ""), env);
  const port = (key: string, fallback: number, variable?: string) => {
    const number = Number((variable && env.variables[variable]) || value(key, fallback));
    if (!Number.isInteger(number) || number < 1 || number > 65535)
      throw usageError(`${file}: repl.${key} is no port: ${number}`);
    return number;
  };
  return {
    nodeId: value("node_id", ""),
    nodeName: value("node_name", ""),
    postgresql: {
      host: setting("postgresql.host", "PGHOST", "localhost"),
      port: port("postgresql.port", 5432, "PGPORT"),
      database: setting("postgresql.database", "PGDATABASE", "postgres"),
      user: setting("postgresql.user", "PGUSER", env.user),
      sslmode: setting("postgresql.sslmode", "PGSSLMODE", "prefer"),
      passwordCommand: value("postgresql.password_command", "").split(/\s+/).filter(Boolean),
    },
    grpc: {
      port: port("grpc.port", defaultGrpcPort),
      tls: tlsOf(path, file),
      clientTls: {
        ca: path("grpc.tls.ca_file") || undefined,
        cert: path("grpc.tls.client_cert_file") || undefined,
        key: path("grpc.tls.client_key_file") || undefined,
      },
    },
    http: {
      enabled: value("http.enabled", true),
      port: port("http.port", 8080),
      bind: value("http.bind", "127.0.0.1"),
    },
    initialization: {
      parallelWorkers: value("initialization.parallel_workers", 4),
      compression: value("initialization.snapshot_compression", "gzip"),
    },
  };
}

function tlsOf(path: (key: string) => string, file: string): TlsFiles | undefined {
  const cert = path("grpc.tls.cert_file");
  const key = path("grpc.tls.key_file");
  const ca = path("grpc.tls.ca_file");
  if (cert === "" && key === "") {
    if (ca !== "")
      throw usageError(`${file}: repl.grpc.tls.ca_file is set without cert_file and key_file`);
    return undefined;
  }
  if (cert === "" || key === "")
    throw usageError(`${file}: repl.grpc.tls needs both cert_file and key_file`);
  return { cert, key, ca: ca === "" ? undefined : ca };
}

function expandHome(path: string, env: Environment): string {
  return path.startsWith("~/") ? join(env.home || homedir(), path.slice(2)) : path;
}
