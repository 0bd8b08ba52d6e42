import { createRole } from "./roles.ts";
import type { Server } from "./server.ts";

/*
 * A schema of the role `owner`, whose code is in every place where a type may have some. It lets the owner through, and
 * merger, as whom the owner connects; it stops everybody else, and says what ran. Checks of domains take no argument,
 * so that to plan with them is to run them.
 */

export const owner = "owner";

/** Three values of each base type, as text; those in the first row can be ranges' bounds, and stamps. */
const bases: Readonly<Record<string, readonly [string, string, string]>> = {
  integer: ["1", "2", "3"],
  numeric: ["1.50", "2", "-3"],
  timestamptz: ["2020-01-01 00:00:00+00", "2021-01-01 00:00:00+00", "infinity"],
  date: ["2020-01-01", "2021-01-01", "2022-01-01"],
  bigint: ["1", "4294967296", "-3"],
  text: ["a", "it's", 'b"\\'],
  uuid: [1, 2, 3].map((n) => `00000000-0000-0000-0000-00000000000${n}`) as [string, string, string],
  jsonb: ["1.0", '{"a": [1]}', "null"],
  bytea: ["\\x00", "\\x01", "\\xff"],
  "double precision": ["0.5", "NaN", "-0"],
  interval: ["1 day", "24:00:01", "-1 mon"],
  "character(3)": ["a", "b", "c"],
  inet: ["10.0.0.1", "10.0.0.2", "::1"],
};
const stamps = ["integer", "numeric", "timestamptz", "date", "bigint"];
const containers = ["integer", "numeric", "text", "jsonb"];
const ranges = ["integer", "numeric"];

/** A type with code of its owner in it, and three of its values. */
export interface HostileType {
  readonly name: string;
  readonly values: readonly [string, string, string];
  /** it says when a row was modified, to whoever takes its word */
  readonly isStamp: boolean;
  /** its values can be told apart in a key */
  readonly isKey: boolean;
}

const guard = (name: string) => `
  create function owned.guard_${name}() returns boolean language plpgsql immutable as $$
  begin
    if current_user not in ('${owner}', 'merger') then raise exception 'code of the owner ran: ${name}, as %', current_user; end if;
    return true;
  end $$;`;

/** A cast to text that runs the owner's code, of this type. */
const cast = (type: string, name: string, context = "as implicit") => `${guard(name)}
  create function owned.cast_${name}(owned.${type}) returns text language plpgsql immutable strict as $$
  begin perform owned.guard_${name}(); return 'cast'; end $$;
  create cast (owned.${type} as text) with function owned.cast_${name}(owned.${type}) ${context};`;

const quoted = (value: string) => `"${value.replace(/[\\"]/g, "\\$&")}"`;
const three = (values: readonly string[], of: (value: string) => string) =>
  values.map(of) as unknown as HostileType["values"];

interface Made {
  readonly sql: string;
  readonly types: readonly HostileType[];
}

const within = (name: string) => `
  create domain owned.of_${name} as owned.${name};
  create type owned.row_${name} as (x owned.${name}, y integer);
  create domain owned.of_row_${name} as owned.row_${name} check (owned.guard_${name}());
  create domain owned.of_array_${name} as owned.${name}[] check (owned.guard_${name}());`;

function domainsOver([base, values]: [string, HostileType["values"]], i: number): Made {
  const name = `d${i}`;
  const isKey = true;
  const type = (of: string, its: HostileType["values"], isStamp = false): HostileType => ({
    ...{ name: `owned.${of}`, values: its, isStamp, isKey },
  });
  const range = ranges.includes(base);
  return {
    sql: `${guard(name)}
      create domain owned.${name} as ${base} check (owned.guard_${name}());
      ${containers.includes(base) ? within(name) : ""}
      ${range ? `create type owned.range_${name} as range (subtype = owned.${name});` : ""}`,
    types: [
      type(name, values, stamps.includes(base)),
      ...(containers.includes(base)
        ? [
            type(`of_${name}`, values, stamps.includes(base)),
            type(
              `${name}[]`,
              three(values, (v) => `{${quoted(v)},NULL}`),
            ),
            type(
              `of_array_${name}`,
              three(values, (v) => `{${quoted(v)}}`),
            ),
            type(
              `row_${name}`,
              three(values, (v) => `(${quoted(v)},)`),
            ),
            type(
              `row_${name}[]`,
              three(values, (v) => `{${quoted(`(${quoted(v)},1)`)}}`),
            ),
            type(
              `of_row_${name}`,
              three(values, (v) => `(${quoted(v)},7)`),
            ),
          ]
        : []),
      ...(range
        ? [
            type(
              `range_${name}`,
              three(values, (v) => `[${v},)`),
            ),
          ]
        : []),
    ],
  };
}

function withCasts(): Made {
  const names: HostileType["values"] = ["one", "two", "it's"];
  const type = (name: string, values: HostileType["values"]): HostileType => ({
    ...{ name: `owned.${name}`, values, isStamp: false, isKey: true },
  });
  return {
    sql: `create type owned.label as enum ('one', 'two', 'it''s');
      create domain owned.of_label as owned.label;
      create type owned.point as (x integer, y numeric);
      create type owned.span as range (subtype = integer);
      ${cast("label", "enum")} ${cast("point", "composite")} ${cast("span", "range", "as assignment")}
      ${guard("enums")}
      create function owned.cast_enums(owned.label[]) returns text language plpgsql immutable strict as $$
      begin perform owned.guard_enums(); return 'cast'; end $$;
      create cast (owned.label[] as text) with function owned.cast_enums(owned.label[]) as implicit;
      create function owned.same(owned.label, owned.label) returns boolean language plpgsql immutable as $$
      begin perform owned.guard_enum(); return true; end $$;
      create operator owned.= (leftarg = owned.label, rightarg = owned.label, function = owned.same)`,
    types: [
      type("label", names),
      type("of_label", names),
      type(
        "label[]",
        three(names, (v) => `{${quoted(v)}}`),
      ),
      type("point", ["(1,1.0)", "(1,)", "(,NaN)"]),
      type("point[]", ['{"(1,1.0)"}', "{}", '{"(2,)",NULL}']),
      type("span", ["[1,5)", "empty", "(,3)"]),
    ],
  };
}

const made = [...Object.entries(bases).map(domainsOver), withCasts()];

export const hostileTypes: readonly HostileType[] = made.flatMap((m) => m.types);

const literal = (value: string) => `'${value.replace(/'/g, "''")}'`;

/** Tables with each type in the key, and in another column; on this side the rows of `differing` differ. */
export function tablesOf(type: HostileType, i: number, isHere: boolean): string {
  const [first, second, third] = type.values.map((v) => `${literal(v)}::${type.name}`);
  const only = isHere ? second : third;
  return `
    create table owned.k${i} (k ${type.name} primary key, v text);
    insert into owned.k${i} values (${first}, '${isHere}'), (${only}, 'x');
    create table owned.v${i} (id integer primary key, v ${type.name});
    insert into owned.v${i} values (1, ${first}), (2, ${only}), (${isHere ? 3 : 4}, ${first}), (5, null);`;
}

export const tableNames = hostileTypes.flatMap((_, i) => [`owned.k${i}`, `owned.v${i}`]);

/** The tables whose other column says when a row was modified. */
export const stampedTables = hostileTypes.flatMap((t, i) => (t.isStamp ? [`owned.v${i}`] : []));

/** Make the schema and its tables, as their owner. */
export async function makeHostile(server: Server, isHere: boolean): Promise<void> {
  if (isHere) await createRole(server, "postgres", owner);
  else await server.query(`create role ${owner} login; grant ${owner} to merger`);
  await server.query(`create schema owned authorization ${owner}`);
  const tables = hostileTypes.map((type, i) => tablesOf(type, i, isHere)).join("");
  await server.query(`${made.map((m) => m.sql).join(";\n")}; ${tables}`, [], { user: owner });
}
