/** A subscription here. Counts, bytes and seconds are text: they are 64-bit in SQL; null is what is not known. */
export interface SubscriptionFacts {
  readonly name: string;
  readonly slot: string | null;
  readonly is_enabled: boolean;
  readonly is_connected: boolean;
  readonly lag_bytes: string | null;
  readonly lag: string | null;
  readonly tables_total: number;
  readonly tables_ready: number;
  /** tables that are not copied yet, and that no worker copies */
  readonly tables_waiting: string | null;
  readonly apply_errors: string | null;
  readonly sync_errors: string | null;
  readonly conflicts: string | null;
  /** the change that it fails on */
  readonly error: string | null;
}

/** A logical slot here. */
export interface SlotFacts {
  readonly name: string;
  readonly is_active: boolean;
  readonly wal_status: string | null;
  readonly invalidation: string | null;
  readonly inactive_since: string | null;
  readonly lag_bytes: string | null;
  readonly retained_bytes: string | null;
  /** of the WAL sender; null where it may not be seen */
  readonly state: string | null;
  readonly lag: string | null;
}

/** Settings; 0 or null is no limit. */
export interface ReplicationLimits {
  readonly lag_bytes: number | null;
  readonly lag_seconds: number | null;
  readonly retained_bytes: number | null;
}

/** What one database says of its replication. */
export interface ReplicationFacts {
  readonly subscriptions: readonly SubscriptionFacts[];
  readonly slots: readonly SlotFacts[];
  readonly limits: ReplicationLimits;
}

/** A node, and its part of the names of a pair. */
export interface PeerName {
  readonly node: string;
  readonly part: string;
}

/** What nodes say of the other ends, or why that is not known. */
export type Probed = { readonly [node: string]: ReplicationFacts | { readonly problem: string } };
