-- Who replicates tables that are about to be loaded.

-- Of the tables named, or of all: what sends their rows to peers or brings rows into them; NULL for none. A partition is also sent as one
-- of the tables that it is a partition of. A slot does not say what its subscriber asks for, so all of the database are named.
create function steep_repl._replicated(
  names text[], out tables text, out publications text, out slots text, out subscriptions text,
  out unpublished text, out without_insert text, out without_truncate text)
language sql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
  with named(name, schema, oid) as (
    select t.name, (parse_ident(t.name))[1], to_regclass(t.name)::oid from unnest(names) t(name)
    union all
    select format('%I.%I', n.nspname, c.relname), n.nspname, c.oid
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where names is null and c.relkind = 'r' and n.nspname not in ('steep_repl', 'information_schema') and n.nspname !~ '^pg_'),
  target(name, schema, oid, is_partition) as (
    select t.name, t.schema, t.oid, coalesce(c.relispartition, false)
    from named t left join pg_class c on c.oid = t.oid
    where c.relpersistence is distinct from 'u'),
  above(name, schema, oid) as (
    select t.name, t.schema, t.oid from target t
    union
    select t.name, n.nspname, c.oid
    from target t cross join lateral pg_partition_ancestors(t.oid) a(oid)
    join pg_class c on c.oid = a.oid join pg_namespace n on n.oid = c.relnamespace
    where t.is_partition),
  sent(name, publication) as (
    select a.name, r.prpubid from above a join pg_publication_rel r on r.prrelid = a.oid
    union
    select a.name, s.pnpubid from above a join pg_namespace n on n.nspname = a.schema join pg_publication_namespace s on s.pnnspid = n.oid
    union
    select t.name, p.oid from target t cross join pg_publication p where p.puballtables),
  publication(name, inserts, truncates) as (
    select quote_ident(p.pubname), p.pubinsert, p.pubtruncate from pg_publication p where p.oid in (select s.publication from sent s)),
  subscribed(name, subscription) as (
    select a.name, quote_ident(s.subname)
    from above a join pg_subscription_rel r on r.srrelid = a.oid join pg_subscription s on s.oid = r.srsubid
    where s.subdbid = (select d.oid from pg_database d where d.datname = current_database()))
  select steep_repl._joined(array(select s.name from sent s union select s.name from subscribed s order by 1)),
         (select string_agg(p.name, ', ' order by p.name) from publication p),
         (select string_agg(s.slot_name, ', ' order by s.slot_name) from pg_replication_slots s
          where s.slot_type = 'logical' and s.database = current_database() and not s.temporary),
         (select string_agg(distinct s.subscription, ', ') from subscribed s),
         steep_repl._joined(array(select t.name from target t except select s.name from sent s order by 1)),
         (select string_agg(p.name, ', ' order by p.name) from publication p where not p.inserts),
         (select string_agg(p.name, ', ' order by p.name) from publication p where not p.truncates)
$fn$;
comment on function steep_repl._replicated(text[]) is 'private: what replicates tables';
