-- What holds what, as CTEs that stand behind those of _schema_ctes. tie: an object of a table that depends on
-- another one of it, such as an index on its column. outside: what depends on an object of the table and is none
-- of it, such as a view, or in a child of the table what would not follow a change of the column. lower: what
-- children have that an addition to the table must agree with.
-- Runs on 14 and newer.
create function steep_repl._schema_tie_ctes() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$
  -- an object may have several entries in catalogs: a key and its index
  part(type, name, rel, class, id, sub) as (
    select 'column', a.attname::text, t.oid, 'pg_class'::regclass::oid, t.oid, a.attnum::int
    from t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    union all
    select 'column', a.attname::text, t.oid, 'pg_attrdef'::regclass, d.oid, 0
    from t join pg_attrdef d on d.adrelid = t.oid join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
    union all
    select 'constraint', k.conname::text, t.oid, 'pg_constraint'::regclass, k.oid, 0
    from t join pg_constraint k on k.conrelid = t.oid and k.contype in ('c', 'p', 'u', 'f', 'x')
    union all
    select 'constraint', k.conname::text, t.oid, 'pg_class'::regclass, k.conindid, 0
    from t join pg_constraint k on k.conrelid = t.oid and k.contype in ('p', 'u', 'x')
    union all
    select 'index', x.relname::text, t.oid, 'pg_class'::regclass, x.oid, 0
    from t join pg_index i on i.indrelid = t.oid join pg_class x on x.oid = i.indexrelid
    where not exists (select from pg_constraint k where k.conrelid = t.oid and k.conindid = x.oid and k.contype in ('p', 'u', 'x'))
    union all
    select 'policy', p.polname::text, t.oid, 'pg_policy'::regclass, p.oid, 0 from t join pg_policy p on p.polrelid = t.oid
    union all
    select 'trigger', g.tgname::text, t.oid, 'pg_trigger'::regclass, g.oid, 0
    from t join pg_trigger g on g.tgrelid = t.oid and not g.tgisinternal
    union all
    select 'rule', r.rulename::text, t.oid, 'pg_rewrite'::regclass, r.oid, 0 from t join pg_rewrite r on r.ev_class = t.oid),
  tie(type, name, on_type, on_name) as (
    select distinct p.type, p.name, r.type, r.name
    from part r join pg_depend d on d.refclassid = r.class and d.refobjid = r.id and d.refobjsubid = r.sub
    join part p on p.class = d.classid and p.id = d.objid and p.sub = d.objsubid
    where (p.type, p.name) <> (r.type, r.name)
    union
    select 'partition key', t.relation, 'column', r.name
    from t join part r on r.rel = t.oid and r.sub > 0 join pg_partitioned_table k on k.partrelid = t.oid
    where r.sub = any (k.partattrs::int2[])
       -- in an expression: such a column depends on its table
       or exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = t.oid and d.objsubid = r.sub
                  and d.refclassid = 'pg_class'::regclass and d.refobjid = t.oid and d.refobjsubid = 0 and d.deptype = 'i')),
  below as (
    with recursive b(oid) as (
      select i.inhrelid from t join pg_inherits i on i.inhparent = t.oid
      union
      select i.inhrelid from b join pg_inherits i on i.inhparent = b.oid)
    select b.oid from b),
  -- indexes of partitions, which go with those of the table
  part_below as (
    with recursive b(id, oid) as (
      select p.id, i.inhrelid from part p join pg_inherits i on i.inhparent = p.id
      where p.class = 'pg_class'::regclass and p.type in ('constraint', 'index')
      union
      select b.id, i.inhrelid from b join pg_inherits i on i.inhparent = b.oid)
    select b.id, x.class, x.oid
    from b cross join lateral (
      select 'pg_class'::regclass::oid as class, b.oid
      union all
      select 'pg_constraint'::regclass, k.oid from pg_constraint k where k.conindid = b.oid and k.contype in ('p', 'u', 'x')) x),
  held(type, name, classid, objid, objsubid) as (
    select r.type, r.name, d.classid, d.objid, d.objsubid
    from part r join pg_depend d on d.refclassid = r.class and d.refobjid = r.id and d.refobjsubid = r.sub
    where d.deptype in ('n', 'a')
      and not exists (select from part p where p.class = d.classid and p.id = d.objid and p.sub = d.objsubid)
      and not exists (select from pg_constraint k where d.classid = 'pg_constraint'::regclass and k.oid = d.objid
                      and k.conrelid = r.rel)
      and not exists (select from pg_trigger g where d.classid = 'pg_trigger'::regclass and g.oid = d.objid and g.tgrelid = r.rel)
      and d.classid <> 'pg_class'::regclass
    union
    select r.type, r.name, d.classid, d.objid, d.objsubid
    from part r join part_below b on b.id = r.id join pg_depend d on d.refclassid = b.class and d.refobjid = b.oid
    where r.class = 'pg_class'::regclass and r.type in ('constraint', 'index') and d.deptype = 'n'
      and not exists (select from pg_constraint k where d.classid = 'pg_constraint'::regclass and k.oid = d.objid and k.conparentid <> 0)
    union
    -- a key of its own that one of these belongs to
    select r.type, r.name, 'pg_constraint'::regclass, k.oid, 0
    from part r join part_below b on b.id = r.id and b.class = 'pg_class'::regclass
    join pg_constraint k on k.conindid = b.oid and k.contype in ('p', 'u', 'x') and k.conparentid = 0
    where r.class = 'pg_class'::regclass and r.type in ('constraint', 'index')
    union
    select 'table', t.relation, 'pg_publication_rel'::regclass, r.oid, 0 from t join pg_publication_rel r on r.prrelid = t.oid
    union
    select 'table', t.relation, 'pg_constraint'::regclass, k.oid, 0
    from t join pg_constraint k on k.confrelid = t.oid and k.conrelid <> t.oid and k.contype = 'f'
    union
    select r.type, r.name, d.classid, d.objid, d.objsubid
    from below b join pg_attribute a on a.attrelid = b.oid
    join part r on r.type = 'column' and r.sub > 0 and r.name = a.attname::text
    join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = b.oid and d.refobjsubid = a.attnum
    where d.deptype in ('n', 'a')
      -- what has its like at the parent follows it, and a plain index is made anew
      and not exists (select from pg_class c join pg_index i on i.indexrelid = c.oid
                      where d.classid = 'pg_class'::regclass and c.oid = d.objid
                        and (c.relispartition or i.indexprs is null and i.indpred is null))
      and not exists (select from pg_class c where d.classid = 'pg_class'::regclass and c.oid = d.objid and c.relkind = 'S')
      and not exists (select from pg_constraint k where d.classid = 'pg_constraint'::regclass and k.oid = d.objid
                      and (k.contype in ('n', 'p', 'u') or k.coninhcount > 0 or k.conparentid <> 0))
      and not exists (select from pg_trigger g where d.classid = 'pg_trigger'::regclass and g.oid = d.objid and g.tgparentid <> 0)
      and not exists (select from pg_attrdef e join pg_attribute ea on ea.attrelid = e.adrelid and ea.attnum = e.adnum
                      where d.classid = 'pg_attrdef'::regclass and e.oid = d.objid and ea.attinhcount > 0)
      and not exists (select from pg_attribute ea where d.classid = 'pg_class'::regclass and ea.attrelid = d.objid
                      and ea.attnum = d.objsubid and ea.attinhcount > 0)),
  outside(type, name, kind, what) as (
    select distinct h.type, h.name,
           case h.classid when 'pg_constraint'::regclass then 'foreign key' when 'pg_statistic_ext'::regclass then 'statistics'
                          else 'other' end,
           pg_describe_object(h.classid, h.objid, h.objsubid)
    from held h
    union all
    select 'column', a.attname::text, 'not null', pg_describe_object('pg_class'::regclass, b.oid, a.attnum)
    from below b join pg_class c on c.oid = b.oid join pg_attribute a on a.attrelid = b.oid and a.attnum > 0
    where a.attidentity <> '' and not c.relispartition
       or exists (select from pg_constraint k where k.conrelid = b.oid and k.contype = 'p' and k.conparentid = 0
                  and a.attnum = any (k.conkey))
       or exists (select from pg_index i where i.indrelid = b.oid and i.indisreplident and a.attnum = any (i.indkey::int2[]))),
  lower(type, name, definition, what) as (
    select 'column', a.attname::text, concat(format_type(a.atttypid, a.atttypmod), (
             select format(' COLLATE %I.%I', n.nspname, l.collname)
             from pg_collation l join pg_namespace n on n.oid = l.collnamespace join pg_type y on y.oid = a.atttypid
             where l.oid = a.attcollation and l.oid <> y.typcollation)), pg_describe_object('pg_class'::regclass, b.oid, a.attnum)
    from below b join pg_attribute a on a.attrelid = b.oid and a.attnum > 0 and not a.attisdropped
    union all
    select 'not null', a.attname::text, case when k.connoinherit then 'NO INHERIT' else 'NOT VALID' end, pg_describe_object('pg_constraint'::regclass, k.oid, 0)
    from below b join pg_constraint k on k.conrelid = b.oid and k.contype = 'n'
    join pg_attribute a on a.attrelid = b.oid and k.conkey = array[a.attnum]
    where k.connoinherit or not k.convalidated
    union all
    -- not a partition
    select 'table', c.relname::text, '', pg_describe_object('pg_class'::regclass, c.oid, 0)
    from below b join pg_class c on c.oid = b.oid and not c.relispartition
    union all
    select 'constraint', k.conname::text, $sql$ || steep_repl._schema_read_again('d.definition') || $sql$, pg_describe_object('pg_constraint'::regclass, k.oid, 0)
    from below b join pg_constraint k on k.conrelid = b.oid and k.contype <> 'n' and k.conparentid = 0
    cross join lateral (select pg_get_constraintdef(k.oid) as definition offset 0) d
    union all
    -- what a partition has from its parent keeps its name, too
    select 'own constraint', k.conname::text, pg_get_constraintdef(k.oid), pg_describe_object('pg_constraint'::regclass, k.oid, 0)
    from t join pg_constraint k on k.conrelid = t.oid and k.conparentid <> 0
    union all
    select 'own trigger', g.tgname::text, '', pg_describe_object('pg_trigger'::regclass, g.oid, 0)
    from t join pg_trigger g on g.tgrelid = t.oid
    -- before 15 the copies themselves count as internal
    join pg_trigger u on u.oid = g.tgparentid and not u.tgisinternal)
$sql$;
comment on function steep_repl._schema_tie_ctes() is 'private: CTEs of a query for what depends on the objects that tables consist of';
