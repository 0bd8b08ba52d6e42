import pg from "pg";
import { CliError, NoConnection } from "../cli-error.ts";
import { oneLine } from "../output/one-line.ts";
import { addressOf } from "./connect.ts";
import type { Candidate, Target } from "./resolve.ts";

/** The server wants a password, and there is none. */
export class NoPassword extends Error {}

/** What to do, by the SQLSTATE with which a server refuses a session. */
const hints: Readonly<Record<string, (target: Target) => string>> = {
  "28P01": ({ user }) =>
    `check the password of role "${user}": it comes from -c, PGPASSWORD or ~/.pgpass, in this order`,
  "28000": () =>
    "add a line for this user, database and address to the server's pg_hba.conf, or connect as another user",
  "3D000": () => "name an existing database: dbname=... in -c, or PGDATABASE",
  "57P03": () => "the server is starting up or shutting down: try again in a moment",
  "53300": () => "wait until other sessions have ended, or raise max_connections",
};

/** Say what kept us from connecting, and what to do about it. */
export function connectFailure(error: unknown, target: Target, candidate: Candidate): CliError {
  if (error instanceof CliError) return error;
  const { message, hint } = explain(error, target, candidate);
  const failure = new NoConnection(
    `connection to server at ${addressOf(candidate)} failed: ${oneLine(message)}`,
    hint,
  );
  failure.cause = error;
  return failure;
}

interface Explanation {
  readonly message: string;
  readonly hint: string;
}

function explain(error: unknown, target: Target, { isSocket }: Candidate): Explanation {
  if (error instanceof NoPassword) {
    return {
      message: `no password supplied for user "${target.user}"`,
      hint: "set PGPASSWORD, add a line to ~/.pgpass (mode 0600), or put password=... into -c",
    };
  }
  if (error instanceof pg.DatabaseError) {
    const hint = hintOf(error, target) ?? error.hint ?? "see the server's log";
    return { message: error.message, hint };
  }
  const { code, message } = firstOf(error);
  return explainNetwork(code ?? "", message, isSocket);
}

function hintOf({ code = "", message }: pg.DatabaseError, target: Target): string | undefined {
  // a role that does not exist, or has no LOGIN, has the same SQLSTATE as a missing line of pg_hba.conf
  if (code === "28000" && message.startsWith("role ")) {
    return "name another role with user=... in -c, or PGUSER, or have this one created with LOGIN";
  }
  return hints[code]?.(target);
}

/** Of a name with several addresses Node.js reports all failures in one. */
function firstOf(error: unknown): NodeJS.ErrnoException {
  return error instanceof AggregateError
    ? (error.errors[0] as NodeJS.ErrnoException)
    : (error as Error);
}

function explainNetwork(code: string, message: string, isSocket: boolean): Explanation {
  if (code === "ECONNREFUSED" || code === "ENOENT") {
    const hint = isSocket
      ? "is the server running there? Name another with -c host=... port=..., or PGHOST and PGPORT"
      : "is the server running there, and does it listen on this address (listen_addresses, port)?";
    return { message: code === "ENOENT" ? "there is no such socket" : "connection refused", hint };
  }
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    return {
      message: "could not translate the host name to an address",
      hint: "check the host's name",
    };
  }
  if (message === "timeout expired" || code === "ETIMEDOUT" || code.endsWith("UNREACH")) {
    return {
      message: message || "timeout expired",
      hint: "check host, port and firewalls, or raise connect_timeout",
    };
  }
  if (message.includes("does not support SSL")) {
    return {
      message: "server does not support SSL, but SSL was required",
      hint: "set ssl = on there, or sslmode=prefer here",
    };
  }
  if (code.startsWith("ERR_TLS") || /CERT|SIGNED|SSL/.test(code)) {
    return {
      message: `SSL error: ${message}`,
      hint: "check sslrootcert, and that the host's name is that of the certificate; sslmode says how much is verified",
    };
  }
  return { message: message || code, hint: "see the server's log" };
}
