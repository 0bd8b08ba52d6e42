-- Which guard each table has, and who sees which rows. Triggers fire always: session_replication_role can be granted to a role.

create trigger guard before insert or update or delete on steep_repl.work_queue
  for each row execute function steep_repl._guard_work_queue();
create trigger guard before insert or update or delete on steep_repl.nodes
  for each row execute function steep_repl._guard_nodes();
create trigger guard before insert or update or delete on steep_repl.schema_fingerprints
  for each row execute function steep_repl._guard_schema_fingerprints();
create trigger enqueued after insert on steep_repl.work_queue
  for each row execute function steep_repl._enqueued();
create trigger dequeued after update of status on steep_repl.work_queue
  for each row when (old.status = 'pending' and new.status = 'cancelled')
  execute function steep_repl._dequeued();
alter table steep_repl.work_queue enable always trigger guard;
alter table steep_repl.work_queue enable always trigger enqueued;
alter table steep_repl.work_queue enable always trigger dequeued;
alter table steep_repl.nodes enable always trigger guard;
alter table steep_repl.schema_fingerprints enable always trigger guard;

-- What only workers write.
do $do$
declare
  target pg_catalog.text;
begin
  foreach target in array array['snapshots', '_job_directories', '_apply_done', 'overlaps', 'overlap_tables', 'overlap_rows', 'merges',
                                'merge_tables', '_merge_intents', 'merge_audit_log', '_merge_left', 'merge_conflicts', 'pairs'] loop
    execute pg_catalog.format($sql$
      create trigger guard before insert or update or delete or truncate on steep_repl.%1$I
        for each statement execute function steep_repl._guard_workers_only();
      alter table steep_repl.%1$I enable always trigger guard$sql$, target);
  end loop;
end
$do$;

-- A role sees its own jobs and those of roles it is a member of.
alter table steep_repl.work_queue enable row level security;
create policy own_jobs on steep_repl.work_queue
  using (pg_catalog.pg_has_role(requested_by_oid, 'MEMBER')
         and steep_repl._is_here(system_identifier, database_oid));
create policy monitoring on steep_repl.work_queue for select
  using (pg_catalog.pg_has_role('pg_monitor', 'MEMBER'));

-- Their results for reading only: a row that a role could lock would hold up the workers.
do $do$
declare
  target pg_catalog.text;
begin
  foreach target in array array['snapshots', 'overlaps', 'merges', 'pairs'] loop
    execute pg_catalog.format($sql$
      alter table steep_repl.%1$I enable row level security;
      create policy own_jobs on steep_repl.%1$I for select
        using (pg_catalog.pg_has_role(requested_by_oid, 'MEMBER') and steep_repl._is_here(system_identifier, database_oid));
      create policy monitoring on steep_repl.%1$I for select using (pg_catalog.pg_has_role('pg_monitor', 'MEMBER'))$sql$, target);
  end loop;
end
$do$;

-- Keys and images are the user's rows: for those only who may see the job as its requester's members.
do $do$
declare
  target pg_catalog.record;
begin
  for target in select t.* from (values ('overlap_tables', 'overlaps', 'overlap_id'), ('overlap_rows', 'overlaps', 'overlap_id'),
                                        ('merge_tables', 'merges', 'merge_id'), ('merge_audit_log', 'merges', 'merge_id'),
                                        ('_merge_left', 'merges', 'merge_id'), ('merge_conflicts', 'merges', 'merge_id')) as t (name, job, id) loop
    execute pg_catalog.format($sql$
      alter table steep_repl.%1$I enable row level security;
      create policy own_jobs on steep_repl.%1$I for select
        using (exists (select from steep_repl.%2$I j where j.%3$I operator(pg_catalog.=) %1$I.%3$I and pg_catalog.pg_has_role(j.requested_by_oid, 'MEMBER')))$sql$,
      target.name, target.job, target.id);
  end loop;
end
$do$;

alter table steep_repl.schema_fingerprints enable row level security;
create policy own_captures on steep_repl.schema_fingerprints
  using (pg_catalog.pg_has_role(captured_by_oid, 'MEMBER')
         and steep_repl._is_here(system_identifier, database_oid));
create policy monitoring on steep_repl.schema_fingerprints for select
  using (pg_catalog.pg_has_role('pg_monitor', 'MEMBER'));
