-- Deferrable constraints. PostgreSQL checks them by triggers, after the statement or at the end of the transaction. Where triggers
-- fire, they are checked with each part of a batch, so that what they refuse is left, and nothing else. Where a merge skips triggers,
-- PostgreSQL checks nothing: then the table is locked against other writers, and what was written is looked at here.

create function steep_repl._merge_note_deferred(here jsonb, there jsonb) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  side record;
begin
  for side in
    select * from (values ('local', here -> 'may_skip_triggers' = 'true'), ('peer', there -> 'may_skip_triggers' = 'true')) s(name, skips)
  loop
    update pg_temp.steep_repl_plans p
    set plan = jsonb_set(p.plan, array['merge', side.name], (p.plan -> 'merge' -> side.name) || jsonb_build_object(
                 'skips_triggers', side.skips, 'defers', not side.skips and case side.name when 'local' then t.local else t.peer end -> 'has_triggers' = 'true',
                 'rechecks', case when side.skips then p.plan -> 'merge' -> side.name -> 'rechecks' else '[]' end))
    from pg_temp.steep_repl_tables t where t.no = p.no;
  end loop;
end
$fn$;
comment on function steep_repl._merge_note_deferred(jsonb, jsonb) is 'private: notes who checks deferrable constraints';

-- Else a row that another transaction has not yet committed would be seen by nobody.
create function steep_repl._merge_lock_deferred(connection text, plan jsonb, is_here boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  side constant jsonb := plan -> 'merge' -> case when is_here then 'local' else 'peer' end;
  command constant text := format('lock table %s in share row exclusive mode', side ->> 'relation');
begin
  if side -> 'rechecks' = '[]' then
    return;
  elsif is_here then
    execute command;
  else
    perform steep_repl._peer_command(connection, command);
  end if;
end
$fn$;
comment on function steep_repl._merge_lock_deferred(text, jsonb, boolean) is 'private: keeps others from writing to a table whose constraints are checked here';

create function steep_repl._merge_check_deferred(connection text, plan jsonb, action text, numbers int[]) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  is_here constant boolean := action like '%local';
  side constant jsonb := plan -> 'merge' -> case when is_here then 'local' else 'peer' end;
  recheck jsonb;
  statement text;
  found text;
begin
  if side -> 'defers' = 'true' and is_here then
    set constraints all immediate;
  elsif side -> 'defers' = 'true' then
    perform steep_repl._merge_command_there(connection, 'set constraints all immediate');
  end if;
  for recheck in select r from jsonb_array_elements(side -> 'rechecks') r where action not like 'delete%' loop
    statement := steep_repl._fill(recheck -> 'find', steep_repl._merge_keys_of(plan, numbers));
    found := steep_repl._merge_read_side(
      connection, is_here, case when is_here then statement else 'set local steep_repl.trusted_code_only = on; ' || steep_repl._by_keys(statement) end);
    if found is not null then
      raise exception '% value violates % "%"', case when recheck -> 'excludes' = 'true' then 'conflicting' else 'duplicate' end || ' key',
        case when recheck -> 'excludes' = 'true' then 'exclusion constraint' else 'unique constraint' end, recheck ->> 'index'
        using errcode = case when recheck -> 'excludes' = 'true' then '23P01' else '23505' end, detail = found;
    end if;
  end loop;
end
$fn$;
comment on function steep_repl._merge_check_deferred(text, jsonb, text, int[]) is 'private: raises if rows that were written violate deferrable constraints';
