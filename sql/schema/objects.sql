-- The objects that make up tables, as CTEs. t: the tables that a condition on pg_class c and
-- pg_namespace n selects (and may limit). o: what they consist of, a row an object; definition is for
-- people and for statements, compared is the same in a form that does not depend on how it came about.
-- f: each table's fingerprint, and what it is of.
--
-- What a table is counts, not how it came about: a check is listed whether it is the table's own, its
-- parent's, or both.
--
-- Left out on purpose: what is storage (tablespaces, options, compression, access methods, statistics), the
-- order and numbers of columns, names of NOT NULL constraints (18 has them, 17 not), a sequence's name and
-- numbers where the column owns it (nodes want disjoint numbers), and what a partition has from its
-- parent, which the parent's row tells: its indexes, foreign keys, triggers, identity. Its keys are listed, since
-- ON CONFLICT ON CONSTRAINT may say their names; of two that are the same but for their names, not which belongs to which.
-- Runs on 14 and newer.
create function steep_repl._schema_ctes(condition text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$
  t as (
    select c.oid, n.nspname, c.relname, format('%I.%I', n.nspname, c.relname) as relation, c.relkind,
           c.relpersistence, c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relispartition, c.relpartbound,
           c.reloftype, c.relowner
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relpersistence <> 't'
      and n.nspname not in ('steep_repl', 'information_schema') and n.nspname !~ '^pg_'
      and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
                      and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')
      and $sql$ || condition || $sql$),
  parent as (
    select i.inhrelid, i.inhparent, i.inhseqno, format('%I.%I', n.nspname, c.relname) as relation
    from pg_inherits i join pg_class c on c.oid = i.inhparent and c.relkind in ('r', 'p')
    join pg_namespace n on n.oid = c.relnamespace),
  owned_sequence as (
    select 'nextval(''' || replace(format('%I.%I', n.nspname, s.relname), '''', '''''') || '''::regclass)' as call,
           format('%I.%I', n.nspname, s.relname) as name, format_type(q.seqtypid, null) as type, d.refobjid as owner, d.deptype, s.oid,
           d.refobjsubid as owner_attnum,
           format('%I.%I.%I', tn.nspname, tc.relname, a.attname) as owner_column
    from pg_depend d join pg_class s on s.oid = d.objid and s.relkind = 'S'
    join pg_namespace n on n.oid = s.relnamespace join pg_sequence q on q.seqrelid = s.oid
    join pg_class tc on tc.oid = d.refobjid join pg_namespace tn on tn.oid = tc.relnamespace
    join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')),
  owner(oid, attnum, sequence) as (
    select s.owner, s.owner_attnum, min(s.name) from owned_sequence s where s.deptype = 'a' group by s.owner, s.owner_attnum),
  col as (
    select t.oid, a.attnum, a.attname, a.atttypid as type_oid, a.atttypmod as modifier, a.attnotnull, format_type(a.atttypid, a.atttypmod) as type,
           format_type(a.atttypid, -1) as base, format('%I.%I', ln.nspname, l.collname) as collation, l.oid as has_collation,
           case when not t.relispartition then a.attidentity else '' end as identity, a.attgenerated as generated,
           pg_get_expr(d.adbin, d.adrelid) as expression, s.name as sequence, s.type as sequence_type,
           s.owner = t.oid and s.owner_attnum = a.attnum as owns_sequence, w.sequence as owned_sequence, s.owner_column,
           nn.conname as not_null_name, not coalesce(nn.convalidated, true) as not_null_not_valid,
           coalesce(nn.connoinherit, false) as not_null_no_inherit,
           coalesce(nn.coninhcount > 0, pa.attnotnull, false) as not_null_inherited
    from t join pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
    join pg_type y on y.oid = a.atttypid
    left join pg_collation l on l.oid = a.attcollation and a.attcollation <> y.typcollation
    left join pg_namespace ln on ln.oid = l.collnamespace
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    left join owned_sequence s on s.call = pg_get_expr(d.adbin, d.adrelid)
    left join owner w on w.oid = t.oid and w.attnum = a.attnum
    left join parent p on t.relispartition and p.inhrelid = t.oid
    left join pg_attribute pa on pa.attrelid = p.inhparent and pa.attname = a.attname
    -- a constraint since 18, which need not be valid
    left join pg_constraint nn on nn.conrelid = t.oid and nn.contype = 'n' and nn.conkey = array[a.attnum]),
  object(oid, rank, type, name, quoted, definition, facts) as (
    select t.oid, 1, 'table', t.relation, t.relation,
           case t.relpersistence when 'u' then 'UNLOGGED TABLE' else 'TABLE' end,
           json_build_object('schema', quote_ident(t.nspname), 'persistence', t.relpersistence,
                             'parent', (select p.relation from parent p where t.relispartition and p.inhrelid = t.oid),
                             'owner', (select quote_ident(r.rolname) from pg_roles r where r.oid = t.relowner and r.rolname <> current_user))
    from t
    union all
    select c.oid, 2, 'column', c.attname::text, quote_ident(c.attname),
           concat_ws(' ', c.type,
             case when c.has_collation is not null then 'COLLATE ' || c.collation end,
             case when c.attnotnull then 'NOT NULL' end,
             case when c.attnotnull and c.not_null_no_inherit then 'NO INHERIT' end,
             case when c.attnotnull and c.not_null_not_valid then 'NOT VALID' end,
             case when c.generated <> '' then
                    'GENERATED ALWAYS AS (' || c.expression || ')' || case c.generated when 's' then ' STORED' else ' VIRTUAL' end
                  when c.identity <> '' then
                    'GENERATED ' || case c.identity when 'a' then 'ALWAYS' else 'BY DEFAULT' end || ' AS IDENTITY'
                  when c.owns_sequence then 'DEFAULT nextval(its own sequence)'
                  when c.sequence is not null then 'DEFAULT nextval(sequence of ' || c.owner_column || ')'
                  when c.expression is not null then 'DEFAULT ' || c.expression end),
           json_build_object('position', c.attnum, 'type', c.type, 'base', c.base,
             'collation', case when c.has_collation is not null then c.collation end,
             'not_null', c.attnotnull, 'identity', c.identity, 'generated', c.generated, 'expression', c.expression,
             'sequence', case when c.owns_sequence then c.sequence end, 'sequence_type', c.sequence_type,
             'evaluates', c.generated = '' and (select $sql$ || steep_repl._default_is_harmless() || $sql$ from pg_attrdef d where d.adrelid = c.oid and d.adnum = c.attnum),
             'default_error', null, 'owned_sequence', c.owned_sequence, 'sequence_of', case when not c.owns_sequence then c.owner_column end,
             'is_sequence_shared', exists (
               select from owned_sequence s join pg_depend u on u.refclassid = 'pg_class'::regclass and u.refobjid = s.oid
               join pg_attrdef e on u.classid = 'pg_attrdef'::regclass and e.oid = u.objid
               where s.owner = c.oid and s.owner_attnum = c.attnum and (e.adrelid, e.adnum) <> (c.oid, c.attnum)),
             'has_rights', exists (select from pg_attribute r where r.attrelid = c.oid and r.attnum = c.attnum and r.attacl is not null),
             'not_null_name', quote_ident(c.not_null_name), 'not_null_not_valid', c.not_null_not_valid,
             'not_null_no_inherit', c.not_null_no_inherit, 'not_null_inherited', c.not_null_inherited,
             'cast', (
               -- what a domain is over
               with recursive g as (
                 select y.*, c.modifier from pg_type y where y.oid = c.type_oid
                 union all
                 select y.*, g.typtypmod from g join pg_type y on y.oid = g.typbasetype)
               select json_build_object('from', format_type(g.oid, -1), 'type', format_type(g.oid, g.modifier),
                 'is_string', g.typcategory = 'S', 'is_enum', coalesce(e.typtype, g.typtype) = 'e',
                 'to', (select coalesce(json_agg(x.target), '[]') from (
                          select format_type(k.casttarget, -1) as target from pg_cast k where k.castsource = g.oid
                          union
                          select format_type(e.typarray, -1) from pg_cast k join pg_type e on e.oid = k.casttarget
                          where g.typcategory = 'A' and k.castsource = g.typelem and e.typarray <> 0) x),
                 'made_to', (select coalesce(json_agg(format_type(k.casttarget, -1)), '[]') from pg_cast k
                             where k.castsource in (g.oid, e.oid) and k.oid >= 16384 and k.castfunc <> 0))
               from g left join pg_type e on g.typcategory = 'A' and e.oid = g.typelem where g.typbasetype = 0),
             'parents', (select coalesce(json_agg(p.relation), '[]') from parent p
                         where p.inhrelid = c.oid
                           and exists (select from pg_attribute pa where pa.attrelid = p.inhparent and pa.attname = c.attname)))
    from col c
    union all
    select t.oid, 3, 'constraint', k.conname::text, quote_ident(k.conname),
           d.statement || case
             when h.inhrelid is null then ''
             when d.statement = d.of_parent then ' (a part of the same one of its parent)'
             -- PostgreSQL takes one for a key of the parent that has the same columns, whatever else it is
             else (select format(' (a part of %I)', x.relname) from pg_class x where x.oid = h.inhparent) end,
           json_build_object('statement', d.statement, 'kept', $sql$ || steep_repl._schema_kept('d.statement') || $sql$, 'kind', k.contype,
             'is_replica_identity', coalesce(i.indisreplident, false), 'is_part', h.inhrelid is not null,
             'is_same_part', h.inhrelid is not null and d.statement is not distinct from d.of_parent,
             'part_kind', case when h.inhrelid is not null then coalesce((select u.contype from pg_constraint u where u.oid = k.conparentid), 'i') end,
             'parents', (select coalesce(json_agg(p.relation), '[]') from parent p
                         where k.contype = 'c' and p.inhrelid = t.oid
                           and exists (select from pg_constraint pk where pk.conrelid = p.inhparent and pk.conname = k.conname
                                       and pk.contype = 'c' and not pk.connoinherit)))
    from t join pg_constraint k on k.conrelid = t.oid and k.contype in ('c', 'p', 'u', 'f', 'x')
    left join pg_index i on i.indexrelid = k.conindid and i.indrelid = t.oid and k.contype <> 'f'
    left join pg_inherits h on h.inhrelid = i.indexrelid
    cross join lateral (select pg_get_constraintdef(k.oid) as statement, pg_get_constraintdef(k.conparentid) as of_parent offset 0) d
    -- nobody says the name of what a partition has of its parent's foreign key
    where k.conparentid = 0 or k.contype <> 'f'
    union all
    select t.oid, 4, 'index', x.relname::text, format('%I.%I', t.nspname, x.relname),
           case when left(e.definition, length(e.only_head)) = e.only_head
                then e.head || substr(e.definition, length(e.only_head) + 1) else e.definition end
             || case when i.indisvalid then '' else ' (invalid)' end,
           json_build_object('is_valid', i.indisvalid, 'is_whole', x.relkind = 'I', 'is_part', x.relispartition, 'is_plain', i.indexprs is null and i.indpred is null,
                             'is_replica_identity', i.indisreplident,
                             'replica_name', quote_ident(x.relname))
    from t join pg_index i on i.indrelid = t.oid
    join pg_class x on x.oid = i.indexrelid
    -- one of the parent's that is not valid, or sorts in another order, does not say what its parts are
    left join pg_inherits h on x.relispartition and h.inhrelid = x.oid left join pg_index u on u.indexrelid = h.inhparent
    cross join lateral (
      select pg_get_indexdef(i.indexrelid) as definition,
             coalesce(' WHERE ' || pg_get_expr(i.indpred, i.indrelid), '') as tail,
             (select ' WITH (' || string_agg(split_part(r.o, '=', 1) || '=' || case when quote_ident(r.v) = r.v then r.v
                                            else '''' || replace(r.v, '''', '''''') || '''' end, ', ' order by r.n) || ')'
              from (select u.o, substr(u.o, strpos(u.o, '=') + 1) as v, u.n
                    from unnest(x.reloptions) with ordinality u(o, n)) r) as options
      -- or each use of a column would print the index again
      offset 0) w
    cross join lateral (
      select case when right(w.definition, length(w.options || w.tail)) = w.options || w.tail
                  then left(w.definition, -length(w.options || w.tail)) || w.tail else w.definition end as definition,
             format('CREATE %sINDEX %I ON ', case when i.indisunique then 'UNIQUE ' else '' end, x.relname) as head,
             format('CREATE %sINDEX %I ON ONLY ', case when i.indisunique then 'UNIQUE ' else '' end, x.relname) as only_head
      offset 0) e
    where i.indislive and (u.indisvalid is not true or u.indoption::text <> i.indoption::text)
      and not exists (select from pg_constraint k where k.conrelid = t.oid and k.conindid = i.indexrelid
                      and k.contype in ('p', 'u', 'x'))
    union all
    select t.oid, 5, 'replica identity', t.relation, t.relation, r.identity,
           json_build_object('clause', case when r.index is not null then 'using index ' || r.index else r.identity end)
    from t cross join lateral (
      select x.index, case t.relreplident when 'd' then 'default' when 'f' then 'full' when 'i' then coalesce('index ' || x.index, 'nothing')
                      else 'nothing' end as identity
      from (select (select quote_ident(c.relname) from pg_index i join pg_class c on c.oid = i.indexrelid
                    where t.relreplident = 'i' and i.indrelid = t.oid and i.indisreplident) as index) x) r
    union all
    select t.oid, 6, 'partition key', t.relation, t.relation, pg_get_partkeydef(t.oid), null
    from t where t.relkind = 'p'
    union all
    select t.oid, 7, 'partition', t.relation, t.relation,
           'PARTITION OF ' || p.relation || ' ' || pg_get_expr(t.relpartbound, t.oid),
           json_build_object('parent', p.relation, 'bound', pg_get_expr(t.relpartbound, t.oid))
    from t join parent p on p.inhrelid = t.oid where t.relispartition
    union all
    select t.oid, 8, 'inheritance', p.relation, p.relation, 'INHERITS (' || p.relation || ')',
           json_build_object('position', p.inhseqno)
    from t join parent p on p.inhrelid = t.oid where not t.relispartition
    union all
    select t.oid, 9, 'row security', t.relation, t.relation,
           case when t.relrowsecurity then 'enabled' else 'disabled' end || case when t.relforcerowsecurity then ', forced' else '' end,
           json_build_object('enabled', t.relrowsecurity, 'forced', t.relforcerowsecurity)
    from t
    union all
    select t.oid, 10, 'policy', p.polname::text, quote_ident(p.polname),
           format('CREATE POLICY %I ON %s AS %s FOR %s TO %s', p.polname, t.relation,
                  case when p.polpermissive then 'PERMISSIVE' else 'RESTRICTIVE' end,
                  case p.polcmd when 'r' then 'SELECT' when 'a' then 'INSERT' when 'w' then 'UPDATE' when 'd' then 'DELETE' else 'ALL' end,
                  case when 0 = any (p.polroles) then 'PUBLIC'
                       else (select string_agg(quote_ident(r.rolname), ', ' order by r.rolname) from pg_roles r
                             where r.oid = any (p.polroles)) end)
             || coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', '')
             || coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''),
           null
    from t join pg_policy p on p.polrelid = t.oid
    union all
    select t.oid, 11, 'trigger', g.tgname::text, quote_ident(g.tgname),
           pg_get_triggerdef(g.oid) || case g.tgenabled when 'D' then ' (disabled)' when 'R' then ' (enabled replica)'
                                       when 'A' then ' (enabled always)' else '' end,
           json_build_object('statement', pg_get_triggerdef(g.oid), 'enabled', g.tgenabled, 'is_clone', g.tgparentid <> 0,
                             'parent_enabled', u.tgenabled)
    from t join pg_trigger g on g.tgrelid = t.oid
    left join pg_trigger u on u.oid = g.tgparentid
    -- a partition has its parent's triggers; all that may differ is whether they fire
    where case when g.tgparentid = 0 then not g.tgisinternal else not u.tgisinternal and u.tgenabled <> g.tgenabled end
    union all
    select t.oid, 12, 'type', t.relation, t.relation, 'OF ' || format_type(t.reloftype, null),
           json_build_object('of', format_type(t.reloftype, null))
    from t where t.reloftype <> 0
    union all
    select t.oid, 13, 'rule', r.rulename::text, quote_ident(r.rulename),
           rtrim(pg_get_ruledef(r.oid), ';') || case r.ev_enabled when 'D' then ' (disabled)' when 'R' then ' (enabled replica)'
                                       when 'A' then ' (enabled always)' else '' end,
           json_build_object('statement', rtrim(pg_get_ruledef(r.oid), ';'), 'enabled', r.ev_enabled)
    from t join pg_rewrite r on r.ev_class = t.oid),
  o as (
    select b.*, $sql$ || steep_repl._schema_read_again('b.definition') || $sql$ as compared
    from object b),
  -- of bytes in UTF-8, sorted as bytes, so that encodings and collations do not matter; what SQL_ASCII
  -- holds is taken for that
  f(oid, fingerprint, definition) as (
    select l.oid, encode(sha256(string_agg(l.line, decode('0a', 'hex') order by l.line)), 'hex'),
           json_agg(json_build_object('type', l.type, 'name', l.name, 'definition', l.definition)
                    order by l.rank, l.name collate "C")
    from (select o.*, convert_to(json_build_array(o.type, o.name, o.compared)::text,
                                 case getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end) as line
          from o) l
    group by l.oid)
$sql$;
comment on function steep_repl._schema_ctes(text) is 'private: CTEs of a query for the objects that tables consist of';
