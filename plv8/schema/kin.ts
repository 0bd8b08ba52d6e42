import type { Constraint, Kin, Lack, Side } from "./schema-objects.ts";
import { ofType } from "./schema-objects.ts";

/*
 * A check becomes one with that of a parent or child only where PostgreSQL prints both the same. Some expressions are
 * printed otherwise once they were read again, as from a dump; so a statement is chosen that is printed as theirs.
 */

/** Without what may differ. */
const expression = (definition: string) => definition.replace(/( NOT VALID| NOT ENFORCED)+$/, "");

const isPrinted = (definition: string) => (kin: Kin) =>
  expression(kin.definition) === expression(definition);

function why({ what }: Kin): string {
  return `${what} means the same and is printed otherwise: drop it, and add it again, on one side`;
}

/** A check that is to be made, with a statement that is printed as the peer's are, or why there is none. */
function likeKin(local: Constraint, kin: readonly Kin[]): { object: Constraint; lacks: Lack[] } {
  const { kept } = local.facts;
  if (kin.every(isPrinted(local.compared))) {
    return { object: local, lacks: [] };
  }
  if (kept !== null && kin.every(isPrinted(local.definition))) {
    return { object: { ...local, facts: { ...local.facts, statement: kept } }, lacks: [] };
  }
  const lacks = kin
    .slice(0, 1)
    .map((one) => ({ type: local.type, name: local.name, why: why(one) }));
  return { object: local, lacks };
}

/** One that stays keeps the table from becoming part of a parent with another one. */
function unlikeParents(peer: Constraint, kin: readonly Kin[]): Lack[] {
  return kin
    .filter((one) => one.type !== "child" && !isPrinted(peer.definition)(one))
    .map((one) => ({ type: one.type, name: one.of, why: why(one) }));
}

/** Both sides, with checks of ours as those of the peer's parents and children need them. */
export function agreed(local: Side, peer: Side): { readonly local: Side; readonly peer: Side } {
  const theirs = new Map(ofType(peer.objects, "constraint").map((one) => [one.name, one]));
  const lacks: Lack[] = [...peer.lacks];
  const objects = local.objects.map((object) => {
    if (object.type !== "constraint" || object.facts.kind !== "c") return object;
    const other = theirs.get(object.name);
    const kin = peer.kin.filter(
      ({ name, type, compared }) =>
        name === object.name &&
        expression(compared) === expression(object.compared) &&
        (other === undefined || type !== "child"),
    );
    if (other?.compared === object.compared) {
      lacks.push(...unlikeParents(other, kin));
      return object;
    }
    const like = likeKin(object, kin);
    lacks.push(...like.lacks);
    return like.object;
  });
  return { local: { ...local, objects }, peer: { ...peer, lacks } };
}
