-- Definitions that mean the same and are printed in two ways.

-- An expression for a definition, a column: as it would be printed after what is printed was read again. A cast of an array to
-- another type of array, as varchar IN ('a', 'b') has it, becomes casts of its elements then.
create function steep_repl._schema_read_again(definition text) returns text
language sql immutable strict parallel unsafe set search_path = pg_catalog, pg_temp
return replace($sql$case when strpos(@definition@, '])::') = 0 then @definition@ else (
  select string_agg(s.piece || coalesce('ARRAY[' || regexp_replace(
           m.found[1], '(' || q.element || ')(, |$)',
           format('(%s1)::%s%s2', chr(92), replace(m.found[2], chr(92), repeat(chr(92), 2)), chr(92)), 'g') || ']', ''), '' order by s.n)
  from (select e.element, format('[(]ARRAY[[](%s(?:, %s)*)[]][)]::((?:"(?:[^"]|"")*"|[a-z0-9_. ]|[(][0-9,-]+[)])+)[[][]]', e.element, e.element) as cast
        -- what stands between commas, with up to five parentheses in each other
        from (select replace(replace(replace(replace(replace(replace(
                $re$(?:[^][(),'"]|'(?:[^']|'')*'|"(?:[^"]|"")*"|@)+$re$, '@', i.side), '@', i.side), '@', i.side), '@', i.side), '@', i.side), '@', '[(][)]') as element
              from (select $re$[(](?:[^()'"]|'(?:[^']|'')*'|"(?:[^"]|"")*"|@)*[)]$re$ as side) i) e) q
  cross join lateral regexp_split_to_table(@definition@, q.cast) with ordinality s(piece, n)
  left join lateral regexp_matches(@definition@, q.cast, 'g') with ordinality m(found, n) on m.n = s.n) end$sql$, '@definition@', definition);
comment on function steep_repl._schema_read_again(text) is 'private: an expression for a definition as it is printed after it was read again';
