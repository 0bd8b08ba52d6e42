-- Changes that subscriptions fail on.

create function steep_repl._apply_errors(
  out subscription oid, out "position" pg_lsn, out sqlstate text, out message text, out at timestamptz) returns setof record
language c volatile strict parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_apply_errors';
comment on function steep_repl._apply_errors() is 'private: the last change that each subscription of this database has failed on, to who may see it';

create function steep_repl._apply_errors_query() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$
  select s.subname as subscription, s.subslotname as slot, s.subenabled as is_enabled, e."position", e.message
  from steep_repl._apply_errors() e join pg_subscription s on s.oid = e.subscription$sql$;
comment on function steep_repl._apply_errors_query() is 'private: a query for changes that subscriptions fail on, for a side that has steep_repl';
