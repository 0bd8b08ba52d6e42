-- What is refused, with its SQLSTATE.
set client_min_messages = warning;
create extension steep_repl cascade;
\set VERBOSITY sqlstate

-- snapshots: arguments
select steep_repl.start_snapshot(null);
select steep_repl.start_snapshot('');
select steep_repl.start_snapshot('/tmp/x', compression => 'brotli');
select steep_repl.start_snapshot('/tmp/x', compression => null);
select steep_repl.start_snapshot('/tmp/x', parallel => 0);
select steep_repl.start_snapshot('/tmp/x', parallel => 65);
select steep_repl.start_snapshot('/tmp/x', parallel => null);
select steep_repl.start_snapshot('/tmp/x', level => 99);
select steep_repl.start_snapshot('/tmp/x', compression => 'none', level => 1);
select steep_repl.start_snapshot('/tmp/x', tables => '{}');
select steep_repl.start_snapshot('/tmp/x', tables => array[null]::text[]);
select steep_repl.start_snapshot('/tmp/x', tables => '{public.nowhere}');
select steep_repl.start_snapshot('/tmp/x', tables => '{"not a..name"}');
select steep_repl.start_snapshot('/tmp/x', schemas => '{nowhere}');
select steep_repl.start_snapshot('/tmp/x', tables => '{pg_class}', schemas => '{public}');
select steep_repl.start_snapshot('/tmp/x', large_objects => 'perhaps');
-- snapshots: paths
select steep_repl.start_snapshot('relative/path');
select steep_repl.start_snapshot('/tmp/../etc/x');
select steep_repl.start_snapshot('/');
select steep_repl.start_snapshot(current_setting('data_directory') || '/x');
-- what does not exist
select steep_repl.wait_snapshot('snap_none');
select steep_repl.snapshot_progress('snap_none');
select steep_repl.cancel_snapshot('snap_none');
select steep_repl.wait_operation(1);
select steep_repl.verify_snapshot('/nowhere/at/all');
-- operations: arguments
select steep_repl.wait_operation(1, -1);
select steep_repl.wait_operation(1, null);
select steep_repl.cancel_operation(null);
select steep_repl.retry_operation(null);
select steep_repl.retry_operation(1, peer => 'host=b');
select steep_repl.list_operations('finished');
select steep_repl.prune_operations(null);
select steep_repl.prune_operations('-1 day');
select steep_repl.drop_snapshot(null);
-- nodes: arguments
select steep_repl.register_node(null, 'n');
select steep_repl.register_node(' ', 'n');
select steep_repl.register_node('n', ' ');
select steep_repl.register_node('n', 'n', port => 0);
select steep_repl.register_node('n', 'n', port => 65536);
select steep_repl.register_node('n', 'n', priority => 0);
select steep_repl.register_node('n', 'n', priority => 101);
select steep_repl.register_node('n', 'n', foreign_server => 'nowhere');
select steep_repl.node_status('nobody');

-- Rows of the workers are the workers': not even through the table.
create role regress_steep_user;
grant usage on schema steep_repl to regress_steep_user;
grant select, insert, update, delete on all tables in schema steep_repl to regress_steep_user;
set role regress_steep_user;
insert into steep_repl.snapshots (snapshot_id, operation_id, requested_by, requested_by_oid, system_identifier)
values ('snap_forged', 1, 'postgres', 10, '0');
insert into steep_repl.work_queue (operation) values ('no_such_operation');
select steep_repl.start_snapshot('/nowhere/x');
reset role;

-- The messages say what to do.
\set VERBOSITY default
\set SHOW_CONTEXT never
select steep_repl.start_snapshot('/tmp/x', compression => 'brotli');
select steep_repl.start_snapshot('/tmp/x', tables => '{public.nowhere}');
select steep_repl.list_operations('finished');
select steep_repl.node_status('nobody');

-- A session survives any number of them, and works on.
\set VERBOSITY sqlstate
select 'select steep_repl.register_node(null, null)' from generate_series(1, 10) \gexec
select node_id from steep_repl.register_node('n', 'still works', '192.0.2.1');

select count(*) as jobs from steep_repl.work_queue;
drop extension steep_repl;
drop role regress_steep_user;
