/*
 * What a table consists of, as steep_repl._schema_sides answers it. Whatever
 * a statement needs is quoted in SQL, by the side that it is from.
 */

interface Base {
  readonly name: string;
  /** the name as statements write it */
  readonly quoted: string;
  /** for people and for statements */
  readonly definition: string;
  /** equal where two definitions mean the same */
  readonly compared: string;
}

export interface Table extends Base {
  readonly type: "table";
  readonly facts: {
    readonly schema: string;
    readonly persistence: "p" | "u";
    /** of a partition */
    readonly parent: string | null;
    /** where that is not the role that asks */
    readonly owner: string | null;
  };
}

export interface Column extends Base {
  readonly type: "column";
  readonly facts: {
    /** attnum: counts dropped columns too */
    readonly position: number;
    readonly type: string;
    /** the type without its modifier, for casts that must not cut values off */
    readonly base: string;
    readonly collation: string | null;
    readonly not_null: boolean;
    readonly identity: "" | "a" | "d";
    readonly generated: "" | "s" | "v";
    /** of a default or a generated column */
    readonly expression: string | null;
    /** why no row can have its default, where that was found out here */
    readonly default_error: string | null;
    /** the sequence that the column owns and takes its default from */
    readonly sequence: string | null;
    readonly sequence_type: string | null;
    /** the other column whose sequence its default takes numbers from */
    readonly sequence_of: string | null;
    /** the sequence that the column owns, whether its default comes from it or not */
    readonly owned_sequence: string | null;
    /** other columns take numbers from a sequence of this one */
    readonly is_sequence_shared: boolean;
    /** rights on the column itself, which go with it */
    readonly has_rights: boolean;
    /** of the constraint that NOT NULL is since 18, quoted */
    readonly not_null_name: string | null;
    readonly not_null_not_valid: boolean;
    readonly not_null_no_inherit: boolean;
    readonly not_null_inherited: boolean;
    /** what its type, or what a domain is over, can be cast to */
    readonly cast: Cast;
    /** those that have such a column */
    readonly parents: readonly string[];
  };
}

/** Types are without their modifiers. Strings can be cast to whatever is read from one, and all to strings. */
export interface Cast {
  /** without a modifier, so that no cast to it cuts values off */
  readonly from: string;
  /** with the modifier */
  readonly type: string;
  readonly is_string: boolean;
  /** or an array of one */
  readonly is_enum: boolean;
  readonly to: readonly string[];
  /** what casts with functions of somebody's own lead to; of an array, those of its elements */
  readonly made_to: readonly string[];
}

export interface Constraint extends Base {
  readonly type: "constraint";
  readonly facts: {
    /** without that it is a part of another one */
    readonly statement: string;
    /** a statement that is printed as this one is once it was read, or null where none is known */
    readonly kept: string | null;
    /** check, primary key, unique, foreign key, exclusion */
    readonly kind: "c" | "p" | "u" | "f" | "x";
    readonly is_replica_identity: boolean;
    /** of a partition: of one of its parent's, or of an index of that */
    readonly is_part: boolean;
    /** and it is what that is */
    readonly is_same_part: boolean;
    /** what that of the parent is, or that it is only an index */
    readonly part_kind: "p" | "u" | "x" | "i" | null;
    /** those that have such a check */
    readonly parents: readonly string[];
  };
}

export interface Index extends Base {
  readonly type: "index";
  readonly facts: {
    readonly is_valid: boolean;
    /** of a partitioned table */
    readonly is_whole: boolean;
    /** of a partition: of one of its parent's that does not say what it is */
    readonly is_part: boolean;
    /** over columns only, and not partial */
    readonly is_plain: boolean;
    readonly is_replica_identity: boolean;
    /** the name without its schema */
    readonly replica_name: string;
  };
}

export interface ReplicaIdentity extends Base {
  readonly type: "replica identity";
  readonly facts: { readonly clause: string };
}

export interface PartitionKey extends Base {
  readonly type: "partition key";
}

export interface Partition extends Base {
  readonly type: "partition";
  readonly facts: { readonly parent: string; readonly bound: string };
}

export interface Inheritance extends Base {
  readonly type: "inheritance";
}

export interface RowSecurity extends Base {
  readonly type: "row security";
  readonly facts: { readonly enabled: boolean; readonly forced: boolean };
}

export interface Policy extends Base {
  readonly type: "policy";
}

/** When a trigger or rule fires: in sessions of origin, never, in those of replication, in all. */
export type Firing = "O" | "D" | "R" | "A";

export interface Trigger extends Base {
  readonly type: "trigger";
  readonly facts: {
    readonly statement: string;
    readonly enabled: Firing;
    /** a partition's copy of its parent's, listed where it fires at other times */
    readonly is_clone: boolean;
    readonly parent_enabled: Firing | null;
  };
}

/** It has the name of a constraint, too. */
export const isConstraintTrigger = (object: SchemaObject | undefined): boolean =>
  object?.type === "trigger" && object.definition.startsWith("CREATE CONSTRAINT TRIGGER");

/** A partition's, which comes and goes with that of its parent. */
export const isClone = (object: SchemaObject): boolean =>
  object.type === "trigger" && object.facts.is_clone;

/** Of a typed table. */
export interface OfType extends Base {
  readonly type: "type";
  readonly facts: { readonly of: string };
}

/** A rewrite rule. */
export interface Rule extends Base {
  readonly type: "rule";
  readonly facts: { readonly statement: string; readonly enabled: Firing };
}

/** All that a table can do without and that is made by a statement of its own. */
export type Addition =
  | Constraint
  | Index
  | Partition
  | Inheritance
  | Policy
  | Trigger
  | PartitionKey
  | ReplicaIdentity
  | RowSecurity
  | OfType
  | Rule;

export type SchemaObject = Table | Column | Addition;

/** Of a table: that an object depends on another one. */
export type Tie = readonly [type: string, name: string, onType: string, onName: string];

/** What depends on an object of the table and is none of it. */
export interface Outside {
  readonly type: string;
  readonly name: string;
  /** not null: a column of a child that may not lose it */
  readonly kind: "foreign key" | "statistics" | "not null" | "other";
  /** for people */
  readonly what: string;
}

/** What a child of the table has, which an addition to the table must agree with, or the child itself. */
export interface Lower {
  readonly type: string;
  readonly name: string;
  /** of a column, its type; of a constraint, what is compared; of NOT NULL, NO INHERIT or NOT VALID */
  readonly definition: string;
  /** for people */
  readonly what: string;
}

/** A check of a parent or child. */
export interface Kin {
  /** what makes the table part of the parent, and its name */
  readonly type: "partition" | "inheritance" | "child";
  readonly of: string;
  readonly name: string;
  /** as it is printed there: only one that is printed the same becomes one with it */
  readonly definition: string;
  readonly compared: string;
  /** for people */
  readonly what: string;
}

/** Why an object of ours cannot be made at the peer: what it needs is not there. */
export interface Lack {
  readonly type: string;
  readonly name: string;
  readonly why: string;
}

/** One side; without objects, the table does not exist there. */
export interface Side {
  readonly version: number;
  readonly has_schema: boolean;
  readonly objects: readonly SchemaObject[];
  readonly ties: readonly Tie[];
  readonly outside: readonly Outside[];
  readonly lower: readonly Lower[];
  readonly kin: readonly Kin[];
  /** of the peer's side only */
  readonly lacks: readonly Lack[];
}

export type Status = "mismatch" | "local_only" | "peer_only" | "order";

export interface Difference {
  readonly object_type: SchemaObject["type"] | "column order";
  readonly object_name: string;
  readonly local_definition: string | null;
  readonly peer_definition: string | null;
  readonly status: Status;
  /** statements for the peer; what would lose data, and what cannot be done, is in comments */
  readonly suggested_sql: string | null;
}

export function ofType<T extends SchemaObject["type"]>(
  objects: readonly SchemaObject[],
  type: T,
): readonly Extract<SchemaObject, { type: T }>[] {
  return objects.filter((o): o is Extract<SchemaObject, { type: T }> => o.type === type);
}
