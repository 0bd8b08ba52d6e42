-- What the statements for a table would need at the other side, and may not find there.

-- A query for what a table, given by its oid, demands of its children.
create function steep_repl._schema_shape(relation text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace($sql$
  select string_agg(x.line, ', ' order by x.line collate "C")
  from (
    select format('%I %s %s %s %s', a.attname, format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation,
                  concat(a.attnotnull, case when k.connoinherit then ' no inherit' end, case when not k.convalidated then ' not valid' end),
                  a.attgenerated) as line
    from pg_attribute a
    left join pg_constraint k on k.conrelid = a.attrelid and k.contype = 'n' and k.conkey = array[a.attnum]
    where a.attrelid = @relation@ and a.attnum > 0 and not a.attisdropped
    union all
    select format('%I %s', k.conname, $sql$ || steep_repl._schema_read_again('d.definition') || $sql$)
    from pg_constraint k cross join lateral (select pg_get_constraintdef(k.oid) as definition offset 0) d
    where k.conrelid = @relation@ and k.contype = 'c'
    union all
    select pg_get_partkeydef(@relation@)) x$sql$, '@relation@', relation);
comment on function steep_repl._schema_shape(text) is 'private: a query for what a table demands of its children';

-- wanted, a CTE that stands behind those of _schema_tie_ctes: what objects of a table need that is none of it, by
-- catalog and identity; and the names of relations that come with them.
create function steep_repl._schema_wanted_cte() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$
  needed(type, name, class, id) as (
    select p.type, p.name, d.refclassid, d.refobjid
    from part p join pg_depend d on d.classid = p.class and d.objid = p.id and (p.sub = 0 or d.objsubid = p.sub)
    where d.deptype in ('n', 'a') and not (d.refclassid = 'pg_class'::regclass and d.refobjid = p.rel)
    union
    select 'type', t.relation, 'pg_type'::regclass, t.reloftype from t where t.reloftype <> 0
    union
    select case when t.relispartition then 'partition' else 'inheritance' end,
           case when t.relispartition then t.relation else p.relation end, 'pg_class'::regclass, p.inhparent
    from t join parent p on p.inhrelid = t.oid),
  wanted(type, name, class, bare, identity, shape) as (
    select n.type, n.name, n.class::regclass::text, b.bare::text, i.identity,
           case when n.type = 'type' then (
             select string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
             from pg_type y join pg_attribute a on a.attrelid = y.typrelid where y.oid = n.id and a.attnum > 0 and not a.attisdropped)
           when n.type in ('partition', 'inheritance') then (
             $sql$ || steep_repl._schema_shape('n.id') || $sql$) end
    from needed n cross join lateral pg_identify_object(n.class, n.id, 0) i
    cross join lateral (
      select case n.class when 'pg_type'::regclass then (select y.typname from pg_type y where y.oid = n.id)
                          when 'pg_proc'::regclass then (select y.proname from pg_proc y where y.oid = n.id)
                          when 'pg_operator'::regclass then (select y.oprname from pg_operator y where y.oid = n.id)
                          when 'pg_opclass'::regclass then (select y.opcname from pg_opclass y where y.oid = n.id)
                          when 'pg_collation'::regclass then (select y.collname from pg_collation y where y.oid = n.id)
                          when 'pg_class'::regclass then (
                            select y.relname from pg_class y where y.oid = n.id
                            and not exists (select from part p where p.class = n.class and p.id = n.id)
                            -- an index is there where its table is; a serial column's sequence is made
                            and y.relkind not in ('i', 'I')
                            and not exists (select from owner w join pg_depend o on o.refobjid = w.oid and o.refobjsubid = w.attnum
                                            join t on t.oid = w.oid
                                            where o.classid = n.class and o.objid = n.id and o.refclassid = n.class and o.deptype = 'a')) end as bare) b
    where b.bare is not null
    union all
    select 'policy', p.polname::text, 'pg_authid', r.rolname::text, quote_ident(r.rolname), null
    from t join pg_policy p on p.polrelid = t.oid join pg_roles r on r.oid = any (p.polroles)
    union all
    -- the rows that a partition is to take, and those that others of the parent take here
    select 'partition', t.relation, 'bound', c.relname::text, i.identity,
           json_build_array(pg_get_expr(t.relpartbound, t.oid), array_to_json(array(
             select pg_get_expr(s.relpartbound, s.oid) from pg_inherits h join pg_class s on s.oid = h.inhrelid
             where h.inhparent = p.inhparent and h.inhrelid <> t.oid)))::text
    from t join parent p on t.relispartition and p.inhrelid = t.oid join pg_class c on c.oid = p.inhparent
    cross join lateral pg_identify_object('pg_class'::regclass, c.oid, 0) i
    union all
    -- the key that a foreign key refers to
    select 'constraint', k.conname::text, 'key', c.relname::text, i.identity,
           (select json_agg(a.attname order by a.attname collate "C")::text from pg_attribute a where a.attrelid = k.confrelid and a.attnum = any (k.confkey))
    from t join pg_constraint k on k.conrelid = t.oid and k.contype = 'f' and k.confrelid <> t.oid and k.conparentid = 0
                               and to_jsonb(k) -> 'conperiod' is distinct from 'true'
    join pg_class c on c.oid = k.confrelid
    cross join lateral pg_identify_object('pg_class'::regclass, c.oid, 0) i
    union all
    -- the trigger of the parent that a partition has a copy of
    select 'trigger', g.tgname::text, 'trigger', c.relname::text, i.identity, g.tgname::text
    from t join pg_trigger g on g.tgrelid = t.oid join pg_trigger u on u.oid = g.tgparentid join pg_class c on c.oid = u.tgrelid
    cross join lateral pg_identify_object('pg_class'::regclass, c.oid, 0) i
    where u.tgenabled <> g.tgenabled
    union all
    -- the key of the parent that one of a partition is a part of
    select 'constraint', k.conname::text, 'part', c.relname::text, i.identity, pg_get_constraintdef(k.oid)
    from t join pg_constraint k on k.conrelid = t.oid and k.contype in ('p', 'u', 'x') join pg_constraint u on u.oid = k.conparentid
    join pg_class c on c.oid = u.conrelid
    cross join lateral pg_identify_object('pg_class'::regclass, c.oid, 0) i
    where pg_get_constraintdef(u.oid) = pg_get_constraintdef(k.oid)
    union all
    select c.type, c.name, 'name', s.relname::text, null, null
    from t join part c on c.type in ('constraint', 'index') and c.class = 'pg_class'::regclass and c.id <> t.oid
    join pg_class s on s.oid = c.id and s.relkind in ('i', 'I')
    union all
    select 'column', a.attname::text, 'name', s.relname::text, null, a.attname::text
    from t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0
    join pg_depend o on o.classid = 'pg_class'::regclass and o.refclassid = 'pg_class'::regclass and o.refobjid = t.oid
                     and o.refobjsubid = a.attnum and o.deptype = 'a'
    join pg_class s on s.oid = o.objid and s.relkind = 'S' and s.relnamespace = (select c.relnamespace from pg_class c where c.oid = t.oid))
$sql$;
comment on function steep_repl._schema_wanted_cte() is 'private: a CTE of a query for what a table needs';

-- A condition: that two bounds of partitions, b.ours and b.theirs as they are printed, may overlap. Those of ranges are compared where
-- the only column, of type y, is a number or a date; of others it is not known.
create function steep_repl._schema_bounds_overlap() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$case
    when 'DEFAULT' in (b.ours, b.theirs) then b.ours = b.theirs
    when b.ours like 'FOR VALUES IN %' then exists (
      select regexp_matches(substr(b.ours, 16), $re$'(?:[^']|'')*'|[^,() ]+$re$, 'g')
      intersect select regexp_matches(substr(b.theirs, 16), $re$'(?:[^']|'')*'|[^,() ]+$re$, 'g'))
    when b.ours like 'FOR VALUES WITH %' then (
      select (o.n[2]::int8 - t.n[2]::int8) % least(o.n[1]::int8, t.n[1]::int8) = 0
      from regexp_matches(b.ours, '([0-9]+), remainder ([0-9]+)') o(n), regexp_matches(b.theirs, '([0-9]+), remainder ([0-9]+)') t(n))
    else not exists (
      select from regexp_matches(replace(b.ours, chr(39), ''), '^FOR VALUES FROM [(](.*)[)] TO [(](.*)[)]$') o(n),
                  regexp_matches(replace(b.theirs, chr(39), ''), '^FOR VALUES FROM [(](.*)[)] TO [(](.*)[)]$') t(n)
      where case
        when y.typcategory = 'N' and (o.n || t.n)::text ~ '^[{](,?(-?[0-9.]+|MINVALUE|MAXVALUE))+[}]$' then
          replace(replace(o.n[1], 'MINVALUE', '-Infinity'), 'MAXVALUE', 'Infinity')::numeric >= replace(replace(t.n[2], 'MINVALUE', '-Infinity'), 'MAXVALUE', 'Infinity')::numeric
          or replace(replace(t.n[1], 'MINVALUE', '-Infinity'), 'MAXVALUE', 'Infinity')::numeric >= replace(replace(o.n[2], 'MINVALUE', '-Infinity'), 'MAXVALUE', 'Infinity')::numeric
        when y.typname in ('date', 'timestamp') and (o.n || t.n)::text ~ '^[{](,?"?([0-9]{4}-[0-9: -]+|MINVALUE|MAXVALUE)"?)+[}]$' then
          replace(replace(o.n[1], 'MINVALUE', '0'), 'MAXVALUE', '9999999') collate "C" >= replace(replace(t.n[2], 'MINVALUE', '0'), 'MAXVALUE', '9999999') collate "C"
          or replace(replace(t.n[1], 'MINVALUE', '0'), 'MAXVALUE', '9999999') collate "C" >= replace(replace(o.n[2], 'MINVALUE', '0'), 'MAXVALUE', '9999999') collate "C"
        end) end$sql$;
comment on function steep_repl._schema_bounds_overlap() is 'private: a condition that two bounds of partitions may overlap';

-- A subquery that answers what of that is not there, or is in the way. The table is the one of the CTE t, if there is any.
create function steep_repl._schema_lacks(schema_name text, table_name text, wanted jsonb) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
  select coalesce(json_agg(json_build_object('type', w.type, 'name', w.name, 'why', y.why) order by y.why collate "C"), '[]')
  from jsonb_to_recordset(%L::jsonb) w(type text, name text, class text, bare text, identity text, shape text)
  cross join lateral (
    select case
      when w.class = 'name' then (
        select pg_describe_object('pg_class'::regclass, c.oid, 0) || ' has the name that it would get' from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = %L and c.relname = w.bare
          -- the table's own is altered, or makes room; a partition's part of one of its parent's does not
          and not exists (select from pg_index i join pg_class t on t.oid = i.indrelid
                          where i.indexrelid = c.oid and not c.relispartition and t.relnamespace = n.oid and t.relname = %L)
          and not exists (select from pg_depend o join pg_class t on t.oid = o.refobjid
                          join pg_attribute a on a.attrelid = t.oid and a.attnum = o.refobjsubid
                          where o.classid = 'pg_class'::regclass and o.objid = c.oid and o.refclassid = 'pg_class'::regclass
                            and o.deptype in ('a', 'i') and t.relnamespace = n.oid and t.relname = %L and a.attname = w.shape))
      when w.class = 'key' then (
        select format('table %%s has no unique constraint over (%%s)', w.identity, translate(w.shape, '[]"', ''))
        from pg_class c
        where c.relname = w.bare and (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity = w.identity
          and not exists (
            select from pg_index i
            where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null and i.indexprs is null
              and (select json_agg(a.attname order by a.attname collate "C")::text
                   from unnest(i.indkey::int2[]) with ordinality u(attnum, n) join pg_attribute a on a.attrelid = c.oid and a.attnum = u.attnum
                   where u.n <= i.indnkeyatts) = w.shape))
      when w.class = 'trigger' then (
        select format('table %%s has no trigger %%I', w.identity, w.shape)
        where not exists (
          select from pg_trigger g join pg_class c on c.oid = g.tgrelid
          where c.relname = w.bare and (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity = w.identity and g.tgname = w.shape))
      when w.class = 'part' then (
        select format('table %%s has no %%s: see to it first', w.identity, w.shape)
        where not exists (
          select from pg_constraint k join pg_class c on c.oid = k.conrelid
          where c.relname = w.bare and (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity = w.identity
            and k.contype in ('p', 'u', 'x') and pg_get_constraintdef(k.oid) = w.shape))
      when w.class = 'bound' then (
        select format('partition %%I.%%I of %%s, which is not here, may take some of the same rows', n.nspname, c.relname, w.identity)
        from pg_class p join pg_partitioned_table k on k.partrelid = p.oid
        left join pg_attribute a on a.attrelid = p.oid and a.attnum = k.partattrs[0] and k.partnatts = 1 left join pg_type y on y.oid = a.atttypid
        join pg_inherits h on h.inhparent = p.oid join pg_class c on c.oid = h.inhrelid join pg_namespace n on n.oid = c.relnamespace
        cross join lateral (select w.shape::jsonb ->> 0 as ours, pg_get_expr(c.relpartbound, c.oid) as theirs) b
        where p.relname = w.bare and (pg_identify_object('pg_class'::regclass, p.oid, 0)).identity = w.identity
          and (n.nspname, c.relname) <> (%L, %L) and not (w.shape::jsonb -> 1) ? b.theirs and %s
        order by c.relname limit 1)
      when not case w.class
        when 'pg_type' then exists (select from pg_type x where x.typname = w.bare
                                    and (pg_identify_object('pg_type'::regclass, x.oid, 0)).identity = w.identity)
        when 'pg_proc' then exists (select from pg_proc x where x.proname = w.bare
                                    and (pg_identify_object('pg_proc'::regclass, x.oid, 0)).identity = w.identity)
        when 'pg_operator' then exists (select from pg_operator x where x.oprname = w.bare
                                    and (pg_identify_object('pg_operator'::regclass, x.oid, 0)).identity = w.identity)
        when 'pg_opclass' then exists (select from pg_opclass x where x.opcname = w.bare
                                    and (pg_identify_object('pg_opclass'::regclass, x.oid, 0)).identity = w.identity)
        when 'pg_collation' then exists (select from pg_collation x where x.collname = w.bare
                                    and (pg_identify_object('pg_collation'::regclass, x.oid, 0)).identity = w.identity)
        when 'pg_class' then exists (select from pg_class x where x.relname = w.bare
                                    and (pg_identify_object('pg_class'::regclass, x.oid, 0)).identity = w.identity)
        when 'pg_authid' then exists (select from pg_roles x where x.rolname = w.bare) end
        then 'there is no ' || case w.class when 'pg_authid' then 'role' when 'pg_class' then 'relation' when 'pg_proc' then 'function'
                                            when 'pg_opclass' then 'operator class' else substr(w.class, 4) end || ' ' || w.identity
      when w.type = 'type' and w.class = 'pg_type' and w.shape is distinct from (
        select string_agg(format('%%I %%s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum)
        from pg_type x join pg_attribute a on a.attrelid = x.typrelid
        where x.typname = w.bare and (pg_identify_object('pg_type'::regclass, x.oid, 0)).identity = w.identity
          and a.attnum > 0 and not a.attisdropped) then 'type ' || w.identity || ' is defined otherwise'
      when w.type in ('partition', 'inheritance') and w.shape is distinct from (
        select (%s) from pg_class n
        where n.relname = w.bare and (pg_identify_object('pg_class'::regclass, n.oid, 0)).identity = w.identity)
        then 'table ' || w.identity || ' is defined otherwise: see to it first' end as why) y
  where y.why is not null$sql$, wanted, schema_name, table_name, table_name, schema_name, table_name, steep_repl._schema_bounds_overlap(), steep_repl._schema_shape('n.oid'));
comment on function steep_repl._schema_lacks(text, text, jsonb) is 'private: a subquery for what of that which a table needs is not there';

-- A subquery that answers the checks of its parents, and of its children. A table's own becomes one with those of its name only if
-- both are printed the same, whatever they mean.
create function steep_repl._schema_kin(wanted jsonb) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format($sql$
  select coalesce(json_agg(json_build_object('type', r.type, 'of', r.name, 'name', k.conname, 'definition', d.definition,
           'compared', %s, 'what', pg_describe_object('pg_constraint'::regclass, k.oid, 0)) order by k.conname, k.oid), '[]')
  from (select w.type, w.name, c.oid
        from jsonb_to_recordset(%L::jsonb) w(type text, name text, class text, bare text, identity text)
        join pg_class c on c.relname = w.bare and (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity = w.identity
        where w.type in ('partition', 'inheritance') and w.class = 'pg_class'
        union all
        select 'child', '', b.oid from below b) r
  join pg_constraint k on k.conrelid = r.oid and k.contype = 'c' and (r.type = 'child' or not k.connoinherit)
  cross join lateral (select pg_get_constraintdef(k.oid) as definition offset 0) d$sql$,
  steep_repl._schema_read_again('d.definition'), wanted);
comment on function steep_repl._schema_kin(jsonb) is 'private: a subquery for the checks that those of a table must agree with';
