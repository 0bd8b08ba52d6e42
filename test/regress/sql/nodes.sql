-- Nodes: registering, heartbeats, status, removal.
set client_min_messages = warning;
create extension steep_repl cascade;

-- 192.0.2.0/24 is reserved for documentation: no such host answers.
select node_id, node_name, host, port, priority, dbname, username, foreign_server, node_number, last_seen
from steep_repl.register_node('b', 'Node B', '192.0.2.1');
select node_id, node_name, host, port, priority, dbname, username, foreign_server, node_number, last_seen
from steep_repl.register_node('c "quoted"', 'C', host => '192.0.2.2', port => 5433, priority => 100,
                              dbname => 'app', username => 'repl');
-- Registering again updates; what is NULL keeps what is stored.
select node_id, node_name, host, port, priority, dbname, username, node_number
from steep_repl.register_node('c "quoted"', 'C renamed', priority => 1);
select registered_by = current_user as mine, system_identifier is null as not_yet_known
from steep_repl.nodes order by node_id collate "C";

-- A node without a host is this one.
select node_id, is_local from steep_repl.register_node('a', 'Node A') r, steep_repl.node_status(r.node_id) s (id, name, status, seen, healthy, is_local);
select node_id from steep_repl.nodes
where system_identifier = (select system_identifier::text from pg_control_system());

-- Others are unknown until a heartbeat, then online.
select * from steep_repl.node_status('b');
select steep_repl.heartbeat('b'), steep_repl.heartbeat('nobody'), steep_repl.heartbeat(null);
select node_id, node_name, status, last_seen > now() - interval '1 min' as seen, is_healthy, is_local
from steep_repl.node_status('b');
update steep_repl.nodes set last_seen = now() - interval '31 s' where node_id = 'b';
select node_id, status, is_healthy from steep_repl.node_status(node_id => 'b', probe => false);
select node_id from steep_repl.node_status();

-- Who registered a node may change it, others may only note that it lives.
create role regress_steep_other;
grant usage on schema steep_repl to regress_steep_other;
grant select, insert, update, delete on all tables in schema steep_repl to regress_steep_other;
set role regress_steep_other;
select steep_repl.heartbeat('b');
\set VERBOSITY sqlstate
update steep_repl.nodes set host = '203.0.113.1' where node_id = 'b';
select steep_repl.remove_node('b');
\set VERBOSITY default
select node_id, registered_by from steep_repl.register_node('d', 'Node D', '192.0.2.4');
update steep_repl.nodes set registered_by = 'somebody' where node_id = 'd' returning registered_by;
reset role;

select steep_repl.remove_node('d'), steep_repl.remove_node('d');
select node_id, host from steep_repl.nodes order by node_id collate "C";

drop extension steep_repl;
drop role regress_steep_other;
