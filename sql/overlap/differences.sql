-- How the rows of two databases differ. TypeScript plans a table (plv8/overlap/overlap-plan.ts); here both
-- sides are asked at the same time, and their answers joined. docs/internals/comparing.md says how.

create type steep_repl._overlap_difference as (
  category text,
  key text[],
  local_digest bigint,
  peer_digest bigint
);
comment on type steep_repl._overlap_difference is 'private: a row that differs; category ''all'', the first: the snapshot here and how many rows each side has';

create function steep_repl._fill(gap jsonb, filling text) returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return (gap ->> 0) || filling || (gap ->> 1);
comment on function steep_repl._fill(jsonb, text) is 'private: a statement with its gap filled';

-- Starts a statement at the peer, runs its like here, and returns both answers.
create function steep_repl._on_both(connection text, local_statement text, peer_statement text, out here text, out there text)
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  perform steep_repl._peer_send(connection, peer_statement);
  here := steep_repl._one_text(local_statement);
  there := steep_repl._peer_wait(connection, peer_statement);
end
$fn$;
comment on function steep_repl._on_both(text, text, text) is 'private: asks both sides at the same time';

-- Statements that find rows by their keys are planned as such, see plv8/shared/key-settings.ts. Those of a plan for the peer say so
-- themselves.
create function steep_repl._by_keys(statement text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return $sql$@SET_LOCAL_KEYS@$sql$ || statement;
comment on function steep_repl._by_keys(text) is 'private: a statement for the peer that finds rows by their keys';

create function steep_repl._on_both_by_keys(connection text, local_statement text, peer_statement text, out here text, out there text)
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp @SET_KEYS@ as $fn$
begin
  select b.here, b.there into here, there from steep_repl._on_both(connection, local_statement, peer_statement) b;
end
$fn$;
comment on function steep_repl._on_both_by_keys(text, text, text) is 'private: asks both sides at the same time, by keys';

create function steep_repl._open_by_keys(statement text) returns refcursor
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp @SET_KEYS@ as $fn$
declare
  rows refcursor;
begin
  open rows no scroll for execute statement;
  return rows;
end
$fn$;
comment on function steep_repl._open_by_keys(text) is 'private: a cursor for a statement that finds rows by ranges of their keys';

-- How rows are put into buckets: the expression, and for ranges what is between them.
create function steep_repl._overlap_buckets(
  connection text, plan jsonb, out expression text, out boundaries text, out shift int)
language plpgsql stable strict parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  ranges constant jsonb := nullif(plan -> 'ranges', 'null');
  quantiles record;
  keys text[];
  keys_per_bucket numeric;
begin
  if ranges is null then
    expression := plan ->> 'hash_bucket';
    return;
  end if;
  if ranges ->> 'boundaries' is not null then
    select * into quantiles from steep_repl._on_both(connection, plan -> 'local' ->> 'sample', plan -> 'peer' ->> 'sample');
    execute ranges ->> 'boundaries' into boundaries using quantiles.here, quantiles.there;
  end if;
  keys := boundaries::text[];
  if ranges -> 'is_integer' = 'true' and cardinality(keys) > 1 then
    keys_per_bucket := greatest(1, (keys[cardinality(keys)]::numeric - keys[1]::numeric) / (plan ->> 'buckets')::int);
    -- never more rows in a bucket than there are keys
    shift := case when keys_per_bucket <= 256 then ceil(log(2, keys_per_bucket))::int end;
  end if;
  expression := case when shift is not null then format('(%s >> %s)', ranges ->> 'key', shift)
                     else format('width_bucket(%s, %L::%s[])', ranges ->> 'key', coalesce(boundaries, '{}'), ranges ->> 'type') end;
end
$fn$;
comment on function steep_repl._overlap_buckets(text, jsonb) is 'private: how rows are put into buckets, from a sample of both sides';

create function steep_repl._overlap_join(here text, there text, n_keys int) returns setof steep_repl._overlap_difference
language c immutable parallel unsafe as 'MODULE_PATHNAME', 'steep_repl_overlap_join';
comment on function steep_repl._overlap_join(text, text, int) is 'private: the rows that differ between two answers, by the text of their keys';

-- Which buckets are to be read row by row: those that differ; or, of a table that was seen before, those that differed then and those
-- that have changed since.
create type steep_repl._overlap_differing as (
  seen steep_repl._overlap_seen, local_rows bigint, peer_rows bigint, buckets int8[], groups int[], is_here boolean[], is_there boolean[]);
comment on type steep_repl._overlap_differing is 'private: buckets of a table that are read row by row, in groups';

-- since_here, since_there: the buckets of a table that was seen before, without digests.
create function steep_repl._overlap_read_buckets(
  connection text, plan jsonb, before steep_repl._overlap_seen, out seen steep_repl._overlap_seen, out since_here text, out since_there text)
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
begin
  seen := before;
  if before is null then
    select b.expression, b.boundaries, b.shift into seen.expression, seen.boundaries, seen.shift from steep_repl._overlap_buckets(connection, plan) b;
    select b.here, b.there into seen.here, seen.there from steep_repl._on_both(
      connection, steep_repl._fill(plan -> 'local' -> 'buckets', seen.expression), steep_repl._fill(plan -> 'peer' -> 'buckets', seen.expression)) b;
  else
    select b.here, b.there into since_here, since_there from steep_repl._on_both(
      connection, steep_repl._fill(plan -> 'local' -> 'since', steep_repl._overlap_since(seen.expression, seen.here_xmin)),
      steep_repl._fill(plan -> 'peer' -> 'since', steep_repl._overlap_since(seen.expression, seen.there_xmin))) b;
  end if;
end
$fn$;
comment on function steep_repl._overlap_read_buckets(text, jsonb, steep_repl._overlap_seen) is 'private: reads the buckets of a table on both sides';

create function steep_repl._overlap_find_buckets(connection text, plan jsonb, before steep_repl._overlap_seen) returns steep_repl._overlap_differing
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  rows_of_group constant int := 20000;
  is_again constant boolean := not (before is null);
  seen steep_repl._overlap_seen;
  read record;
  result steep_repl._overlap_differing;
begin
  select b.seen, b.since_here, b.since_there into read from steep_repl._overlap_read_buckets(connection, plan, before) b;
  seen := read.seen;
  with l as (
    select * from unnest((seen.here::text[])[1]::int8[], (seen.here::text[])[2]::int8[], (seen.here::text[])[3]::int8[]) u(bucket, n, digest)),
  r as (
    select * from unnest((seen.there::text[])[1]::int8[], (seen.there::text[])[2]::int8[], (seen.there::text[])[3]::int8[]) u(bucket, n, digest)),
  ls as (
    select * from unnest((read.since_here::text[])[1]::int8[], (read.since_here::text[])[2]::int8[], (read.since_here::text[])[3]::int8[]) u(bucket, n, late)
    where is_again),
  rs as (
    select * from unnest((read.since_there::text[])[1]::int8[], (read.since_there::text[])[2]::int8[], (read.since_there::text[])[3]::int8[]) u(bucket, n, late)
    where is_again),
  changed as (
    select bucket from l full join ls using (bucket) where is_again and (l.n is distinct from ls.n or ls.late = 1)
    union
    select bucket from r full join rs using (bucket) where is_again and (r.n is distinct from rs.n or rs.late = 1)),
  d as (
    select bucket, coalesce(l.n, 0) as l, coalesce(r.n, 0) as r from l full join r using (bucket)
    where l.digest is distinct from r.digest or l.n is distinct from r.n),
  b as (
    select bucket, case when not is_again then d.l else coalesce(ls.n, 0) end as l, case when not is_again then d.r else coalesce(rs.n, 0) end as r
    from (select d.bucket from d union select c.bucket from changed c) x left join d using (bucket) left join ls using (bucket) left join rs using (bucket)),
  g as (select b.*, ((sum(greatest(b.l, b.r)) over (order by bucket) - 1) / rows_of_group)::int as g from b where b.l > 0 or b.r > 0),
  groups as (select g.g, sum(g.l) as l, sum(g.r) as r from g group by g.g)
  select seen, (select coalesce(sum(x.n), 0) from (select l.n from l where not is_again union all select ls.n from ls) x)::int8,
         (select coalesce(sum(x.n), 0) from (select r.n from r where not is_again union all select rs.n from rs) x)::int8,
         (select array_agg(g.bucket order by g.bucket) from g), (select array_agg(g.g order by g.bucket) from g),
         (select array_agg(x.l > 0 order by x.g) from groups x), (select array_agg(x.r > 0 order by x.g) from groups x)
  into result;
  return result;
end
$fn$;
comment on function steep_repl._overlap_find_buckets(text, jsonb, steep_repl._overlap_seen) is 'private: which buckets of a table are read row by row';

-- STABLE, and each caller's statement is one query: so all that it reads here is of one snapshot, as all that
-- the peer reads is of one transaction.
create function steep_repl._overlap_differences(connection text, plan jsonb, before steep_repl._overlap_seen)
returns setof steep_repl._overlap_difference
language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as $fn$
declare
  fetch_group constant text := 'fetch 1 from steep_repl_rows';
  has_ranges constant boolean := nullif(plan -> 'ranges', 'null') is not null;
  differing steep_repl._overlap_differing;
  windows text;
  peer_rows text;
  local_rows refcursor;
  here text;
  there text;
begin
  differing := steep_repl._overlap_find_buckets(connection, plan, before);
  return next ('all', array[pg_current_snapshot()::text, differing.seen::text], differing.local_rows, differing.peer_rows)::steep_repl._overlap_difference;
  if differing.buckets is null then
    return;
  end if;

  if (differing.seen).shift is not null then
    execute plan -> 'ranges' ->> 'shifted_windows' into windows using differing.buckets, differing.groups, (differing.seen).shift;
  elsif has_ranges then
    execute plan -> 'ranges' ->> 'windows' into windows using differing.buckets, differing.groups, (differing.seen).boundaries;
  else
    windows := format('unnest(%L::int8[], %L::int[])', differing.buckets, differing.groups);
  end if;
  peer_rows := 'declare steep_repl_rows no scroll cursor for ' || steep_repl._fill(plan -> 'peer' -> 'rows', windows);
  if has_ranges then
    perform steep_repl._peer_command(connection, steep_repl._by_keys(peer_rows));
    local_rows := steep_repl._open_by_keys(steep_repl._fill(plan -> 'local' -> 'rows', windows));
  else
    perform steep_repl._peer_command(connection, peer_rows);
    open local_rows no scroll for execute steep_repl._fill(plan -> 'local' -> 'rows', windows);
  end if;
  if differing.is_there[1] then
    perform steep_repl._peer_send(connection, fetch_group);
  end if;
  for i in 1 .. cardinality(differing.is_here) loop
    here := null;
    there := null;
    if differing.is_here[i] then
      fetch local_rows into here;
    end if;
    if differing.is_there[i] then
      there := steep_repl._peer_answer(connection);
    end if;
    -- the peer reads the next group while this one is joined
    if differing.is_there[i + 1] then
      perform steep_repl._peer_send(connection, fetch_group);
    end if;
    if plan ->> 'join' is null then
      return query select j.* from steep_repl._overlap_join(here, there, jsonb_array_length(plan -> 'key')) j;
    else
      return query execute plan ->> 'join' using here::text[], there::text[];
    end if;
  end loop;
  close local_rows;
  perform steep_repl._peer_command(connection, 'close steep_repl_rows');
end
$fn$;
comment on function steep_repl._overlap_differences(text, jsonb, steep_repl._overlap_seen) is 'private: the rows of a table that differ between both sides, in one snapshot of each';
