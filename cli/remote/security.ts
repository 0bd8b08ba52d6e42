import { readFileSync } from "node:fs";
import type { SecureClientSessionOptions } from "node:http2";
import { usageError } from "../cli-error.ts";
import type { CommonOptions } from "../invocation.ts";
import { type Address, isThisMachine } from "./address.ts";
import type { KnownConfig } from "./known-config.ts";

/** How a daemon is spoken to. */
export interface Security {
  /** Undefined: in plaintext. */
  readonly tls: SecureClientSessionOptions | undefined;
  /** Why, where no flag says it. */
  readonly note?: string;
}

interface Files {
  readonly ca?: string | undefined;
  readonly cert?: string | undefined;
  readonly key?: string | undefined;
}

/**
 * By the flags; without them as the configuration file says of a daemon on this machine; else with TLS and the roots
 * that Node.js has. Plaintext is never chosen in silence.
 */
export function securityOf(
  address: Address,
  options: CommonOptions,
  known: () => KnownConfig | undefined,
): Security {
  const { ca, cert, key, insecure } = options;
  const isSecure = ca !== undefined || cert !== undefined || key !== undefined;
  if (insecure && isSecure) {
    throw usageError(
      "--insecure speaks plaintext, which no certificate protects",
      "leave out --insecure, or --ca, --cert and --key",
    );
  }
  if (insecure) return { tls: undefined };
  if (isSecure) return { tls: secure({ ca, cert, key }, address) };
  const found = isThisMachine(address) ? known() : undefined;
  if (found === undefined || found.config.grpc.port !== address.port) {
    return { tls: secure({}, address) };
  }
  const { file, config } = found;
  if (config.grpc.tls === undefined) {
    return {
      tls: undefined,
      note: `${address.text} is spoken to in plaintext, as ${file} has no repl.grpc.tls for it`,
    };
  }
  return { tls: secure(config.grpc.clientTls, address), note: `certificates are those of ${file}` };
}

function secure({ ca, cert, key }: Files, { host }: Address): SecureClientSessionOptions {
  if ((cert === undefined) !== (key === undefined)) {
    throw usageError("a client's certificate needs both --cert and --key", "give both, or neither");
  }
  return {
    minVersion: "TLSv1.3",
    // whatever NODE_TLS_REJECT_UNAUTHORIZED says
    rejectUnauthorized: true,
    ...(/^[\d.]+$|:/.test(host) ? {} : { servername: host }),
    ...(ca === undefined ? {} : { ca: read(ca) }),
    ...(cert === undefined ? {} : { cert: read(cert) }),
    ...(key === undefined ? {} : { key: read(key) }),
  };
}

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw usageError(`cannot read ${path}: ${(error as Error).message}`, "check its name and mode");
  }
}
