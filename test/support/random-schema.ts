import type { Random } from "./random.ts";
import {
  conditions,
  defaults,
  type Make,
  pickers,
  statements,
  types,
  usual,
} from "./schema-statements.ts";

/*
 * Pairs of tables that differ in whatever pg_dump can print of a table. Each side is a list of statements of which
 * some are refused, as they may be: what the others leave is the table.
 */

/** Statements that make a table on two sides. */
export interface SchemaPair {
  readonly shape: string;
  readonly here: readonly string[];
  readonly there: readonly string[];
}

/** What tables are made with, in schema s, on both sides. */
export const surroundings = `
  create type mood as enum ('sad', 'ok'); create domain posint as int check (value > 0);
  create domain small as posint check (value < 100); create type pair as (x int, y text);
  create type tt as (a int, b text, c varchar(5), d numeric(8, 2), f date);
  create function touch() returns trigger language plpgsql as 'begin return new; end';
  create function twice(int) returns int language sql immutable as 'select $1 * 2';
  create table ref (id int primary key, k bigint unique, code text unique);
  create table room (id int, span int4range, primary key (id, span without overlaps));
  create table log (n int);
  create table par (a int, b text default 'p', constraint par_a check (a > 0));
  create table par2 (f date, d numeric(8, 2));
  create table root (a int not null, b text, f date, primary key (a)) partition by list (a);
  create table root2 (a int, b text, f date) partition by range (f);
  create trigger rooted after insert on root for each row execute function touch();`;

interface Shape {
  readonly name: string;
  readonly weight: number;
  /** the table, from a list of its columns */
  readonly create: (random: Random, columns: string) => readonly string[];
  readonly own: readonly Make[];
}

const bound = (r: Random) =>
  r.pick(["for values in (1, 2)", "for values in (1, 2)", "for values in (3)", "default"]);

const shapes: readonly Shape[] = [
  {
    name: "plain",
    weight: 8,
    create: (r, columns) => [`create ${r.pick(["", "", "", "unlogged"])} table t (${columns})`],
    own: [],
  },
  {
    name: "typed",
    weight: 1,
    create: (r) => [
      `create table t of tt ${r.pick(["", "(a with options default 3)", "(primary key (a))", "(b not null, check (a > 0))"])}`,
    ],
    own: [
      () => "alter table t not of",
      () => "alter table t of tt",
      (r) =>
        `alter type tt ${r.pick(["add attribute h int", "alter attribute b type varchar(9)", "drop attribute d"])} cascade`,
    ],
  },
  {
    name: "child",
    weight: 2,
    create: (r, columns) =>
      r.pick([
        [
          `create table t (${columns})`,
          "alter table t add constraint par_a check (a > 0)",
          "alter table t inherit par",
        ],
        ["create table t (c varchar(5), e serial) inherits (par)"],
        ["create table t (a int not null, b text default 't') inherits (par, par2)"],
        ["create table t (a int constraint par_a check (a > 0)) inherits (par)"],
      ]),
    own: [
      () => "alter table t inherit par",
      () => "alter table t inherit par2",
      () => "alter table t no inherit par",
      () => "alter table par alter a set not null",
      () => "alter table par add h int",
      () => "alter table par alter b type varchar(9)",
      (r) =>
        `alter table par add constraint x check (a < 9) ${r.pick(["", "not valid", "no inherit", "not enforced"])}`,
      () => "alter table t validate constraint x",
      (r) =>
        `alter table par add constraint nn not null ${r.pick(["a", "b"])} ${r.pick(["not valid", "no inherit", ""])}`,
      () => "alter table par add primary key (a)",
    ],
  },
  {
    name: "parent",
    weight: 1,
    create: (r, columns) => [
      `create table t (${columns})`,
      ...(r.next() < 0.2
        ? []
        : [
            `create table kid (z int${r.pick(["", ", k int generated always as (z) stored"])}) inherits (t)`,
          ]),
    ],
    own: [
      (r) =>
        `create table kid (z int${r.pick(["", ", h int", ', h text collate "C"'])}) inherits (t)`,
      (r) => `create table kid2 (h int) inherits (${r.pick(["t", "kid"])})`,
      (r) =>
        `alter table kid add constraint nnk not null ${pickers(r).plain()} ${r.pick(["", "no inherit", "not valid"])}`,
      (r) => `alter table kid add constraint k primary key (${pickers(r).plain()})`,
      (r) => `alter table kid ${r.pick(["no inherit t", "inherit t"])}`,
      () => "create index on kid (a)",
      (r) => `alter table kid add constraint k check (${r.pick(conditions)})`,
      () => "alter table kid add g2 int generated always as (a + 1) stored",
      (r) => `alter table kid alter ${pickers(r).plain()} set default ${r.pick(defaults)}`,
      (r) => `alter table kid alter ${pickers(r).plain()} set not null`,
      () => "create index ki on kid (b) where b > 'a'",
    ],
  },
  {
    name: "partition",
    weight: 2,
    create: (r, columns) =>
      r.pick([
        [`create table t partition of root ${bound(r)}`],
        ["create table t partition of root (b default 't', f not null) for values in (1, 2)"],
        [
          `create table t (${columns})`,
          "alter table t alter a set not null",
          `alter table root attach partition t ${bound(r)}`,
        ],
        [
          "create table t (a int not null, b text, f date)",
          `alter table root attach partition t ${bound(r)}`,
        ],
        [
          "create table t partition of root2 for values from ('2020-01-01') to ('2020-02-01') partition by list (a)",
        ],
      ]),
    own: [
      () => "alter table root detach partition t",
      (r) => `alter table root attach partition t ${bound(r)}`,
      () => "alter table root add h int",
      () => "alter table root alter b set default 'r'",
      () => "create index on root (b)",
      () => "alter table root add constraint x check (a < 99)",
      (r) =>
        `alter table root ${r.pick(["drop constraint root_pkey", "add unique (a)", "add primary key (a)"])}`,
      () => "alter table root add constraint y foreign key (a) references ref",
    ],
  },
  {
    name: "partitioned",
    weight: 2,
    create: (r, columns) => [
      `create table t (${columns}) partition by ${r.pick(["range (a)", "list (a)", "hash (a)", "range (f)", "range (a, f)", "list ((a + 1))", "list (c)"])}`,
      r.pick([
        "create table t1 partition of t for values from (1) to (9)",
        "create table t1 partition of t for values in (1)",
        "create table t1 partition of t for values with (modulus 2, remainder 0)",
        "create table t1 partition of t default",
      ]),
    ],
    own: [
      () => "create table t2 partition of t default",
      (r) => `create index on t1 (${pickers(r).plain()})`,
      (r) => `alter table t1 add constraint k check (${r.pick(conditions)})`,
      (r) => `alter table t1 alter ${pickers(r).plain()} set default ${r.pick(defaults)}`,
      () => "alter table t1 add constraint k1 primary key (a)",
      () => "alter table t1 disable trigger x",
      (r) => `alter index ${pickers(r).name()}i attach partition t1_${pickers(r).plain()}_idx`,
    ],
  },
];

const weightedShapes = shapes.flatMap((shape) => Array.from({ length: shape.weight }, () => shape));

function columnsOf(
  random: Random,
  types: Readonly<Record<string, string>>,
  names: readonly string[],
): string {
  return names
    .map((name) => `${name} ${types[name]}`)
    .concat(types.g === undefined ? [] : [`g int generated always as (${types.g}) stored`])
    .concat(types.v === undefined ? [] : [`v int generated always as (${types.v})`])
    .concat(random.next() < 0.1 ? ["gone int"] : [])
    .join(", ");
}

/** The types of one side, from those of the other: most are alike. */
function chooseTypes(
  random: Random,
  names: readonly string[],
  other?: Readonly<Record<string, string>>,
) {
  const chosen: Record<string, string> = {};
  for (const name of names) {
    const any = random.next() < 0.04 ? types : (usual[name] ?? types);
    const same = other !== undefined && random.next() < 0.8;
    chosen[name] = same ? (other[name] as string) : random.pick(any);
  }
  for (const name of ["g", "v"]) {
    const same = other !== undefined && random.next() < 0.7;
    const made = random.pick(["a + 1", "a + 1", "a * 2", "twice(a::int)", ""]);
    const expression = same ? (other[name] ?? "") : made;
    if (expression !== "" && (name === "g" || random.next() < 0.5)) chosen[name] = expression;
  }
  return chosen;
}

/** What makes table s.t, and its like, on two sides. */
export function randomSchemaPair(random: Random): SchemaPair {
  const shape = random.pick(weightedShapes);
  const all = Object.keys(usual);
  const names = ["a", "b", ...random.shuffle(all.slice(2)).slice(0, random.int(1, 6))];
  const types = chooseTypes(random, names);
  const create = shape.create(random, columnsOf(random, types, names));
  const statement = () =>
    random.pick(shape.own.length > 0 && random.next() < 0.25 ? shape.own : random.pick(statements))(
      random,
    );
  const shared = Array.from({ length: random.int(0, 24) }, statement);
  const side = (isPeer: boolean) => {
    const ownTypes = isPeer ? chooseTypes(random, names, types) : types;
    const order = isPeer && random.next() < 0.3 ? random.shuffle(names) : names;
    const made =
      isPeer && random.next() < 0.4
        ? shape.create(random, columnsOf(random, ownTypes, order))
        : create;
    const more = Array.from({ length: random.int(0, 14) }, statement);
    const kept = shared.filter(() => random.next() < 0.85);
    return [...made, ...(random.next() < 0.5 ? [...kept, ...more] : [...more, ...kept])];
  };
  const here = side(false);
  const there = random.next() < 0.06 ? [] : side(true);
  return { shape: there.length === 0 ? `missing ${shape.name}` : shape.name, here, there };
}
