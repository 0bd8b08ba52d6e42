-- A table that is compared a second time, while nobody can write to it: only what has changed since is read row by row.

-- What was seen of a table when it was compared: how its rows were put into buckets, what the buckets were on each side, the oldest
-- transaction whose rows may not have been there yet, the files that the rows are in, and its columns.
create type steep_repl._overlap_seen as (
  expression text, boundaries text, shift int, here text, there text, here_xmin text, there_xmin text, files text);
comment on type steep_repl._overlap_seen is 'private: what was seen of a table when it was compared';

-- NULL where rows do not say which transaction wrote them: in a table that is no heap.
create function steep_repl._overlap_files_query(table_name text) returns text
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
  select case when bool_and(c.relkind = 'r' and a.amname = 'heap') then string_agg(format('%%s:%%s', c.oid, pg_relation_filenode(c.oid)), ' ' order by c.oid)
           -- a column may be another one than before without any row being written
           || (select string_agg(format(' %%s:%%s:%%s:%%s', a.attrelid, a.attnum, a.attname, a.xmin), '' order by a.attrelid, a.attnum)
               from pg_attribute a where a.attnum > 0 and a.attrelid in (select %1$L::regclass union select p.relid from pg_partition_tree(%1$L::regclass) p))
           || (select format(' %%s:%%s', count(*), max(e.xmin::text::int8)) from pg_enum e) end as files
  from (select %1$L::regclass as oid union select p.relid from pg_partition_tree(%1$L::regclass) p where p.isleaf) l
  join pg_class c on c.oid = l.oid and c.relkind <> 'p' left join pg_am a on a.oid = c.relam$sql$, table_name);
comment on function steep_repl._overlap_files_query(text) is 'private: a query for the files that the rows of a table are in, and for its columns, for either side';

create function steep_repl._overlap_files(connection text, plan jsonb) returns text
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  query constant text := steep_repl._overlap_files_query(plan ->> 'table');
begin
  return (steep_repl._query_here(query) -> 0 ->> 'files') || ' and there ' || (steep_repl._peer_json(connection, query) -> 0 ->> 'files');
end
$fn$;
comment on function steep_repl._overlap_files(text, jsonb) is 'private: the files that the rows of a table are in, and its columns, on both sides';

-- Fills the gap of the statement that reads buckets once more. What an older epoch has written, and nobody has frozen since, may look late,
-- and is then compared again.
create function steep_repl._overlap_since(expression text, oldest text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format('%s as bucket, count(*) as n, max((age(t.xmin) <= age(%L::xid))::int) as late', expression, oldest::numeric % 4294967296);
comment on function steep_repl._overlap_since(text, text) is 'private: reads the bucket of a row, and whether it was written of late';

-- The table must be compared as if nothing were in flight, and be read after this.
create function steep_repl._overlap_remembers(plan jsonb) returns boolean
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return plan -> 'ignores_replication' is not distinct from 'true' and plan -> 'is_locked' is distinct from 'true';
comment on function steep_repl._overlap_remembers(jsonb) is 'private: whether a table will be compared a second time';

create function steep_repl._overlap_remember(table_name text, seen steep_repl._overlap_seen, files text, local_snapshot text, peer_snapshot text) returns void
language plpgsql volatile parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  seen.files := files;
  seen.here_xmin := split_part(local_snapshot, ':', 1);
  seen.there_xmin := split_part(peer_snapshot, ':', 1);
  insert into pg_temp.steep_repl_seen (name, seen) values (table_name, seen) on conflict (name) do update set seen = excluded.seen;
end
$fn$;
comment on function steep_repl._overlap_remember(text, steep_repl._overlap_seen, text, text, text) is 'private: keeps what was seen of a table until it is compared again';

-- NULL where all of it has to be read: it was not compared before, or its rows are in other files by now.
create function steep_repl._overlap_recall(connection text, plan jsonb) returns steep_repl._overlap_seen
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  seen steep_repl._overlap_seen;
begin
  if plan -> 'is_locked' is not distinct from 'true' then
    select (s.seen).* into seen from pg_temp.steep_repl_seen s where s.name = plan ->> 'table' and (s.seen).files = steep_repl._overlap_files(connection, plan);
  end if;
  return seen;
end
$fn$;
comment on function steep_repl._overlap_recall(text, jsonb) is 'private: what was seen of a table that is compared again';
