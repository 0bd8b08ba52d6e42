import { usageError } from "../cli-error.ts";
import { oldOption, option } from "../command.ts";
import type { Invocation } from "../invocation.ts";
import type { Session } from "../session.ts";
import { requireThisNode } from "./local-node.ts";

export interface PeerOptions {
  readonly peer?: string;
  readonly connA?: string;
  readonly connB?: string;
}

export const peerHelp =
  "a registered node, a server of dblink_fdw or postgres_fdw, or a connection string (whose password your shell's history keeps: prefer the others)";

export function peerOption() {
  return option("--peer <peer>", peerHelp);
}

/** Flags of the predecessor for both sides' connection strings. */
export function connOptions() {
  return [
    oldOption("--conn-a <conninfo>", "this side, as -c"),
    oldOption("--conn-b <conninfo>", "the peer, as --peer"),
  ];
}

/** Whether a word is a connection string and no name. It may hold a password. */
export function isConninfo(word: string): boolean {
  return word.includes("=") || word.includes("://");
}

/**
 * `PEER` or `LOCAL PEER` as arguments, or --peer; a local node must be that of the session. A connection string in
 * place of a local node is what the session is made with.
 */
export function peerOf(
  invocation: Invocation,
  nodes: readonly string[],
  { peer, connA, connB }: PeerOptions,
  command: string,
) {
  const [last, local, ...more] = [connA, ...nodes, connB, peer]
    .filter((name) => name !== undefined)
    .reverse();
  if (last === undefined) {
    throw usageError("the peer is missing", `name it: steep-repl ${command} NODE, or --peer`);
  }
  if (more.length > 0) {
    throw usageError(
      "too many nodes",
      `give the peer, or this node and the peer: steep-repl ${command} NODE NODE`,
    );
  }
  if (local !== undefined && isConninfo(local)) {
    invocation.connectTo(local);
    return { peer: last, checkLocal: async () => {} };
  }
  return { peer: last, checkLocal: (session: Session) => requireThisNode(session, local) };
}
