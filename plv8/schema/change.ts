import type { Outside, SchemaObject } from "./schema-objects.ts";
import { comment } from "./statements.ts";

/** An object of both sides, or of one. */
export interface Pair {
  readonly local: SchemaObject | undefined;
  readonly peer: SchemaObject | undefined;
}

/** What is asked of an object of the peer that depends on another one. */
export interface Dependent {
  readonly pair: Pair;
  readonly object: SchemaObject;
  readonly differs: boolean;
}

/** What makes an object of the peer like ours. */
export type Change =
  /** nothing, and a person is told why */
  | {
      readonly kind: "none";
      readonly text: string;
      /** another row does it */
      readonly isDone?: true;
    }
  | {
      readonly kind: "statements";
      /** whether one that depends on it must be gone meanwhile */
      readonly clears: (dependent: Dependent) => boolean;
      /** whether it cannot be done beside what is none of the table's */
      readonly stopsAt: (outside: Outside) => boolean;
      /** whether a typed table must be none meanwhile */
      readonly untypes?: boolean;
      /** what only gets another name */
      readonly renames?: SchemaObject;
      /** it moves a column behind the others, or takes it away */
      readonly moves?: "last" | "away";
      /** the statements; the peer's may be gone already */
      readonly sql: (isThere: boolean) => string;
    };

/** A question that is answered with no, whatever is asked for. */
export const never = (): boolean => false;
/** The same, answered with yes. */
export const always = (): boolean => true;

/** No statements, but a comment. */
export function nothing(text: string): Change {
  return { kind: "none", text };
}

/** No statements, but why not. */
export function explained(why: string): Change {
  return nothing(comment(why));
}

/** Statements that nothing stands in the way of. */
export function simply(sql: string | ((isThere: boolean) => string)): Change {
  return {
    kind: "statements",
    clears: never,
    stopsAt: never,
    sql: typeof sql === "string" ? () => sql : sql,
  };
}

/** What is true of the whole table while the statements run. */
export interface Surroundings {
  readonly table: string;
  /** who owns it at the peer, if that is not the role that we are there */
  readonly owner: string | null;
  readonly peerVersion: number;
  /** parents of the peer's table that it has before and after, or until a partition is detached */
  readonly parents: ReadonlySet<string>;
  /** whether the peer's table is a partition until it is attached elsewhere, if it ever is */
  readonly isPartition: boolean;
  readonly isPartitionedOtherwise: boolean;
  /** the type of a table that is typed on both sides */
  readonly typed: string | null;
}

/** Parents that an object of the peer comes from, whatever is done to the table. */
export function parentOf(
  { parents }: Surroundings,
  object: { readonly facts: { readonly parents: readonly string[] } } | undefined,
): string | undefined {
  return object?.facts.parents.find((parent) => parents.has(parent));
}
