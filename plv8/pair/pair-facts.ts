/** What a server says of itself; null where the role may not see it. Sizes are in MB, times in seconds. */
export interface ServerFacts {
  readonly extension: string;
  readonly has_worker: boolean;
  readonly has_engine: boolean;
  readonly is_standby: boolean;
  readonly is_read_only: boolean;
  readonly wal_level: string;
  readonly slots: number;
  readonly max_slots: number;
  readonly senders: number;
  readonly max_senders: number;
  readonly max_workers: number;
  readonly reserved_workers: number;
  readonly max_appliers: number;
  /** enabled ones, of all databases */
  readonly subscriptions: number;
  readonly origins: number;
  readonly max_origins: number;
  readonly tracks_commits: boolean;
  /** that write, and have been at it for more than ten seconds, in whatever database */
  readonly transactions: readonly string[];
  /** seconds since 1970 */
  readonly clock: string;
  readonly encoding: string;
  readonly collation: string;
  readonly collation_version: string | null;
  readonly recorded_version: string | null;
  readonly keep_size: number | null;
  readonly idle_timeout: number | null;
  readonly directories: string | null;
  readonly database: string;
  /** bytes of the database, and free for data and for snapshots; -1 where that is not known */
  readonly size: number;
  readonly space: { readonly data: number; readonly snapshots: number };
}

export interface RoleFacts {
  readonly name: string;
  readonly is_superuser: boolean;
  readonly may_replicate: boolean;
  readonly bypasses_rls: boolean;
  readonly may_subscribe: boolean;
  readonly may_create: boolean;
  /** of the functions for replication origins */
  readonly may_set_origin: boolean;
}

export interface TableFacts {
  readonly name: string;
  readonly owner: string;
  readonly is_owned: boolean;
  readonly kind: "r" | "p" | "f";
  readonly persistence: "p" | "u";
  /** itself, or its partitions, without a replica identity that PostgreSQL takes; and the primary key that each has */
  readonly unidentified: readonly {
    readonly name: string;
    readonly key: "immediate" | "deferrable" | null;
  }[];
  readonly has_key: boolean;
  readonly has_rls: boolean;
  readonly always_triggers: readonly string[];
  readonly unlogged_parts: number;
  readonly has_rows: boolean | null;
}

export interface SequenceFacts {
  readonly name: string;
  readonly increment: string;
  readonly minimum: string;
  readonly maximum: string;
  readonly is_cycle: boolean;
  readonly is_owned: boolean;
  readonly last: string | null;
  /** which share of the values it gives, of ten; null if all */
  readonly number: string | null;
}

export interface OtherFacts {
  readonly all_tables: readonly string[];
  readonly subscriptions: readonly string[];
  readonly slots: readonly string[];
  readonly slots_elsewhere: readonly string[];
  readonly large_objects: number;
  readonly extensions: readonly string[];
  readonly schemas: readonly string[];
  readonly roles: readonly string[];
  readonly tablespaces: readonly string[];
}

/** A snapshot, a fetch or an apply at the path of the pair. */
export interface JobFacts {
  readonly id: string;
  readonly operation: "generate" | "fetch" | "apply";
  readonly operation_id: string;
  readonly status: "pending" | "running" | "complete" | "failed" | "cancelled";
  readonly error: string | null;
  readonly hint: string | null;
  readonly sqlstate: string | null;
  readonly sections: readonly string[];
}

/** What there is of the pair on one side; null is what there is not. */
export interface ObjectFacts {
  readonly publication: {
    readonly all_tables: boolean;
    readonly via_root: boolean;
    readonly is_whole: boolean;
    readonly tables: readonly string[];
  } | null;
  readonly subscription: {
    readonly is_enabled: boolean;
    readonly slot: string | null;
    readonly publications: readonly string[];
    readonly origin: string;
    readonly is_connected: boolean;
    readonly error: string | null;
  } | null;
  readonly slot: {
    readonly plugin: string;
  } | null;
  readonly jobs: readonly JobFacts[];
}

/** One side, before there is a pair. */
export interface HalfFacts {
  readonly server: ServerFacts;
  readonly role: RoleFacts;
  readonly others: OtherFacts;
  readonly tables: readonly TableFacts[];
  readonly sequences: readonly SequenceFacts[];
  readonly objects: ObjectFacts;
}

/** The names of what a side has. */
export interface Names {
  readonly publication: string;
  readonly subscription: string;
  readonly slot: string;
}

/** What decides whether there can be a pair. */
export interface CloseFacts {
  readonly here: HalfFacts;
  /** null where the peer has another version of steep_repl, or none */
  readonly there: HalfFacts | null;
  readonly peer_version: string;
  readonly back: {
    readonly node_id?: string | null;
    readonly role?: string;
    readonly may_replicate?: boolean;
    readonly problems?: readonly string[];
  };
  readonly names: Names;
  /** what this node is called here; null where it is not registered */
  readonly local_node: string | null;
  /** tables that both have, defined otherwise; null without `there` */
  readonly differing: readonly string[] | null;
}

/** The same where the peer has said its half. */
export type BothFacts = CloseFacts & { readonly there: HalfFacts };

/** A job of the pair that its row names. */
export interface NamedJob {
  readonly status: JobFacts["status"];
  readonly operation_id: string;
  readonly error: string | null;
  readonly hint: string | null;
  readonly sqlstate: string | null;
}

/** What the actions of a pair leave. */
export interface PairFacts {
  readonly pair: {
    readonly pair_id: string;
    readonly step: string | null;
    readonly stepped_at: string | null;
    readonly local_node: string | null;
    readonly tables: readonly string[] | null;
    readonly snapshot_id: string | null;
    readonly fetch_id: string | null;
    readonly merge_id: string | null;
    readonly overlap_id: string | null;
    /** the peer had the tables, empty */
    readonly has_schema: boolean;
    readonly is_shared: boolean;
  };
  /** before the first step only; the others from then on */
  readonly closely?: CloseFacts;
  readonly names: Names;
  readonly peer_names: Names;
  readonly server: string;
  readonly peer_server: string;
  readonly path: string | null;
  readonly peer_path: string;
  readonly here: ObjectFacts;
  readonly there: ObjectFacts;
  readonly merge: NamedJob | null;
  readonly overlap: (NamedJob & { readonly differing: number; readonly unsettled: number }) | null;
}
