import type { Random } from "./random.ts";

/** A kind of column: its type and values of a small domain, so that rows often agree. */
interface Kind {
  readonly type: string;
  readonly values: readonly string[];
  /** there is no equality: compare as text */
  readonly asText?: boolean;
}

const kinds: readonly Kind[] = [
  { type: "bool", values: ["t", "f"] },
  { type: "int2", values: ["0", "-1", "7"] },
  { type: "int8", values: ["9007199254740993", "-9223372036854775808", "0", "1", "4294967296"] },
  { type: "numeric", values: ["1.0", "1.00", "-1", "2", "NaN", "Infinity", "-Infinity"] },
  { type: "numeric(10,2)", values: ["1.5", "-1.5", "0", "NaN"] },
  { type: "float4", values: ["0", "-0", "1.1", "NaN"] },
  { type: "float8", values: ["0", "-0", "0.30000000000000004", "NaN"] },
  { type: "text", values: ["", "a", "ä€", "b\n", "\\N", '"'] },
  { type: "varchar(10)", values: ["", "a", "a "] },
  { type: "char(3)", values: ["a", "a ", "b"] },
  { type: "name", values: ["", "x"] },
  { type: '"char"', values: ["a", "\\200"] },
  { type: "bytea", values: ["", "\\x00ff", "\\x5c"] },
  { type: "date", values: ["infinity", "2024-02-29", "0001-12-31 BC"] },
  { type: "time", values: ["24:00:00", "00:00:00"] },
  { type: "timetz", values: ["00:00:00+02", "12:30:00.5-05:45"] },
  { type: "timestamp", values: ["infinity", "2024-02-29 01:02:03.000001"] },
  { type: "timestamptz", values: ["2024-03-31 01:30:00+00", "-infinity"] },
  {
    type: "interval",
    values: [
      "1 day",
      "24:00:00",
      "30 days",
      "1 mon",
      "-1 mon",
      "-1 mon +1 day",
      "infinity",
      "-infinity",
    ],
  },
  {
    type: "uuid",
    values: ["ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-00000000000a"],
  },
  { type: "inet", values: ["10.0.0.1/8", "10.0.0.1", "::1"] },
  { type: "macaddr", values: ["08:00:2b:01:02:03"] },
  { type: "pg_lsn", values: ["0/0", "16/B374D848"] },
  { type: "jsonb", values: ["1.0", "1.00", "-1", '{"a": [1, "ä"]}', '{"a": [-1, "ä"]}', "null"] },
  { type: "json", values: ['{"a":1,"a":2}', '{"a": 1}', "null"], asText: true },
  { type: "xml", values: ["<a/>", "<a>b</a>"], asText: true },
  { type: "point", values: ["(1,2)", "(1,3)"], asText: true },
  { type: "bit(3)", values: ["101", "111"] },
  { type: "varbit", values: ["", "101"] },
  { type: "money", values: ["1.50", "-0.01"] },
  { type: "tsvector", values: ["a:1", "a:1 b:2"] },
  { type: "int4range", values: ["[1,5)", "(0,4]", "empty"] },
  { type: "numrange", values: ["[1.0,2)", "[1.00,2)", "[-1,2)"] },
  { type: "int4multirange", values: ["{[1,2)}", "{}"] },
  { type: "int[]", values: ["{1,2}", "[2:3]={1,2}", "{{1,2}}", "{}", "{NULL}"] },
  { type: "numeric[]", values: ["{1.0}", "{1.00}", "{-1}", "{NaN}", "[2:2]={1}", "{NULL}"] },
  { type: "float8[]", values: ["{0}", "{-0}", "{NaN}", "{NULL}"] },
  { type: "int8[]", values: ["{1}", "{4294967296}", "{NULL}"] },
  { type: "char(3)[]", values: ["{abc,b}", "{a}", "{NULL}"] },
  { type: "bit(3)[]", values: ["{101}", "{111,000}"] },
  { type: "numeric(10,2)[]", values: ["{1.5,NULL}", "{1.55}"] },
  { type: "text[]", values: ["{a,b}", "{NULL,a}", '{"a,b"}'] },
  { type: "regclass", values: ["pg_class", "pg_type"] },
  { type: "regtype", values: ["integer", "public.color"] },
  { type: "public.color", values: ["red", "green", "blue"] },
  { type: "public.color[]", values: ["{red}", "{red,green}", "{}"] },
  { type: "public.shade", values: ["red", "green"], asText: true },
  { type: "public.small", values: ["1", "2"] },
  { type: "public.small[]", values: ["{1}", "{2,3}"] },
  { type: "public.pair", values: ["(1,a)", "(1,)", "(,)"] },
  { type: "public.dyed", values: ["(1,red)", "(1,green)"] },
  { type: "public.colors", values: ["[red,green]", "[red,red]"] },
];

/** Run in both databases before the tables are made; enums get other oids in each. */
export const typesSql = `
  create type public.color as enum ('red', 'green', 'blue');
  create domain public.shade as public.color;
  create domain public.small as int check (value < 100);
  create type public.pair as (n int, t text);
  create type public.dyed as (n int, c public.color);
  create type public.colors as range (subtype = public.color);`;

const keyKinds: readonly Kind[] = [
  { type: "int4", values: ["-2147483648", "2147483647", "-5", "1", "2", "3", "50", "1000"] },
  { type: "int8", values: ["9007199254740993", "9007199254740992", "1", "2", "-3", "77"] },
  { type: "int2", values: ["-32768", "32767", "1", "2", "3"] },
  { type: "numeric", values: ["1.0", "2", "3.5", "NaN", "-1e20"] },
  { type: "float8", values: ["0", "1.5", "NaN", "-Infinity"] },
  { type: "text", values: ["", "a", "A", "ä", "b c", "z\n", '"', "\\"] },
  { type: "varchar(5)", values: ["", "a", "b", "zz"] },
  { type: "char(4)", values: ["a", "b", "abcd"] },
  {
    type: "uuid",
    values: [
      "00000000-0000-0000-0000-000000000000",
      "ffffffff-ffff-ffff-ffff-ffffffffffff",
      "7f000000-0000-0000-0000-000000000001",
      "80000000-0000-0000-0000-000000000001",
    ],
  },
  { type: "date", values: ["-infinity", "infinity", "2024-01-01", "2024-01-02"] },
  {
    type: "timestamp",
    values: ["-infinity", "infinity", "2024-01-01", "2024-01-01 00:00:00.000001"],
  },
  {
    type: "timestamptz",
    values: ["-infinity", "infinity", "2024-01-01 00:00+00", "2024-01-01 00:00+01"],
  },
  { type: "interval", values: ["1 day", "1 mon", "0"] },
  { type: "bytea", values: ["", "\\x00", "\\xff"] },
  { type: "inet", values: ["10.0.0.1", "10.0.0.1/8", "::1"] },
  { type: "public.color", values: ["red", "green", "blue"] },
  { type: "public.small", values: ["1", "2", "3"] },
  { type: "int[]", values: ["{1}", "[2:2]={1}", "{}"] },
  { type: "jsonb", values: ["1", "2", '"x"'] },
];

/** Columns that say when a row was modified, and how a clock that goes wrong shifts them. */
const stampKinds: readonly (Kind & { readonly skew: string })[] = [
  {
    type: "timestamptz",
    values: [
      "2024-01-01 00:00+00",
      "2024-01-01 00:00:00.000001+00",
      "2024-03-31 02:30+02",
      "infinity",
    ],
    skew: "interval '1 hour'",
  },
  {
    type: "timestamp",
    values: ["2024-01-01 00:00", "2024-01-02 00:00", "-infinity"],
    skew: "interval '-1 day'",
  },
  { type: "date", values: ["2024-02-28", "2024-02-29", "0001-12-31 BC"], skew: "1" },
  { type: "int8", values: ["9007199254740992", "9007199254740993", "-1"], skew: "1" },
  { type: "numeric", values: ["1.0", "1.00", "2", "-3.5"], skew: "0.5" },
];

export interface RandomPairOptions {
  /** as PostgreSQL 14 has it, too */
  readonly common?: boolean;
  /** with a column `stamp` that says when a row was modified: often, not always, later where a row was */
  readonly stamped?: boolean;
  /** what identifies rows need not be a primary key, nor be declared on both sides */
  readonly anyKey?: boolean;
}

export interface RandomPair {
  readonly table: string;
  /** for each side: statements that make and fill the table */
  readonly sql: readonly [local: string, peer: string];
  readonly key: readonly string[];
  /** columns that are compared, with their types */
  readonly columns: readonly {
    readonly name: string;
    readonly type: string;
    readonly asText: boolean;
  }[];
}

const literal = (value: string | null) =>
  value === null
    ? "null"
    : `E'${value.replaceAll("\\", "\\\\").replaceAll("'", "''").replaceAll("\n", "\\n")}'`;

function combinations(lists: readonly (readonly string[])[]): string[][] {
  return lists.reduce<string[][]>(
    (all, list) => all.flatMap((prefix) => list.map((value) => [...prefix, value])),
    [[]],
  );
}

type Values = readonly (string | null)[];

/** Rows of one side made from those of both: some gone, some changed, two swapped. */
function edit(
  random: Random,
  rows: readonly Values[],
  keys: number,
  columns: readonly Kind[],
): Values[] {
  const edited = rows
    .filter(() => random.next() > 0.1)
    .map((row) => {
      if (columns.length === 0 || random.next() > 0.15) return row;
      const at = random.int(0, columns.length - 1);
      const value = random.next() < 0.1 ? null : random.pick((columns[at] as Kind).values);
      return row.map((old, i) => (i === keys + at ? value : old));
    });
  if (edited.length > 1 && random.next() < 0.3) {
    const [a, b] = random.shuffle(edited.map((_, i) => i)) as [number, number];
    const [one, two] = [edited[a] as Values, edited[b] as Values];
    edited[a] = [...one.slice(0, keys), ...two.slice(keys)];
    edited[b] = [...two.slice(0, keys), ...one.slice(keys)];
  }
  return edited;
}

/** What identifies the rows; weak: what would let NULLs in, so that the other side has to have a key. */
function keySql(random: Random, table: string, key: readonly string[], weak: boolean): string {
  const columns = key.join(", ");
  const unique = `create unique index on ${table} (${columns});`;
  if (weak)
    return `${unique} ${key.map((k, i) => `alter table ${table} add constraint nn_${i} not null ${k} not valid;`).join(" ")}`;
  return random.pick([
    `alter table ${table} add primary key (${columns});`,
    `alter table ${table} add primary key (${columns}) deferrable initially deferred;`,
    `${unique} ${key.map((k) => `alter table ${table} alter ${k} set not null;`).join(" ")}`,
  ]);
}

/** A table on two sides, with differences that nobody knows but a full join. */
export function randomPair(
  random: Random,
  table: string,
  { common = false, stamped = false, anyKey = false }: RandomPairOptions = {},
): RandomPair {
  const keyColumns = Array.from({ length: random.pick([1, 1, 1, 2, 3]) }, () =>
    random.pick(keyKinds),
  );
  const usable = common ? kinds.filter((kind) => kind.type !== "interval") : kinds;
  const columns = Array.from({ length: random.int(0, 6) }, () => random.pick(usable));
  const stamp = stamped ? random.pick(stampKinds) : undefined;
  if (stamp) columns.push(stamp);
  const all = [...keyColumns, ...columns];
  const names = random.shuffle(all.map((_, i) => (i % 3 === 0 ? `"C ${i}""x"` : `c${i}`)));
  if (stamp) names[all.length - 1] = "stamp";
  const rows = random
    .shuffle(combinations(keyColumns.map((k) => random.shuffle(k.values).slice(0, 6))))
    .slice(0, random.int(0, 40))
    .map(
      (key): Values => [
        ...key,
        ...columns.map((c) => (random.next() < 0.1 ? null : random.pick(c.values))),
      ],
    );
  const key = keyColumns.map((_, i) => names[i] as string);

  const weak = anyKey && !common ? random.pick([undefined, undefined, false, true]) : undefined;
  const keyOf = (isPeer: boolean) =>
    anyKey
      ? keySql(random, table, key, isPeer === weak)
      : `alter table ${table} add primary key (${key.join(", ")});`;

  const generated = random.next() < 0.2;
  const touch = (row: Values): Values =>
    !stamp || rows.includes(row) || random.next() < 0.3
      ? row
      : [...row.slice(0, -1), random.pick(stamp.values)];
  const side = (isPeer: boolean) => {
    const order = random.shuffle(all.map((_, i) => i));
    const definitions = order.map((i) => `${names[i]} ${(all[i] as Kind).type}`);
    const dropped = random.next() < 0.3;
    if (dropped) definitions.splice(random.int(0, definitions.length), 0, "gone int");
    if (generated) definitions.push("made int generated always as (1) stored");
    const inflate = random.next() < 0.5;
    const values = edit(random, rows, keyColumns.length, columns)
      .map(touch)
      .map((row) => `(${order.map((i) => literal(row[i] ?? null)).join(", ")})`);
    const skewed = isPeer && stamp && random.next() < 0.2;
    return `create table ${table} (${definitions.join(", ")});
      ${keyOf(isPeer)}
      ${dropped ? `alter table ${table} drop column gone;` : ""}
      ${values.length > 0 ? `insert into ${table} (${order.map((i) => names[i]).join(", ")}) values ${values.join(", ")};` : ""}
      ${skewed ? `update ${table} set stamp = stamp + ${stamp.skew};` : ""}
      ${inflate ? `update pg_class set reltuples = 1500 where oid = '${table}'::regclass;` : ""}`;
  };
  return {
    table,
    sql: [side(false), side(true)],
    key,
    columns: all.map((kind, i) => ({
      name: names[i] as string,
      type: kind.type,
      asText: kind.asText ?? false,
    })),
  };
}

/** Counts by a full join of all rows, those of the peer fetched by dblink under the name `peer`. */
export function bruteForceSql({ table, key, columns }: RandomPair): string {
  const list = columns.map((c) => c.name).join(", ");
  const typed = columns.map((c) => `${c.name} ${c.type}`).join(", ");
  const same = columns
    .map(({ name, asText }) =>
      asText
        ? `l.${name}::text is not distinct from r.${name}::text`
        : `l.${name} is not distinct from r.${name}`,
    )
    .join(" and ");
  const first = key[0];
  return `
    select count(*) filter (where r.${first} is null)::int as local_only, count(*) filter (where l.${first} is null)::int as remote_only,
           count(*) filter (where l.${first} is not null and r.${first} is not null and ${same})::int as match,
           count(*) filter (where l.${first} is not null and r.${first} is not null and not (${same}))::int as conflict
    from ${table} l
    full join dblink('peer', 'select ${list.replaceAll("'", "''")} from ${table}') as r(${typed})
      on ${key.map((k) => `l.${k} = r.${k}`).join(" and ")}`;
}
