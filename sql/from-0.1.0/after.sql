
-- Nodes keep their names and addresses. When they were seen was never reliable; where they answer gRPC stays in steep_repl_archive.nodes.
do $do$
declare
  node jsonb;
  left_out text[] := '{}';
begin
  if to_regclass('steep_repl_archive.nodes') is null then
    return;
  end if;
  for node in execute 'select to_jsonb(n) from steep_repl_archive.nodes n' loop
    begin
      insert into steep_repl.nodes (node_id, node_name, host, port, priority)
      values (node ->> 'node_id', coalesce(node ->> 'node_name', node ->> 'node_id'), nullif(node ->> 'host', ''),
              coalesce((node ->> 'port')::int, 5432), coalesce((node ->> 'priority')::int, 50));
    exception when integrity_constraint_violation or data_exception then
      left_out := left_out || (node ->> 'node_id');
    end;
  end loop;
  if cardinality(left_out) > 0 then
    raise warning 'nodes of steep_repl 0.1.0 were not taken over: %', array_to_string(left_out, ', ')
      using detail = 'Their names, ports or priorities are out of range.', hint = 'See steep_repl_archive.nodes, and register them with steep_repl.register_node().';
  end if;
end
$do$;
