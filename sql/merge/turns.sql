-- Merges of the same tables take turns: what is not written on a side is not locked there, so two of them could exchange what both sides have.
-- The locks are advisory, on both sides, and go with the sessions; there are few, however many tables a merge has.

-- for_session: until that ends, and not this transaction.
create function steep_repl._merge_turn_query(locks int[], for_session boolean) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format('select coalesce(array_agg(l.no) filter (where l.is_taken), ''{}'') as taken from (select no, %s(1937073264, no) as is_taken from unnest(%L::int[]) no offset 0) l',
  case when for_session then 'pg_try_advisory_lock' else 'pg_try_advisory_xact_lock' end, locks);
comment on function steep_repl._merge_turn_query(int[], boolean) is 'private: a query that takes the locks of a merge''s turn, those that can be had';

create function steep_repl._merge_turn_over_query(locks int[]) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format('select count(pg_advisory_unlock(1937073264, no)) as n from unnest(%L::int[]) no', locks);
comment on function steep_repl._merge_turn_over_query(int[]) is 'private: a query that lets go of such locks';

-- Of some tables; a partition has that of its root.
create function steep_repl._merge_locks(tables text[]) returns int[]
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
return array(select distinct abs(hashtext(coalesce(pg_partition_root(to_regclass(t.name))::text, t.name)) % 128) from unnest(tables) t(name) order by 1);
comment on function steep_repl._merge_locks(text[]) is 'private: the locks of a merge of these tables';

-- Takes the locks of both sides, or none of them. All merges begin with the side that has the smaller identity.
create function steep_repl._merge_take_turn(connection text, is_job boolean) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  locks constant int[] := steep_repl._merge_locks(array(select t.name from pg_temp.steep_repl_tables t));
  sides constant text[] := case when (select m.is_local_first from pg_temp.steep_repl_merge m) then '{local,peer}'::text[] else '{peer,local}' end;
  side text;
  taken int[];
begin
  foreach side in array sides loop
    taken := array(select t::int from jsonb_array_elements_text(steep_repl._merge_query(connection, side, steep_repl._merge_turn_query(locks, is_job or side = 'peer')) -> 0 -> 'taken') t);
    if cardinality(taken) < cardinality(locks) then
      if is_job or side = 'peer' then
        perform steep_repl._merge_query(connection, side, steep_repl._merge_turn_over_query(taken));
      end if;
      if side = sides[2] and (is_job or sides[1] = 'peer') then
        perform steep_repl._merge_query(connection, sides[1], steep_repl._merge_turn_over_query(locks));
      end if;
      return false;
    end if;
  end loop;
  return true;
end
$fn$;
comment on function steep_repl._merge_take_turn(text, boolean) is 'private: whether no other merge is at work with the same tables on either side; then none begins until the sessions end, or here without a job the transaction';

-- Settling a conflict takes a turn, too, and waits as long as for a row.
create function steep_repl._resolve_take_turn(connection text) returns void
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  give_up constant timestamptz := clock_timestamp() + current_setting('steep_repl.lock_timeout')::interval;
begin
  while not steep_repl._merge_take_turn(connection, false) loop
    if clock_timestamp() > give_up then
      raise exception 'a merge of the same table is at work' using errcode = 'lock_not_available',
        detail = 'It is one here, or one of the peer, or somebody else settles a conflict of that table.',
        hint = 'Wait until it is over; see steep_repl.merges on both sides.';
    end if;
    perform pg_sleep(0.05);
  end loop;
end
$fn$;
comment on function steep_repl._resolve_take_turn(text) is 'private: waits until no merge is at work with the table of a conflict';
