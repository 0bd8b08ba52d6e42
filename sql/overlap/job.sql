-- A comparison as a job. What its coordinator asks as the requester, whose temporary tables these are:

create function steep_repl._overlap_open(connection text, params jsonb, out n_tables int, out names text, out skipped text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  n_tables := steep_repl._overlap_plans(
    connection, steep_repl._texts(params -> 'tables'), nullif(params -> 'primary_keys', 'null'), steep_repl._call('table_scope', params));
  skipped := steep_repl._skipped_tables();
  names := array(select p.plan ->> 'table' from pg_temp.steep_repl_plans p order by p.no);
end
$fn$;
comment on function steep_repl._overlap_open(text, jsonb) is 'private: plans the tables of a job; how many and which there are';

-- NULL or an array of texts, as it stands in a job's parameters.
create function steep_repl._texts(texts jsonb) returns text[]
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return case when jsonb_typeof(texts) = 'array' then array(select jsonb_array_elements_text(texts)) end;
comment on function steep_repl._texts(jsonb) is 'private: an array of texts, or NULL';

create function steep_repl._overlap_planned(no int, out table_name text, out key_columns text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select p.plan ->> 'table', steep_repl._texts(p.plan -> 'key')::text into table_name, key_columns
  from pg_temp.steep_repl_plans p where p.no = _overlap_planned.no;
end
$fn$;
comment on function steep_repl._overlap_planned(int) is 'private: name and key of a table of a job';

-- behind is empty where nothing is. What a job has waited for is of all its tables.
create function steep_repl._overlap_compare(
  connection text, params jsonb, no int,
  out table_name text, out local_only_count bigint, out remote_only_count bigint, out match_count bigint,
  out conflict_count bigint, out unsettled_count bigint,
  out local_lsn pg_lsn, out peer_lsn pg_lsn, out local_snapshot text, out peer_snapshot text, out behind text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  has_waited interval;
begin
  select t.table_name, t.local_only_count, t.remote_only_count, t.match_count, t.conflict_count, t.unsettled_count,
         t.local_lsn, t.peer_lsn, t.local_snapshot, t.peer_snapshot, coalesce(t.behind, ''), t.waited
  into table_name, local_only_count, remote_only_count, match_count, conflict_count, unsettled_count,
       local_lsn, peer_lsn, local_snapshot, peer_snapshot, behind, has_waited
  from steep_repl._overlap_table(connection, (select p.plan from pg_temp.steep_repl_plans p where p.no = _overlap_compare.no),
                                 (params ->> 'catch_up_timeout')::interval, (select max(p.waited) from pg_temp.steep_repl_plans p)) t;
  update pg_temp.steep_repl_plans p set waited = has_waited where p.no = _overlap_compare.no;
end
$fn$;
comment on function steep_repl._overlap_compare(text, jsonb, int) is 'private: compares a table of a job';

-- As texts: only so can nothing that the requester made of the temporary table run with the owner's rights.
create function steep_repl._overlap_differing(
  after int, key_columns text[], max_rows int,
  out last int, out categories text, out keys text, out local_digests text, out peer_digests text)
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  select max(d.no), array_agg(d.category)::text, array_agg(jsonb_object(key_columns, d.key)::text)::text,
         array_agg(d.local_digest)::text, array_agg(d.peer_digest)::text
  into last, categories, keys, local_digests, peer_digests
  from (select * from pg_temp.steep_repl_differences d where d.no > after order by d.no limit max_rows) d;
end
$fn$;
comment on function steep_repl._overlap_differing(int, text[], int) is 'private: the next rows that differ; NULLs if there are no more';

-- And what it writes, as the extension's owner:

create function steep_repl._overlap_forget(overlap_id text) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  delete from steep_repl.overlap_rows r where r.overlap_id = $1;
  delete from steep_repl.overlap_tables t where t.overlap_id = $1;
end;
comment on function steep_repl._overlap_forget(text) is 'private: forgets what an earlier attempt of a job found';

create function steep_repl._overlap_keep_skipped(overlap_id text, skipped jsonb) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  insert into steep_repl.overlap_tables (overlap_id, table_name, reason)
  select $1, s.table_name, s.reason from jsonb_to_recordset($2) s(table_name text, reason text);
end;
comment on function steep_repl._overlap_keep_skipped(text, jsonb) is 'private: keeps which tables are not compared, and why';

create function steep_repl._overlap_keep_rows(
  overlap_id text, table_name text, categories text, keys text, local_digests text, peer_digests text) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  insert into steep_repl.overlap_rows (overlap_id, table_name, category, key, local_digest, peer_digest)
  select $1, $2, u.category, u.key::jsonb, u.local_digest, u.peer_digest
  from unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[]) u(category, key, local_digest, peer_digest);
end;
comment on function steep_repl._overlap_keep_rows(text, text, text, text, text, text) is 'private: keeps rows that differ';

-- counts: of local_only, remote_only, match, conflict, unsettled; positions: both LSNs, then both snapshots, and what is behind.
create function steep_repl._overlap_keep_counts(overlap_id text, table_name text, key_columns text, counts text[], positions text[]) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  insert into steep_repl.overlap_tables (overlap_id, table_name, key_columns, local_only_count, remote_only_count, match_count,
                                         conflict_count, unsettled_count, local_lsn, peer_lsn, local_snapshot, peer_snapshot, behind)
  values ($1, $2, $3::text[], $4[1]::bigint, $4[2]::bigint, $4[3]::bigint, $4[4]::bigint, $4[5]::bigint,
          $5[1]::pg_lsn, $5[2]::pg_lsn, $5[3], $5[4], nullif($5[5], ''));
  update steep_repl.overlaps o
  set local_only_count = s.l, remote_only_count = s.r, match_count = s.m, conflict_count = s.c, unsettled_count = s.u
  from (select sum(t.local_only_count) as l, sum(t.remote_only_count) as r, sum(t.match_count) as m,
               sum(t.conflict_count) as c, sum(t.unsettled_count) as u
        from steep_repl.overlap_tables t where t.overlap_id = $1) s
  where o.overlap_id = $1;
end;
comment on function steep_repl._overlap_keep_counts(text, text, text, text[], text[]) is 'private: keeps what comparing a table found';
