import { isIP } from "node:net";
import { usageError } from "../cli-error.ts";

/** Where a daemon listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
  /** As it is given, and shown. */
  readonly text: string;
}

/** Of `daemon` where it is not configured, as `cli/daemon/config.ts` has it. */
const defaultPort = 15460;

/**
 * Read HOST:PORT; an address of IPv6 stands in brackets.
 *
 * @param what the flag or the variable that has it, for the message
 * @throws CliError where it is something else
 */
export function parseAddress(given: string, what: string): Address {
  const [, bracketed, plain, digits] =
    /^(?:\[([^\]]+)\]|([^:/\s]+))(?::(\d{1,5}))?$/.exec(given.trim()) ?? [];
  const host = bracketed ?? plain;
  const port = digits === undefined ? defaultPort : Number(digits);
  const isHost = host !== undefined && (bracketed === undefined || isIP(host) === 6);
  if (!isHost || port < 1 || port > 65535) {
    throw usageError(
      `${what} is no HOST:PORT: "${given}"`,
      "as in db1.example:15460, or [2001:db8::1]:15460",
    );
  }
  return { host, port, text: `${bracketed === undefined ? host : `[${host}]`}:${port}` };
}

/** Whether it can be no other machine than this one. */
export function isThisMachine({ host }: Pick<Address, "host">): boolean {
  return /^(localhost\.?|127(\.\d{1,3}){3}|::1)$/i.test(host);
}
