import pg from "pg";
import { type CliError, connectionError } from "../cli-error.ts";
import { connectFailure, NoPassword } from "./connect-failure.ts";
import type { Environment } from "./environment.ts";
import { passwordFromFile } from "./password-file.ts";
import type { Candidate, Target } from "./resolve.ts";
import { type Encryption, encryptions, tlsOptions } from "./ssl.ts";

export interface Connected {
  readonly client: pg.Client;
  readonly candidate: Candidate;
}

/** Every value as PostgreSQL printed it: numbers of JavaScript would lose digits. */
const asText = { getTypeParser: () => (value: string) => value };

/**
 * Connect as libpq would: hosts in order, each with the encryptions that sslmode allows, until one
 * has the wanted session attributes. Throws a CliError that says what to do.
 */
export async function connect(target: Target, env: Environment): Promise<Connected> {
  const wanted = target.settings.target_session_attrs || "any";
  // prefer-standby is a first round for standbys, then one for any
  const rounds = wanted === "prefer-standby" ? ["standby", "any"] : [wanted];
  let failure: CliError | undefined;
  for (const round of rounds) {
    for (const candidate of ordered(target)) {
      const connected = await tryCandidate(target, candidate, env).catch(
        (error: CliError) => error,
      );
      if ("client" in connected) {
        if (await hasAttributes(connected.client, round)) return connected;
        await connected.client.end();
        failure ??= connectionError(
          `server at ${addressOf(candidate)} is not ${round}`,
          "name another host, or change target_session_attrs",
        );
      } else {
        failure = connected;
        if (isFinal(connected)) throw connected;
      }
    }
  }
  throw failure ?? connectionError("no host to connect to");
}

/** A server that refused the user is not asked to be another. */
function isFinal(error: CliError): boolean {
  return error.cause instanceof pg.DatabaseError && error.cause.code !== "57P03";
}

function ordered({ candidates, settings }: Target): readonly Candidate[] {
  if (settings.load_balance_hosts !== "random") return candidates;
  return candidates
    .map((candidate) => ({ candidate, rank: Math.random() }))
    .sort((a, b) => a.rank - b.rank)
    .map(({ candidate }) => candidate);
}

async function tryCandidate(
  target: Target,
  candidate: Candidate,
  env: Environment,
): Promise<Connected> {
  const allowed = encryptions(target.settings, candidate);
  let failure: unknown;
  for (const encryption of allowed) {
    const client = new pg.Client(configOf(target, candidate, encryption, env));
    // without a listener a server that goes away would end the program; queries reject anyway
    client.on("error", () => {});
    try {
      await client.connect();
      return { client, candidate };
    } catch (error) {
      client.end().catch(() => {});
      // what a server says counts more than that it has no SSL
      if (!(failure instanceof pg.DatabaseError)) failure = error;
      if (!mayTryOther(error)) break;
    }
  }
  throw connectFailure(failure, target, candidate);
}

/**
 * Whether another encryption may help: the handshake failed, or pg_hba.conf has no entry for this
 * one. Unlike libpq we do not send a refused password once more without encryption.
 */
function mayTryOther(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return error.code === "28000";
  const { code = "" } = error as NodeJS.ErrnoException;
  const isNetwork =
    /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|ENOENT)$/;
  return !(error instanceof NoPassword) && !isNetwork.test(code);
}

function configOf(
  target: Target,
  candidate: Candidate,
  encryption: Encryption,
  env: Environment,
): pg.ClientConfig {
  const { settings, user, dbname } = target;
  const timeout = Number(settings.connect_timeout || 0);
  return {
    ...{ host: candidate.address, port: candidate.port, user, database: dbname },
    ssl: encryption === "tls" ? tlsOptions(settings, candidate, env) : false,
    sslnegotiation:
      encryption === "tls" && settings.sslnegotiation === "direct" ? "direct" : "postgres",
    password: () => passwordOf(target, candidate, env),
    // libpq waits for two seconds at least
    connectionTimeoutMillis: timeout > 0 ? Math.max(2, timeout) * 1000 : 0,
    application_name:
      settings.application_name || settings.fallback_application_name || "steep-repl",
    ...(settings.options ? { options: settings.options } : {}),
    keepAlive: true,
    types: asText,
  } as pg.ClientConfig;
}

/** Asked for only when the server wants one. */
function passwordOf(target: Target, candidate: Candidate, env: Environment): string {
  const found = passwordFor(target, candidate, env);
  if (found === undefined) throw new NoPassword();
  return found;
}

/** The password that a server would be told if it asked. */
export function passwordFor(
  { settings, user, dbname }: Target,
  candidate: Candidate,
  env: Environment,
): string | undefined {
  if (settings.password) return settings.password;
  const key = { host: candidate.passwordHost, port: `${candidate.port}`, dbname, user };
  return passwordFromFile(settings.passfile, key, env);
}

async function hasAttributes(client: pg.Client, wanted: string): Promise<boolean> {
  if (wanted === "any") return true;
  const { rows } = await client.query<{ standby: string; read_only: string }>(
    `select pg_catalog.pg_is_in_recovery()::text as standby,
            pg_catalog.current_setting('transaction_read_only') as read_only`,
  );
  const isStandby = rows[0]?.standby === "true";
  const isReadOnly = isStandby || rows[0]?.read_only === "on";
  const answers: Readonly<Record<string, boolean>> = {
    ...{ primary: !isStandby, standby: isStandby },
    ...{ "read-write": !isReadOnly, "read-only": isReadOnly },
  };
  return answers[wanted] ?? true;
}

/** How an address is shown in messages. */
export function addressOf({ host, port, isSocket }: Candidate): string {
  return isSocket ? `socket "${host}/.s.PGSQL.${port}"` : `"${host}", port ${port}`;
}
