import { ofType, type SchemaObject, type Side, type Tie } from "./schema-objects.ts";

/*
 * Which objects of a table depend on which.
 */

/** An object of a table by its type and name. */
export type Key = string;

const keyOf = (type: string, name: string): Key => JSON.stringify([type, name]);

/** The key of an object. */
export function key({ type, name }: Pick<SchemaObject, "type" | "name">): Key {
  return keyOf(type, name);
}

/** Both directions of ties, from one object to the next. */
export interface Ties {
  /** those that an object depends on */
  readonly below: (of: Key) => readonly Key[];
  /** those that depend on an object */
  readonly above: (of: Key) => readonly Key[];
}

/** A replica identity, which the catalogs do not know as an object, is tied to its index, and to columns of that. */
function identityTies({ objects, ties }: Side): readonly Tie[] {
  const [identity] = ofType(objects, "replica identity");
  const index = [...ofType(objects, "constraint"), ...ofType(objects, "index")].find(
    ({ facts }) => facts.is_replica_identity,
  );
  if (identity === undefined || index === undefined) {
    return [];
  }
  const { type, name } = identity;
  const columns = ties.filter((tie) => tie[0] === index.type && tie[1] === index.name);
  return [
    [type, name, index.type, index.name],
    ...columns.map(([, , onType, onName]): Tie => [type, name, onType, onName]),
  ];
}

/** The ties of all objects of a side. */
export function tiesOf(side: Side): Ties {
  const above = new Map<Key, Key[]>();
  const below = new Map<Key, Key[]>();
  for (const [type, name, onType, onName] of [...side.ties, ...identityTies(side)]) {
    const [one, on] = [keyOf(type, name), keyOf(onType, onName)];
    above.set(on, [...(above.get(on) ?? []), one]);
    below.set(one, [...(below.get(one) ?? []), on]);
  }
  return { above: (of) => above.get(of) ?? [], below: (of) => below.get(of) ?? [] };
}
