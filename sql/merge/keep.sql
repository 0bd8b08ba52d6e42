-- What is written down of a merge. C calls these as the extension's owner, for whom alone row security and guards leave anything
-- to write.

-- What comparing a table found, with what an earlier attempt has merged already, up to that batch: each row once, by what it was
-- first. counts: of local_only, remote_only, match, conflict, unsettled; see _merge_count_once.
create function steep_repl._merge_keep_counts(merge_id text, table_name text, key_columns text, counts text[], last_batch bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  insert into steep_repl.merge_tables as t (merge_id, table_name, key_columns, local_only_count, remote_only_count,
                                            match_count, conflict_count, unsettled_count)
  select $1, $2, $3::text[], $4[1]::bigint + d.l, $4[2]::bigint + d.r, greatest($4[3]::bigint - d.n, 0), $4[4]::bigint + d.c, $4[5]::bigint
  from (select count(*) filter (where a.category = 'local_only') as l, count(*) filter (where a.category = 'remote_only') as r,
               count(*) filter (where a.category = 'conflict') as c, count(*) filter (where not a.is_gone) as n
        from (select (array_agg(a.category order by a.id))[1] as category, (array_agg(a.action like 'delete%' order by a.id desc))[1] as is_gone
              from steep_repl.merge_audit_log a where $5 > 0 and a.merge_id = $1 and a.table_name = $2 group by a.key) a) d
  on conflict (merge_id, table_name) do update
  set local_only_count = excluded.local_only_count, remote_only_count = excluded.remote_only_count, match_count = excluded.match_count,
      conflict_count = excluded.conflict_count, unsettled_count = excluded.unsettled_count, rows_left = 0;
  update steep_repl.merges m
  set local_only_count = s.l, remote_only_count = s.r, match_count = s.m, conflict_count = s.c, unsettled_count = s.u
  from (select sum(t.local_only_count) as l, sum(t.remote_only_count) as r, sum(t.match_count) as m,
               sum(t.conflict_count) as c, sum(t.unsettled_count) as u
        from steep_repl.merge_tables t where t.merge_id = $1) s
  where m.merge_id = $1;
end;
comment on function steep_repl._merge_keep_counts(text, text, text, text[], bigint) is 'private: keeps what comparing a table found';

create function steep_repl._merge_keep_skipped(merge_id text, skipped jsonb) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  delete from steep_repl.merge_tables t where t.merge_id = $1 and t.reason is not null;
  insert into steep_repl.merge_tables (merge_id, table_name, reason)
  select $1, s.table_name, s.reason from jsonb_to_recordset($2) s(table_name text, reason text)
  on conflict (merge_id, table_name) do update set reason = excluded.reason;
end;
comment on function steep_repl._merge_keep_skipped(text, jsonb) is 'private: keeps which tables are not merged, and why';

create function steep_repl._merge_keep_rows_left(merge_id text, by_table jsonb) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.merge_tables t set rows_left = l.value::bigint
  from jsonb_each_text($2) l(key, value) where t.merge_id = $1 and t.table_name = l.key;
  update steep_repl.merges m
  set rows_left = (select coalesce(sum(l.value::bigint), 0) from jsonb_each_text($2) l(key, value)) where m.merge_id = $1;
  delete from steep_repl._merge_left l where l.merge_id = $1;
end;
comment on function steep_repl._merge_keep_rows_left(text, jsonb) is 'private: keeps how many rows of each table were left as they are';

create function steep_repl._merge_keep_left(merge_id text, rows jsonb) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  insert into steep_repl._merge_left (merge_id, table_name, key, reason)
  select $1, r.table_name, r.key, r.reason from jsonb_to_recordset($2) r(table_name text, key jsonb, reason text);
end;
comment on function steep_repl._merge_keep_left(text, jsonb) is 'private: keeps which rows were left as they are, and why';

-- Of a dry run: rows that would have been written.
create function steep_repl._merge_count_rows(merge_id text, table_name text, row_count bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.merges m set rows_merged = m.rows_merged + $3 where m.merge_id = $1;
  update steep_repl.merge_tables t set rows_merged = t.rows_merged + $3 where t.merge_id = $1 and t.table_name = $2;
end;
comment on function steep_repl._merge_count_rows(text, text, bigint) is 'private: counts rows that were written';

-- Of this database, with one of the same locks, and past waiting for its turn.
create function steep_repl._merge_others_run(merge_id text) returns boolean
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select exists (
    select from steep_repl.merges m join steep_repl.merges o on steep_repl._merge_locks(o.tables) && steep_repl._merge_locks(m.tables) and o.merge_id <> m.merge_id
    where m.merge_id = $1 and o.status = 'running' and o.phase <> 'planning' and not o.dry_run and steep_repl._is_here(o.system_identifier, o.database_oid));
end;
comment on function steep_repl._merge_others_run(text) is 'private: whether another merge of the same tables is at work here';

-- Rows that somebody is to decide about, by their numbers in the answers of both sides; one that is open already gets the
-- images of now.
create function steep_repl._merge_keep_conflicts(
  merge_id text, table_name text, here text, there text, numbers text, key_columns text, reason text) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  -- that an earlier merge has left the row is still true
  insert into steep_repl._merge_left (merge_id, table_name, key, reason)
  select c.merge_id, c.table_name, c.key, format('conflict %s, which is to be resolved, and which %s has found again', c.conflict_id, $1)
  from unnest($5::int[]) n(no) left join steep_repl._merge_rows_of($3) l using (no) left join steep_repl._merge_rows_of($4) p using (no)
  join steep_repl.merges m on m.merge_id = $1
  join steep_repl.merge_conflicts c
    on (c.requested_by_oid, coalesce(c.peer, ''), c.table_name, c.reason) = (m.requested_by_oid, coalesce(m.peer, ''), $2, $7)
       and md5(c.key::text) = md5((select jsonb_object_agg(k.name, coalesce(l.image, p.image) -> k.name) from unnest($6::text[]) k(name))::text)
  where c.status = 'open' and c.merge_id <> $1 and c.reason = 'conflict';
  insert into steep_repl.merge_conflicts as c (merge_id, requested_by_oid, peer, table_name, key, reason, local_row, remote_row)
  select $1, m.requested_by_oid, m.peer, $2,
         (select jsonb_object_agg(k.name, coalesce(l.image, p.image) -> k.name) from unnest($6::text[]) k(name)),
         $7, l.image, p.image
  from unnest($5::int[]) n(no) left join steep_repl._merge_rows_of($3) l using (no) left join steep_repl._merge_rows_of($4) p using (no),
       steep_repl.merges m
  where m.merge_id = $1
  on conflict (requested_by_oid, coalesce(peer, ''), table_name, md5(key::text), reason) where status = 'open' do update
  set merge_id = excluded.merge_id, local_row = excluded.local_row, remote_row = excluded.remote_row, detected_at = clock_timestamp();
end;
comment on function steep_repl._merge_keep_conflicts(text, text, text, text, text, text, text) is 'private: keeps rows that a merge left to somebody';

create function steep_repl._merge_count_refused(merge_id text, numbers int[]) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.merges m
  set rows_left = m.rows_left + cardinality($2), conflict_count = coalesce(m.conflict_count, 0) + cardinality($2) where m.merge_id = $1;
end;
comment on function steep_repl._merge_count_refused(text, int[]) is 'private: counts rows that an undo left, since they have changed';

-- That the peer has yet to commit a batch; what was said of earlier ones is settled.
create function steep_repl._merge_keep_intent(merge_id text, batch bigint, peer_xid text, table_name text, row_count bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  delete from steep_repl._merge_intents i where i.merge_id = $1 and i.batch > 0 and i.batch < $2;
  insert into steep_repl._merge_intents (merge_id, batch, peer_xid, table_name, rows) values ($1, $2, $3, $4, $5);
end;
comment on function steep_repl._merge_keep_intent(text, bigint, text, text, bigint) is 'private: notes a transaction that the peer is to commit';

-- Where an earlier attempt stopped counting batches, this one goes on.
create function steep_repl._merge_find_intent(merge_id text, out last_batch bigint, out batch bigint, out peer_xid text)
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select greatest((select max(a.batch) from steep_repl.merge_audit_log a where a.merge_id = $1), 0), i.batch, i.peer_xid
  from (values (1)) v(one) left join steep_repl._merge_intents i on i.merge_id = $1 limit 1;
end;
comment on function steep_repl._merge_find_intent(text) is 'private: the last batch that was written down, and one that is in doubt, if there is any';

create function steep_repl._merge_settle_intent(merge_id text, batch bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  delete from steep_repl._merge_intents i where i.merge_id = $1 and i.batch = $2;
end;
comment on function steep_repl._merge_settle_intent(text, bigint) is 'private: a batch is in doubt no more';

create function steep_repl._merge_take_back(merge_id text, batch bigint) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.merges m set rows_merged = m.rows_merged - i.rows
  from steep_repl._merge_intents i where m.merge_id = $1 and i.merge_id = $1 and i.batch = $2;
  update steep_repl.merge_tables t set rows_merged = t.rows_merged - i.rows
  from steep_repl._merge_intents i where t.merge_id = $1 and i.merge_id = $1 and i.batch = $2 and t.table_name = i.table_name;
  delete from steep_repl.merge_audit_log a where a.merge_id = $1 and a.batch = $2;
  delete from steep_repl._merge_intents i where i.merge_id = $1 and i.batch = $2;
end;
comment on function steep_repl._merge_take_back(text, bigint) is 'private: forgets a batch that the peer has not committed';

-- Whose a merge is that can be undone, with this peer if one is given.
create function steep_repl._undoable_merge(merge_id text, peer text, out requested_by_oid oid, out is_conninfo boolean, out role_is_there boolean)
language sql volatile parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select m.requested_by_oid, steep_repl._is_conninfo($2), pg_get_userbyid(m.requested_by_oid) = m.requested_by
  from steep_repl.merges m
  where m.merge_id = $1 and not m.dry_run and m.undoes is null and m.status in ('complete', 'failed', 'cancelled')
    and steep_repl._is_here(m.system_identifier, m.database_oid) and ($2 is null or steep_repl._is_same_peer($2, m.peer));
end;
comment on function steep_repl._undoable_merge(text, text) is 'private: whose a merge is that can be undone; NULLs if there is none';

create function steep_repl._undo_queued(merge_id text, peer text, asked_by text) returns bigint
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  insert into steep_repl.work_queue (operation, params) values ('merge_undo', steep_repl._undo_params($1, $2, $3)) returning id;
end;
comment on function steep_repl._undo_queued(text, text, text) is 'private: queues the undo of a merge';

create function steep_repl._lock_conflict(
  conflict_id bigint, out requested_by_oid oid, out merge_id text, out table_name text, out key_columns text)
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  select m.requested_by_oid, m.merge_id, c.table_name, array(select jsonb_object_keys(c.key))::text
  from steep_repl.merge_conflicts c join steep_repl.merges m using (merge_id)
  where c.conflict_id = $1 and c.status = 'open' for update of c;
end;
comment on function steep_repl._lock_conflict(bigint) is 'private: the merge of an open conflict, whose row is locked; NULLs if there is none';

create function steep_repl._conflict_resolved(conflict_id bigint, choice text, resolved_by text) returns void
language sql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp
begin atomic
  update steep_repl.merge_conflicts c
  set status = 'resolved', choice = $2, resolved_at = clock_timestamp(), resolved_by = $3 where c.conflict_id = $1;
end;
comment on function steep_repl._conflict_resolved(bigint, text, text) is 'private: a conflict was settled';
