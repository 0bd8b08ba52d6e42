import type { Client } from "pg";

/** Setting name to value, as in postgresql.conf but unquoted. */
export type Settings = Readonly<Record<string, string | number | boolean>>;

export type StopMode = "smart" | "fast" | "immediate";

export interface ConnectOptions {
  readonly database?: string;
  readonly user?: string;
  readonly password?: string;
  readonly applicationName?: string;
}

export type Row = Record<string, unknown>;

/** A PostgreSQL that tests talk to, whatever it runs in. */
export interface PgNode {
  readonly name: string;
  /** Where snapshots may be written, as the server sees it. */
  readonly snapshotDir: string;
  start(): Promise<void>;
  stop(mode?: StopMode): Promise<void>;
  /** End every process at once, as a power cut would. */
  kill9(): Promise<void>;
  /** Change settings and wait until new sessions have them; those that need it await a restart. */
  configure(settings: Settings): Promise<void>;
  /** The caller may end it; whoever forgets has it ended with the node. */
  connect(options?: ConnectOptions): Promise<Client>;
  /** One statement in a session of its own; returns its rows. */
  query<R extends Row = Row>(
    sql: string,
    params?: readonly unknown[],
    options?: ConnectOptions,
  ): Promise<R[]>;
  /** A connection string, for programs and for peers. */
  uri(database?: string, user?: string): string;
  /** Stop it and delete what it stored. */
  destroy(): Promise<void>;
}
