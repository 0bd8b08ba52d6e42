-- What psql and docs/functions.md say of these functions: plv8/build/function-comments.ts has the format.

comment on function steep_repl.compare_fingerprints is $doc$
Compares how tables are defined in this database and at a peer, one row for each table.

Both catalogs are read as they are now; see [compare schemas](schema.md).
@arg local_node  A registered node that is this database.
@arg peer_node  The other database.
@column schema_name  Schema of the table.
@column table_name  Name of the table.
@column local_fingerprint  Digest of the definition here; NULL if there is no such table.
@column peer_fingerprint  Digest of the definition at the peer; NULL if there is no such table.
@column status  `match`, `mismatch`, `local_only` or `peer_only`.
@error 22023  `local_node` is not this database, or the peer is.
@error 42704  A node is not registered; or the peer is neither a node, nor a foreign server, nor a connection string.
@error 42501  The caller may not use that peer.
@error 0A000  The peer is older than PostgreSQL 14.
@example
SELECT * FROM steep_repl.compare_fingerprints('node_a', 'node_b') WHERE status <> 'match';
$doc$;

comment on function steep_repl.schema_diff is $doc$
Shows how one table differs between this database and a peer, with statements that make the peer's like the local one.

Run `suggested_sql` at the peer, in the order of the rows, after you have read it. What would lose data, and what
cannot be done, is a comment that says why.
@arg local_node  A registered node that is this database.
@arg peer_node  The other database.
@arg table_name  The table, as `schema.table`.
@column object_type  `table`, `column`, `constraint`, `index`, `trigger`, `policy`, `rule`, and the like.
@column object_name  Name of the object.
@column local_definition  Definition here; NULL if there is no such object.
@column peer_definition  Definition at the peer; NULL if there is no such object.
@column status  `mismatch`, `local_only` or `peer_only`; `order` if columns only stand in another order.
@column suggested_sql  Statements for the peer, or a comment.
@error 22023  `table_name` is not of the form `schema.table`, `local_node` is not this database, or the peer is.
@error 42P01  Neither side has the table.
@error 42704  A node is not registered; or the peer is neither a node, nor a foreign server, nor a connection string.
@error 42501  The caller may not use that peer.
@error 0A000  The peer is older than PostgreSQL 14.
@example
SELECT object_type, object_name, status, suggested_sql
  FROM steep_repl.schema_diff('node_a', 'node_b', 'public.orders');
$doc$;

comment on function steep_repl.capture_fingerprints is $doc$
Stores how the tables of a node are defined now, in schema_fingerprints, to compare later.
@arg node_id  A registered node, this database or another one.
@returns The number of tables.
@error 22023  `node_id` is null or empty.
@error 42704  The node is not registered.
@error 42501  The caller may not connect to that node.
@example
SELECT steep_repl.capture_fingerprints('node_a');
$doc$;
