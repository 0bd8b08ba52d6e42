-- Every table may be caught by a FOR ALL TABLES publication or cloned with a
-- template database: rows of jobs therefore say where they belong, and only
-- rows with this cluster's system identifier and this database's oid count.

create table steep_repl.nodes (
  node_id text primary key check (node_id <> ''),
  node_name text not null,
  host text,
  port int not null default 5432 check (port between 1 and 65535),
  priority int not null default 50 check (priority between 1 and 100),
  dbname text,
  username text,
  foreign_server text,
  node_number int generated always as identity unique,
  system_identifier text,
  registered_by name not null default current_user,
  last_seen timestamptz,
  registered_by_oid oid not null default 0,
  constraint nodes_lengths check (
    octet_length(node_id) <= 63 and octet_length(node_name) <= 63 and octet_length(host) <= 255
    and octet_length(dbname) <= 63 and octet_length(username) <= 63 and octet_length(foreign_server) <= 63),
  constraint nodes_no_control_characters check (
    node_id || node_name || coalesce(host, '') || coalesce(dbname, '') || coalesce(username, '') || coalesce(foreign_server, '')
      !~ e'[\\x01-\\x1f\\x7f]')
);
comment on table steep_repl.nodes is 'databases that take part in replication, as registered on this node';
comment on column steep_repl.nodes.priority is '1..100; the higher one is preferred where a choice is needed';
comment on column steep_repl.nodes.node_number is 'small unique number, for disjoint sequences';
comment on column steep_repl.nodes.system_identifier is 'pg_control_system().system_identifier of the node, once known';
comment on column steep_repl.nodes.registered_by is 'only this role, its members and superusers may change the entry';

create table steep_repl.work_queue (
  id bigint primary key default 0,
  operation text not null check (operation in ('snapshot_generate', 'snapshot_apply', 'snapshot_fetch', 'overlap', 'bidirectional_merge', 'merge_undo',
                                             'pair')),
  status text not null default 'pending'
    check (status in ('pending', 'running', 'complete', 'failed', 'cancelled')),
  status_detail text,
  snapshot_id text,
  merge_id text,
  params jsonb not null default '{}' check (jsonb_typeof(params) = 'object'),
  requested_by name not null default current_user,
  requested_by_oid oid not null default 0,
  worker_pid int,
  attempts int not null default 0,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  error_message text,
  error_sqlstate text,
  error_hint text,
  system_identifier text not null default '',
  database_oid oid not null default 0,
  overlap_id text,
  pair_id text
);
create index work_queue_unfinished_idx on steep_repl.work_queue (created_at)
  where status in ('pending', 'running');
create index work_queue_created_idx on steep_repl.work_queue (created_at desc);
comment on table steep_repl.work_queue is 'one row a job; roles other than the owner may add pending rows and cancel their own';
comment on column steep_repl.work_queue.id is 'random, so that ids of different nodes do not collide';
comment on column steep_repl.work_queue.status_detail is 'what a pending or running job waits for';
comment on column steep_repl.work_queue.params is 'the arguments of the job; never a password';
comment on column steep_repl.work_queue.worker_pid is 'process id of the coordinator, for information only';
comment on column steep_repl.work_queue.system_identifier is 'the cluster where the job was queued; it runs nowhere else';
comment on column steep_repl.work_queue.database_oid is 'the database where the job was queued; it runs nowhere else';

create table steep_repl.snapshots (
  snapshot_id text primary key,
  operation_id bigint not null unique,
  operation text not null default 'generate' check (operation in ('generate', 'apply', 'fetch')),
  source_snapshot_id text,
  node_id text,
  status text not null default 'pending'
    check (status in ('pending', 'running', 'complete', 'failed', 'cancelled')),
  phase text not null default 'queued'
    check (phase in ('queued', 'planning', 'schema', 'data', 'indexes', 'sequences', 'finalizing', 'complete')),
  overall_percent numeric(5, 2) not null default 0,
  current_table text,
  table_count int,
  tables_completed int not null default 0,
  storage_path text,
  compression text,
  parallel int,
  lsn pg_lsn,
  slot_name text,
  size_bytes bigint,
  bytes_processed bigint not null default 0,
  rows_written bigint,
  checksum text,
  throughput_bytes_sec bigint,
  eta_seconds bigint,
  error_message text,
  error_sqlstate text,
  error_hint text,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  requested_by name not null,
  requested_by_oid oid not null,
  system_identifier text not null,
  database_oid oid not null,
  warnings text[],
  peer text
);
create index snapshots_created_idx on steep_repl.snapshots (created_at desc);
comment on table steep_repl.snapshots is 'one row a snapshot that was taken, applied or fetched, written by the workers only';
comment on column steep_repl.snapshots.source_snapshot_id is 'of an apply or a fetch: the snapshot that it loads or copies, by its manifest';
comment on column steep_repl.snapshots.phase is 'how far the job is; after a failure, where it failed';
comment on column steep_repl.snapshots.bytes_processed is 'bytes of COPY text so far, before compression; of a fetch, bytes of files that are here';
comment on column steep_repl.snapshots.size_bytes is 'bytes of all data files, after compression';
comment on column steep_repl.snapshots.checksum is 'SHA-256 of manifest.json, which holds those of all files';
comment on column steep_repl.snapshots.lsn is 'WAL position of the snapshot';
comment on column steep_repl.snapshots.throughput_bytes_sec is 'COPY text a second, while copying';
comment on column steep_repl.snapshots.peer is 'of a fetch: where it is copied from, without a password';
comment on column steep_repl.snapshots.warnings is 'what the job went on without, and which right it lacked';

-- Where a job's files are, and the token in that directory's marker. Row
-- security without a policy keeps it from everybody but the owner, whatever
-- is granted on "all tables in schema".
create table steep_repl._job_directories (
  operation_id bigint primary key,
  path text not null,
  token text not null,
  slot_name text,
  slot_lsn pg_lsn,
  system_identifier text not null,
  database_oid oid not null,
  begun text not null default 'start',
  died_at text,
  to_remove boolean not null default false
);
alter table steep_repl._job_directories enable row level security;
comment on table steep_repl._job_directories is 'private: directories, and slots, that jobs may have to remove, and where a job that is resumed has been';
comment on column steep_repl._job_directories.begun is 'of a job that is resumed after a crash: the action that it has begun';
comment on column steep_repl._job_directories.to_remove is 'of a job that was lost: its files are yet to be removed';
comment on column steep_repl._job_directories.died_at is 'the action during which it was interrupted, and how much was done by then';

-- What an apply has done, each row written in the transaction that did it: so a
-- job that a crash interrupts goes on exactly where it stopped.
create table steep_repl._apply_done (
  operation_id bigint not null,
  dump_id int not null,
  part bigint not null,
  primary key (operation_id, dump_id, part)
);
alter table steep_repl._apply_done enable row level security;
comment on table steep_repl._apply_done is 'private: which entries of an archive, and parts of their data, an unfinished apply has done';
comment on column steep_repl._apply_done.dump_id is 'entry of the archive; 0: the archive itself, -1: the TRUNCATE before the load';
comment on column steep_repl._apply_done.part is 'of data: offset of the first frame; of the archive: the first bytes of its digest; else -1';

create table steep_repl.overlaps (
  overlap_id text primary key,
  operation_id bigint not null unique,
  peer text,
  status text not null default 'pending'
    check (status in ('pending', 'running', 'complete', 'failed', 'cancelled')),
  phase text not null default 'queued' check (phase in ('queued', 'planning', 'comparing', 'finalizing', 'complete')),
  overall_percent numeric(5, 2) not null default 0,
  current_table text,
  tables text[],
  table_count int,
  tables_completed int not null default 0,
  local_only_count bigint,
  remote_only_count bigint,
  match_count bigint,
  conflict_count bigint,
  unsettled_count bigint,
  error_message text,
  error_sqlstate text,
  error_hint text,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  requested_by name not null,
  requested_by_oid oid not null,
  system_identifier text not null,
  database_oid oid not null
);
create index overlaps_created_idx on steep_repl.overlaps (created_at desc);
comment on table steep_repl.overlaps is 'one row a comparison of rows that was queued, written by the workers only';
comment on column steep_repl.overlaps.peer is 'the other database, without a password';
comment on column steep_repl.overlaps.local_only_count is 'of all tables so far, as the other counts';

create table steep_repl.overlap_tables (
  overlap_id text not null references steep_repl.overlaps on delete cascade,
  table_name text not null,
  key_columns text[],
  local_only_count bigint,
  remote_only_count bigint,
  match_count bigint,
  conflict_count bigint,
  unsettled_count bigint,
  local_lsn pg_lsn,
  peer_lsn pg_lsn,
  local_snapshot text,
  peer_snapshot text,
  compared_at timestamptz not null default clock_timestamp(),
  behind text,
  reason text,
  primary key (overlap_id, table_name)
);
comment on table steep_repl.overlap_tables is 'what a queued comparison found of each table, written by the workers only';
comment on column steep_repl.overlap_tables.key_columns is 'columns that identify a row';
comment on column steep_repl.overlap_tables.reason is 'why the table was not compared, and has no counts; else NULL';
comment on column steep_repl.overlap_tables.local_lsn is 'WAL position here behind all that was compared; peer_lsn: there';
comment on column steep_repl.overlap_tables.behind is 'which subscriptions of the two sides to each other were how far behind what was compared, NULL for none';
comment on column steep_repl.overlap_tables.local_snapshot is 'pg_current_snapshot() that was compared here; peer_snapshot: there';

create table steep_repl.overlap_rows (
  overlap_id text not null,
  table_name text not null,
  category text not null check (category in ('local_only', 'remote_only', 'conflict', 'unsettled')),
  key jsonb not null,
  local_digest bigint,
  peer_digest bigint
);
create index overlap_rows_table_idx on steep_repl.overlap_rows (overlap_id, table_name, category);
comment on table steep_repl.overlap_rows is 'rows that a queued comparison found to differ, written by the workers only';
comment on column steep_repl.overlap_rows.key is 'object of column to the type''s own text output';
comment on column steep_repl.overlap_rows.local_digest is 'digest of the row here, NULL where there is none; peer_digest: there';

create table steep_repl.schema_fingerprints (
  id bigint primary key default 0,
  node_id text not null,
  schema_name text not null,
  table_name text not null,
  fingerprint text not null,
  definition jsonb not null,
  server_version_num int,
  captured_at timestamptz not null default statement_timestamp(),
  captured_by name not null default current_user,
  captured_by_oid oid not null default 0,
  system_identifier text not null default '',
  database_oid oid not null default 0
);
create index schema_fingerprints_table_idx
  on steep_repl.schema_fingerprints (node_id, schema_name, table_name, captured_at desc);
comment on table steep_repl.schema_fingerprints is 'how tables of nodes were defined, a row for each node, table and capture; a role sees and may delete its own captures';
comment on column steep_repl.schema_fingerprints.id is 'random, so that ids of different nodes do not collide';
comment on column steep_repl.schema_fingerprints.definition is 'what the fingerprint is of: type, name and definition of each object of the table';
comment on column steep_repl.schema_fingerprints.server_version_num is 'of the node, which may print definitions in another way after an upgrade';
comment on column steep_repl.schema_fingerprints.captured_at is 'the same for all rows of a capture';
comment on column steep_repl.schema_fingerprints.system_identifier is 'the cluster that captured it, not the node';
comment on column steep_repl.schema_fingerprints.database_oid is 'the database that captured it';

create view steep_repl.stat_operations with (security_invoker = true) as
select w.operation,
       count(*) filter (where w.status = 'pending') as pending,
       count(*) filter (where w.status = 'running') as running,
       count(*) filter (where w.status = 'complete') as complete,
       count(*) filter (where w.status = 'failed') as failed,
       count(*) filter (where w.status = 'cancelled') as cancelled,
       max(w.completed_at) filter (where w.status = 'complete') as last_success_at,
       max(w.completed_at) filter (where w.status = 'failed') as last_failure_at,
       (array_agg(w.completed_at - w.started_at order by w.completed_at desc)
         filter (where w.status = 'complete'))[1] as last_duration
from steep_repl.work_queue w
group by w.operation;
comment on view steep_repl.stat_operations is 'counts and latest results by operation, over the jobs that the caller may see, for monitoring';
