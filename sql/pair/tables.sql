-- The tables of a pair, as a node has them.

-- All that could be replicated, but partitions, which go with the table that has them; with the reasons why some could not.
create function steep_repl._pair_all_tables(out relation oid, out table_name text, out owner text, out is_owned boolean, out kind "char",
                                            out persistence "char")
returns setof record
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select c.oid, format('%I.%I', n.nspname, c.relname), pg_get_userbyid(c.relowner), pg_has_role(c.relowner, 'USAGE'), c.relkind, c.relpersistence
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'f') and not c.relispartition and c.relpersistence <> 't'
    and n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'steep_repl')
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
$fn$;
comment on function steep_repl._pair_all_tables() is 'private: the tables of this database';

-- The table, or its partitions, whose rows cannot be identified where they are updated or deleted: with the primary key that each has.
-- Whether a key is deferrable counts: PostgreSQL takes no such one.
create function steep_repl._pair_unidentified(relation oid) returns jsonb
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object('name', format('%I.%I', n.nspname, c.relname), 'key', (
           select case when i.indimmediate then 'immediate' else 'deferrable' end from pg_index i
           where i.indrelid = c.oid and i.indisprimary and i.indisvalid)) order by n.nspname, c.relname), '[]')
  from (select $1 as oid union select p.relid from pg_partition_tree($1) p) t join pg_class c on c.oid = t.oid and c.relkind = 'r'
  join pg_namespace n on n.oid = c.relnamespace
  where c.relreplident <> 'f' and not exists (
    select from pg_index i where i.indrelid = c.oid and i.indisvalid and i.indimmediate
      and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident end)
$fn$;
comment on function steep_repl._pair_unidentified(oid) is 'private: tables without a replica identity that PostgreSQL takes';

-- Whether its rows have a key, by which two nodes can be compared.
create function steep_repl._pair_has_key(relation oid) returns boolean
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$ select exists (select from pg_index i where i.indrelid = $1 and i.indisprimary and i.indisvalid) $fn$;
comment on function steep_repl._pair_has_key(oid) is 'private: whether a table has a primary key';

create function steep_repl._pair_has_rows(table_name text) returns boolean
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = off @SET_READING@ as $fn$
declare
  result boolean;
begin
  execute format('select exists (select from %s)', table_name) into result;
  return result;
exception when insufficient_privilege then
  return null;
end
$fn$;
comment on function steep_repl._pair_has_rows(text) is 'private: whether a table has rows; NULL where the caller may not know';

-- limits: tables, NULL for all, and scope, as plv8/shared/table-scope.ts makes it.
create function steep_repl._pair_tables(limits jsonb, looks_for_rows boolean) returns jsonb
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  wanted constant text[] := steep_repl._texts(limits -> 'tables');
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
             'name', t.table_name, 'owner', t.owner, 'is_owned', t.is_owned, 'kind', t.kind, 'persistence', t.persistence,
             'unidentified', steep_repl._pair_unidentified(t.relation), 'has_key', steep_repl._pair_has_key(t.relation), 'has_rls', x.relrowsecurity,
             'always_triggers', (select coalesce(jsonb_agg(quote_ident(g.tgname) order by g.tgname), '[]') from pg_trigger g
                                 where g.tgrelid = t.relation and g.tgenabled in ('A', 'R') and not g.tgisinternal),
             'unlogged_parts', (select count(*) from pg_partition_tree(t.relation) p join pg_class c on c.oid = p.relid where c.relpersistence = 'u'),
             'has_rows', case when looks_for_rows and t.kind in ('r', 'p') then steep_repl._pair_has_rows(t.table_name) end)
             order by t.table_name), '[]')
    from steep_repl._pair_all_tables() t join pg_class x on x.oid = t.relation
    where case when wanted is null then steep_repl._in_scope(t.table_name, limits -> 'scope')
               else t.relation = any (array(select to_regclass(w)::oid from unnest(wanted) w))
                    and steep_repl._in_scope(t.table_name, limits -> 'scope') end);
end
$fn$;
comment on function steep_repl._pair_tables(jsonb, boolean) is 'private: tables that are to be replicated, and what could keep them from it';
