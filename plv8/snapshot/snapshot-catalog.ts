/** Members of extensions come back with CREATE EXTENSION. */
export const isExtensionMember = (catalog: string, oid: string) => `
  exists (select from pg_depend d where d.classid = '${catalog}'::regclass and d.objid = ${oid}
          and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e')`;

/** Of `pg_namespace n`. */
export const isUserSchema = `
  (n.nspname not in ('steep_repl', 'information_schema') and n.nspname !~ '^pg_')`;
