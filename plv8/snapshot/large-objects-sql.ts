/*
 * The large objects of a snapshot, with $1 = the job's params as jsonb. As in pg_dump's archives:
 * in batches of a thousand of one owner with the same rights.
 */

/**
 * Whether a snapshot has large objects at all. As with pg_dump, those of tables or schemas have none:
 * nothing says whose they are.
 */
const isWanted = `
  (coalesce($1 ->> 'large_objects', 'copy') = 'copy'
   and jsonb_typeof($1 -> 'tables') is distinct from 'array'
   and jsonb_typeof($1 -> 'schemas') is distinct from 'array')`;

/** Rows (name, what is missing) of objects that are to be copied and may not be read. */
export const unreadableObjects = `
    select 'large object ' || m.oid, 'no SELECT on large object ' || m.oid
    from pg_largeobject_metadata m
    where ${isWanted} and not has_largeobject_privilege(m.oid, 'SELECT')`;

/** How many there are that a snapshot of the whole database would leave out. */
export const countObjects = `
  (select count(*)::text from pg_largeobject_metadata
   where jsonb_typeof($1 -> 'tables') is distinct from 'array'
     and jsonb_typeof($1 -> 'schemas') is distinct from 'array')`;

/**
 * Rows (kind of entry, tag, text, owner): each batch, then its rights, comments and labels. The text
 * of a batch has its oids, one a line; that of its rights names the first object and is meant for
 * all. Rights that somebody else than the owner gave need a change of the session's user, which
 * pg_restore cannot repeat for each object: such objects are batches of their own.
 */
export const largeObjectsQuery = `
  with object(oid, owner, acl, part) as (
    select m.oid, m.lomowner, m.lomacl::text,
           (row_number() over (partition by m.lomowner, m.lomacl::text order by m.oid) - 1)
           / case when exists (select from aclexplode(m.lomacl) a where a.grantor <> m.lomowner)
                  then 1 else 1000 end
    from pg_largeobject_metadata m where ${isWanted}),
  batch(first, last, owner, oids) as (
    select min(o.oid), max(o.oid), o.owner, array_agg(o.oid order by o.oid)
    from object o group by o.owner, o.acl, o.part),
  granted(first, owner, grantor, grantee, grantable, rights, position) as (
    select b.first, b.owner, x.grantor, x.grantee, x.is_grantable,
           string_agg(x.privilege_type, ', ' order by x.privilege_type), min(x.n)
    from batch b join pg_largeobject_metadata m on m.oid = b.first
    cross join aclexplode(m.lomacl) with ordinality x(grantor, grantee, privilege_type, is_grantable, n)
    group by b.first, b.owner, x.grantor, x.grantee, x.is_grantable),
  is_default(first) as (
    select g.first from granted g
    where g.grantee = g.owner and g.grantor = g.owner and g.rights = 'SELECT, UPDATE' and not g.grantable),
  command(first, position, sql) as (
    select b.first, 0, format('REVOKE ALL ON LARGE OBJECT %s FROM %I;', b.first, pg_get_userbyid(b.owner))
    from batch b join pg_largeobject_metadata m on m.oid = b.first
    where m.lomacl is not null and b.first not in (select d.first from is_default d)
    union all
    select g.first, g.position,
           format(case when g.grantor = g.owner then '%1$s'
                       else 'SET SESSION AUTHORIZATION %2$I;%3$s%1$s%3$sRESET SESSION AUTHORIZATION;' end,
                  format('GRANT %s ON LARGE OBJECT %s TO %s%s;', g.rights, g.first,
                         case g.grantee when 0 then 'PUBLIC' else quote_ident(pg_get_userbyid(g.grantee)) end,
                         case when g.grantable then ' WITH GRANT OPTION' else '' end),
                  pg_get_userbyid(g.grantor), e'\\n')
    from granted g
    where not (g.grantee = g.owner and g.grantor = g.owner and g.first in (select d.first from is_default d))),
  entry(first, kind, tag, text, owner, place) as (
    select b.first, 'BLOB METADATA', concat_ws('..', b.first, nullif(b.last, b.first)),
           array_to_string(b.oids, e'\\n') || e'\\n', b.owner, 0
    from batch b
    union all
    select b.first, 'ACL',
           case when b.first = b.last then 'LARGE OBJECT ' || b.first
                else format('LARGE OBJECTS %s..%s', b.first, b.last) end,
           string_agg(c.sql, e'\\n' order by c.position) || e'\\n', b.owner, 1
    from batch b join command c on c.first = b.first
    group by b.first, b.last, b.owner
    union all
    select b.first, 'COMMENT', 'LARGE OBJECT ' || d.objoid,
           format(e'COMMENT ON LARGE OBJECT %s IS %L;\\n', d.objoid, d.description), b.owner, 2
    from batch b cross join unnest(b.oids) o(oid)
    join pg_description d on d.classoid = 'pg_largeobject'::regclass and d.objoid = o.oid
    union all
    select b.first, 'SECURITY LABEL', 'LARGE OBJECT ' || l.objoid,
           format(e'SECURITY LABEL FOR %I ON LARGE OBJECT %s IS %L;\\n', l.provider, l.objoid, l.label), b.owner, 3
    from batch b cross join unnest(b.oids) o(oid)
    join pg_seclabel l on l.classoid = 'pg_largeobject'::regclass and l.objoid = o.oid)
  select e.kind, e.tag, e.text, pg_get_userbyid(e.owner)::text
  from entry e order by e.first, e.place, e.tag`;
