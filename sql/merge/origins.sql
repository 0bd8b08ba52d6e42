-- The replication origins of what a merge writes, where the sides replicate to each other.

create function steep_repl._merge_own_origin(merge_id text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return 'steep_repl_' || merge_id;
comment on function steep_repl._merge_own_origin(text) is 'private: the replication origin that a merge makes at the peer';

-- The one of the subscription through which the other side sends changes to a side, if it can be had.
create function steep_repl._merge_origin(links steep_repl._replication_link[], is_at_peer boolean, out name text, out pid int, out is_shared boolean)
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select l.origin, coalesce(l.pid, 0), l.pid is not null
  from unnest(links) l where l.is_here = is_at_peer and steep_repl._origin_is_usable(l.is_enabled, l.pid)
  order by l.subscription limit 1
$fn$;
comment on function steep_repl._merge_origin(steep_repl._replication_link[], boolean) is 'private: the replication origin of rows that are written on one side';

create function steep_repl._merge_use_origin_here(links steep_repl._replication_link[]) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  origin record;
begin
  select * into origin from steep_repl._merge_origin(links, false);
  perform steep_repl._try_origin(origin.name, origin.pid);
end
$fn$;
comment on function steep_repl._merge_use_origin_here(steep_repl._replication_link[]) is 'private: gives this session the replication origin of what the peer sends';

-- What each transaction at the peer begins with. The origin is set anew in each, since the time of the session's first commit would else be
-- that of all of them.
create function steep_repl._merge_origin_statement(name text, pid int, has_function boolean) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return case when has_function then format('select steep_repl._use_origin(%L, %s)', name, pid)
            else format('select pg_replication_origin_session_reset(); select pg_replication_origin_session_setup(%L)', name) end;
comment on function steep_repl._merge_origin_statement(text, int, boolean) is 'private: how a transaction at the peer gets its replication origin';

-- An origin of the merge's own, which is dropped at its end. After a crash, the session of an earlier attempt may take a moment to end.
create function steep_repl._merge_make_origin(connection text, name text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  deadline constant timestamptz := clock_timestamp() + interval '30 s';
begin
  perform steep_repl._peer_json(connection, format(
    'select pg_replication_origin_create(%1$L)::text where not exists (select from pg_replication_origin o where o.roname = %1$L)', name));
  loop
    begin
      perform steep_repl._peer_json(connection, format('select pg_replication_origin_session_setup(%L)', name));
      return;
    exception when object_in_use then
      if clock_timestamp() > deadline then
        raise;
      end if;
    end;
    perform pg_sleep(0.1);
  end loop;
end
$fn$;
comment on function steep_repl._merge_make_origin(text, text) is 'private: makes a replication origin at the peer for one merge';

-- Only with our function there can an origin be shared with the apply worker that has it in use.
create function steep_repl._merge_use_origin_there(connection text, links steep_repl._replication_link[], own_name text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  has_function constant boolean := (steep_repl._peer_json(connection, $sql$
    select exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                   where n.nspname = 'steep_repl' and p.proname = '_use_origin' and p.proargtypes = '25 23'::oidvector
                     and has_schema_privilege(n.oid, 'USAGE') and has_function_privilege(p.oid, 'EXECUTE')) as has$sql$) -> 0 -> 'has')::boolean;
  origin record;
  name text;
begin
  select * into origin from steep_repl._merge_origin(links, true);
  name := case when has_function or not origin.is_shared then origin.name end;
  if name is not null then
    begin
      perform steep_repl._peer_json(connection, case when has_function then format('select steep_repl._use_origin(%L, %s)', name, origin.pid)
                                                     else format('select pg_replication_origin_session_setup(%L)', name) end);
    exception when object_in_use or undefined_object or configuration_limit_exceeded or internal_error then
      name := null;
    end;
  end if;
  if name is null then
    perform steep_repl._merge_make_origin(connection, own_name);
  end if;
  update pg_temp.steep_repl_merge
  set peer_begins = 'begin; ' || case when name is null then steep_repl._merge_origin_statement(own_name, 0, has_function)
                                      else steep_repl._merge_origin_statement(name, origin.pid, has_function) end,
      made_origin = name is null;
end
$fn$;
comment on function steep_repl._merge_use_origin_there(text, steep_repl._replication_link[], text) is 'private: gives the session at the peer a replication origin';

create function steep_repl._merge_begin_there(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_command(connection, (select m.peer_begins from pg_temp.steep_repl_merge m));
end
$fn$;
comment on function steep_repl._merge_begin_there(text) is 'private: begins a transaction at the peer that writes';
