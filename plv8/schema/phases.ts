import type { Pair } from "./change.ts";
import { isConstraintTrigger, type SchemaObject } from "./schema-objects.ts";

/** The same constraint under another name, at the peer: what refers to a key keeps it from being dropped. */
export function namesake({ local, peer }: Pair, all: readonly Pair[]): Pair | undefined {
  if ((local ?? peer)?.type !== "constraint" || (local !== undefined && peer !== undefined)) {
    return undefined;
  }
  const same = (o: SchemaObject | undefined) =>
    o?.type === "constraint" && o.compared === (local ?? peer)?.compared;
  const ours = all.filter((pair) => pair.peer === undefined && same(pair.local));
  const theirs = all.filter((pair) => pair.local === undefined && same(pair.peer));
  return local === undefined
    ? ours[theirs.findIndex((pair) => pair.peer === peer)]
    : theirs[ours.findIndex((pair) => pair.local === local)];
}

function columnPhase({ local, peer }: Pair): number {
  if (local?.type !== "column") {
    return peer?.type === "column" && peer.facts.generated !== "" ? 1.55 : 9;
  }
  if (local.facts.generated !== "") return 2.5;
  return peer?.type === "column" && peer.facts.generated !== "" ? 1.7 : 2;
}

/**
 * When a statement may run: what goes first leaves room, and so does what is
 * renamed, columns that no longer are generated let go of others, columns come
 * before those that are generated from them, and both before what is on them.
 */
export function phase(pair: Pair, all: readonly Pair[]): number {
  const { local, peer } = pair;
  const object = local ?? peer;
  switch (object?.type) {
    case "table":
      return 0;
    case "column":
      return columnPhase(pair);
    case "constraint": {
      const isForeign = object.facts.kind === "f";
      if (local === undefined) return isForeign ? 1 : 1.5;
      if (namesake(pair, all) !== undefined) return 1.6;
      // a key that it refers to may be the parent's
      if (isForeign) return 7.5;
      // attaching takes the first one of several
      return object.facts.kind === "c" ? 4 : object.facts.is_part ? 2.9 : 3;
    }
    case "index":
      return local === undefined ? 1.5 : 4;
    case "trigger":
      // a partition's copies of its parent's constraints get other names then
      return local === undefined ? 1 : isConstraintTrigger(local) ? 6 : 8;
    case "policy":
    case "rule":
      return local === undefined ? 1 : 8;
    case "partition":
    case "inheritance":
      return local === undefined ? 0 : 7;
    case "type":
      return local === undefined ? 0 : 10;
    default:
      return 7;
  }
}
