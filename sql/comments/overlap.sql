-- What psql and docs/functions.md say of these functions: plv8/build/function-comments.ts has the format.

comment on function steep_repl.analyze_overlap is $doc$
Compares the rows of tables between this database and a peer, and returns counts for each table.

It runs in your session and needs the TEMPORARY privilege on the database; see [compare](compare.md).
@arg peer  The other database.
@arg tables  Tables to compare, as `schema.table`; NULL for all that both databases have.
@arg primary_keys  Columns that identify a row, for tables without a primary key: `{"public.t": ["a", "b"]}`.
@arg catch_up_timeout  How long to wait, in the whole call, for rows that replication is still carrying over; `0` for not at all.
@arg exclude_tables  Tables to leave out, as patterns like pg_dump's: `audit.*`, `public.log_?`. A pattern without a schema is of any schema.
@arg schemas  All tables of these schemas; not together with `tables`.
@arg skip_unsuitable  Whether to go on without tables that cannot be compared: they are rows without counts, with the reason. Else the call fails, and names them all.
@column table_name  The table.
@column local_only_count  Rows that only this database has.
@column remote_only_count  Rows that only the peer has.
@column match_count  Rows that are equal.
@column conflict_count  Rows that both have and that differ.
@column unsettled_count  Rows that still changed, or may have been on their way, when `catch_up_timeout` was over.
@column behind  Subscriptions of the two databases to each other that had not replayed what was compared, with how far they were behind; NULL for none.
@column reason  Why the table was not compared, with `skip_unsuitable`; else NULL.
@error 22023  A table is not named `schema.table` or named twice, `primary_keys` is malformed, or the peer is this database.
@error 42809  A table of the system, of steep_repl, or a temporary one.
@error 42704  The peer is neither a node, nor a foreign server, nor a connection string.
@error 42501  The caller may not use that peer, or may not read a table.
@error 23505  The columns of `primary_keys` do not identify the rows.
@error 0A000  The peer is older than PostgreSQL 14.
@error 2F003  A role that is not a superuser gives no password, or the peer did not ask for it.
@error 55P03  A table was locked for longer than `steep_repl.lock_timeout` at the peer.
@error 55000  A table has no key, or the transaction is not READ COMMITTED.
@error 3F000  A schema of `schemas` does not exist here.
@example
SELECT * FROM steep_repl.analyze_overlap('node_b', '{public.orders,public.customers}');
$doc$;

comment on function steep_repl.start_overlap is $doc$
Queues the same comparison as a job, keeps the rows that differ, and returns its row at once.

Table `overlap_tables` has the counts of each table when the job is complete, with the WAL positions and snapshots
of both databases. `overlap_rows` lists the rows.
@arg peer  The other database.
@arg tables  Tables to compare, as `schema.table`; NULL for all that both databases have.
@arg primary_keys  Columns that identify a row, for tables without a primary key: `{"public.t": ["a", "b"]}`.
@arg catch_up_timeout  How long to wait, in the whole call, for rows that replication is still carrying over; `0` for not at all.
@arg exclude_tables  Tables to leave out, as patterns like pg_dump's: `audit.*`, `public.log_?`. A pattern without a schema is of any schema.
@arg schemas  All tables of these schemas; not together with `tables`.
@arg skip_unsuitable  Whether to go on without tables that cannot be compared: `overlap_tables` has them with the reason. Else the job fails, and names them all.
@returns The comparison's row, with status `pending`.
@error 22023, 42809, 42704, 42501, 2F003  As `analyze_overlap`. What the tables are at the peer is checked by the job.
@error 42P01, 42703  A table, or a column of `primary_keys`, does not exist here.
@error 53400  Too many jobs with a connection string are queued: name a foreign server instead.
@example
SELECT operation_id AS overlap FROM steep_repl.start_overlap('node_b', NULL) \gset
SELECT status FROM steep_repl.wait_operation(:'overlap');
$doc$;

comment on function steep_repl.overlap_rows is $doc$
Lists the rows behind the counts of a comparison.

The rows are those that a complete `start_overlap` of this table with this peer has kept: the one that `overlap_id`
names, else the latest one. `steep-repl merge start` makes such a comparison, too. Without any, the table is compared
now. In each case `differing_columns` is found out now, and rows that are equal by now are left out; rows that differ
since are not found. Each row says which comparison it is of, and how old that is.
@arg peer  The other database.
@arg table_name  The table, as `schema.table`.
@arg category  `local_only`, `remote_only`, `conflict` or `unsettled`; NULL for all.
@arg max_rows  The most rows to return, 1 to 100000.
@arg primary_keys  As for `analyze_overlap`; not needed where a comparison was kept. Given, only one counts that has told rows apart by these columns.
@arg overlap_id  The comparison to list; NULL for the latest.
@column key  The row's key, an object of column name to text.
@column category  One of the four above.
@column differing_columns  Columns that differ now; NULL for rows that one side lacks.
@column compared_at  When the comparison was complete that the row is of.
@column overlap_id  That comparison; NULL where the table was compared now.
@error 22023  The category is unknown, `max_rows` out of range, or the comparison was with another peer or has not compared this table; else as `analyze_overlap`.
@error 42704  There is no such comparison, or the caller may not see it.
@error 55000  The comparison is not complete.
@error 42809, 42704, 42501, 23505, 0A000, 2F003, 55P03, 55000  As `analyze_overlap`.
@example
SELECT * FROM steep_repl.overlap_rows('node_b', 'public.orders', 'conflict', max_rows => 10);
$doc$;
