import { existsSync, readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { type ConnectionOptions, checkServerIdentity, type SecureVersion } from "node:tls";
import { connectionError } from "../cli-error.ts";
import type { Environment } from "./environment.ts";
import type { Conninfo } from "./keywords.ts";
import type { Candidate } from "./resolve.ts";

export type Encryption = "plain" | "tls";

/** sslmode, with libpq's default. */
export function sslmodeOf(settings: Conninfo): string {
  return settings.sslmode || (settings.sslrootcert === "system" ? "verify-full" : "prefer");
}

/** In which order encryption is tried; through a socket there is none. */
export function encryptions(settings: Conninfo, { isSocket }: Candidate): readonly Encryption[] {
  if (isSocket) return ["plain"];
  switch (sslmodeOf(settings)) {
    case "disable":
      return ["plain"];
    case "allow":
      return ["plain", "tls"];
    case "prefer":
      return ["tls", "plain"];
    default:
      return ["tls"];
  }
}

/**
 * TLS options for a server. `require` verifies the chain where a root certificate is at hand, and
 * only `verify-full` looks at the host's name: node-postgres by itself does otherwise.
 */
export function tlsOptions(
  settings: Conninfo,
  { host }: Candidate,
  env: Environment,
): ConnectionOptions {
  const mode = sslmodeOf(settings);
  const ca = rootCertificate(settings, mode, env);
  const verifies = mode.startsWith("verify-") || (mode === "require" && ca !== undefined);
  return {
    ...(ca === undefined ? {} : { ca }),
    ...clientCertificate(settings, env),
    ...(settings.sslcrl ? { crl: readFile(settings.sslcrl, "certificate revocation list") } : {}),
    rejectUnauthorized: verifies,
    checkServerIdentity: (_, certificate) =>
      mode === "verify-full" ? checkServerIdentity(host, certificate) : undefined,
    ...(isIP(host) === 0 && settings.sslsni !== "0" ? { servername: host } : {}),
    minVersion: version(settings.ssl_min_protocol_version) ?? "TLSv1.2",
    ...maximum(version(settings.ssl_max_protocol_version)),
  };
}

function maximum(maxVersion: SecureVersion | undefined): ConnectionOptions {
  return maxVersion === undefined ? {} : { maxVersion };
}

function version(text: string | undefined): SecureVersion | undefined {
  const versions: readonly SecureVersion[] = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];
  const found = versions.find((v) => v.toLowerCase() === text?.toLowerCase());
  if (text && !found) {
    throw connectionError(
      `invalid SSL protocol version "${text}"`,
      `use one of ${versions.join(", ")}`,
    );
  }
  return found;
}

function rootCertificate(settings: Conninfo, mode: string, env: Environment): Buffer | undefined {
  if (settings.sslrootcert === "system") return undefined;
  const path = settings.sslrootcert || join(env.home, ".postgresql", "root.crt");
  if (existsSync(path)) return readFile(path, "root certificate file");
  if (mode.startsWith("verify-")) {
    throw connectionError(
      `root certificate file "${path}" does not exist`,
      "provide the file, use sslrootcert=system, or change sslmode to disable the server's verification",
    );
  }
  return undefined;
}

function clientCertificate(settings: Conninfo, env: Environment): ConnectionOptions {
  const certificate = settings.sslcert || join(env.home, ".postgresql", "postgresql.crt");
  if (!existsSync(certificate)) {
    if (settings.sslcert) throw connectionError(`certificate file "${certificate}" does not exist`);
    return {};
  }
  const key = settings.sslkey || join(env.home, ".postgresql", "postgresql.key");
  if (!existsSync(key)) {
    throw connectionError(`certificate present, but not private key file "${key}"`);
  }
  const { mode, uid } = statSync(key);
  if ((mode & (uid === 0 ? 0o037 : 0o077)) !== 0) {
    throw connectionError(
      `private key file "${key}" has group or world access`,
      "chmod 0600 it, or 0640 where root owns it",
    );
  }
  return {
    cert: readFile(certificate, "certificate file"),
    key: readFile(key, "private key file"),
    ...(settings.sslpassword ? { passphrase: settings.sslpassword } : {}),
  };
}

function readFile(path: string, what: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw connectionError(`could not read ${what} "${path}": ${(error as Error).message}`);
  }
}
