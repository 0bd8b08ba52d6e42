-- Merges of the same tables take turns: what is not written on a side is not locked there, so two of them could exchange what both sides have.
-- The locks are advisory, on both sides, and go with the sessions; there are few, however many tables a merge has.

create function steep_repl._merge_turn_query(locks int[]) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format('select coalesce(array_agg(l.no) filter (where l.is_taken), ''{}'') as taken from (select no, pg_try_advisory_lock(1937073264, no) as is_taken from unnest(%L::int[]) no offset 0) l', locks);
comment on function steep_repl._merge_turn_query(int[]) is 'private: a query that takes the locks of a merge''s turn, those that can be had';

create function steep_repl._merge_turn_over_query(locks int[]) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return format('select count(pg_advisory_unlock(1937073264, no)) as n from unnest(%L::int[]) no', locks);
comment on function steep_repl._merge_turn_over_query(int[]) is 'private: a query that lets go of such locks';

-- Takes the locks of both sides, or none of them. All merges begin with the side that has the smaller identity.
create function steep_repl._merge_take_turn(connection text) returns boolean
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  -- a partition has that of its root
  locks constant int[] := array(
    select distinct abs(hashtext(coalesce(pg_partition_root(to_regclass(t.name))::text, t.name)) % 128) from pg_temp.steep_repl_tables t order by 1);
  sides constant text[] := case when (select m.is_local_first from pg_temp.steep_repl_merge m) then '{local,peer}'::text[] else '{peer,local}' end;
  side text;
  taken int[];
begin
  foreach side in array sides loop
    taken := array(select t::int from jsonb_array_elements_text(steep_repl._merge_query(connection, side, steep_repl._merge_turn_query(locks)) -> 0 -> 'taken') t);
    if cardinality(taken) < cardinality(locks) then
      perform steep_repl._merge_query(connection, side, steep_repl._merge_turn_over_query(taken));
      if side = sides[2] then
        perform steep_repl._merge_query(connection, sides[1], steep_repl._merge_turn_over_query(locks));
      end if;
      return false;
    end if;
  end loop;
  return true;
end
$fn$;
comment on function steep_repl._merge_take_turn(text) is 'private: whether no other merge is at work with the same tables on either side; then none begins until the sessions end';
