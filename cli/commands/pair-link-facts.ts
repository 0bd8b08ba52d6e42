import type pg from "pg";
import type { Candidate, Target } from "../connection/resolve.ts";

/** One of the two servers of a pair, as its connection string leads to it. */
export interface Side {
  readonly client: pg.Client;
  readonly candidate: Candidate;
  readonly target: Target;
  /** "here" or "at the peer" */
  readonly place: string;
  readonly database: string;
  readonly systemIdentifier: string;
  readonly databaseOid: string;
  readonly hasExtension: boolean;
}

/** What a server has of the way to the other one. */
export interface WayFacts {
  readonly node: {
    readonly foreignServer: string | null;
    readonly systemIdentifier: string | null;
  } | null;
  /** of the foreign server, by name; null if there is none */
  readonly options: Readonly<Record<string, string>> | null;
  readonly hasMapping: boolean;
}

type Row = Record<string, string | null>;

export async function sideOf(
  { client, candidate }: { readonly client: pg.Client; readonly candidate: Candidate },
  target: Target,
  place: string,
): Promise<Side> {
  const { rows } = await client.query<Row>(
    `select pg_catalog.current_database() as database, d.oid::text,
            (select c.system_identifier::text from pg_catalog.pg_control_system() c) as system,
            exists (select from pg_catalog.pg_extension x where x.extname = 'steep_repl') as extension,
            pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)
     from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()`,
  );
  const { database, oid, system, extension } = rows[0] ?? {};
  return {
    ...{ client, candidate, target, place },
    ...{ database: database ?? "", databaseOid: oid ?? "", systemIdentifier: system ?? "" },
    hasExtension: extension === "t",
  };
}

/** What a side knows of a node; a foreign server that a new node would get is looked for by the node's name. */
export async function wayTo({ client, hasExtension }: Side, node: string): Promise<WayFacts> {
  const found = hasExtension
    ? await client.query<Row>(
        "select n.foreign_server, n.system_identifier from steep_repl.nodes n where n.node_id = $1",
        [node],
      )
    : { rows: [] };
  const [row] = found.rows;
  const { rows } = await client.query<Row>(
    `select (select coalesce(json_object_agg(o.option_name, o.option_value), '{}')
             from pg_catalog.pg_options_to_table(s.srvoptions) o)::text as options,
            exists (select from pg_catalog.pg_user_mappings m
                    where m.srvid = s.oid and m.umuser in (0, (select r.oid from pg_catalog.pg_roles r where r.rolname = current_user))) as mapping
     from pg_catalog.pg_foreign_server s where s.srvname = $1`,
    [row?.foreign_server ?? node],
  );
  const [server] = rows;
  return {
    node:
      row === undefined
        ? null
        : {
            foreignServer: row.foreign_server ?? null,
            systemIdentifier: row.system_identifier ?? null,
          },
    options: server === undefined ? null : JSON.parse(server.options ?? "{}"),
    hasMapping: server?.mapping === "t",
  };
}

/** What a database is registered as in itself. */
export async function ownName({ client, ...side }: Side): Promise<string | undefined> {
  if (!side.hasExtension) return undefined;
  const { rows } = await client.query<Row>(
    `select n.node_id from steep_repl.nodes n
     where n.system_identifier = $1 and n.foreign_server is null
       and coalesce(n.dbname, pg_catalog.current_database()) = pg_catalog.current_database() order by n.node_id limit 1`,
    [side.systemIdentifier],
  );
  return rows[0]?.node_id ?? undefined;
}

/** The node of a side that leads to the other one, as steep_repl there finds it by connecting. */
export async function nodeThatLeadsTo(from: Side, to: Side): Promise<string | undefined> {
  if (!from.hasExtension) return undefined;
  try {
    const { rows } = await from.client.query<Row>(
      "select steep_repl._pair_back($1, $2) ->> 'node_id' as node_id",
      [to.systemIdentifier, to.databaseOid],
    );
    return rows[0]?.node_id ?? undefined;
  } catch (error) {
    // an older version, of which the check tells
    if ((error as { readonly code?: string }).code === "42883") return undefined;
    throw error;
  }
}

/** Whether a node of a side leads to the other one; undefined where it cannot be reached, of which the check tells. */
export async function leadsTo(from: Side, node: string, to: Side): Promise<boolean | undefined> {
  const ask = async (sql: string, param: string) =>
    (await from.client.query<Row>(sql, [param])).rows[0]?.found ?? "";
  try {
    const connection = await ask("select steep_repl._peer_open($1) as found", node);
    const found = await ask(
      `select (steep_repl._peer_json($1, $$
         select (select c.system_identifier::text from pg_catalog.pg_control_system() c) || ' ' || d.oid as place
         from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()$$) -> 0 ->> 'place') as found`,
      connection,
    );
    await ask("select steep_repl._peer_close($1)::text as found", connection);
    return found === `${to.systemIdentifier} ${to.databaseOid}`;
  } catch (error) {
    if ((error as { readonly severity?: string }).severity === undefined) throw error;
    return undefined;
  }
}
