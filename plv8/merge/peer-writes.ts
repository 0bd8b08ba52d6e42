import { flag, list, member, optional, text } from "../shared/peer-value.ts";
import type { PeerWriteFacts } from "./merge-facts.ts";

/**
 * What writing to a table of the peer needs to know; definitions of indexes are not read.
 *
 * @throws SteepError where that is no description
 */
export function readPeerWrites(table: string, value: unknown): PeerWriteFacts {
  const facts = { of: table, value };
  return {
    identity: list(member(facts, "identity"), text),
    unique: list(member(facts, "unique"), (index) => ({
      name: text(member(index, "name")),
      part: optional(member(index, "part"), text),
      bound: optional(member(index, "bound"), text),
      deferrable: flag(member(index, "deferrable")),
      is_exact: flag(member(index, "is_exact")),
      is_harmless: flag(member(index, "is_harmless")),
    })),
    missing_rights: list(member(facts, "missing_rights"), text),
    row_security: flag(member(facts, "row_security")),
  };
}
