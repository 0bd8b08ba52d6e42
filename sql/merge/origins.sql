-- The replication origins of what a merge writes, where the sides replicate to each other.

create function steep_repl._merge_own_origin(merge_id text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return 'steep_repl_' || merge_id;
comment on function steep_repl._merge_own_origin(text) is 'private: the replication origin that a merge makes at the peer';

-- The one of the subscription through which the other side sends changes to a side, if it can be had.
create function steep_repl._merge_origin(links steep_repl._replication_link[], is_at_peer boolean, is_superuser boolean, out name text, out pid int)
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  select l.origin, coalesce(l.pid, 0)
  from unnest(links) l where l.is_here = is_at_peer and steep_repl._origin_is_usable(l.is_enabled, l.pid, is_superuser)
  order by l.subscription limit 1
$fn$;
comment on function steep_repl._merge_origin(steep_repl._replication_link[], boolean, boolean) is 'private: the replication origin of rows that are written on one side';

create function steep_repl._merge_use_origin_here(links steep_repl._replication_link[]) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  origin record;
begin
  select * into origin from steep_repl._merge_origin(links, false, steep_repl._is_superuser());
  perform steep_repl._try_origin(origin.name, origin.pid);
end
$fn$;
comment on function steep_repl._merge_use_origin_here(steep_repl._replication_link[]) is 'private: gives this session the replication origin of what the peer sends';

-- What each transaction at the peer begins with: else the time of the session's first commit would be that of all of them.
create function steep_repl._merge_origin_statement(name text, pid int, has_function boolean, may_set_time boolean) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return 'begin; ' || case when has_function then format('select steep_repl._use_origin(%L, %s)', name, pid)
                         when may_set_time then 'select pg_replication_origin_xact_setup(''0/0'', clock_timestamp())' else '' end;
comment on function steep_repl._merge_origin_statement(text, int, boolean, boolean) is 'private: how a transaction at the peer begins that carries a replication origin';

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
  can constant jsonb := steep_repl._peer_json(connection, $sql$
    select exists (select from pg_proc p join pg_namespace n on n.oid = p.pronamespace
                   where n.nspname = 'steep_repl' and p.proname = '_use_origin' and p.proargtypes = '25 23'::oidvector
                     and has_schema_privilege(n.oid, 'USAGE') and has_function_privilege(p.oid, 'EXECUTE')) as use,
           (select bool_and(has_function_privilege(p.oid, 'EXECUTE')) from pg_proc p
            where p.pronamespace = 'pg_catalog'::regnamespace and p.proname = 'pg_replication_origin_xact_setup') as set_time,
           (select r.rolsuper from pg_roles r where r.rolname = current_user) as share$sql$) -> 0;
  has_function constant boolean := can -> 'use' = 'true';
  origin record;
begin
  select * into origin from steep_repl._merge_origin(links, true, has_function and can -> 'share' = 'true');
  if origin.name is not null then
    begin
      perform steep_repl._peer_json(connection, case
        when has_function then format('select steep_repl._use_origin(%L, %s)', origin.name, origin.pid)
        else format('select pg_replication_origin_session_setup(%L)', origin.name) end);
    exception when object_in_use or undefined_object or configuration_limit_exceeded or insufficient_privilege then
      origin.name := null;
    end;
  end if;
  if origin.name is null then
    perform steep_repl._merge_make_origin(connection, own_name);
  end if;
  update pg_temp.steep_repl_merge
  set peer_begins = steep_repl._merge_origin_statement(
        coalesce(origin.name, own_name), case when origin.name is null then 0 else origin.pid end, has_function, can -> 'set_time' = 'true'),
      made_origin = origin.name is null;
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
