/** What one side's catalogs say of a table; the query is `steep_repl._overlap_facts_query`. */
export interface TableFacts {
  /** pg_class.relkind */
  readonly kind: string;
  /** server_encoding */
  readonly encoding: string;
  /** where our functions in C can be called: what their answers depend on, such as versions */
  readonly functions: string | null;
  /** of the table without its indexes, partitions included */
  readonly bytes: number;
  /** an estimate */
  readonly rows: number;
  readonly columns: readonly ColumnFacts[];
  /** columns of unique indexes without NULLs, by their types' own equality; the primary key first */
  readonly keys: readonly KeyFacts[];
}

export interface ColumnFacts {
  readonly name: string;
  /** format_type with modifier -1, qualified outside of pg_catalog: bpchar, where "character" would be of one character */
  readonly type: string;
  /** the type below any domain, likewise: a cast to a domain would run its checks */
  readonly base_type: string;
  /** that type is one of pg_catalog's, whose cast to text is no function of a role */
  readonly is_builtin: boolean;
  readonly generated: boolean;
  /** see sql/overlap/facts.sql */
  readonly kind: "scalar" | "container" | "other";
  /** of a scalar: the type's name, below any domain */
  readonly base: string;
  readonly has_array: boolean;
  readonly has_row: boolean;
  /** there are numerics in it, whose hash leaves out their sign, and which infinity or NaN they are */
  readonly has_signs: boolean;
  /** equal values may have other texts, such as 1.0 and 1.00 */
  readonly has_spellings: boolean;
  /** its hash depends on the encoding */
  readonly textual: boolean;
  readonly readable: boolean;
}

export interface KeyFacts {
  readonly primary: boolean;
  /** not deferrable */
  readonly immediate: boolean;
  readonly columns: readonly string[];
}

/** A table on both sides, as asked for. */
export interface PairFacts {
  /** schema.table as SQL quotes it */
  readonly table: string;
  readonly local: TableFacts | null;
  readonly peer: TableFacts | null;
  /** columns that the caller says identify a row */
  readonly key: readonly string[] | null;
}
