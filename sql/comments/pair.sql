-- What psql and docs/functions.md say of these functions: plv8/build/function-comments.ts has the format.

comment on function steep_repl.preflight is $doc$
Says what stands in the way of a pair with a node, and what to do about it. It changes nothing.

One row for each check, also where it finds nothing. `start_pair` goes by the same checks.
@arg peer  The other node: registered with a foreign server, as this one is there.
@arg tables  Tables to replicate, as `schema.table`; NULL for all.
@arg schemas  All tables of these schemas; not together with `tables`.
@arg existing  What becomes of rows at the peer; see `start_pair`.
@arg exclude_tables  Tables to leave out, as patterns like pg_dump's.
@arg sequences  `interleave` or `keep`; see `start_pair`.
@arg output_path  A directory for the snapshot; see `start_pair`.
@column side  `local`, `peer` or `both`: where it was found, and where the fix belongs.
@column check_name  What was looked at.
@column status  `ok`, `warning` or `problem`. A problem keeps `start_pair` from making anything.
@column detail  What was found.
@column fix  SQL, or a line for postgresql.conf, that mends it; NULL where nothing is to be done.
@error 22023  An argument is unknown, or the peer is no node with a foreign server.
@error 08001  The peer cannot be reached.
@example
SELECT side, check_name, detail, fix FROM steep_repl.preflight('node_b') WHERE status <> 'ok';
$doc$;

comment on function steep_repl.start_pair is $doc$
Queues a job that makes this node and another replicate to each other, and returns its row at once.

Each node gets a publication and a subscription to the other, which takes what was written there and nothing that came from
elsewhere. The job ends with a comparison: it is complete when nothing differs. A job that failed goes on with `retry_operation`.
@arg peer  The other node: registered with a foreign server, as this one is there. Subscriptions connect by the options of these servers.
@arg tables  Tables to replicate, as `schema.table`; NULL for all. Partitions go with the table that has them.
@arg schemas  All tables of these schemas; not together with `tables`.
@arg existing  What becomes of rows at the peer. `refuse`: the peer is empty, and is filled from a snapshot. `merge`: both nodes keep their rows, and replicate; what differs is merged by the strategy. `keep`: both are equal already.
@arg strategy  For `merge`: as for `start_merge`.
@arg last_modified_column  For strategy `last-modified`: as for `start_merge`.
@arg sequences  `interleave`: each node gets every tenth value of the sequences of the tables, so that both can insert. `drop_pair` does not take that back. `keep` leaves them as they are.
@arg parallel  At most so many workers copy, and load.
@arg output_path  A directory on both nodes, in which each makes one for the snapshot. NULL means the first of `steep_repl.snapshot_directories` of each.
@arg exclude_tables  Tables to leave out, as patterns like pg_dump's.
@returns The pair's row, with status `pending`.
@error 22023  An argument is unknown, or the peer is no node with a foreign server.
@error 55006  A pair with this node is being set up.
@error 55000  The job fails: checks found problems, or rows differ at the end.
@example
SELECT pair_id FROM steep_repl.start_pair('node_b') \gset
SELECT status, phase, step FROM steep_repl.wait_pair(:'pair_id');
$doc$;

comment on function steep_repl.pair_progress is $doc$
Shows how far pairs are.
@arg pair_id  One pair; NULL for those that are being set up, or else the latest.
@column pair_id  The pair.
@column status  `pending`, `running`, `complete`, `failed` or `cancelled`.
@column phase  How far it is; see [phases](pair.md#watch-it).
@column step  The last step that was done.
@column overall_percent  0 to 100; of the phases, not of the time.
@column waits_for  What the job waits for, such as a snapshot and how far that is; NULL for nothing.
@column error  Why it failed.
@error 42704  There is no such pair.
@example
SELECT pair_id, phase, step, waits_for FROM steep_repl.pair_progress();
$doc$;

comment on function steep_repl.wait_pair is $doc$
Waits until a pair is set up, or has failed.
@arg pair_id  The pair.
@arg timeout_seconds  After so many seconds the row is returned as it is then.
@returns The pair's row.
@error 42704  There is no such pair.
@error 55000  The pair was queued in this transaction: commit first.
@example
SELECT status, error_message, error_hint
  FROM steep_repl.wait_pair((SELECT max(pair_id) FROM steep_repl.pairs), 60);
$doc$;

comment on function steep_repl.cancel_pair is $doc$
Stops setting up a pair.

Before a subscription is enabled, what was made is removed on both sides. Rows that were loaded at the peer stay. After that the
nodes replicate, and go on to; `retry_operation` finishes the pair, and `drop_pair` ends it.
@arg pair_id  The pair.
@returns Whether it was running or waiting.
@error 42704  There is no such pair.
@error 42501  It belongs to a role that the caller is not a member of.
@example
SELECT steep_repl.cancel_pair(max(pair_id)) FROM steep_repl.pairs;
$doc$;

comment on function steep_repl.drop_pair is $doc$
Ends a pair: drops its subscriptions, slots and publications on both nodes. Rows and sequences stay as they are.
@arg peer  The other node.
@arg force  Whether to drop this side alone where the peer cannot be reached.
@column side  `local` or `peer`.
@column object  The part: a subscription, slot, publication, or a snapshot's files.
@column dropped  Whether it was dropped; false where there was none, or the peer could not be reached.
@column command  What drops it by hand.
@error 42704  There is no such node, or no pair with it.
@error 55006  The pair is being set up.
@error 08001  The peer cannot be reached, and `force` was not given.
@example
SELECT d.side, d.object, d.dropped FROM steep_repl.pairs p, steep_repl.drop_pair(p.peer) d
  WHERE p.peer = 'node_b' AND p.status = 'complete';
$doc$;
