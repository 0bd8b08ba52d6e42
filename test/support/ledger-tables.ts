import type { Random } from "./random.ts";

/** A column as SQL finds it: of a row, or of an image. */
type Column = (name: string) => string;

/** A kind of table in which PostgreSQL has rules of its own about keys and values. */
export interface LedgerKind {
  readonly name: string;
  /** columns besides `token text not null`, and constraints, as CREATE TABLE has them */
  readonly columns: string;
  /** what follows the columns: partitioning */
  readonly options?: string;
  /** statements after CREATE TABLE @t@; and after it is filled */
  readonly made?: string;
  readonly filled?: string;
  readonly key: readonly string[];
  /** the key of row i, as it is spelled on that side */
  keyOf(i: number, isPeer: boolean): readonly string[];
  /** what two spellings of one key have in common, as text */
  ident(column: Column): string;
  /** the other columns, made from a number that no other row has */
  valuesOf(u: number): Readonly<Record<string, string>>;
  /** rows may take values from each other within a transaction */
  readonly swaps?: boolean;
  /** rows that are not the same may not be in one table */
  readonly collides?: boolean;
}

const id = {
  key: ["id"],
  keyOf: (i: number) => [`${i}`],
  ident: (column: Column) => `(${column("id")})::text`,
};
const text = {
  key: ["id"],
  keyOf: (i: number) => [`'Key ${i}'`],
  ident: (column: Column) => `(${column("id")})::text collate "C"`,
};
const u = (n: number) => ({ u: `${n}` });

export const ledgerKinds: readonly LedgerKind[] = [
  {
    name: "temporal key",
    columns: "id int, at int4range, u int, primary key (id, at without overlaps)",
    key: ["id", "at"],
    keyOf: (i) => [`${i % 5}`, `'[${10 * i},${10 * i + 7})'`],
    ident: (column) => `concat(${column("id")}, ' ', ${column("at")})`,
    valuesOf: u,
  },
  {
    name: "exclusion constraint",
    columns: "id int primary key, during int4range, exclude using gist (during with &&)",
    ...id,
    valuesOf: (n) => ({ during: `'[${3 * n},${3 * n + 2})'` }),
  },
  {
    name: "deferrable exclusion constraint",
    columns: "id int primary key, during int4range, exclude using gist (during with &&) deferrable",
    ...id,
    valuesOf: (n) => ({ during: `'[${3 * n},${3 * n + 2})'` }),
    swaps: true,
  },
  {
    name: "partial and expression unique indexes",
    columns: "id int primary key, u int, v text",
    // biome-ignore format: one index a line
    made: `create unique index on @t@ (u) where u % 2 = 0;
           create unique index on @t@ (lower(v), (u % 1000000))`,
    ...id,
    valuesOf: (n) => ({ u: `${n}`, v: `'V ${n}'` }),
  },
  {
    name: "deferrable unique constraint",
    columns: "id int primary key, u int unique deferrable initially deferred, v int unique",
    ...id,
    valuesOf: u,
    swaps: true,
  },
  {
    name: "citext key",
    columns: "id public.citext primary key, u int",
    ...text,
    valuesOf: u,
  },
  {
    name: "key of a non-deterministic collation",
    columns: `id text collate public.nd primary key, u int unique nulls not distinct`,
    ...text,
    valuesOf: u,
  },
  ...["citext", "text collate public.nd"].map((type) => ({
    name: `keys of ${type} in other cases`,
    columns: `id ${type.startsWith("text") ? type : `public.${type}`} primary key, u int unique`,
    ...text,
    keyOf: (i: number, isPeer: boolean) => [isPeer && i % 7 === 5 ? `'KEY ${i}'` : `'Key ${i}'`],
    valuesOf: u,
    collides: true,
  })),
  {
    name: "numeric key",
    columns: "id numeric primary key, n numeric",
    key: ["id"],
    keyOf: (i, isPeer) => [isPeer ? `${i}.50` : `${i}.5`],
    ident: (column) => `trim_scale((${column("id")})::numeric)::text`,
    valuesOf: (n) => ({ n: `${n}.0` }),
  },
  {
    name: "float key",
    columns: "id float8 primary key, f float4",
    key: ["id"],
    keyOf: (i, isPeer) => [i === 0 && isPeer ? "'-0'" : `${i}`],
    ident: (column) => `((${column("id")})::float8 + 0)::text`,
    valuesOf: (n) => ({ f: `${n}` }),
  },
  {
    name: "domains over domains",
    columns: "id public.inner_id primary key, d public.outer_number",
    ...id,
    valuesOf: (n) => ({ d: `${n}` }),
  },
  {
    name: "generated columns",
    columns:
      "id int primary key, u int, s int generated always as (u + 1) stored, v int generated always as (u * 2) virtual",
    ...id,
    valuesOf: u,
  },
  {
    name: "NOT NULL that is not valid",
    columns: "id int primary key, w int",
    filled: "alter table @t@ add constraint no_null not null w not valid",
    ...id,
    valuesOf: (n) => ({ w: n % 7 === 3 ? "null" : `${n}` }),
  },
  {
    name: "unique, NULLS NOT DISTINCT",
    columns: "id int primary key, n int, unique nulls not distinct (n)",
    ...id,
    valuesOf: (n) => ({ n: n % 50 === 0 ? "null" : `${n}` }),
  },
  {
    name: "partitions with their own indexes and foreign keys",
    columns: "id int primary key, u int, r int",
    options: "partition by range (id)",
    made: `create table @t@_low partition of @t@ for values from (-1) to (15);
           create table @t@_high partition of @t@ for values from (15) to (10000) partition by range (id);
           create table @t@_top partition of @t@_high for values from (15) to (10000);
           alter table @t@_low add unique (u); create unique index on @t@_top ((u + 1));
           alter table @t@_low add foreign key (r) references public.ref; alter table @t@_top add foreign key (r) references public.ref`,
    ...id,
    valuesOf: (n) => ({ u: `${n}`, r: `${n % 10}` }),
  },
];

/** What the tables need, in each database; the other side gets other oids. */
export const ledgerTypes = `
  create extension if not exists btree_gist; create extension if not exists citext;
  create collation public.nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
  create domain public.outer_id as int check (value >= 0); create domain public.inner_id as public.outer_id check (value < 1000000);
  create domain public.inner_number as numeric(10, 2); create domain public.outer_number as public.inner_number check (value > 0);
  create table public.ref (id int primary key); insert into public.ref select g from generate_series(0, 9) g;
  create table public.ledger (n bigint generated always as identity primary key, name text, ident text, old text, new text);
  create function public.write(name text, match text, ident text, token text, does text) returns text language plpgsql as $$
  declare
    old text;
  begin
    execute format('select token from public.%I t where %s for update', name, match) into old;
    if (old is null) <> (does like 'insert%') then
      return 'nothing';
    end if;
    execute does;
    set constraints all immediate;
    insert into public.ledger (name, ident, old, new) values (name, ident, old, token);
    return 'written';
  exception when integrity_constraint_violation or lock_not_available or deadlock_detected then
    return 'refused';
  end $$`;

export interface LedgerTable {
  readonly name: string;
  readonly kind: LedgerKind;
}

/** CREATE TABLE and so on, with rows: key, token and number of each. */
export function tableSql({ name, kind }: LedgerTable, rows: readonly LedgerRow[], isPeer: boolean) {
  const columns = Object.keys(kind.valuesOf(1));
  const values = rows.map(
    ({ i, token, n }) =>
      `(${[...kind.keyOf(i, isPeer), `'${token}'`, ...Object.values(kind.valuesOf(n))].join(", ")})`,
  );
  const fill = `insert into public.${name} (${[...kind.key, "token", ...columns].join(", ")}) values ${values.join(", ")}`;
  return [
    `create table public.${name} (token text not null, ${kind.columns}) ${kind.options ?? ""}`,
    ...(kind.made ? [kind.made] : []),
    ...(values.length > 0 ? [fill] : []),
    ...(kind.filled ? [kind.filled] : []),
  ]
    .join(";\n")
    .replaceAll("@t@", `public.${name}`);
}

/** A row of one side: which one it is, who has written it, and the number that its values are made from. */
export interface LedgerRow {
  readonly i: number;
  readonly token: string;
  readonly n: number;
}

const fresh = { a: 1001, b: 500_001 };

/** Rows of both sides: some equal, some of one side only, some edited at the peer, some that swap what they have. */
export function sidesOf(
  random: Random,
  kind: LedgerKind,
  rows: number,
): [LedgerRow[], LedgerRow[]] {
  const local: LedgerRow[] = [];
  const peer: LedgerRow[] = [];
  for (let i = 0; i < rows; i++) {
    const where = random.next();
    const edited = random.next() < 0.5;
    const n = i + 1;
    if (where < 0.8) local.push({ i, token: edited ? `a${i}` : `s${i}`, n });
    if (where > 0.2)
      peer.push({ i, token: edited ? `b${i}` : `s${i}`, n: edited ? fresh.b + i : n });
  }
  if (kind.swaps) swap(random, peer);
  return [local, peer];
}

/** Some rows get the numbers of the next ones, the last of them that of the first. */
function swap(random: Random, rows: LedgerRow[]): void {
  const chosen = random.shuffle(rows.map((_, at) => at)).slice(0, random.pick([0, 2, 3, 7]));
  const numbers = chosen.map((at) => rows[at]?.n ?? 0);
  for (const [at, place] of chosen.entries()) {
    const row = rows[place];
    if (row)
      rows[place] = {
        i: row.i,
        token: `b${row.i}`,
        n: numbers[(at + 1) % numbers.length] ?? row.n,
      };
  }
}
