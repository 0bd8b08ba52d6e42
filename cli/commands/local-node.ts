import { usageError } from "../cli-error.ts";
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
