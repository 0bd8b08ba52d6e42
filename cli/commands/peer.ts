import { usageError } from "../cli-error.ts";
import { option } from "../command.ts";
import type { Session } from "../session.ts";
import { requireThisNode } from "./local-node.ts";

export interface PeerOptions {
  readonly peer?: string;
}

export const peerHelp =
  "a registered node, a server of dblink_fdw or postgres_fdw, or a connection string (whose password your shell's history keeps: prefer the others)";

export function peerOption() {
  return option("--peer <peer>", peerHelp);
}

/** `PEER` or `LOCAL PEER` as arguments, or --peer; a local node must be that of the session. */
export function peerOf(nodes: readonly string[], { peer }: PeerOptions, command: string) {
  const names = peer === undefined ? nodes : [...nodes, peer];
  const [last, local, ...more] = [...names].reverse();
  if (last === undefined) {
    throw usageError("the peer is missing", `name it: steep-repl ${command} NODE, or --peer`);
  }
  if (more.length > 0) {
    throw usageError(
      "too many nodes",
      `give the peer, or this node and the peer: steep-repl ${command} NODE NODE`,
    );
  }
  return { peer: last, checkLocal: (session: Session) => requireThisNode(session, local) };
}
