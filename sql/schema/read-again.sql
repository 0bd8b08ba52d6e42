-- Definitions that mean the same and are printed in two ways.
--
-- PostgreSQL prints a cast of ARRAY[...] to another type of array, as varchar IN ('a', 'b') has it. Read again, the cast is one of
-- each element. Of expressions of many kinds that a test has printed and read again, no other changes. Where all elements are columns
-- that are arrays themselves, what is printed does not say so, and their casts are thought to be those of single values.

-- A pattern, where # stands for what is neither bracket nor comma, and @ for what is in brackets, up to five in each other.
create function steep_repl._schema_pattern(pattern text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return (select replace(replace(replace(replace(replace(replace(replace(
  pattern, '@', i.side), '@', i.side), '@', i.side), '@', i.side), '@', i.side), '@', '[(][)]|[[][]]'), '#', i.other)
from (select $re$[[(](?:#|,|@)*[])]$re$ as side, $re$[^][(),'"]|'(?:[^']|'')*'|"(?:[^"]|"")*"$re$ as other) i);
comment on function steep_repl._schema_pattern(text) is 'private: a pattern of what stands in brackets';

-- What a definition is divided into: a string or name; ARRAY in parentheses, what it is of, and the type that it is cast to; anything else.
create function steep_repl._schema_array_casts() returns text
language sql immutable parallel unsafe set search_path = pg_catalog, pg_temp
return steep_repl._schema_pattern(
  $re$('(?:[^']|'')*'|"(?:[^"]|"")*")|[(]ARRAY[[]((?:#|,|@)*)[]][)]::((?:"(?:[^"]|"")*"|[a-z0-9_. ]|[(][0-9,-]+[)])+)[[][]]|([^'"(]+|[(])$re$);
comment on function steep_repl._schema_array_casts() is 'private: a pattern for what a definition is divided into at casts of arrays';

-- An expression for a definition, a column: as it would be printed after what is printed was read again.
create function steep_repl._schema_read_again(definition text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace(format($sql$case when strpos(@definition@, '])::') = 0 then @definition@ else (
  with recursive again(definition, n) as (
    select @definition@, 0
    union all
    -- elements that are arrays are cast to one, and have a turn of their own then
    select (select string_agg(coalesce(s.found[1], s.found[4], 'ARRAY[' || e.elements || ']'), '' order by s.n)
            from regexp_matches(a.definition, %1$L, 'g') with ordinality s(found, n)
            left join lateral (
              select string_agg(format('(%%s)::%%s%%s', m.element, s.found[3], case when m.is_array then '[]' end), ', ' order by m.n) as elements
              from (select ltrim(x.found[1]) as element, x.n, bool_or(x.found[1] ~ '^ ?ARRAY[[]|[[][]]$') over () as is_array
                    from regexp_matches(s.found[2], %2$L, 'g') with ordinality x(found, n)) m) e on s.found[2] is not null),
           a.n + 1
    from again a where a.n < 9 and strpos(a.definition, '])::') > 0)
  select a.definition from again a order by a.n desc limit 1) end$sql$,
  steep_repl._schema_array_casts(), steep_repl._schema_pattern('((?:#|@)+)')), '@definition@', definition);
comment on function steep_repl._schema_read_again(text) is 'private: an expression for a definition as it is printed after it was read again';

-- The same for a text of a definition that is printed as it is now after it was read: a cast to anyarray changes nothing, and keeps the
-- other one from the elements. NULL if there are such casts in each other.
create function steep_repl._schema_kept(definition text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace(format($sql$case when strpos(@definition@, '])::') = 0 then @definition@ else (
  select case when bool_or(strpos(s.found[2], '])::') > 0) is not true
              then string_agg(coalesce(s.found[1], s.found[4], format('((ARRAY[%%s])::anyarray)::%%s[]', s.found[2], s.found[3])), '' order by s.n) end
  from regexp_matches(@definition@, %L, 'g') with ordinality s(found, n)) end$sql$, steep_repl._schema_array_casts()), '@definition@', definition);
comment on function steep_repl._schema_kept(text) is 'private: an expression for a text that is read to what a definition is printed of';
