/** Rows of jobs that belong to this database and not to one that it was copied from. */
export const isHere = `
  system_identifier = (select c.system_identifier::text from pg_catalog.pg_control_system() c)
  and database_oid = (select d.oid from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())`;
