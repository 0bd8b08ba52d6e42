import { type Json, query, queryOne } from "../db/sql.ts";
import { invalidArgument } from "../db/steep-error.ts";
import type { PublicFunction } from "./public-function.ts";

/**
 * A node on this very cluster gets its system identifier at once; others by a
 * probe. Where a foreign server leads is not known before.
 */
const isHere = `
  (n.foreign_server is null and (n.host is null or (n.port = current_setting('port')::int
    and (n.host in ('localhost', '127.0.0.1', '::1')
         or n.host = host(inet_server_addr())
         or n.host = any (string_to_array(replace(current_setting('unix_socket_directories'), ' ', ''), ','))))))`;

const columns = `
  node_name = $1 ->> 'node_name',
  host = coalesce($1 ->> 'host', host),
  port = ($1 ->> 'port')::int,
  priority = ($1 ->> 'priority')::int,
  dbname = coalesce($1 ->> 'dbname', dbname),
  username = coalesce($1 ->> 'username', username),
  foreign_server = coalesce($1 ->> 'foreign_server', foreign_server)`;

const update = `
  update steep_repl.nodes n set ${columns} where node_id = $1 ->> 'node_id' returning n.node_id`;

const insert = `
  insert into steep_repl.nodes (node_id, node_name, host, port, priority, dbname, username, foreign_server)
  values ($1 ->> 'node_id', $1 ->> 'node_name', $1 ->> 'host', ($1 ->> 'port')::int,
          ($1 ->> 'priority')::int, $1 ->> 'dbname', $1 ->> 'username', $1 ->> 'foreign_server')
  on conflict (node_id) do nothing
  returning node_id`;

const identify = `
  update steep_repl.nodes n
  set system_identifier = case when ${isHere} then steep_repl._system_identifier() end
  where n.node_id = $1 ->> 'node_id'
    and (${isHere}) is distinct from (n.system_identifier is not distinct from steep_repl._system_identifier())
  returning n.node_id`;

function requireText(args: { readonly [name: string]: Json }, name: string): void {
  const value = args[name];
  if (typeof value !== "string" || value.trim() === "") {
    throw invalidArgument(`${name} must not be null or empty`);
  }
}

function requireRange(value: Json | undefined, name: string, min: number, max: number): void {
  if (typeof value !== "number" || value < min || value > max) {
    throw invalidArgument(`${name} must be between ${min} and ${max}`);
  }
}

/** The foreign server's user mapping would hold the password, so it must exist. */
function requireForeignServer(name: Json | undefined): void {
  if (typeof name !== "string") {
    return;
  }
  const found = query("select 1 as found from pg_foreign_server where srvname = $1 ->> $$name$$", {
    name,
  });
  if (found.length === 0) {
    throw invalidArgument(
      `foreign server "${name}" does not exist`,
      "Create it with CREATE SERVER ... FOREIGN DATA WRAPPER dblink_fdw.",
    );
  }
}

/** Insert a node or update it; a NULL host, dbname or user keeps what is stored. */
export const registerNode: PublicFunction = {
  name: "register_node",
  args: [
    { name: "node_id", type: "text" },
    { name: "node_name", type: "text" },
    { name: "host", type: "text", default: "null" },
    { name: "port", type: "int", default: "5432" },
    { name: "priority", type: "int", default: "50" },
    { name: "dbname", type: "text", default: "null" },
    { name: "username", type: "text", default: "null" },
    { name: "foreign_server", type: "text", default: "null" },
  ],
  returns: { kind: "row", table: "nodes", key: "node_id" },
  volatility: "volatile",
  comment: "registers a node, or changes its entry; a NULL host keeps the stored one",
  run(args) {
    requireText(args, "node_id");
    requireText(args, "node_name");
    requireRange(args.port, "port", 1, 65535);
    requireRange(args.priority, "priority", 1, 100);
    requireForeignServer(args.foreign_server);
    if (query(update, args).length === 0 && query(insert, args).length === 0) {
      // Somebody registered it at the same moment.
      queryOne(update, args);
    }
    query(identify, args);
    return { node_id: args.node_id ?? null };
  },
};
