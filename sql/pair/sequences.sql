-- Two nodes share out the values of a sequence: each takes every tenth, so that there is room for ten nodes.

create function steep_repl._pair_sequence_list(tables text[], out sequence oid, out name text, out increment bigint, out minimum bigint,
                                               out maximum bigint, out is_cycle boolean, out is_owned boolean)
returns setof record
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  with tree as (
    select p.relid::oid as oid from unnest($1) t(name), pg_partition_tree(to_regclass(t.name)) p
    union select to_regclass(t.name)::oid from unnest($1) t(name)),
  used as (
    select d.objid as oid from tree join pg_depend d on d.refobjid = tree.oid
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.deptype in ('a', 'i')
    union
    select d.refobjid from tree join pg_attrdef a on a.adrelid = tree.oid
    join pg_depend d on d.classid = 'pg_attrdef'::regclass and d.objid = a.oid and d.refclassid = 'pg_class'::regclass)
  select s.seqrelid, format('%I.%I', n.nspname, c.relname), s.seqincrement, s.seqmin, s.seqmax, s.seqcycle, pg_has_role(c.relowner, 'USAGE')
  from used u join pg_sequence s on s.seqrelid = u.oid join pg_class c on c.oid = u.oid join pg_namespace n on n.oid = c.relnamespace
  order by n.nspname, c.relname
$fn$;
comment on function steep_repl._pair_sequence_list(text[]) is 'private: sequences that columns of these tables own, or their defaults call';

-- number: which share of the values a node has, if it has one. last: the latest value, NULL before the first.
create function steep_repl._pair_sequences(tables text[]) returns jsonb
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp
as $fn$
  select coalesce(jsonb_agg(jsonb_build_object(
           'name', l.name, 'increment', l.increment::text, 'minimum', l.minimum::text, 'maximum', l.maximum::text, 'is_cycle', l.is_cycle,
           'is_owned', l.is_owned, 'last', v.last::text,
           -- also before the first value since it was shared out
           'number', case when l.increment % 10 = 0 and v.next is not null
                          then mod(mod(v.next, l.increment) / (abs(l.increment) / 10) + 10, 10)::text end)), '[]')
  from steep_repl._pair_sequence_list($1) l
  cross join lateral (select d.last_value as next, case when d.is_called then d.last_value end as last from pg_get_sequence_data(l.sequence) d) v
$fn$;
comment on function steep_repl._pair_sequences(text[]) is 'private: where the sequences of these tables are';

-- The first value behind base that belongs to a node, in the direction of the sequence.
create function steep_repl._pair_next_value(base numeric, increment numeric, number int) returns numeric
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return (
  select case when increment > 0 then base + coalesce(nullif(mod(mod(s.r - base, s.width) + s.width, s.width), 0), s.width)
              else base - coalesce(nullif(mod(mod(base - s.r, s.width) + s.width, s.width), 0), s.width) end
  from (select abs(increment) as width, number * abs(increment) / 10 as r) s);
comment on function steep_repl._pair_next_value(numeric, numeric, int) is 'private: the next value of a node''s share';

-- Gives the sequences of these tables their share on this side. floors: what values the other side has reached, by sequence. ALTER
-- SEQUENCE keeps others from it until this transaction ends, so that none is given out twice meanwhile. What they have reached here.
create function steep_repl._pair_share_sequences(tables text[], number int, floors jsonb) returns jsonb
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  s record;
  step bigint;
  reached numeric;
  is_called boolean;
  base numeric;
  next numeric;
  result jsonb := '{}';
begin
  for s in select * from steep_repl._pair_sequence_list(tables) loop
    step := case when s.increment % 10 = 0 then s.increment else s.increment * 10 end;
    execute format('alter sequence %s increment by %s', s.name, step);
    execute format('select last_value, is_called from %s', s.name) into reached, is_called;
    if not is_called then
      reached := reached - s.increment;
    end if;
    result := result || jsonb_build_object(s.name, reached::text);
    base := case when step > 0 then greatest(reached, (floors ->> s.name)::numeric) else least(reached, (floors ->> s.name)::numeric) end;
    -- called again, a sequence that has its share stays where it is
    if not (step = s.increment and base = reached and mod(reached - number * abs(step) / 10, abs(step)) = 0) then
      next := steep_repl._pair_next_value(base, step, number);
      if next not between s.minimum and s.maximum then
        raise exception 'sequence % has no value left that could be shared', s.name using errcode = 'sequence_generator_limit_exceeded',
          detail = format('Its values go from %s to %s, and it is at %s.', s.minimum, s.maximum, base),
          hint = 'Make it and its column bigint, or set sequences => ''keep''.';
      end if;
      perform setval(s.sequence, next::bigint, false);
    end if;
  end loop;
  return result;
end
$fn$;
comment on function steep_repl._pair_share_sequences(text[], int, jsonb) is 'private: gives sequences a node''s share of their values; what they had reached';

-- Both sides at once: while those of this side are kept, no value of theirs is given out.
create function steep_repl._pair_share_both(connection text, tables text[], here int, there int) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  reached jsonb;
begin
  reached := steep_repl._pair_share_sequences(tables, here, '{}');
  reached := steep_repl._pair_ask(connection, format(
    'select steep_repl._pair_share_sequences(%L, %s, %L)::text', tables::text, there, reached))::jsonb;
  perform steep_repl._pair_share_sequences(tables, here, reached);
  return 'done';
end
$fn$;
comment on function steep_repl._pair_share_both(text, text[], int, int) is 'private: shares out the values of sequences between this node and the peer';

-- Which shares other nodes have, as pairs that were set up here say.
create function steep_repl._pair_shares_taken(but_peer text) returns jsonb
language sql stable strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on
as $fn$
  select coalesce(jsonb_agg(distinct p.peer_share), '[]') from steep_repl.pairs p
  where p.peer <> $1 and p.peer_share is not null and steep_repl._is_here(p.system_identifier, p.database_oid)
$fn$;
comment on function steep_repl._pair_shares_taken(text) is 'private: shares of sequences'' values that nodes other than the peer have';

create function steep_repl._pair_share(connection text, pair_id text) returns text
language plpgsql volatile strict parallel unsafe set search_path = pg_catalog, pg_temp set row_security = on as $fn$
declare
  pair constant steep_repl.pairs := steep_repl._pair(pair_id);
  shares constant jsonb := steep_repl._call('pair_shares', jsonb_build_object(
    'here', steep_repl._pair_sequences(pair.tables),
    'there', steep_repl._pair_ask(connection, format('select steep_repl._pair_sequences(%L)::text', pair.tables))::jsonb,
    'taken', steep_repl._pair_shares_taken(pair.peer)
             || steep_repl._pair_ask(connection, format('select steep_repl._pair_shares_taken(%L)::text', pair.local_node))::jsonb));
begin
  perform steep_repl._pair_share_both(connection, pair.tables, (shares ->> 'here')::int, (shares ->> 'there')::int);
  return shares::text;
end
$fn$;
comment on function steep_repl._pair_share(text, text) is 'private: gives both nodes of a pair their share of the values of sequences; which ones';
