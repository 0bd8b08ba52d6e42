import type { PairFacts } from "../overlap/overlap-facts.ts";
import type { RowActions } from "./row-actions.ts";

/** What one side's catalogs say of writing to a table; the query is `steep_repl._merge_table_query`. */
export interface WriteFacts {
  /** columns GENERATED ALWAYS AS IDENTITY, which an UPDATE cannot set */
  readonly identity: readonly string[];
  readonly unique: readonly UniqueFacts[];
  readonly places: PlaceFacts;
  /** INSERT, UPDATE or DELETE, where the role that merges has no such right */
  readonly missing_rights: readonly string[];
  /** row security would hide rows from that role */
  readonly row_security: boolean;
}

/** A unique index or an exclusion constraint, of the table or of one partition; all but that of the key may stand in a row's way. */
export interface UniqueFacts {
  readonly name: string;
  /** the partition that it is of, as schema.table, with its pg_class.relkind; null: the table */
  readonly part: string | null;
  readonly part_kind: string | null;
  /** which rows that partition has */
  readonly bound: string | null;
  /** null where there are expressions */
  readonly columns: readonly string[] | null;
  /** columns and expressions, as SQL writes them */
  readonly expressions: readonly string[];
  /** below any domain */
  readonly types: readonly string[];
  /**
   * how a value is compared with others: by its type's equality, likewise after a cast from text, as an enum's label, by
   * the index's operator after a cast from text, as text
   */
  readonly readings: readonly ("value" | "cast" | "label" | "made" | "text")[];
  /** the index's operators, as SQL writes them */
  readonly operators: readonly (string | null)[];
  /** whether it refuses rows by those operators, and not equal ones only */
  readonly excludes: boolean;
  readonly predicate: string | null;
  readonly nulls_not_distinct: boolean;
  /** a generated column is in it, or in its predicate, which images do not have */
  readonly of_generated: boolean;
  /** DEFERRABLE: it may be broken within a transaction */
  readonly deferrable: boolean;
  /** no value is compared as text */
  readonly is_exact: boolean;
  /** no expression of it, nor its predicate, runs code of a role that could not be trusted with the requester's rights */
  readonly is_harmless: boolean;
}

/** What a peer may say of writing to a table: nothing of it becomes SQL here. */
export interface PeerWriteFacts {
  readonly identity: readonly string[];
  readonly unique: readonly Pick<
    UniqueFacts,
    "name" | "part" | "bound" | "deferrable" | "is_exact" | "is_harmless"
  >[];
  readonly places: PlaceFacts;
  readonly missing_rights: readonly string[];
  readonly row_security: boolean;
}

/** What rows of a table must find at a side; the query is `steep_repl._merge_places_query`. */
export interface PlaceFacts {
  /** null: it has none */
  readonly partitions: {
    /** a digest of which rows they take */
    readonly bounds: string;
    /** those that partition keys are made of */
    readonly columns: readonly string[];
    /** to find a row's partition runs no code of a role that could not be trusted with the requester's rights */
    readonly is_harmless: boolean;
  } | null;
  /** columns whose values have names or labels that another database may not have */
  readonly values: readonly ValueFacts[];
  /** whether the side can say if a text is a value, as 16 and newer can */
  readonly tests_values: boolean;
}

export interface ValueFacts {
  readonly name: string;
  /** below any domain */
  readonly type: string;
  /** a digest of an enum's labels; null: there is none in it */
  readonly labels: string | null;
  /** there are reg* values in it: names of tables, functions, roles and so on */
  readonly has_names: boolean;
  /** reading it runs no code of a role that could not be trusted */
  readonly is_harmless: boolean;
}

/** A table to merge, as `steep_repl._overlap_plans` asks for its plan. */
export interface MergeFacts extends PairFacts {
  readonly local_writes: WriteFacts;
  readonly peer_writes: PeerWriteFacts;
  readonly options: {
    readonly actions: RowActions;
    readonly last_modified_column: string | null;
    /** a table that cannot be merged is left out */
    readonly skips?: boolean;
  };
}
