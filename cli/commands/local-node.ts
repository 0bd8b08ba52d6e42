import { usageError } from "../cli-error.ts";
import { shellWord } from "../output/shell-words.ts";
import type { Session } from "../session.ts";

/** An unregistered name is a label; that of another server shows that the connection is the wrong one. */
export async function refuseOtherNode(session: Session, node: string | undefined): Promise<void> {
  if (node === undefined) return;
  const { rows } = await session.query(
    `select n.node_id from steep_repl.nodes n where n.node_id = $1
     and n.system_identifier <> (select c.system_identifier::text from pg_catalog.pg_control_system() c)`,
    [node],
  );
  if (rows.length === 0) return;
  throw usageError(
    `node "${node}" is registered as another server than ${session.serverName}`,
    "connect to that node with -c, or give the name of this one",
  );
}

/** Where two nodes are named, which is which must be certain: the first one has to be registered, as the database of this session. */
export async function requireThisNode(session: Session, node: string | undefined): Promise<void> {
  if (node === undefined) return;
  await refuseOtherNode(session, node);
  if (await isLocalNode(session, node)) return;
  const { rows } = await session.query(
    "select n.dbname from steep_repl.nodes n where n.node_id = $1",
    [node],
  );
  throw rows.length === 0
    ? usageError(
        `node "${node}" is not registered`,
        `register this database with steep-repl node register ${shellWord(node)}, or name the peer alone`,
      )
    : usageError(
        `node "${node}" is not the database of this session`,
        "connect to that node with -c, or name the peer alone",
      );
}

/** Whether a name is that of the database of this session. */
export async function isLocalNode(session: Session, node: string): Promise<boolean> {
  const { rows } = await session.query(
    `select n.node_id from steep_repl.nodes n where n.node_id = $1
     and n.system_identifier = (select c.system_identifier::text from pg_catalog.pg_control_system() c)
     and coalesce(n.dbname, pg_catalog.current_database()) = pg_catalog.current_database()`,
    [node],
  );
  return rows.length > 0;
}

/** Where a peer is, for people: of a node or a foreign server also its host and database. */
export async function placeOf(session: Session, peer: string): Promise<string> {
  const { rows } = await session.query(
    `select pg_catalog.concat_ws(', ', 'host ' || n.host, 'port ' || n.port, 'database ' || n.dbname) as place
     from steep_repl.nodes n where n.node_id = $1 and n.foreign_server is null
     union all
     select pg_catalog.array_to_string(s.srvoptions, ', ') from pg_catalog.pg_foreign_server s
     where s.srvname in ($1, (select n.foreign_server from steep_repl.nodes n where n.node_id = $1))`,
    [peer],
  );
  const place = rows[0]?.values.place;
  return place ? `${peer}: ${place}` : peer;
}
