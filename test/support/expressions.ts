import type { Server } from "./server.ts";

/* Expressions of as many kinds as PostgreSQL prints in its own way, over the columns of one table. */

const table = `create table s.t (a int, c varchar(7), d varchar[], e date, f float8, x text[], ts timestamptz, n numeric(5, 2),
  b char(3), iv interval day to second(3), j jsonb)`;

const expressions: readonly string[] = [
  ...[
    "c in ('a', 'b')",
    "c not in ('a', upper('b'))",
    "(c collate \"C\") in ('a', 'b')",
    "c = any (array[c, 'b'])",
  ],
  ...[
    "b in ('a', 'b')",
    "a in (1, 2, -3)",
    "a in (a, 2)",
    "c like any (array['a%', 'b%'])",
    "d[1] in ('a', 'b]::')",
  ],
  ...[
    "x = array[array['a'::varchar], array['b']]::varchar[]::text[]",
    "x = array[c, 'x']::varchar[]::text[]",
  ],
  ...[
    "x = (array[array['a'::varchar, c], array[c, 'b,(']]::anyarray)::text[]",
    "n = any (array[1, a])",
  ],
  ...[
    "x = array['{a}'::varchar[], d]::varchar[]::text[] or c = '(ARRAY[''a'']::text[])::text[]'",
    "x = array[]::text[]",
  ],
  ...[
    "x = array['a', 'b'] || c::text",
    "d = array['a', 'b']::varchar[]",
    "x = '{a,b}'::text[]",
    "(array['a', 'b'])[a] = c",
  ],
  ...[
    "concat(variadic array['a', c]) = 'x'",
    "c = any ((array['a', c])[1:2])",
    "array_position(x, c) > 1",
    "x[1:2] = array['a']",
  ],
  ...[
    "c between 'a' and 'b'",
    "a between symmetric 1 and 2",
    "f > 0.5 and (a > 1 and (c > 'a' or c < 'b'))",
    "(a > 1 and c > 'a') and f > -1",
  ],
  ...[
    "ts > '2020-01-01'",
    "ts at time zone 'UTC' > timestamp '2020-01-01'",
    "extract(year from ts) > 3",
    "(ts, ts) overlaps (ts, ts)",
  ],
  ...[
    "ts > current_date",
    "ts > localtimestamp(2)",
    "ts::time(2) < '10:00'",
    "e < ts",
    "iv > interval '1 day 2 hours'",
    "interval '1' hour = iv",
  ],
  ...[
    "(a, f) < (1, 2)",
    "(a, f) = (1, 2)",
    "(a, c) in ((1, 'a'), (2, 'b'))",
    "(a, c) is distinct from (1, 'x')",
    "row(a, c) is not null",
  ],
  ...[
    "case a when 1 then true else c is null end",
    "case when a > 1 then c else 'b' end = 'x'",
    "coalesce(c, 'x') = 'y'",
  ],
  ...[
    "nullif(a, 1) is null",
    "greatest(a, 1.5) > 2",
    "not (a = 1)",
    "a is not distinct from 3",
    "a <> all (array[1, 2])",
    "(a > 1) is not true",
  ],
  ...[
    "n > 1",
    "n = 'NaN'",
    "-a::numeric > 1",
    "-1.5 < a",
    "a = - 2147483648",
    "a = 3000000000",
    "f = 1e100",
    "@ a > 2",
    "a = 1::smallint",
  ],
  ...[
    "c similar to 'a%'",
    "c ~ '^\\d'",
    "c::varchar(3) = 'abc'",
    "'abcd'::varchar(3) = c",
    "b = 'a'::char(3)",
    "a::bit(3) = b'101'",
  ],
  ...[
    "overlay(c placing 'x' from 1 for 2) = 'a'",
    "substring(c from 2 for 1) = 'x'",
    "position('a' in c) > 0",
    "trim(both 'x' from c) = 'a'",
  ],
  ...[
    'c collate "C" > \'a\' collate "C"',
    "c is nfc normalized",
    "c <> user",
    "xmlelement(name a, c) is document",
  ],
  ...[
    "j @> '{\"a\": 1}'",
    "j ->> 'a' = 'b'",
    "j['a'] is not null",
    "json_exists(j, '$.a')",
    "c is json object",
  ],
  ...[
    "json_value(j, '$.a' returning int) = 1",
    "json_object('a': a) is not null",
    "json_array(a, c returning jsonb) is not null",
  ],
];

const tryAll = (again: string, kept: string) => `
  create function s.try_all(expressions text[]) returns table (what text, printed text, is_changed boolean) language plpgsql as $fn$
  declare
    e text;
    said text[];
    texts text[];
  begin
    foreach e in array expressions loop
      said := '{}';
      texts := array['check (' || e || ')'];
      for i in 1..3 loop
        execute 'alter table s.t add constraint k ' || texts[i];
        said[i] := (select pg_get_constraintdef(k.oid) from pg_constraint k where k.conrelid = 's.t'::regclass and k.conname = 'k');
        alter table s.t drop constraint k;
        texts := texts || said[1] || (select ${kept} from (values (said[1])) v(d));
      end loop;
      return query
        select case when x.again <> said[2] then 'not as it is read again: ' || x.again
                    when said[3] <> said[1] then 'not kept: ' || said[3] end, said[1], said[2] <> said[1]
        from (select ${again} as again from (values (said[1])) v(d)) x;
    end loop;
  end $fn$`;

/** What PostgreSQL prints of checks, reads, and prints: what steep_repl thinks of it that is not so, and how many change. */
export async function printAndRead(server: Pick<Server, "query">) {
  const app = { database: "app" };
  const [texts] = await server.query<{ again: string; kept: string }>(
    "select steep_repl._schema_read_again('v.d') as again, steep_repl._schema_kept('v.d') as kept",
    [],
    app,
  );
  await server.query(`drop schema if exists s cascade; create schema s; ${table}`, [], app);
  await server.query(tryAll(texts?.again ?? "", texts?.kept ?? ""), [], app);
  const rows = await server.query<{ what: string | null; printed: string; is_changed: boolean }>(
    "select * from s.try_all($1)",
    [expressions],
    app,
  );
  return {
    tried: rows.length,
    changed: rows.filter((row) => row.is_changed).length,
    wrong: rows.filter(({ what }) => what !== null),
  };
}
