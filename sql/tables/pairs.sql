-- Pairs of nodes that this node has set up.

create table steep_repl.pairs (
  pair_id text primary key,
  operation_id bigint not null unique,
  peer text,
  status text not null default 'pending'
    check (status in ('pending', 'running', 'complete', 'failed', 'cancelled')),
  phase text not null default 'queued'
    check (phase in ('queued', 'planning', 'publishing', 'snapshot', 'fetching', 'loading', 'subscribing', 'merging', 'sequences', 'comparing',
                     'finalizing', 'complete')),
  existing text,
  tables text[],
  snapshot_id text,
  merge_id text,
  overlap_id text,
  error_message text,
  error_hint text,
  created_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  completed_at timestamptz,
  error_sqlstate text,
  overall_percent numeric(5, 2) not null default 0,
  current_table text,
  tables_completed int not null default 0,
  table_count int,
  strategy text,
  sequences text,
  step text,
  local_node text,
  fetch_id text,
  has_schema boolean not null default false,
  is_shared boolean not null default false,
  local_share int,
  peer_share int,
  round int not null default 0,
  is_removed boolean not null default false,
  stepped_at timestamptz,
  warnings text[],
  requested_by name not null,
  requested_by_oid oid not null,
  system_identifier text not null,
  database_oid oid not null
);
create index pairs_created_idx on steep_repl.pairs (created_at desc);
comment on table steep_repl.pairs is 'one row a pair of nodes that start_pair has set up or repaired, written by the workers only';
comment on column steep_repl.pairs.phase is 'how far the job is; after a failure, where it failed';
comment on column steep_repl.pairs.existing is 'what was to become of data at the peer: refuse, merge or keep';
comment on column steep_repl.pairs.tables is 'the tables that are replicated';
comment on column steep_repl.pairs.snapshot_id is 'the snapshot here that the peer was filled from';
comment on column steep_repl.pairs.merge_id is 'the merge that made the nodes equal';
comment on column steep_repl.pairs.step is 'the last step that was done; a job that is resumed goes on behind it';
comment on column steep_repl.pairs.stepped_at is 'when that step was done';
comment on column steep_repl.pairs.local_node is 'what the peer calls this node';
comment on column steep_repl.pairs.has_schema is 'the peer had the tables, empty';
comment on column steep_repl.pairs.is_shared is 'each node has its share of the values of sequences';
comment on column steep_repl.pairs.is_removed is 'it was cancelled, and what it had made was removed';
comment on column steep_repl.pairs.local_share is 'which tenth of the values of sequences this node gives, 0 to 9';
comment on column steep_repl.pairs.round is 'how often it was planned: each has directories of its own';
comment on column steep_repl.pairs.warnings is 'what the job went on without, and what is left to do by hand';
