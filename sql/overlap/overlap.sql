-- The functions that users call to compare rows.

-- Compares one table: the rows that differ are then in the temporary table. The time-out is that of a whole call, which has waited
-- for so long already; waited: after this table.
create function steep_repl._overlap_table(
  connection text, plan jsonb, catch_up_timeout interval, has_waited interval default '0',
  out table_name text, out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint,
  out local_lsn pg_lsn, out peer_lsn pg_lsn, out local_snapshot text, out peer_snapshot text, out behind text, out waited interval)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  links constant steep_repl._replication_link[] := array(select l from steep_repl._overlap_links(connection, plan) l);
  is_in_flight constant boolean := exists (select from unnest(links) l where l.is_enabled);
  is_locked constant boolean := plan -> 'is_locked' is not distinct from 'true';
  has_spellings constant boolean := plan -> 'spellings' = 'true';
  before steep_repl._overlap_seen;
  files text;
  seen text;
  n_differing bigint;
  settled record;
begin
  perform steep_repl._overlap_check_key(connection, plan);
  before := steep_repl._overlap_recall(connection, plan);
  if steep_repl._overlap_remembers(plan) then
    files := steep_repl._overlap_files(connection, plan);
  end if;
  delete from pg_temp.steep_repl_differences;
  -- under locks that a transaction there holds, a snapshot is not needed
  if not is_locked then
    perform steep_repl._peer_command(connection, 'begin isolation level repeatable read read only');
  end if;
  peer_snapshot := steep_repl._peer_json(connection, 'select pg_current_snapshot()::text as snapshot') -> 0 ->> 'snapshot';
  -- Where nothing is in flight, only rows that differ in their spelling at most have to be looked at again.
  insert into pg_temp.steep_repl_differences (no, category, key, local_digest, peer_digest, is_settled)
  select f.n - 1, f.category, f.key, f.local_digest, f.peer_digest,
         not is_in_flight and (not has_spellings or f.local_digest is null or f.peer_digest is null)
  from steep_repl._overlap_differences(connection, plan, before) with ordinality f(category, key, local_digest, peer_digest, n);
  delete from pg_temp.steep_repl_differences d where d.no = 0 returning d.key[1], d.key[2], d.local_digest into local_snapshot, seen, match_count;
  if files is not null then
    perform steep_repl._overlap_remember(plan ->> 'table', seen::steep_repl._overlap_seen, files, local_snapshot, peer_snapshot);
  end if;
  select count(d.local_digest) into n_differing from pg_temp.steep_repl_differences d;
  if not is_locked then
    perform steep_repl._peer_command(connection, 'commit');
  end if;
  select l.local_lsn, l.peer_lsn into local_lsn, peer_lsn from steep_repl._lsns(connection) l;

  select * into settled from steep_repl._overlap_settle(
    connection, plan, greatest(catch_up_timeout - has_waited, '0'), greatest(interval '6 s' - has_waited, '0'));
  match_count := match_count - n_differing + settled.n_equal;
  waited := has_waited + settled.waited;
  if cardinality(links) > 0 then
    behind := steep_repl._overlap_behind(connection, plan, local_lsn, peer_lsn, settled.has_caught_up);
  end if;
  perform steep_repl._overlap_check_facts(connection, plan);
  table_name := plan ->> 'table';
  select count(*) filter (where d.category = 'local_only'), count(*) filter (where d.category = 'remote_only'),
         count(*) filter (where d.category = 'conflict'), count(*) filter (where d.category = 'unsettled')
  into local_only_count, remote_only_count, conflict_count, unsettled_count
  from pg_temp.steep_repl_differences d;
end
$fn$;
comment on function steep_repl._overlap_table(text, jsonb, interval, interval) is 'private: compares one table and keeps the rows that differ';

create function steep_repl.analyze_overlap(
  peer text, tables text[], primary_keys jsonb default null, catch_up_timeout interval default '1 min',
  exclude_tables text[] default null, schemas text[] default null, skip_unsuitable boolean default false,
  out table_name text, out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint, out behind text, out reason text)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  connection text;
  plan jsonb;
  waited interval := '0';
  scope constant jsonb := steep_repl._call('table_scope', jsonb_build_object(
    'tables', tables, 'schemas', schemas, 'exclude_tables', exclude_tables, 'skip_unsuitable', skip_unsuitable));
begin
  perform steep_repl._check_catch_up(catch_up_timeout);
  perform steep_repl._check_scope(scope);
  perform from steep_repl._overlap_targets(tables, primary_keys);
  connection := steep_repl._peer_open(peer);
  for i in 1 .. steep_repl._overlap_plans(connection, tables, primary_keys, scope) loop
    select p.plan into plan from pg_temp.steep_repl_plans p where p.no = i;
    select o.table_name, o.local_only_count, o.remote_only_count, o.match_count, o.conflict_count, o.unsettled_count, o.behind, o.waited
    into table_name, local_only_count, remote_only_count, match_count, conflict_count, unsettled_count, behind, waited
    from steep_repl._overlap_table(connection, plan, catch_up_timeout, waited) o;
    return next;
  end loop;
  return query
    select s.name, null::bigint, null::bigint, null::bigint, null::bigint, null::bigint, null::text, s.reason
    from pg_temp.steep_repl_skipped s order by s.name;
  perform steep_repl._overlap_end(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;

create function steep_repl._overlap_end(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_close(connection);
  drop table pg_temp.steep_repl_plans, pg_temp.steep_repl_differences, pg_temp.steep_repl_skipped;
end
$fn$;
comment on function steep_repl._overlap_end(text) is 'private: leaves the session as it was';

create function steep_repl.start_overlap(
  peer text, tables text[], primary_keys jsonb default null, catch_up_timeout interval default '1 min',
  exclude_tables text[] default null, schemas text[] default null, skip_unsuitable boolean default false)
returns steep_repl.overlaps
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  job bigint;
  result steep_repl.overlaps;
begin
  perform steep_repl._check_catch_up(catch_up_timeout);
  job := steep_repl._queue_with_peer('overlap', peer, tables, primary_keys, jsonb_build_object(
    'catch_up_timeout', catch_up_timeout, 'exclude_tables', exclude_tables, 'schemas', schemas, 'skip_unsuitable', skip_unsuitable));
  select o.* into result from steep_repl.overlaps o where o.operation_id = job;
  return result;
end
$fn$;

-- With a key, one that told rows apart by it.
create function steep_repl._overlap_latest(
  peer text, table_name text, key jsonb, only_id text, out overlap_id text, out key_columns text[], out completed_at timestamptz)
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select o.overlap_id, t.key_columns, o.completed_at
  from steep_repl.overlaps o join steep_repl.overlap_tables t using (overlap_id)
  where o.status = 'complete' and steep_repl._is_same_peer($1, o.peer) and t.table_name = $2 and t.reason is null
    and ($3 is null or $3 = to_jsonb(t.key_columns)) and ($4 is null or $4 = o.overlap_id)
    and steep_repl._is_here(o.system_identifier, o.database_oid) and pg_has_role(o.requested_by_oid, 'MEMBER')
  order by o.created_at desc limit 1
$fn$;
comment on function steep_repl._overlap_latest(text, text, jsonb, text) is 'private: the latest queued comparison of a table with this peer that is complete, or the one of this id';

-- Digests of each column of the rows that differ are compared, not the values. NULL where one side has no such row.
create function steep_repl._overlap_columns(connection text, plan jsonb, out no int, out names text[])
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  keys constant text := steep_repl._overlap_keys(plan, 0, 2147483647);
  answer record;
begin
  select * into answer from steep_repl._on_both_by_keys(connection,
    steep_repl._fill(plan -> 'local' -> 'columns', keys), steep_repl._fill(plan -> 'peer' -> 'columns', keys));
  return query
    with l as (
      select u.no, u.ordinality as i from unnest((answer.here::text[])[1]::int[]) with ordinality u(no)),
    r as (
      select u.no, u.ordinality as i from unnest((answer.there::text[])[1]::int[]) with ordinality u(no)),
    digests as (
      select (answer.here::text[])[2]::int8[] as l, (answer.there::text[])[2]::int8[] as r)
    select l.no, array(
      select c.name from jsonb_array_elements_text(plan -> 'columns') with ordinality c(name, i)
      where digests.l[l.i][c.i] is distinct from digests.r[r.i][c.i] order by c.i)
    from l join r using (no), digests;
end
$fn$;
comment on function steep_repl._overlap_columns(text, jsonb) is 'private: names of the columns that differ now, of rows that both sides have';

create function steep_repl._overlap_rows(
  peer text, wanted_table text, wanted_category text, max_rows int, primary_keys jsonb, only_id text,
  out key jsonb, out category text, out differing_columns text[], out compared_at timestamptz, out overlap_id text)
returns setof record
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ @SET_READING@ as $fn$
declare
  connection text;
  target record;
  kept record;
  plan jsonb;
begin
  if wanted_category is not null and wanted_category not in ('local_only', 'remote_only', 'conflict', 'unsettled') then
    raise exception 'unknown category "%"', wanted_category using errcode = 'invalid_parameter_value',
      hint = 'Use one of local_only, remote_only, conflict, unsettled, or NULL for all.';
  end if;
  if max_rows is null or max_rows not between 1 and 100000 then
    raise exception 'max_rows must be between 1 and 100000' using errcode = 'invalid_parameter_value';
  end if;
  select * into target from steep_repl._overlap_targets(array[wanted_table], primary_keys);
  if only_id is not null then
    perform from steep_repl._overlap_reviewed(only_id, peer, array[target.name]);
    if primary_keys is not null then
      raise exception 'primary_keys cannot be given with overlap_id' using errcode = 'invalid_parameter_value',
        detail = 'The comparison says what identifies a row.';
    end if;
  end if;
  select * into kept from steep_repl._overlap_latest(peer, target.name, nullif(target.key, 'null'), only_id);
  connection := steep_repl._peer_open(peer);
  perform steep_repl._overlap_plans(connection, array[target.name],
    case when kept.overlap_id is null then primary_keys else jsonb_build_object(target.name, kept.key_columns) end);
  select p.plan into plan from pg_temp.steep_repl_plans p;
  if kept.overlap_id is not null then
    insert into pg_temp.steep_repl_differences (no, category, key)
    select row_number() over (), r.category,
           array(select r.key ->> k.name from unnest(kept.key_columns) with ordinality k(name, n) order by k.n)
    from steep_repl._overlap_kept_rows(kept.overlap_id, target.name, wanted_category, max_rows) r;
  else
    perform steep_repl._overlap_table(connection, plan, interval '1 min');
    delete from pg_temp.steep_repl_differences d
    where not exists (
      select from (select w.no from pg_temp.steep_repl_differences w
                   where wanted_category is null or w.category = wanted_category order by w.no limit max_rows) w
      where w.no = d.no);
    update pg_temp.steep_repl_differences set is_settled = false;
  end if;
  return query
    select jsonb_object(array(select jsonb_array_elements_text(plan -> 'key')), d.key), d.category, c.names, coalesce(kept.completed_at, clock_timestamp()), kept.overlap_id
    from pg_temp.steep_repl_differences d
    left join steep_repl._overlap_columns(connection, plan) c using (no)
    -- what is equal by now is no difference any more
    where c.names is distinct from '{}'
    order by d.no;
  perform steep_repl._overlap_end(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise;
end
$fn$;
comment on function steep_repl._overlap_rows(text, text, text, int, jsonb, text) is 'private: overlap_rows';

-- Row security is on for our own tables, and off for the user's.
create function steep_repl._overlap_kept_rows(overlap_id text, table_name text, category text, max_rows int)
returns setof steep_repl.overlap_rows
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select r.* from steep_repl.overlap_rows r
  where r.overlap_id = $1 and r.table_name = $2 and ($3 is null or r.category = $3) limit $4
$fn$;
comment on function steep_repl._overlap_kept_rows(text, text, text, int) is 'private: rows that a queued comparison kept';

create function steep_repl._overlap_kept_table(overlap_id text, table_name text) returns steep_repl.overlap_tables
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as 'select t.* from steep_repl.overlap_tables t where t.overlap_id = $1 and t.table_name = $2';
comment on function steep_repl._overlap_kept_table(text, text) is 'private: what a queued comparison kept of a table';

-- The tables of a stored comparison with this peer that are to be merged, and by which columns it told their rows apart.
create function steep_repl._overlap_reviewed(overlap_id text, peer text, inout tables text[], out primary_keys jsonb)
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  reviewed steep_repl.overlaps;
  missing text;
begin
  select o.* into reviewed from steep_repl.overlaps o
  where o.overlap_id = _overlap_reviewed.overlap_id and pg_has_role(o.requested_by_oid, 'MEMBER')
    and steep_repl._is_here(o.system_identifier, o.database_oid);
  if not found then
    raise exception 'comparison "%" does not exist', overlap_id using errcode = 'undefined_object', hint = 'See steep_repl.overlaps.';
  end if;
  if reviewed.status <> 'complete' then
    raise exception 'comparison "%" is %', overlap_id, reviewed.status using errcode = 'object_not_in_prerequisite_state',
      hint = 'Name one that is complete: see steep_repl.overlaps.';
  end if;
  if not steep_repl._is_same_peer(peer, reviewed.peer) then
    raise exception 'the comparison was with another peer' using errcode = 'invalid_parameter_value', detail = format('It was %s.', reviewed.peer);
  end if;
  select string_agg(n.name, ', ') into missing
  from (select format('%I.%I', (parse_ident(t.name))[1], (parse_ident(t.name))[2]) as name from unnest(tables) t(name)) n
  where n.name not in (select t.table_name from steep_repl.overlap_tables t where t.overlap_id = reviewed.overlap_id and t.reason is null);
  if missing is not null then
    raise exception 'the comparison has not compared all of these tables' using errcode = 'invalid_parameter_value',
      detail = format('It lacks %s.', missing);
  end if;
  select array_agg(t.table_name order by t.table_name), jsonb_object_agg(t.table_name, t.key_columns) into tables, primary_keys
  from steep_repl.overlap_tables t
  where t.overlap_id = reviewed.overlap_id and t.reason is null
    and (_overlap_reviewed.tables is null
         or t.table_name in (select format('%I.%I', (parse_ident(n.name))[1], (parse_ident(n.name))[2]) from unnest(_overlap_reviewed.tables) n(name)));
end
$fn$;
comment on function steep_repl._overlap_reviewed(text, text, text[]) is 'private: tables and keys of a stored comparison that is to be merged';

create function steep_repl.overlap_rows(
  peer text, table_name text, category text default null, max_rows int default 1000, primary_keys jsonb default null,
  overlap_id text default null,
  out key jsonb, out category text, out differing_columns text[], out compared_at timestamptz, out overlap_id text)
returns setof record
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
as 'select r.* from steep_repl._overlap_rows($1, $2, $3, $4, $5, $6) r';
