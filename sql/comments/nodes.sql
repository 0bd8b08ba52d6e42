-- What psql and docs/functions.md say of these functions: plv8/build/function-comments.ts has the format.

comment on function steep_repl.register_node is $doc$
Registers a node, or changes the entry of one that is registered.

A node is a name for a database, this one or another. Other functions take its `node_id` as their peer.
Register the database that you are connected to without a host. For other databases, prefer
`foreign_server`: the server's user mapping then holds the password. Only the role that registered a
node, its members, and superusers may change the entry. There is a warning where an entry that counted as this server
is changed so that it does not any more.
@arg node_id  Identifier, at most 63 bytes and without control characters.
@arg node_name  Name for people, at most 63 bytes. NULL keeps the stored one; a new entry without one is called by its `node_id`.
@arg host  Host name or address, at most 255 bytes. NULL keeps the stored one; a new entry without a host and a foreign server counts as this server.
@arg port  TCP port, 1 to 65535. NULL keeps the stored one; a new entry without one has 5432, or this server's own port if it counts as this server.
@arg priority  1 to 100; the higher one is preferred where a choice is needed. NULL keeps the stored one; a new entry without one has 50.
@arg dbname  Database. NULL keeps the stored one; a new entry without one means the database of the same name as this one.
@arg username  Role to connect as. NULL keeps the stored one; a new entry without one means the name of the role that connects.
@arg foreign_server  Server of `dblink_fdw` or `postgres_fdw` to connect by, instead of host, port, database and user. NULL keeps the stored one.
@returns The node's row.
@error 22023  `node_id` is null, or an argument is empty, too long or out of range, has control characters, or names a foreign server that does not exist.
@error 42501  Another role registered this node.
@example
SELECT node_id FROM steep_repl.register_node('node_a', 'Node A');

CREATE SERVER node_b FOREIGN DATA WRAPPER dblink_fdw
  OPTIONS (host 'node-b.example', dbname 'shop');
CREATE USER MAPPING FOR CURRENT_USER SERVER node_b
  OPTIONS (user 'postgres', password 'secret');
SELECT node_id FROM steep_repl.register_node('node_b', 'Node B', foreign_server => 'node_b');
$doc$;

comment on function steep_repl.node_status is $doc$
Shows which nodes were seen lately, and with probe connects to them to find out.

The local node is healthy as long as its launcher runs. Another node is healthy if a heartbeat or a
probe has seen it within the last 30 seconds. A probe waits 3 seconds at most for each node. It connects only to
nodes that the caller, a role that the caller is a member of, or a superuser has registered; a caller that is not a
superuser needs a `foreign_server` whose user mapping has the password. A warning says why a probe did not connect.
@arg node_id  The node; NULL for all nodes.
@arg probe  Whether to connect to the nodes that are not local.
@column node_id  Identifier of the node.
@column node_name  Name for people.
@column status  `online`, `offline`, or `unknown` if the node was never seen.
@column last_seen  When it was last seen.
@column is_healthy  Whether it counts as alive; NULL if unknown.
@column is_local  Whether it is this server. A node whose system identifier is not known yet is not.
@error 42704  The node is not registered.
@example
SELECT node_id, status, is_local FROM steep_repl.node_status(probe => true);
$doc$;

comment on function steep_repl.heartbeat is $doc$
Notes that a node is alive.

Call it on one node for another, for example from a scheduled job, where no probe can connect.
@arg node_id  The node.
@returns Whether a node of this name is registered.
@error none  There are no errors of its own.
@example
SELECT steep_repl.heartbeat('node_b');
$doc$;

comment on function steep_repl.remove_node is $doc$
Removes the entry of a node.

It removes nothing else: jobs that name the node as their peer fail when they next need it.
@arg node_id  The node.
@returns Whether a node of this name was registered.
@error 42501  Another role registered this node.
@example
SELECT node_id FROM steep_repl.register_node('node_c', 'Node C', 'node-c.example');
SELECT steep_repl.remove_node('node_c');
$doc$;

comment on function steep_repl.health is $doc$
Shows in one row whether this node can do its work, and if not, why.

It is made for monitoring: any role with USAGE on schema `steep_repl` may call it, and it answers even
where something is wrong.
@column status  `healthy`; `degraded`, with `reasons`; or `unhealthy`, where the state could not be read.
@column extension_version  Version of the extension's SQL objects.
@column pg_version  Version of the server.
@column js_engine  `plv8` or `pljs`.
@column background_worker_running  Whether the launcher runs, so that jobs can start.
@column shared_memory_available  Whether steep_repl was preloaded.
@column active_operations  Jobs of this database that run.
@column pending_operations  Jobs of this database that wait.
@column last_error  Message of the job that failed last, if the caller may see that job.
@column reasons  Why the status is not `healthy`, with what to do.
@column library_version  Version of the loaded library.
@error none  Only a cancelled call fails.
@example
SELECT status, reasons FROM steep_repl.health();
$doc$;

comment on function steep_repl.replication_status is $doc$
Shows how logical replication of this database fares: a row for each subscription, and for each slot that others read.

Everything comes from this server's own catalogs and statistics, unless `probe` asks the other ends, too; see
[watch replication](watch.md). What PostgreSQL shows only to `pg_monitor` is NULL for others.
@arg peer  A registered node: only what replicates with it, by the names that pairs have. NULL: everything.
@arg probe  Whether to connect to the nodes, for up to some seconds each. Then rows have what the other end knows.
@returns A row for each direction.
@error 42704  The node is not registered.
@error 42501  The caller may not connect to that node.
@example
SELECT peer, direction, state, lag_bytes, reasons FROM steep_repl.replication_status();
$doc$;

comment on function steep_repl.version is $doc$
Shows the version of the extension.
@returns The version.
@error none  There are none.
@example
SELECT steep_repl.version();
$doc$;

comment on function steep_repl.min_pg_version is $doc$
Shows the oldest version of PostgreSQL that the extension runs on.
@returns A number like the setting `server_version_num`: 180000.
@error none  There are none.
@example
SELECT steep_repl.min_pg_version();
$doc$;

comment on function steep_repl.bgworker_available is $doc$
Shows whether the launcher runs, so that jobs can start.
@returns Whether it runs.
@error none  There are none.
@example
SELECT steep_repl.bgworker_available();
$doc$;
