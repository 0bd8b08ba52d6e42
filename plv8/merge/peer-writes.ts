import { flag, list, member, optional, type PeerValue, text } from "../shared/peer-value.ts";
import type { PeerWriteFacts, PlaceFacts } from "./merge-facts.ts";

/** Of its names, digests and types none but those that this side has, too, are used. */
function readPlaces(places: PeerValue): PlaceFacts {
  return {
    partitions: optional(member(places, "partitions"), (partitions) => ({
      bounds: text(member(partitions, "bounds")),
      columns: list(member(partitions, "columns"), text),
      is_harmless: flag(member(partitions, "is_harmless")),
    })),
    values: list(member(places, "values"), (value) => ({
      name: text(member(value, "name")),
      type: text(member(value, "type")),
      labels: optional(member(value, "labels"), text),
      has_names: flag(member(value, "has_names")),
      is_harmless: flag(member(value, "is_harmless")),
    })),
    tests_values: flag(member(places, "tests_values")),
  };
}

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
    places: readPlaces(member(facts, "places")),
    missing_rights: list(member(facts, "missing_rights"), text),
    row_security: flag(member(facts, "row_security")),
  };
}
