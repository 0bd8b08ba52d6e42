-- What a merge does when all rows are written.

-- Moves a sequence to the last value that its column has, if it is behind: by whole increments, so that nodes
-- which share out the values among them go on to do so.
create function steep_repl._merge_sequence_query(sequence text, column_name text, relation text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
select setval(s.seqrelid, least(greatest(v.next, s.seqmin), s.seqmax)::int8)::text as value
from (select q.*, coalesce(pg_sequence_last_value(q.seqrelid), q.seqstart - q.seqincrement)::numeric as last
      from pg_sequence q where q.seqrelid = %1$L::regclass) s
cross join lateral (select case when s.seqincrement > 0 then max(t.%2$s) else min(t.%2$s) end::numeric as bound from %3$s t) m
cross join lateral (select s.last + ceil((m.bound - s.last) / s.seqincrement) * s.seqincrement as next) v
where (m.bound - s.last) * sign(s.seqincrement) > 0$sql$, sequence, column_name, relation);
comment on function steep_repl._merge_sequence_query(text, text, text) is 'private: a query that moves a sequence past the values of its column, for either side';

create function steep_repl._merge_move_sequences(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off as $fn$
declare
  sequence record;
begin
  for sequence in
    select s.side, q.name, q."column", case p.plan -> 'merge' ->> 'relation' when 'p' then t.name else 'only ' || t.name end as relation
    from steep_repl._merge_tables_with_rows() r(no) join pg_temp.steep_repl_tables t using (no) join pg_temp.steep_repl_plans p using (no)
    cross join lateral (values ('local', t.local), ('peer', t.peer)) s(side, facts)
    cross join lateral jsonb_to_recordset(s.facts -> 'sequences') q(name text, "column" text, may boolean)
    where q.may
  loop
    perform steep_repl._merge_query(
      connection, sequence.side, steep_repl._merge_sequence_query(sequence.name, sequence."column", sequence.relation));
  end loop;
end
$fn$;
comment on function steep_repl._merge_move_sequences(text) is 'private: moves the sequences of merged tables on both sides past what was merged';

-- Foreign keys of a table (is_child), or that refer to it: how a row that violates one is found. Where the requester may
-- not read both tables, condition is NULL.
create function steep_repl._merge_foreign_keys_query(table_name text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
with tree as (
  select t.relid::oid as oid from pg_partition_tree(%1$L::regclass) t union select %1$L::regclass::oid),
k as (
  select c.*, u.every, u.some, u.equal, u.parents, u.casts_nothing
  from pg_constraint c
  cross join lateral (
    select string_agg(format('t.%%I is not null', a.attname), ' and ') as every,
           string_agg(format('t.%%I is not null', a.attname), ' or ') as some,
           string_agg(format('p.%%I operator(%%I.%%s) t.%%I', b.attname, n.nspname, o.oprname, a.attname), ' and ') as equal,
           array_agg(b.attname::text) as parents,
           -- else the comparison may be by a cast that whoever made a type has made
           bool_and(a.atttypid = b.atttypid
                    or at.typnamespace = 'pg_catalog'::regnamespace and bt.typnamespace = 'pg_catalog'::regnamespace) as casts_nothing
    from unnest(c.conkey, c.confkey, c.conpfeqop) u(child, parent, op)
    join pg_attribute a on a.attrelid = c.conrelid and a.attnum = u.child
    join pg_attribute b on b.attrelid = c.confrelid and b.attnum = u.parent
    join pg_type ta on ta.oid = a.atttypid join pg_type at on at.oid = coalesce(nullif(ta.typbasetype, 0), ta.oid)
    join pg_type tb on tb.oid = b.atttypid join pg_type bt on bt.oid = coalesce(nullif(tb.typbasetype, 0), tb.oid)
    join pg_operator o on o.oid = u.op join pg_namespace n on n.oid = o.oprnamespace) u
  where c.contype = 'f' and c.convalidated and c.conparentid = 0
    and coalesce((to_jsonb(c) ->> 'conenforced')::boolean, true) and not coalesce((to_jsonb(c) ->> 'conperiod')::boolean, false))
select format('%%I of table %%s', k.conname, k.conrelid::regclass) as name, k.conrelid in (select oid from tree) as is_child,
       case when (select r.relkind from pg_class r where r.oid = k.conrelid) = 'p' then '' else 'only ' end || k.conrelid::regclass as child, k.parents,
       case when has_table_privilege(k.conrelid, 'SELECT') and has_table_privilege(k.confrelid, 'SELECT') and k.casts_nothing then
         format('(%%s) and not exists (select from %%s p where %%s)', case k.confmatchtype when 'f' then k.some else k.every end,
                case (select r.relkind from pg_class r where r.oid = k.confrelid) when 'r' then 'only ' else '' end || k.confrelid::regclass, k.equal) end as condition
from k where k.conrelid in (select oid from tree) or k.confrelid in (select oid from tree)$sql$, table_name);
comment on function steep_repl._merge_foreign_keys_query(text) is 'private: a query for the foreign keys that a table has a part in, for either side';

create function steep_repl._merge_query(connection text, side text, query text) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return case side when 'peer' then steep_repl._peer_json(connection, query) else steep_repl._query_here(query) end;
end
$fn$;
comment on function steep_repl._merge_query(text, text, text) is 'private: rows that one side answers to a query, few and small ones';

create function steep_repl._merge_refuse_violation(side text, name text, n bigint, query text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if n > 0 then
    raise exception '%merged rows violate foreign key %', case side when 'peer' then 'peer: ' else '' end, name
      using errcode = 'foreign_key_violation',
            detail = format('%s rows refer to none. Query: %s', n, left(query, 600)),
            hint = 'Merge the table that it refers to as well, or take the merge back with steep_repl.undo_merge().';
  end if;
end
$fn$;
comment on function steep_repl._merge_refuse_violation(text, text, bigint, text) is 'private: says that a foreign key does not hold any more';

-- Of the current table: foreign keys of the rows that were written; all of those that refer to it, where rows went away.
create function steep_repl._merge_check_table(connection text, side text, no int) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off
@SET_VALUES@ @SET_SCAN@ as $fn$
declare
  rows_of_check constant int := 5000;
  at_side constant text := case side when 'peer' then 'remote' else 'local' end;
  plan constant jsonb := (select p.plan from pg_temp.steep_repl_plans p where p.no = _merge_check_table.no);
  actions constant jsonb := (select m.actions from pg_temp.steep_repl_merge m);
  foreign_key record;
  numbers int[];
  query text;
begin
  for foreign_key in
    select * from jsonb_to_recordset(steep_repl._merge_query(connection, side, steep_repl._merge_foreign_keys_query(plan ->> 'table')))
      f(name text, is_child boolean, child text, parents text[], condition text)
  loop
    if foreign_key.condition is null then
      raise warning 'steep_repl: %foreign key % was not checked', case side when 'peer' then 'peer: ' else '' end, foreign_key.name
        using hint = 'That needs SELECT on both tables, and columns of the same type or of built-in ones.';
      continue;
    end if;
    if foreign_key.is_child then
      for numbers in
        select array_agg(d.no order by d.no) from (
          select d.no, (row_number() over (order by d.no) - 1) / rows_of_check as n from pg_temp.steep_repl_differences d
          where coalesce(d.action, actions ->> d.category) in ('insert_' || at_side, 'update_' || at_side)) d
        group by d.n
      loop
        query := 'select count(*) as n from ' || steep_repl._merge_keys_of(plan, numbers)
                 || (plan -> 'merge' -> side -> 'stamps' ->> 1) || ' where ' || foreign_key.condition;
        perform steep_repl._merge_refuse_violation(side, foreign_key.name, (steep_repl._merge_query(connection, side, query) -> 0 ->> 'n')::bigint, query);
      end loop;
    end if;
    if exists (select from pg_temp.steep_repl_differences d
               where coalesce(d.action, actions ->> d.category) = 'delete_' || at_side
                  or coalesce(d.action, actions ->> d.category) = 'update_' || at_side and not foreign_key.parents <@ array(select jsonb_array_elements_text(plan -> 'key'))) then
      query := format('select count(*) as n from %s t where %s', foreign_key.child, foreign_key.condition);
      perform steep_repl._merge_refuse_violation(side, foreign_key.name, (steep_repl._merge_query(connection, side, query) -> 0 ->> 'n')::bigint, query);
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_check_table(text, text, int) is 'private: checks the foreign keys that writes to a table may have broken';

-- Where triggers did not fire, foreign keys have not been checked.
create function steep_repl._merge_check_foreign_keys(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_off constant text := 'select current_setting(''session_replication_role'') as role';
  side text;
  target int;
begin
  foreach side in array array['local', 'peer'] loop
    continue when steep_repl._merge_query(connection, side, is_off) -> 0 ->> 'role' <> 'replica';
    for target in select t from steep_repl._merge_tables_with_rows() t loop
      perform steep_repl._merge_switch(target);
      perform steep_repl._merge_check_table(connection, side, target);
    end loop;
    if to_regclass('pg_temp.steep_repl_undo') is not null then
      perform steep_repl._undo_check_foreign_keys(connection, side);
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_check_foreign_keys(text) is 'private: checks foreign keys that were not checked while rows were written';

-- Rows that were left as they are, by table.
create function steep_repl._merge_rows_left() returns jsonb
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  result jsonb := '{}';
  target int;
begin
  for target in select t from steep_repl._merge_tables_with_rows() t loop
    perform steep_repl._merge_switch(target);
    result := result || jsonb_build_object(
      (select t.name from pg_temp.steep_repl_tables t where t.no = target),
      (select coalesce(sum(d.n), 0)::bigint
       from (select d.action, d.category, count(*) as n from pg_temp.steep_repl_differences d group by 1, 2) d
       where coalesce(d.action, (select m.actions from pg_temp.steep_repl_merge m) ->> d.category) in ('keep', 'manual', 'again')));
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._merge_rows_left() is 'private: how many rows of each table were left as they are';

-- Leaves the peer as it was, whether or not the merge came to its end.
create function steep_repl._merge_close(connection text, merge_id text, has_failed boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  origin constant text := 'steep_repl_' || merge_id;
begin
  perform steep_repl._peer_set_deadline(connection, 2000);
  if to_regclass('pg_temp.steep_repl_merge') is not null and (select m.replicates from pg_temp.steep_repl_merge m) then
    if has_failed then
      -- maybe in mid-transaction, which would keep the origin
      perform steep_repl._peer_command(connection, 'rollback');
    end if;
    begin
      perform steep_repl._peer_json(connection, 'select pg_replication_origin_session_reset()');
    exception when object_not_in_prerequisite_state then
      null; -- this session has none: it is a new one
    end;
    perform steep_repl._peer_json(connection, format(
      'select pg_replication_origin_drop(o.roname) from pg_replication_origin o where o.roname = %L', origin));
  end if;
  perform steep_repl._peer_close(connection);
exception when query_canceled or others then
  perform steep_repl._peer_close(connection);
  raise log 'steep_repl: could not tidy up at the peer of %: %', merge_id, sqlerrm;
end
$fn$;
comment on function steep_repl._merge_close(text, text, boolean) is 'private: drops the merge''s origin at the peer and disconnects';
