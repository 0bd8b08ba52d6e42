import type { Kind } from "./schema-obstacles.ts";
import { runPlainly, type SchemaStage } from "./schemas.ts";

/* Tables of all kinds of differences at once, so that one comparison is enough to see them, and one that they are mended. */

/** A kind whose tables are in a schema of their own. */
export interface PlacedKind {
  readonly name: string;
  readonly schema: string;
  readonly both: string;
  readonly here: string;
  readonly there: string;
  /** sorted */
  readonly expected: readonly string[];
}

/** Kinds, each with its name for a test's title. */
export function placeKinds(kinds: readonly Kind[]): readonly (readonly [string, PlacedKind])[] {
  return kinds.map(([name, both, here, there, differences], at) => {
    const schema = `k${at}`;
    const expected = differences.map((what) => what.replace(" s.", ` ${schema}.`)).sort();
    return [name, { name, schema, both, here, there, expected }];
  });
}

/** Make the tables of kinds on both sides. */
export async function makeKinds(
  { server, peer }: SchemaStage,
  kinds: readonly (readonly [string, PlacedKind])[],
): Promise<void> {
  const statements = (side: "here" | "there") =>
    kinds.map(
      ([, kind]) =>
        `create schema ${kind.schema}; set search_path = ${kind.schema}; ${kind.both}; ${kind[side]}`,
    );
  await Promise.all([
    runPlainly(server, ...statements("here")),
    runPlainly(peer, ...statements("there")),
  ]);
}

/** Drop them. */
export async function dropKinds(
  { server, peer }: SchemaStage,
  kinds: readonly (readonly [string, PlacedKind])[],
): Promise<void> {
  const drop = `drop schema ${kinds.map(([, { schema }]) => schema).join()} cascade`;
  await Promise.all([runPlainly(server, drop), runPlainly(peer, drop)]);
}
