import { usageError } from "../cli-error.ts";
import type { Candidate } from "../connection/resolve.ts";

/** Where a server is for another. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

interface Reached {
  readonly candidate: Candidate;
}

/** HOST, HOST:PORT or [IPV6]:PORT; the port is the server's own if it is left out. */
export function parseAddress(text: string, port: number, flag: string): Address {
  const match =
    /^(?:\[([^\]]+)\]|([^:]+)|([0-9a-f]*:[0-9a-f:.]*:[0-9a-f:.]*))(?::(\d{1,5}))?$/i.exec(text);
  const host = match?.[1] ?? match?.[2] ?? match?.[3];
  const given = match?.[4] === undefined ? port : Number(match[4]);
  if (host === undefined || given < 1 || given > 65535) {
    throw usageError(`${flag} cannot be read`, "write HOST, HOST:PORT or [ADDRESS]:PORT");
  }
  return { host, port: given };
}

/** Whether only this very machine is reached by it. */
function isNear({ host, isSocket }: Candidate): boolean {
  return isSocket || /^(localhost|127\..*|::1)$/.test(host);
}

const ownAddress = ({ address, host, isSocket, port }: Candidate): Address => ({
  ...{ host: isSocket ? address : host, port },
});

/** How each server reaches the other: as the connection strings do, unless that is told. */
export function addressesOf(
  { candidate: here }: Reached,
  { candidate: there }: Reached,
  { localAddress, peerAddress }: { readonly localAddress?: string; readonly peerAddress?: string },
): { readonly local: Address; readonly peer: Address } {
  if (isNear(here) && !isNear(there) && localAddress === undefined) {
    throw usageError(
      `the peer cannot reach this server at "${here.host}"`,
      "give --local-address HOST[:PORT], as the peer reaches it",
    );
  }
  if (isNear(there) && !isNear(here) && peerAddress === undefined) {
    throw usageError(
      `this server cannot reach the peer at "${there.host}"`,
      "give --peer-address HOST[:PORT], as this server reaches it",
    );
  }
  return {
    local:
      localAddress === undefined
        ? ownAddress(here)
        : parseAddress(localAddress, here.port, "--local-address"),
    peer:
      peerAddress === undefined
        ? ownAddress(there)
        : parseAddress(peerAddress, there.port, "--peer-address"),
  };
}
