-- What merges did, and what they left for somebody to decide.

create table steep_repl.merges (
  merge_id text primary key,
  operation_id bigint not null unique,
  peer text,
  status text not null default 'pending'
    check (status in ('pending', 'running', 'complete', 'failed', 'cancelled')),
  phase text not null default 'queued'
    check (phase in ('queued', 'planning', 'comparing', 'merging', 'finalizing', 'complete')),
  strategy text,
  tables text[],
  dry_run boolean not null default false,
  local_only_count bigint,
  remote_only_count bigint,
  match_count bigint,
  conflict_count bigint,
  rows_merged bigint not null default 0,
  error_message text,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  unsettled_count bigint,
  rows_left bigint not null default 0,
  overall_percent numeric(5, 2) not null default 0,
  current_table text,
  table_count int,
  tables_completed int not null default 0,
  error_sqlstate text,
  error_hint text,
  warnings text[],
  undoes text,
  requested_by name not null,
  requested_by_oid oid not null,
  system_identifier text not null,
  database_oid oid not null
);
create index merges_created_idx on steep_repl.merges (created_at desc);
comment on table steep_repl.merges is 'one row a merge, written by the workers only';
comment on column steep_repl.merges.peer is 'the other database, without a password';
comment on column steep_repl.merges.local_only_count is 'what was found to differ, as the other counts; of an attempt that goes on after an interruption: with what was merged before';
comment on column steep_repl.merges.rows_merged is 'rows written on either side; of a dry run: that would be';
comment on column steep_repl.merges.rows_left is 'rows that differ and were left as they are: by choice, for somebody to resolve, or because they kept changing';
comment on column steep_repl.merges.undoes is 'of an undo: the merge whose changes it takes back';

create table steep_repl.merge_tables (
  merge_id text not null references steep_repl.merges on delete cascade,
  table_name text not null,
  key_columns text[],
  local_only_count bigint,
  remote_only_count bigint,
  match_count bigint,
  conflict_count bigint,
  unsettled_count bigint,
  rows_merged bigint not null default 0,
  rows_left bigint not null default 0,
  reason text,
  primary key (merge_id, table_name)
);
comment on table steep_repl.merge_tables is 'what a merge found and did, a row a table, written by the workers only';
comment on column steep_repl.merge_tables.key_columns is 'columns that identify a row';
comment on column steep_repl.merge_tables.reason is 'why the table was left out, and has no counts; else NULL';

-- Batches that wrote at the peer: their transaction there is noted before it is committed, so that
-- after a crash the peer can be asked what became of it.
create table steep_repl._merge_intents (
  merge_id text not null,
  batch bigint not null,
  peer_xid text not null,
  table_name text not null,
  rows bigint not null,
  primary key (merge_id, batch)
);
alter table steep_repl._merge_intents enable row level security;
comment on table steep_repl._merge_intents is 'private: batches of which it is not yet known here that the peer has committed them';
comment on column steep_repl._merge_intents.peer_xid is 'pg_current_xact_id() of the batch at the peer';

create table steep_repl.merge_audit_log (
  id bigint generated always as identity primary key,
  merge_id text not null,
  table_name text not null,
  key jsonb not null,
  category text not null,
  action text not null check (action in ('insert_local', 'update_local', 'delete_local',
                                         'insert_remote', 'update_remote', 'delete_remote')),
  local_row jsonb,
  remote_row jsonb,
  result_row jsonb generated always as (
    case when written_row is not null then written_row
         when action in ('insert_local', 'update_local') then remote_row
         when action in ('insert_remote', 'update_remote') then local_row end) virtual,
  done_at timestamptz not null default clock_timestamp(),
  requested_by text not null,
  batch bigint not null,
  written_row jsonb
);
create index merge_audit_log_merge_idx on steep_repl.merge_audit_log using brin (merge_id);
comment on table steep_repl.merge_audit_log is 'every row that a merge wrote, in the transaction that wrote it; nobody but the owner can change it';
comment on column steep_repl.merge_audit_log.key is 'object of column to the type''s own text output, as the images of the row';
comment on column steep_repl.merge_audit_log.category is 'local_only, remote_only, conflict; of an undo: undo';
comment on column steep_repl.merge_audit_log.action is 'what was done, and on which side';
comment on column steep_repl.merge_audit_log.local_row is 'the row here before; remote_row: at the peer';
comment on column steep_repl.merge_audit_log.result_row is 'the row afterwards, on the side of the action';
comment on column steep_repl.merge_audit_log.written_row is 'the same, where it was read after it was written: it may be another one than that of the other side';

-- Rows that merges left for another reason than their arguments.
create table steep_repl._merge_left (
  merge_id text not null references steep_repl.merges on delete cascade,
  table_name text not null,
  key jsonb not null,
  reason text not null,
  id bigint generated always as identity,
  primary key (merge_id, id)
);
comment on table steep_repl._merge_left is 'private: what merge_rows_left() lists';

create table steep_repl.merge_conflicts (
  conflict_id bigint generated always as identity primary key,
  merge_id text not null,
  peer text,
  table_name text not null,
  key jsonb not null,
  reason text not null check (reason in ('conflict', 'changed since')),
  local_row jsonb,
  remote_row jsonb,
  status text not null default 'open' check (status in ('open', 'resolved')),
  choice text check (choice in ('local', 'remote', 'keep')),
  detected_at timestamptz not null default clock_timestamp(),
  resolved_at timestamptz,
  resolved_by name,
  requested_by_oid oid not null
);
create unique index merge_conflicts_open_idx
  on steep_repl.merge_conflicts (requested_by_oid, coalesce(peer, ''), table_name, md5(key::text), reason) where status = 'open';
comment on table steep_repl.merge_conflicts is 'rows that a merge left to somebody to decide, written by the workers and by resolve_conflict';
comment on column steep_repl.merge_conflicts.reason is 'conflict: strategy manual; changed since: an undo found the row changed';
comment on column steep_repl.merge_conflicts.local_row is 'the row here when it was found; remote_row: at the peer';
