-- Locks of others, which are waited for once, and then a moment only.

-- A lock was waited for in vain: from now on all that is written waits a moment only, so that the time is bounded whatever the number
-- of rows. The wait that a merge allows for locks lies between its rounds: see _merge_look_again.
create function steep_repl._merge_be_hasty(connection text, is_at_peer boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update pg_temp.steep_repl_merge set haste = greatest(haste, 1), was_locked = true;
  perform steep_repl._merge_set_haste(connection, is_at_peer);
end
$fn$;
comment on function steep_repl._merge_be_hasty(text, boolean) is 'private: has locks waited for no longer';

create function steep_repl._merge_set_haste(connection text, is_at_peer boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  if (select m.haste from pg_temp.steep_repl_merge m) > 0 then
    set local lock_timeout = '20ms';
    if is_at_peer then
      perform steep_repl._peer_command(connection, 'set local lock_timeout = 20');
    end if;
  end if;
end
$fn$;
comment on function steep_repl._merge_set_haste(text, boolean) is 'private: has this transaction wait for locks a moment only, if the merge is in haste';

-- Whether parts of a batch are not tried any more: after so many waits as it takes to find one row among 5,000, or a few of them; or, when
-- a batch before could not be written for locks, after one.
create function steep_repl._merge_is_hopeless(waited_in_vain int, all_waits int) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  return (select m.haste = 2 or waited_in_vain > 14 or all_waits > 64 from pg_temp.steep_repl_merge m);
end
$fn$;
comment on function steep_repl._merge_is_hopeless(int, int) is 'private: whether locks are in the way of all that is to be written';

create function steep_repl._merge_hope(was_written boolean) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  update pg_temp.steep_repl_merge set haste = case when was_written then 1 else 2 end
  where haste = case when was_written then 2 else 1 end;
end
$fn$;
comment on function steep_repl._merge_hope(boolean) is 'private: notes whether something of a batch could be written, where locks are in the way';
