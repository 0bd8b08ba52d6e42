#!/usr/bin/env bash
# Whether this node can do its work, by steep_repl.health(): a degraded node still serves, so only an
# unhealthy one fails. Where somebody has dropped the extension, it is enough that the server answers,
# since restarting the container would not bring it back.
set -euo pipefail

value_of() {
  local file=${1}_FILE
  if [ -n "${!file:-}" ]; then cat "${!file}"; else printf '%s' "${!1:-}"; fi
}

# The server says where it listens, whatever arguments it was given.
{ read -r _ && read -r _ && read -r _ && read -r port && read -r sockets; } <"$PGDATA/postmaster.pid" ||
  { echo "the server does not run yet"; exit 1; }

user=$(value_of POSTGRES_USER)
database=$(value_of POSTGRES_DB)
PGPASSWORD=$(value_of POSTGRES_PASSWORD)
export PGPASSWORD PGCONNECT_TIMEOUT=5 PGHOST=${sockets%%,*} PGPORT=$port PGUSER=${user:-postgres}
export PGDATABASE=${database:-$PGUSER} PGAPPNAME='steep_repl healthcheck'

answer=$(psql -X -At -v ON_ERROR_STOP=1 <<'SQL'
select exists (select from pg_extension where extname = 'steep_repl') as there \gset
\if :there
  select status, array_to_string(reasons, '; ') from steep_repl.health();
\else
  select 'no extension', format('steep_repl is not in database %s; the server answers', current_database());
\endif
SQL
)
echo "$answer"
[ "${answer%%|*}" != unhealthy ]
