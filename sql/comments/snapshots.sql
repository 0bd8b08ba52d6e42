-- What psql and docs/functions.md say of these functions: plv8/build/function-comments.ts has the format.

comment on function steep_repl.start_snapshot is $doc$
Queues a snapshot of this database into a directory on the server, and returns its row at once.

The directory is a `pg_dump -Fd` archive with a manifest of checksums; see [snapshots](snapshots.md).
@arg output_path  Absolute path on the server. The directory must not exist, or be empty. A role without `pg_write_server_files` may use paths below `steep_repl.snapshot_directories` only. No component may be a symbolic link.
@arg compression  `none`, `gzip`, `lz4` or `zstd`.
@arg parallel  The most copy workers, 1 to 64. The job begins when one is free, and never has more than `steep_repl.max_parallel_workers`.
@arg level  Compression level. NULL means the method's default. The error message names the range of the method.
@arg tables  Tables, views and sequences to include, as `schema.table`; NULL for all. Not together with `schemas`.
@arg schemas  Schemas to include; NULL for all.
@arg slot_name  Name of a logical replication slot to create. The snapshot is taken at the slot's starting point, so that a subscription can continue from there; see [seed a subscription](snapshots.md#seed-a-subscription).
@arg publications  The publications that the subscription will name. Required with `slot_name`: they must exist before the slot.
@arg node_id  Label for the snapshot's row and manifest. The name of a node that is registered as another cluster is refused.
@arg large_objects  What to do with large objects: `copy`, `refuse` to take a snapshot if there are any, or `skip`. A snapshot of `tables` or `schemas` has none.
@arg exclude_tables  Patterns of tables to leave out, with their partitions and children, as pg_dump's `--exclude-table-and-children`: `'{audit.*,public.log_?}'`. A pattern without a schema is of any schema. Sequences that such tables own are left out, too, unless something else uses them.
@returns The snapshot's row, with status `pending`.
@error 22023  An argument is out of range or contradicts another one, or names something that a snapshot cannot contain.
@error 42P01, 3F000  A table or a schema does not exist.
@error 42501  The path is not allowed, with the setting to change; or `slot_name` without the REPLICATION attribute.
@error 58P02  The directory exists and is not empty.
@error 55000  `slot_name` where `wal_level` is not `logical`, or without existing publications.
@example
SELECT snapshot_id FROM steep_repl.start_snapshot('/backups/functions', parallel => 2) \gset
SELECT status, table_count FROM steep_repl.wait_snapshot(:'snapshot_id');
$doc$;

comment on function steep_repl.start_apply is $doc$
Queues loading a snapshot into this database, and returns its row at once.

Statements and rows are committed piece by piece. A job that was interrupted continues where it stopped;
see [apply a snapshot](snapshots.md#apply-a-snapshot).
@arg input_path  Absolute path of the snapshot on this server. Reading it needs `pg_read_server_files`, or a path below `steep_repl.snapshot_directories` and membership in the role that took the snapshot, or that fetched it to this server.
@arg parallel  The most appliers, 1 to 64.
@arg verify  Whether to check every checksum before anything is changed.
@arg sections  Parts to apply, as in pg_restore: `pre-data`, `data`, `post-data`.
@arg tables  Tables to load with all that belongs to them, as `schema.table`; NULL for all. Schemas, types and functions that they need must exist.
@arg truncate  Whether to empty existing tables first, and to replace existing large objects. Needs section `data`.
@arg no_owner  Whether to leave out statements that set owners, as in pg_restore.
@arg no_privileges  Whether to leave out GRANT and REVOKE, as in pg_restore.
@arg replicate  Whether loaded rows, and the TRUNCATE before them, reach the subscribers of this node like any other changes. By default they carry a replication origin, and subscriptions with `origin = none` do not get them. Needs section `data`.
@returns The row in `snapshots`, with operation `apply`.
@error 22023  An argument is out of range, a section is unknown, or a table is not of the form `schema.table`.
@error 42501  The snapshot may not be read.
@error 58P01  The directory does not exist.
@error 42P07  The job fails: relations that the snapshot would create exist already.
@error 42P01  The snapshot does not contain a table that is named; or the job fails: tables or sequences to be loaded do not exist.
@error 42710  The job fails: large objects that the snapshot would create exist already.
@example
SELECT snapshot_id AS apply_id
  FROM steep_repl.start_apply('/backups/functions', sections => '{data}', truncate => true) \gset
SELECT status, error_message FROM steep_repl.wait_snapshot(:'apply_id');
$doc$;

comment on function steep_repl.start_fetch is $doc$
Queues copying a snapshot from another server into a directory on this one, and returns its row at once.

Every byte is checked against the manifest as it arrives. The directory is then the same as the one at the
peer; see [fetch a snapshot](snapshots.md#fetch-a-snapshot).
@arg peer  Where the snapshot is: a registered node, a foreign server of `dblink_fdw` or `postgres_fdw`, or a connection string. Its database needs steep_repl.
@arg snapshot  The peer's `snapshot_id`, or the absolute path of a snapshot there. The user that is known to the peer must be allowed to read it, as for `start_apply`.
@arg output_path  Absolute path on this server, with the rules of `start_snapshot`.
@arg parallel  The most fetch workers, 1 to 64, each with a connection of its own.
@arg max_rate  Bytes per second of all workers together, such as `50MB`; NULL for no limit.
@returns The row in `snapshots`, with operation `fetch` and status `pending`.
@error 22023  An argument is null or out of range, or the peer is not one.
@error 42501  The path is not allowed; or the job fails: the snapshot may not be read at the peer.
@error 42704  The peer is unknown; or the job fails: the peer has no such snapshot.
@error 58P02  The directory exists and is not empty.
@error 08001  The job fails: the peer cannot be connected to.
@error XX001  The job fails: a file at the peer is not what its manifest says.
@error 53100  The job fails: the snapshot does not fit on the disk.
@example
SELECT snapshot_id FROM steep_repl.start_fetch('node_b', '/backups/functions', '/backups/fetched') \gset
SELECT status, error_message FROM steep_repl.wait_snapshot(:'snapshot_id');
$doc$;

comment on function steep_repl.snapshot_progress is $doc$
Shows the live progress of one snapshot, apply or fetch, of all active ones, or of the latest when none is active.
@arg snapshot_id  The snapshot, apply or fetch; NULL for all active ones.
@column snapshot_id  Identifier of the snapshot, apply or fetch.
@column phase  `queued`, `planning`, `schema`, `data`, `indexes`, `sequences`, `finalizing` or `complete`; after a failure, the phase that failed.
@column overall_percent  0 to 100.
@column tables_completed  Tables that are done.
@column tables_total  Tables in all; NULL before planning.
@column current_table  One of the tables being copied.
@column bytes_processed  Bytes of COPY text so far, before compression; of a fetch, bytes of files that are here.
@column eta_seconds  Estimated seconds until the end; NULL if unknown.
@column error  Message of a job that failed.
@error 42704  There is no such snapshot, or the caller may not see it.
@example
SELECT phase, overall_percent FROM steep_repl.snapshot_progress(:'snapshot_id');
$doc$;

comment on function steep_repl.wait_snapshot is $doc$
Waits until a snapshot, an apply or a fetch is over, and returns its row.
@arg snapshot_id  The snapshot, apply or fetch.
@arg timeout_seconds  How long to wait, in seconds. 0 returns at once.
@returns The row as it is then. After a timeout its status is still `pending` or `running`.
@error 22023  An argument is null, or the timeout negative.
@error 42704  There is no such snapshot, or the caller may not see it.
@error 55000  This transaction queued the job, which starts only when it commits; or the transaction is not READ COMMITTED.
@example
SELECT status, size_bytes FROM steep_repl.wait_snapshot(:'snapshot_id', timeout_seconds => 600);
$doc$;

comment on function steep_repl.cancel_snapshot is $doc$
Cancels a snapshot or a fetch and removes its files, or cancels an apply, which keeps what it has loaded.

A running job ends within seconds. A cancelled apply can be continued with `retry_operation`.
@arg snapshot_id  The snapshot, apply or fetch.
@returns Whether there was something to cancel; false if it is over.
@error 22023  `snapshot_id` is null.
@error 42704  There is no such snapshot, or the caller may not see it.
@error 42501  The job belongs to another role.
@example
SELECT steep_repl.cancel_snapshot(:'snapshot_id');
$doc$;

comment on function steep_repl.drop_snapshot is $doc$
Removes a snapshot's files, its replication slot if no subscription uses it, and its row.

It does so at once: ROLLBACK does not bring the files back. Of an apply it removes the row only; the
rows that were loaded stay.
@arg snapshot_id  The snapshot, apply or fetch.
@returns True.
@error 22023  `snapshot_id` is null.
@error 42704  There is no such snapshot.
@error 42501  It belongs to another role, or its slot cannot be dropped without the REPLICATION attribute.
@error 55006  It is pending or running: cancel it first. Or a worker is removing its directory.
@error 55000  The directory is no longer that of this snapshot.
@example
SELECT snapshot_id AS dropped FROM steep_repl.start_snapshot('/backups/dropped') \gset
SELECT status FROM steep_repl.wait_snapshot(:'dropped');
SELECT steep_repl.drop_snapshot(:'dropped');
$doc$;

comment on function steep_repl.verify_snapshot is $doc$
Reads every byte of a snapshot, and returns one row for each problem; none if it is sound.
@arg path  Absolute path of the snapshot on the server. The same rights as for `start_apply` are needed.
@column file  File that has the problem.
@column problem  What is wrong with it.
@column expected  What the manifest says.
@column found  What was found.
@error 22004  `path` is null.
@error 22023  The path is not absolute.
@error 42501  The snapshot may not be read.
@error 58P01  The directory does not exist.
@example
SELECT * FROM steep_repl.verify_snapshot('/backups/functions');
$doc$;

comment on function steep_repl.leftovers is $doc$
Lists what jobs left behind and nothing needs any more, with the command that removes each.

These are directories of jobs that failed or were cancelled and could not remove them, and replication slots
that no subscription has used yet. Such a slot holds back WAL.
@column kind  `directory` or `slot`.
@column name  Path of the directory, or name of the slot.
@column retained_bytes  Bytes of the directory, or of WAL that the slot holds back; NULL while a worker removes the directory.
@column drop_command  Statement that removes it.
@error none  There are no errors of its own.
@example
SELECT kind, name, drop_command FROM steep_repl.leftovers();
$doc$;
