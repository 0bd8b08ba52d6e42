import pg from "pg";
import { connectionError } from "./cli-error.ts";
import { connect } from "./connection/connect.ts";
import type { Environment } from "./connection/environment.ts";
import type { Candidate, Target } from "./connection/resolve.ts";

/** A row as PostgreSQL printed it: by column, and whole as JSON. */
export interface ResultRow {
  readonly values: Readonly<Record<string, string | null>>;
  readonly json: string;
}

export interface Column {
  readonly name: string;
  readonly isNumber: boolean;
}

export interface Result {
  readonly columns: readonly Column[];
  readonly rows: readonly ResultRow[];
}

export interface Notice {
  readonly severity?: string | undefined;
  readonly message?: string | undefined;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
}

const { INT2, INT4, INT8, OID, FLOAT4, FLOAT8, NUMERIC } = pg.types.builtins;
const numberTypes: ReadonlySet<number> = new Set([INT2, INT4, INT8, OID, FLOAT4, FLOAT8, NUMERIC]);

/** A connection to a server that has steep_repl. */
export class Session {
  readonly client: pg.Client;
  readonly candidate: Candidate;
  /** Why the connection was lost, which a query that fails after that does not say. */
  lossReason: string | undefined;

  private constructor(client: pg.Client, candidate: Candidate) {
    this.client = client;
    this.candidate = candidate;
    client.on("error", ({ message }) => {
      this.lossReason ??= message;
    });
  }

  /** Throws a CliError when there is no connection, or the extension is not there. */
  static async open(target: Target, env: Environment, onNotice: (notice: Notice) => void) {
    const { client, candidate } = await connect(target, env);
    try {
      await requireExtension(client);
    } catch (error) {
      client.end().catch(() => {});
      throw error;
    }
    client.on("notice", onNotice);
    return new Session(client, candidate);
  }

  /** End it whatever it is doing: what waits for an answer fails. */
  cut(reason: string): void {
    this.lossReason ??= reason;
    const { connection } = this.client as unknown as {
      readonly connection: { readonly stream: { destroy(error: Error): void } };
    };
    connection.stream.destroy(new Error(reason));
  }

  /** The server as people call it; a path is one "on server" this. */
  get serverName(): string {
    return this.candidate.isSocket ? "localhost" : this.candidate.host;
  }

  /**
   * Rows of a query. PostgreSQL itself makes the JSON, so that no number passes through one of
   * JavaScript's; the query runs once.
   */
  async query(sql: string, params: readonly (string | null)[] = []): Promise<Result> {
    const { fields, rows } = await this.client.query<Record<string, string | null>>(
      `select r.*, pg_catalog.to_json(r)::pg_catalog.text as "${jsonColumn}" from (${sql}) r`,
      [...params],
    );
    return {
      columns: fields
        .filter(({ name }) => name !== jsonColumn)
        .map(({ name, dataTypeID }) => ({ name, isNumber: numberTypes.has(dataTypeID) })),
      rows: rows.map(({ [jsonColumn]: json, ...values }) => ({ values, json: json ?? "null" })),
    };
  }

  /** The one row of a query that has one. */
  async row(sql: string, params: readonly (string | null)[] = []): Promise<ResultRow> {
    const [row] = (await this.query(sql, params)).rows;
    if (!row) throw new Error(`no row from: ${sql}`);
    return row;
  }

  async end(): Promise<void> {
    await this.client.end().catch(() => {});
  }

  /** Drop the connection without a word, as one that does not answer. */
  destroy(): void {
    const { connection } = this.client as unknown as {
      connection: { stream: { destroy(): void } };
    };
    connection.stream.destroy();
  }
}

const jsonColumn = "__json";

async function requireExtension(client: pg.Client): Promise<void> {
  const { rows } = await client.query<Record<string, string | null>>(
    `select pg_catalog.current_database() as database,
            pg_catalog.current_setting('server_version') as server,
            pg_catalog.current_setting('server_version_num') as server_num,
            (select extversion from pg_catalog.pg_extension where extname = 'steep_repl') as extension,
            exists (select from pg_catalog.pg_available_extensions where name = 'steep_repl') as available,
            -- nothing that a user has made must answer for what we call
            pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false),
            pg_catalog.has_schema_privilege(
              (select oid from pg_catalog.pg_namespace where nspname = 'steep_repl'), 'usage') as allowed,
            current_user as role`,
  );
  const { database, server, server_num, extension, available, allowed, role } = rows[0] ?? {};
  if (Number(server_num) < 180000) {
    throw connectionError(
      `the server is PostgreSQL ${server}, and steep_repl needs 18 or newer`,
      "connect to a newer server",
    );
  }
  if (extension === null) {
    throw connectionError(
      `extension steep_repl is not installed in database "${database}"`,
      available === "t"
        ? "run CREATE EXTENSION steep_repl CASCADE there, or connect to another database"
        : "install steep_repl on the server (make install), then run CREATE EXTENSION steep_repl CASCADE",
    );
  }
  if (String(extension).startsWith("0.1.")) {
    throw connectionError(
      `extension steep_repl ${extension} is the one that came with a daemon`,
      "update it: ALTER EXTENSION steep_repl UPDATE; docs/migrate.md has all steps",
    );
  }
  if (allowed !== "t") {
    throw connectionError(
      `role "${role}" may not use steep_repl`,
      `run GRANT USAGE ON SCHEMA steep_repl TO ${pg.escapeIdentifier(role ?? "")}`,
    );
  }
}
