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
  node_name = coalesce($1 ->> 'node_name', node_name),
  host = coalesce($1 ->> 'host', host),
  port = coalesce(($1 ->> 'port')::int, port),
  priority = coalesce(($1 ->> 'priority')::int, priority),
  dbname = coalesce($1 ->> 'dbname', dbname),
  username = coalesce($1 ->> 'username', username),
  foreign_server = coalesce($1 ->> 'foreign_server', foreign_server)`;

const update = `
  update steep_repl.nodes n set ${columns} where node_id = $1 ->> 'node_id' returning n.node_id`;

/** What has neither a host nor a foreign server is this server, at its own port. */
const insert = `
  insert into steep_repl.nodes (node_id, node_name, host, port, priority, dbname, username, foreign_server)
  values ($1 ->> 'node_id', coalesce($1 ->> 'node_name', $1 ->> 'node_id'), $1 ->> 'host',
          coalesce(($1 ->> 'port')::int, case when $1 ->> 'host' is null and $1 ->> 'foreign_server' is null
                                              then current_setting('port')::int else 5432 end),
          coalesce(($1 ->> 'priority')::int, 50), $1 ->> 'dbname', $1 ->> 'username', $1 ->> 'foreign_server')
  on conflict (node_id) do nothing
  returning node_id`;

const identify = `
  update steep_repl.nodes n
  set system_identifier = case when ${isHere} then steep_repl._system_identifier() end
  where n.node_id = $1 ->> 'node_id'
    and (${isHere}) is distinct from (n.system_identifier is not distinct from steep_repl._system_identifier())
  returning n.node_id`;

/** Somebody may have meant another node: what was this server is another one from now on. */
const warn = `
  select steep_repl._warn_moved(n.node_id) as warned from steep_repl.nodes n
  where n.node_id = $1 ->> 'node_id' and n.system_identifier is distinct from steep_repl._system_identifier()`;

const wasHere = `
  select exists (select from steep_repl.nodes n where n.node_id = $1 ->> 'node_id'
                 and n.system_identifier = steep_repl._system_identifier()) as here`;

function requireId({ node_id: id }: { readonly [name: string]: Json }): void {
  if (typeof id !== "string" || id.trim() === "") {
    throw invalidArgument("node_id must not be null or empty");
  }
}

function refuseEmptyName({ node_name: name }: { readonly [name: string]: Json }): void {
  if (typeof name === "string" && name.trim() === "") {
    throw invalidArgument(
      "node_name must not be empty",
      "Leave it out to keep the stored one; a new node is called by its id then.",
    );
  }
}

/** The most bytes of each text, as the table's constraint has them: those of PostgreSQL's names, of DNS names. */
const mostBytes = {
  node_id: 63,
  node_name: 63,
  host: 255,
  dbname: 63,
  username: 63,
  foreign_server: 63,
} as const;

/** Bytes are counted in SQL, since they are those of the database's encoding. */
const measure = `
  select t.key as name, octet_length(t.value) as bytes, t.value ~ '[\\x01-\\x1f\\x7f]' as has_control
  from jsonb_each_text($1) t where t.value is not null`;

function requirePlainTexts(args: { readonly [name: string]: Json }): void {
  const texts = Object.fromEntries(
    Object.keys(mostBytes).map((name) => [name, args[name] ?? null]),
  );
  type Found = { name: keyof typeof mostBytes; bytes: number; has_control: boolean };
  for (const { name, bytes, has_control } of query<Found>(measure, texts)) {
    if (bytes > mostBytes[name]) {
      throw invalidArgument(
        `${name} must have at most ${mostBytes[name]} bytes`,
        `It has ${bytes}: choose a shorter one.`,
      );
    }
    if (has_control) {
      throw invalidArgument(
        `${name} must not contain control characters`,
        "Leave out line breaks and tabs.",
      );
    }
  }
}

/** null keeps what is stored */
function requireRange(value: Json | undefined, name: string, min: number, max: number): void {
  if (value === null || value === undefined) {
    return;
  }
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

/** Insert a node or update it; what is NULL is kept as it is stored. */
export const registerNode: PublicFunction = {
  name: "register_node",
  args: [
    { name: "node_id", type: "text" },
    { name: "node_name", type: "text", default: "null" },
    { name: "host", type: "text", default: "null" },
    { name: "port", type: "int", default: "null" },
    { name: "priority", type: "int", default: "null" },
    { name: "dbname", type: "text", default: "null" },
    { name: "username", type: "text", default: "null" },
    { name: "foreign_server", type: "text", default: "null" },
  ],
  returns: { kind: "row", table: "nodes", key: "node_id" },
  volatility: "volatile",
  run(args) {
    requireId(args);
    refuseEmptyName(args);
    requirePlainTexts(args);
    requireRange(args.port, "port", 1, 65535);
    requireRange(args.priority, "priority", 1, 100);
    requireForeignServer(args.foreign_server);
    const { here } = queryOne<{ here: boolean }>(wasHere, args);
    if (query(update, args).length === 0 && query(insert, args).length === 0) {
      // Somebody registered it at the same moment.
      queryOne(update, args);
    }
    query(identify, args);
    if (here) {
      query(warn, args);
    }
    return { node_id: args.node_id ?? null };
  },
};
