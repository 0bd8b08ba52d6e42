import type { PairFacts } from "./overlap-facts.ts";

/** What one side's catalogs say of writing to a table; the query is `steep_repl._merge_table_query`. */
export interface WriteFacts {
  /** columns GENERATED ALWAYS AS IDENTITY, which an UPDATE cannot set */
  readonly identity: readonly string[];
  readonly unique: readonly UniqueFacts[];
}

/** A unique index; all but that of the key may stand in a row's way. */
export interface UniqueFacts {
  readonly name: string;
  /** null where there are expressions */
  readonly columns: readonly string[] | null;
  /** columns and expressions, as SQL writes them */
  readonly expressions: readonly string[];
  readonly types: readonly string[];
  readonly predicate: string | null;
  readonly nulls_not_distinct: boolean;
}

export type Strategy = "prefer-local" | "prefer-remote" | "last-modified" | "manual";

/** A table to merge, as `steep_repl._overlap_plans` asks for its plan. */
export interface MergeFacts extends PairFacts {
  readonly local_writes: WriteFacts;
  readonly peer_writes: WriteFacts;
  readonly options: {
    readonly strategy: Strategy;
    readonly last_modified_column: string | null;
  };
}
