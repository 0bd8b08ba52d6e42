\echo Use "CREATE EXTENSION steep_repl CASCADE" to load this file. \quit

do $do$
begin
  if pg_catalog.current_setting('server_version_num')::pg_catalog.int4 operator(pg_catalog.<) 180000 then
    raise exception 'steep_repl needs PostgreSQL 18 or newer'
      using errcode = 'feature_not_supported',
            detail = pg_catalog.format('This server is PostgreSQL %s.', pg_catalog.current_setting('server_version'));
  end if;
end
$do$;
